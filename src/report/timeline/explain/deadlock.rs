//! Deadlock: who holds what and waits for what, and in which orders the locks were taken.

use crate::trace::event::Event;

use super::super::history::{BlockedThread, RunHistory};
use super::super::labels::{list, waiting_op};
use super::symptom::Explanation;

/// How it came about.
pub(super) fn explain(history: &RunHistory) -> Explanation {
    let cycle = cycle(history);
    let all = history.blocked.iter();
    if cycle.is_empty() {
        let all: Vec<&BlockedThread> = all.collect();
        return Explanation::new(format!("{}.", waits(history, &all)));
    }
    let rest: Vec<&BlockedThread> = all
        .filter(|blocked| !cycle.iter().any(|of| of.thread == blocked.thread))
        .collect();
    let mut text = format!("{}: a cycle.", waits(history, &cycle));
    if !rest.is_empty() {
        text.push_str(&format!(" Besides, {}.", waits(history, &rest)));
    }
    let gap = (cycle.len() > 1).then(|| {
        let orders: Vec<String> = cycle
            .iter()
            .filter_map(|blocked| order_of_locks(history, blocked))
            .collect();
        format!(
            "the locks are taken in different orders: {}",
            orders.join("; ")
        )
    });
    Explanation::new(text).with_gap(gap)
}

/// The threads that wait for each other in a circle, if any do.
fn cycle(history: &RunHistory) -> Vec<&BlockedThread> {
    let next = |blocked: &BlockedThread| {
        let holder = blocked.holder?;
        let mut all = history.blocked.iter();
        all.find(|other| other.thread == holder)
    };
    for start in &history.blocked {
        let mut round = vec![start];
        let mut at = next(start);
        while let Some(blocked) = at {
            if blocked.thread == start.thread {
                return round;
            }
            if round.iter().any(|seen| seen.thread == blocked.thread) {
                break;
            }
            round.push(blocked);
            at = next(blocked);
        }
    }
    Vec::new()
}

/// What each of these holds and waits for.
fn waits(history: &RunHistory, threads: &[&BlockedThread]) -> String {
    let one = |blocked: &&BlockedThread| {
        let held = history.held(blocked.thread, blocked.step, blocked.step);
        let holds = match held.as_slice() {
            [] => String::new(),
            held => format!("holds {} and ", history.locks(held)),
        };
        format!(
            "t{} {holds}waits {}",
            blocked.thread,
            wanted(history, blocked)
        )
    };
    threads.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn wanted(history: &RunHistory, blocked: &BlockedThread) -> String {
    match (blocked.lock, history.step(blocked.step).event) {
        (Some(lock), _) if blocked.holder == Some(blocked.thread) => {
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
fn order_of_locks(history: &RunHistory, blocked: &BlockedThread) -> Option<String> {
    let BlockedThread { thread, step, .. } = *blocked;
    let held: Vec<String> = history
        .holds
        .iter()
        .filter(|hold| hold.thread == thread && hold.from < step && step < hold.to)
        .map(|hold| {
            let lock = history.objects.lock_name(hold.lock);
            format!("{lock} (step {})", hold.from)
        })
        .collect();
    let wanted = history.objects.lock_name(blocked.lock?);
    (!held.is_empty()).then(|| format!("t{thread} has {} before {wanted}", list(&held)))
}
