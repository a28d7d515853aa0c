//! Locks that did not do: who holds what and waits for what, and a table that has no lock for a
//! device.

use crate::device::BufferKind;
use crate::trace::event::Event;

use super::super::history::{BlockedThread, History, Mark};
use super::super::labels::{list, waiting_op};
use super::explanation::Explanation;

/// Who holds what and waits for what.
pub(super) fn deadlock(history: &History) -> Explanation {
    let cycle = cycle(history);
    if cycle.is_empty() {
        return Explanation::new(format!("{}.", waits(history, &all(history))));
    }
    let rest: Vec<&BlockedThread> = all(history)
        .into_iter()
        .filter(|wait| !cycle.iter().any(|of| of.thread == wait.thread))
        .collect();
    let mut text = format!("{}: a cycle.", waits(history, &cycle));
    if !rest.is_empty() {
        text.push_str(&format!(" Besides, {}.", waits(history, &rest)));
    }
    let gap = (cycle.len() > 1).then(|| {
        let took: Vec<String> = cycle
            .iter()
            .filter_map(|wait| took(history, wait))
            .collect();
        format!(
            "the locks are taken in different orders: {}",
            took.join("; ")
        )
    });
    Explanation::new(text).with_gap(gap)
}

fn all(history: &History) -> Vec<&BlockedThread> {
    history.waits.iter().collect()
}

/// The waits that go round in a circle, if any do.
fn cycle(history: &History) -> Vec<&BlockedThread> {
    let next = |wait: &BlockedThread| {
        let holder = wait.holder?;
        history.waits.iter().find(|other| other.thread == holder)
    };
    for start in &history.waits {
        let mut round = vec![start];
        let mut at = next(start);
        while let Some(wait) = at {
            if wait.thread == start.thread {
                return round;
            }
            if round.iter().any(|seen| seen.thread == wait.thread) {
                break;
            }
            round.push(wait);
            at = next(wait);
        }
    }
    Vec::new()
}

fn waits(history: &History, waits: &[&BlockedThread]) -> String {
    let one = |wait: &&BlockedThread| {
        let held = history.held(wait.thread, wait.step, wait.step);
        let holds = match held.as_slice() {
            [] => String::new(),
            held => format!("holds {} and ", history.locks(held)),
        };
        format!("t{} {holds}waits {}", wait.thread, wanted(history, wait))
    };
    waits.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn wanted(history: &History, wait: &BlockedThread) -> String {
    match (wait.lock, history.step(wait.step).event) {
        (Some(lock), _) if wait.holder == Some(wait.thread) => {
            format!(
                "for {}, which it holds itself",
                history.objects.lock_name(lock)
            )
        }
        (Some(lock), _) => format!("for {}", history.objects.lock_name(lock)),
        (None, Event::BlockedOnOp { op }) => format!("to {}", waiting_op(&op)),
        (None, Event::BlockedOnSend { conn }) => {
            format!(
                "for room on connection {}, which the server does not read",
                conn.0
            )
        }
        (None, _) => "to go on".to_owned(),
    }
}

/// In which order a thread took what it holds, and what it wanted next.
fn took(history: &History, wait: &BlockedThread) -> Option<String> {
    let held: Vec<String> = history
        .holds
        .iter()
        .filter(|hold| hold.thread == wait.thread && hold.from < wait.step && wait.step < hold.to)
        .map(|hold| {
            format!(
                "{} (step {})",
                history.objects.lock_name(hold.lock),
                hold.from
            )
        })
        .collect();
    let wanted = history.objects.lock_name(wait.lock?);
    (!held.is_empty()).then(|| format!("t{} has {} before {wanted}", wait.thread, list(&held)))
}

/// A lock table was indexed out of its bounds.
pub(super) fn out_of_bounds(history: &History, mark: &Mark) -> Option<Explanation> {
    let step = history.step(mark.step?);
    let Event::LockOutOfBounds { device } = step.event else {
        return None;
    };
    let table = history.objects.table;
    let what = match step.request.map(|request| request.kind) {
        Some(BufferKind::Mesh) => format!("part {} of a mesh buffer", step.at.part),
        _ => "a buffer".to_owned(),
    };
    Some(
        Explanation::new(format!(
            "At step {} t{} locks for {what} on device {device}, and the lock table ends at lifecycle[{}]: there is no \
             such lock, and t{} goes on without one.",
            step.number,
            step.stream,
            table.saturating_sub(1),
            step.stream
        ))
        .with_gap(Some(format!(
            "buffers of device {device} have no lifecycle lock at all (in the runtime, this reads memory beyond the table)"
        ))),
    )
}
