//! Which failure it is, while its schedule is made small: a smaller schedule that fails in another
//! way is no smaller schedule of this one.
//!
//! Of most failures that is the kind. A deadlock is who waits for what, held by whom: the threads
//! that wait in a circle, and those that wait for something that nobody holds who waits himself.
//! Whoever only waits behind these is left out, and which numbers the threads have makes no
//! difference. Identities are compared between executions of one launcher only.

use std::collections::BTreeSet;

use super::execution::{Execution, Failure, FailureKind, WaitingThread};
use super::symbols::Symbols;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailureIdentity {
    kind: FailureKind,
    waits: BTreeSet<(AwaitedThing, ThingHolder)>,
}

/// What a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AwaitedThing {
    action: &'static str,
    /// The variable, where it has a name.
    variable: Option<String>,
    /// Where it waits; with a variable the call is told by that.
    place: Vec<u64>,
}

/// Who has what a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ThingHolder {
    Nobody,
    Itself,
    /// A thread that does not wait: it has ended.
    Gone,
    /// One that waits itself.
    Waits(AwaitedThing),
}

impl FailureIdentity {
    /// Of a failing execution.
    pub(crate) fn of(execution: &Execution, symbols: &Symbols) -> Option<FailureIdentity> {
        let failure = execution.failure.as_ref()?;
        let name = |address| symbols.variable(address);
        Some(FailureIdentity {
            kind: failure.kind,
            waits: match failure.kind {
                FailureKind::DEADLOCK => waits_of(failure, &name),
                _ => BTreeSet::new(),
            },
        })
    }

    /// Whether an execution fails in this way.
    pub(crate) fn is_of(&self, execution: &Execution, symbols: &Symbols) -> bool {
        execution.kind() == Some(self.kind)
            && FailureIdentity::of(execution, symbols).as_ref() == Some(self)
    }
}

fn waits_of(
    failure: &Failure,
    name: &impl Fn(u64) -> Option<String>,
) -> BTreeSet<(AwaitedThing, ThingHolder)> {
    let waits: Vec<&WaitingThread> = (failure.waits.iter())
        .filter(|wait| wait.action() != "none")
        .collect();
    let of_thread = |thread: u32| waits.iter().copied().find(|wait| wait.thread == thread);
    let thing = |wait: &WaitingThread| {
        let variable = name(wait.address);
        AwaitedThing {
            action: wait.action(),
            place: match (&variable, wait.stack.is_empty()) {
                (Some(_), _) => Vec::new(),
                (None, true) => vec![wait.pc],
                (None, false) => wait.stack.clone(),
            },
            variable,
        }
    };
    // Who is passed when one goes from whoever waits to who has that, as far as all of them wait.
    let is_in_a_circle = |wait: &WaitingThread| {
        let mut at = wait;
        for _ in 0..waits.len() {
            match at.holder.and_then(of_thread) {
                Some(next) if next.thread == wait.thread => return true,
                Some(next) => at = next,
                None => return false,
            }
        }
        false
    };
    (waits.iter().copied())
        .filter(|wait| wait.holder.and_then(of_thread).is_none() || is_in_a_circle(wait))
        .map(|wait| {
            let holder = match wait.holder {
                None => ThingHolder::Nobody,
                Some(holder) if holder == wait.thread => ThingHolder::Itself,
                Some(holder) => of_thread(holder).map_or(ThingHolder::Gone, |holder| {
                    ThingHolder::Waits(thing(holder))
                }),
            };
            (thing(wait), holder)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use heisenbed_runtime::protocol::KINDS;

    use super::*;

    fn waiting(thread: u32, action: &str, address: u64, holder: Option<u32>) -> WaitingThread {
        let kind = KINDS.iter().position(|name| *name == action).unwrap();
        WaitingThread::in_test(kind as u16, thread, address, holder)
    }

    fn identity(waits: Vec<WaitingThread>) -> BTreeSet<(AwaitedThing, ThingHolder)> {
        let failure = Failure {
            kind: FailureKind::DEADLOCK,
            summary: String::new(),
            thread: None,
            waits,
            stack: Vec::new(),
        };
        waits_of(&failure, &|address| Some(format!("lock {address}")))
    }

    #[test]
    fn who_waits_behind_a_circle_and_thread_numbers_make_no_other_deadlock() {
        let two = vec![
            waiting(0, "join", 9, Some(1)),
            waiting(1, "lock", 2, Some(2)),
            waiting(2, "lock", 1, Some(1)),
        ];
        let three = vec![
            waiting(0, "join", 9, Some(2)),
            waiting(1, "lock", 1, Some(3)),
            waiting(2, "lock", 2, Some(1)),
            waiting(3, "lock", 2, Some(1)),
        ];
        assert_eq!(identity(two), identity(three));
    }

    #[test]
    fn another_lock_another_holder_and_nobody_are_other_deadlocks() {
        let circle = |lock| {
            vec![
                waiting(1, "lock", lock, Some(2)),
                waiting(2, "lock", 1, Some(1)),
            ]
        };
        assert_ne!(identity(circle(2)), identity(circle(3)));
        let gone = vec![waiting(1, "lock", 2, Some(2))];
        assert_ne!(identity(circle(2)), identity(gone.clone()));
        assert_ne!(identity(gone), identity(vec![waiting(1, "wake", 2, None)]));
        let own = vec![waiting(1, "lock", 2, Some(1))];
        assert_ne!(identity(own), identity(vec![waiting(1, "lock", 2, None)]));
    }
}
