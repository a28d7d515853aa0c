//! Messages that went wrong on their way: lost, refused, or written into each other.

use crate::trace::event::{Event, SendOutcome};

use super::super::gap::{Stretch, gap};
use super::super::history::{History, Mark, TableEffect, TimelineStep};
use super::super::labels::{list, message_word, reject_words};
use super::explanation::{Explanation, taken_at};

/// A message that never took effect.
pub(super) fn lost(history: &History, mark: &Mark) -> Option<Explanation> {
    let Some(number) = mark.step else {
        let divergence = &mark.divergence;
        return Some(Explanation::new(format!(
            "A message of t{} about {} was sent and never received.",
            divergence.thread?,
            history.place(divergence.device, divergence.memory, divergence.address?)
        )));
    };
    let step = history.step(number);
    if let Some(taken) = taken_at(history, mark, |effect| {
        matches!(effect, TableEffect::Rejected(_))
    }) {
        let TableEffect::Rejected(reason) = taken.effect else {
            return None;
        };
        return Some(Explanation::new(format!(
            "The server rejected t{}'s {} of {} at step {number}: {}.",
            taken.thread,
            message_word(taken.kind),
            history.place_of(taken.life?),
            reject_words(reason)
        )));
    }
    let Event::Send { kind, .. } = step.event else {
        return None;
    };
    Some(
        Explanation::new(format!(
            "t{}'s {} of {} (step {number}) was dropped: the socket's buffer was full and the transport does not wait.",
            step.stream,
            message_word(kind),
            history.place_of(step.life?)
        ))
        .with_gap(Some("nobody sends the message again".to_owned())),
    )
}

/// A frame that was made of pieces of several messages.
pub(super) fn torn(history: &History, mark: &Mark) -> Option<Explanation> {
    let number = mark.step?;
    let taken = history.step(number).taken.iter().find(|taken| taken.torn)?;
    let took = match taken.effect {
        TableEffect::Garbage => "It is no message that the server knows.".to_owned(),
        _ => format!(
            "The server took it for one whole {}.",
            message_word(taken.kind)
        ),
    };
    let what = format!(
        "The frame that the server read at step {number} is made of pieces of several messages"
    );
    let Event::Send { conn, .. } = history.step(number).event else {
        return Some(Explanation::new(format!("{what}. {took}")));
    };
    // The server read it in the step that sent its last piece: its pieces are the last that were
    // sent.
    let chunks: Vec<&TimelineStep> = history.steps[..number]
        .iter()
        .rev()
        .filter(|step| {
            matches!(step.event, Event::Send { conn: on, outcome: SendOutcome::Sent, .. } if on == conn)
        })
        .take(usize::from(history.chunks))
        .collect();
    let pieces: Vec<String> = chunks
        .iter()
        .rev()
        .filter_map(|step| match step.event {
            Event::Send { kind, chunk, .. } => Some(format!(
                "{}/{} of t{}'s {} of {} (step {})",
                chunk + 1,
                history.chunks,
                step.stream,
                message_word(kind),
                history.place_of(step.life?),
                step.number
            )),
            _ => None,
        })
        .collect();
    Some(
        Explanation::new(format!("{what}: {}. {took}", list(&pieces)))
            .with_gap(torn_gap(history, &chunks)),
    )
}

/// What was open between the first of these pieces (newest first) and the next one of its thread.
fn torn_gap(history: &History, chunks: &[&TimelineStep]) -> Option<String> {
    let first = chunks.last()?;
    let next = history.steps[first.number..]
        .iter()
        .find(|step| step.stream == first.stream && matches!(step.event, Event::Send { .. }))?;
    let piece = |step: &TimelineStep| match step.event {
        Event::Send { kind, chunk, .. } => format!(
            "send {} {}/{}",
            message_word(kind),
            chunk + 1,
            history.chunks
        ),
        _ => String::new(),
    };
    let stretch = Stretch {
        thread: first.stream,
        from: (piece(first), first.number),
        to: (piece(next), next.number),
    };
    gap(history, &stretch, None, "the connection")
}
