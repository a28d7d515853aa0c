//! Which steps of which operation came in which order, in a schedule that failed: kept while
//! operations are left out, so that what only a rare order shows need not be found anew each time.
//!
//! It is a hint and no more: what is left may take its steps in another number. What does not
//! follow it is a schedule like any other.

use std::collections::{BTreeMap, BTreeSet};

use super::super::execution::VisibleAction;
use super::super::steps::Steps;
use crate::scenario::op::Op;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct OrderOfOps(Vec<Turn>);

/// Steps of one operation of one thread, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    of: TurnOf,
    steps: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TurnOf {
    /// The main thread, which makes the others.
    Main,
    /// The same: makes this thread of the workload.
    Creation(usize),
    /// A thread of the workload, before its first operation.
    Start(usize),
    /// In its operation of this number.
    Op(usize, usize),
    /// A thread that the target has made.
    Other(u32),
}

/// What is kept of each thread's operations: which thread it was, and which of its operations.
type KeptOps = Vec<(usize, Vec<usize>)>;

impl OrderOfOps {
    /// Of an execution that took these steps and showed these events.
    pub(super) fn of(steps: &Steps, events: &[VisibleAction], workload: usize) -> OrderOfOps {
        let begins = beginnings(events);
        let mut taken: BTreeMap<u32, u32> = BTreeMap::new();
        let mut turns: Vec<Turn> = Vec::new();
        for (thread, count) in steps.runs() {
            let before = *taken.get(thread).unwrap_or(&0);
            let after = before.saturating_add(*count);
            taken.insert(*thread, after);
            let own = begins.get(thread).map_or(&[][..], Vec::as_slice);
            let mut from = before;
            while from < after {
                // The last that has begun by the next step, and where another one begins.
                let passed = own.partition_point(|(step, _)| *step <= from + 1);
                let to = own
                    .get(passed)
                    .map_or(after, |(step, _)| after.min(step - 1));
                let of = match passed.checked_sub(1).map(|last| own[last]) {
                    Some((step, of @ TurnOf::Creation(_))) if step == from + 1 => of,
                    Some((_, of @ TurnOf::Op(..))) => of,
                    _ => outside_of_ops(*thread, workload),
                };
                // A thread is made in one step.
                // The program may have written anything into what it tells: each turn goes on.
                let to = match of {
                    TurnOf::Creation(_) => from + 1,
                    _ => to.max(from + 1),
                };
                turns.push(Turn {
                    of,
                    steps: to - from,
                });
                from = to;
            }
        }
        OrderOfOps(turns)
    }

    /// Operations of `all` as those of one thread: in the order in which they began, and in the one
    /// in which they ended. What was not begun is not there.
    pub(super) fn one_after_another(&self, all: &[Vec<Op>]) -> [Vec<Op>; 2] {
        let of_turn = |turn: &Turn| match turn.of {
            TurnOf::Op(thread, op) => Some((thread, op)),
            _ => None,
        };
        let began = self.0.iter().filter_map(of_turn);
        let ended: Vec<_> = self.0.iter().rev().filter_map(of_turn).collect();
        let mut ended = once_each(ended.into_iter());
        ended.reverse();
        let ops = |places: Vec<(usize, usize)>| {
            let op = |(thread, op): (usize, usize)| all.get(thread)?.get(op).copied();
            places.into_iter().filter_map(op).collect()
        };
        [ops(once_each(began)), ops(ended)]
    }

    /// The same of what is left of `all` in `ops`; none where that is something else.
    pub(super) fn of_what_is_left(&self, all: &[Vec<Op>], ops: &[Vec<Op>]) -> Option<Steps> {
        let kept = kept(all, ops)?;
        let place = |thread: usize| kept.iter().position(|(was, _)| *was == thread);
        let number = |place: usize| u32::try_from(place + 1).ok();
        let gone = u32::try_from(all.len() - kept.len()).ok()?;
        let left = self.0.iter().filter_map(|turn| {
            let thread = match turn.of {
                TurnOf::Main => Some(0),
                TurnOf::Creation(thread) => place(thread).map(|_| 0),
                TurnOf::Start(thread) => place(thread).and_then(number),
                TurnOf::Op(thread, op) => {
                    let place = place(thread)?;
                    kept[place].1.binary_search(&op).ok()?;
                    number(place)
                }
                TurnOf::Other(thread) => thread.checked_sub(gone),
            };
            Some((thread?, turn.steps))
        });
        Some(left.collect())
    }
}

/// Without what came before.
fn once_each(places: impl Iterator<Item = (usize, usize)>) -> Vec<(usize, usize)> {
    let mut seen = BTreeSet::new();
    places.filter(|place| seen.insert(*place)).collect()
}

