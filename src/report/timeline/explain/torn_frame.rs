//! Torn frame: the server read one frame that is made of pieces of several messages, because they
//! were written into each other.

use crate::trace::event::{Event, SendOutcome};

use super::super::gap::{NamedStep, Stretch, gap};
use super::super::history::{RunHistory, RunStep, ServerEffect, StepNumber};
use super::super::labels::{list, message_name};
use super::symptom::{Explanation, Symptom};

/// How it came about.
pub(super) fn explain(symptom: Symptom<'_>) -> Option<Explanation> {
    let history = symptom.history;
    let number = symptom.step()?;
    let step = history.step(number);
    let taken = step.taken.iter().find(|taken| taken.torn)?;
    let took = match taken.effect {
        ServerEffect::Garbage => "It is no message that the server knows.".to_owned(),
        _ => format!(
            "The server took it for one whole {}.",
            message_name(taken.kind)
        ),
    };
    let what = format!(
        "The frame that the server read at step {number} is made of pieces of several messages"
    );
    let Event::Send { .. } = step.event else {
        return Some(Explanation::new(format!("{what}. {took}")));
    };
    let pieces = pieces_up_to(history, number);
    let names: Vec<String> = pieces
        .iter()
        .rev()
        .filter_map(|piece| piece_of_message(history, piece))
        .collect();
    let text = format!("{what}: {}. {took}", list(&names));
    Some(Explanation::new(text).with_gap(torn_gap(history, &pieces)))
}

/// The pieces of the frame that the server read in the step that sent the last of them, newest
/// first: they are the last that were sent.
fn pieces_up_to(history: &RunHistory, number: StepNumber) -> Vec<&RunStep> {
    let Event::Send { conn, .. } = history.step(number).event else {
        return Vec::new();
    };
    let is_sent = |step: &&RunStep| {
        matches!(
            step.event,
            Event::Send { conn: on, outcome: SendOutcome::Sent, .. } if on == conn
        )
    };
    let steps = history.steps[..number].iter().rev();
    let pieces = steps.filter(is_sent);
    pieces.take(usize::from(history.chunks)).collect()
}

/// `1/2 of t0's ALLOC of 0x1a000 (step 3)`.
fn piece_of_message(history: &RunHistory, step: &RunStep) -> Option<String> {
    let Event::Send { kind, chunk, .. } = step.event else {
        return None;
    };
    Some(format!(
        "{}/{} of t{}'s {} of {} (step {})",
        chunk + 1,
        history.chunks,
        step.stream,
        message_name(kind),
        history.place_of(step.buffer?),
        step.number
    ))
}

/// What was open between the first of these pieces (newest first) and the next one of its thread.
fn torn_gap(history: &RunHistory, pieces: &[&RunStep]) -> Option<String> {
    let first = pieces.last()?;
    let next = history.steps[first.number..]
        .iter()
        .find(|step| step.stream == first.stream && matches!(step.event, Event::Send { .. }))?;
    let named = |step: &RunStep| {
        let name = match step.event {
            Event::Send { kind, chunk, .. } => format!(
                "send {} {}/{}",
                message_name(kind),
                chunk + 1,
                history.chunks
            ),
            _ => String::new(),
        };
        NamedStep::new(name, step.number)
    };
    let stretch = Stretch {
        thread: first.stream,
        from: named(first),
        to: named(next),
    };
    gap(history, &stretch, None, "the connection")
}