/// By thread: at which of its steps what begins, in order.
fn beginnings(events: &[VisibleAction]) -> BTreeMap<u32, Vec<(u32, TurnOf)>> {
    let mut begins: BTreeMap<u32, Vec<(u32, TurnOf)>> = BTreeMap::new();
    let mut of_main = 0;
    for event in events {
        of_main += u32::from(event.thread == 0);
        let began = match event.action() {
            "op" => (event.thread as usize).checked_sub(1).map(|thread| {
                let op = TurnOf::Op(thread, event.value as usize);
                (event.own_steps, op)
            }),
            // The main thread does nothing that is not seen.
            "create" if event.thread == 0 => (event.value as usize)
                .checked_sub(1)
                .map(|thread| (of_main, TurnOf::Creation(thread))),
            _ => None,
        };
        if let Some(began) = began {
            begins.entry(event.thread).or_default().push(began);
        }
    }
    begins
}

fn outside_of_ops(thread: u32, workload: usize) -> TurnOf {
    match (thread as usize).checked_sub(1) {
        None => TurnOf::Main,
        Some(own) if own < workload => TurnOf::Start(own),
        Some(_) => TurnOf::Other(thread),
    }
}

/// Which of `all` are left, where `ops` leaves operations and threads out and nothing else.
fn kept(all: &[Vec<Op>], ops: &[Vec<Op>]) -> Option<KeptOps> {
    let mut threads = all.iter().enumerate();
    let ops = ops.iter().filter(|ops| !ops.is_empty());
    ops.map(|ops| threads.find_map(|(thread, all)| Some((thread, places(all, ops)?))))
        .collect()
}

/// Where the operations of `ops` are in `all`, if they are there in this order.
fn places(all: &[Op], ops: &[Op]) -> Option<Vec<usize>> {
    let mut rest = all.iter().enumerate();
    ops.iter()
        .map(|op| rest.find(|(_, one)| *one == op).map(|(place, _)| place))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::shrink::tests::parsed;
    use super::*;

    fn event(kind: &str, thread: u32, own_steps: u32, value: u32) -> VisibleAction {
        let kinds = heisenbed_runtime::protocol::KINDS;
        VisibleAction {
            kind: kinds.iter().position(|one| *one == kind).unwrap() as u16,
            thread,
            after_preemption: false,
            object: None,
            own_steps,
            pc: 0,
            address: 0,
            value,
            stack: Vec::new(),
        }
    }

    #[test]
    fn what_is_left_takes_its_steps_in_the_order_that_it_had() {
        let all = parsed(&[
            &["allocate s0#1 64 l1 d0", "release s0#1"],
            &["allocate s1#1 64 l1 d0", "allocate s2#1 64 l1 d0"],
            &["allocate s3#1 64 l1 d0"],
        ]);
        let events = [
            event("create", 0, 0, 1),
            event("create", 0, 0, 2),
            event("create", 0, 0, 3),
            event("op", 1, 2, 0),
            event("op", 1, 5, 1),
            event("op", 2, 2, 0),
            event("op", 2, 4, 1),
            event("op", 3, 2, 0),
        ];
        let steps: Steps = "t0*4 t1*5 t2*3 t3*4 t2*3 t1*2".parse().unwrap();
        let order = OrderOfOps::of(&steps, &events, 3);
        let left = |ops: &[Vec<Op>]| {
            order
                .of_what_is_left(&all, ops)
                .map(|left| left.to_string())
        };
        assert_eq!(left(&all).unwrap(), steps.to_string());
        let fewer = parsed(&[
            &["allocate s0#1 64 l1 d0", "release s0#1"],
            &["allocate s2#1 64 l1 d0"],
        ]);
        // One creation less, and thread 2 without its first operation's two steps.
        assert_eq!(left(&fewer).unwrap(), "t0*3 t1*5 t2*4 t1*2");
        let [began, ended] = order.one_after_another(&all);
        let texts = |ops: Vec<Op>| -> Vec<String> { ops.iter().map(Op::to_string).collect() };
        assert_eq!(
            texts(began),
            [
                "allocate s0#1 64 l1 d0",
                "release s0#1",
                "allocate s1#1 64 l1 d0",
                "allocate s3#1 64 l1 d0",
                "allocate s2#1 64 l1 d0",
            ]
        );
        assert_eq!(texts(ended).last().unwrap(), "release s0#1");
        let other = parsed(&[&["release s0#1", "allocate s0#1 64 l1 d0"]]);
        assert_eq!(left(&other), None);
    }
}
