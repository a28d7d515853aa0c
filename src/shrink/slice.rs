//! Slicing: the few operations of a trace that a divergence can come from.
//!
//! A divergence at an address comes from the operations on that address, and from the last of them;
//! what else the threads did meanwhile only made the schedule likely. Memory is bounded by the
//! number of addresses in use, not by the length of the trace.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::oracle::{CheckError, Checker, Divergence, Kind};
use crate::scenario::op::Op;
use crate::scenario::{Scenario, Transport};
use crate::trace::event::Event;
use crate::trace::file::{Header, SERVER_STREAM, TraceFile};
use crate::trace::merge::{Merge, MergedEvent};
use crate::tracking::transport::SendMode;

use super::ShrinkError;
use super::case::ShrinkCase;

/// Operations that are remembered of each address, and of each thread.
const REMEMBERED: usize = 12;
/// Slices take so many of the last operations on an address.
const WINDOWS: [usize; 3] = [4, 8, REMEMBERED];

/// Slices of `trace` around its first divergence (of `kind`), the smallest first; the kind, and the
/// operations of the largest.
pub(super) fn slices(
    trace: &TraceFile,
    kind: Option<Kind>,
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<(Vec<ShrinkCase>, Kind, usize), ShrinkError> {
    let Header::Run(header) = trace.header() else {
        return Err(CheckError::NoEvents.into());
    };
    let scenario = &header.scenario;
    scenario.check()?;
    let mut merge = Merge::new(trace, header);
    let mut checker = Checker::new(scenario, header.server_recorded);
    let mut history = History::new(scenario);
    let mut found = None;
    let mut events = 0u64;
    while let Some(merged) = merge.next_event() {
        events += 1;
        history.observe(&merged);
        checker.observe(&merged);
        found = first_of(checker.listed(), kind);
        if found.is_some() {
            break;
        }
        if events.is_multiple_of(1 << 16) && !keep_going() {
            return Err(ShrinkError::Interrupted);
        }
    }
    if found.is_none() {
        merge.end().map_err(CheckError::from)?;
        if trace.end().is_some_and(|end| end.completed) {
            checker.rest();
            found = first_of(checker.listed(), kind);
        } else if !checker.blocked_threads().is_empty()
            && kind.is_none_or(|kind| kind == Kind::Deadlock)
        {
            let ops = history.current(&checker.blocked_threads());
            let case = ShrinkCase::new(scenario, ops);
            let count = case.count();
            return Ok((vec![case], Kind::Deadlock, count));
        }
    }
    let Some(divergence) = found else {
        return Err(kind.map_or(ShrinkError::Clean, ShrinkError::NoSuchKind));
    };
    let mut cases: Vec<ShrinkCase> = history
        .around(&divergence)
        .into_iter()
        .map(|ops| ShrinkCase::new(scenario, ops))
        .filter(|case| case.count() > 0)
        .collect();
    if scenario.transport != Transport::default() {
        // Where the server need not take part, far fewer schedules have to be searched.
        let plain: Vec<ShrinkCase> = cases.iter().map(ShrinkCase::on_plain_transport).collect();
        cases.splice(0..0, plain);
    }
    if scenario.transport.mode == SendMode::DontWait {
        let tight: Vec<ShrinkCase> = cases.iter().map(ShrinkCase::tightened).collect();
        cases.splice(0..0, tight);
    }
    let largest = cases.iter().map(ShrinkCase::count).max().unwrap_or(0);
    Ok((cases, divergence.kind, largest))
}

fn first_of(listed: &[Divergence], kind: Option<Kind>) -> Option<Divergence> {
    listed
        .iter()
        .find(|divergence| kind.is_none_or(|kind| divergence.kind == kind))
        .copied()
}

/// An operation of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Done {
    /// When it began, among all.
    number: u64,
    thread: u16,
}

/// A device, memory and address.
type Place = (u16, u8, u64);

/// What each address, and each thread, had to do with last.
struct History {
    /// How many threads there are.
    threads: usize,
    /// The operations that are remembered anywhere.
    ops: FxHashMap<Done, Op>,
    places: FxHashMap<Place, VecDeque<Done>>,
    last: Vec<VecDeque<Done>>,
    /// Of each slot, the allocation that is in it, and the places that it got.
    slots: FxHashMap<u32, (Done, Op, SmallVec<[Place; 1]>)>,
    begun: u64,
}

impl History {
    fn new(scenario: &Scenario) -> History {
        let threads = usize::from(scenario.threads);
        History {
            threads,
            ops: FxHashMap::default(),
            places: FxHashMap::default(),
            last: vec![VecDeque::new(); threads],
            slots: FxHashMap::default(),
            begun: 0,
        }
    }

    fn observe(&mut self, merged: &MergedEvent) {
        let thread = merged.stream;
        if thread == SERVER_STREAM || usize::from(thread) >= self.threads {
            return;
        }
        match merged.event {
            Event::Open { op, .. } => self.open(thread, op),
            Event::Alloc {
                device, address, ..
            } => self.alloc(thread, device.0, address),
            _ => {}
        }
    }

    fn open(&mut self, thread: u16, op: Op) {
        self.begun += 1;
        let done = Done {
            number: self.begun,
            thread,
        };
        remember(&mut self.last[usize::from(thread)], done);
        self.ops.insert(done, op);
        match op {
            Op::Allocate { slot, .. } => {
                self.slots.insert(slot.0, (done, op, SmallVec::new()));
            }
            Op::Release { slot, .. } => {
                let places = self.slots.get(&slot.0).map(|(_, _, places)| places.clone());
                for place in places.unwrap_or_default() {
                    remember(self.places.entry(place).or_default(), done);
                }
            }
            _ => {}
        }
        if self.ops.len() > 1 << 16 {
            self.forget();
        }
    }

    fn alloc(&mut self, thread: u16, device: u16, address: u64) {
        let Some(done) = self.last[usize::from(thread)].back().copied() else {
            return;
        };
        let Some(Op::Allocate { slot, request, .. }) = self.ops.get(&done).copied() else {
            return;
        };
        let place = (device, request.memory as u8, address);
        if let Some((_, _, places)) = self.slots.get_mut(&slot.0) {
            places.push(place);
        }
        remember(self.places.entry(place).or_default(), done);
    }

    /// Drops the operations that nothing refers to.
    fn forget(&mut self) {
        let mut kept: FxHashMap<Done, Op> = FxHashMap::default();
        let referred = self
            .places
            .values()
            .chain(&self.last)
            .flatten()
            .chain(self.slots.values().map(|(done, ..)| done));
        for done in referred {
            if let Some(op) = self.ops.get(done) {
                kept.insert(*done, *op);
            }
        }
        self.ops = kept;
    }

    /// Operations that may have led to `divergence`, by thread: first the last ones on its address,
    /// then the last ones of its thread and another, then of all threads.
    fn around(&self, divergence: &Divergence) -> Vec<Vec<Vec<Op>>> {
        let mut all = Vec::new();
        let place = divergence
            .memory
            .zip(divergence.address)
            .map(|(memory, address)| (divergence.device.0, memory as u8, address));
        if let Some(history) = place.and_then(|place| self.places.get(&place)) {
            for window in WINDOWS {
                let from = history.len().saturating_sub(window);
                all.push(self.by_thread(history.iter().skip(from)));
                if from == 0 {
                    break;
                }
            }
            // Where two memories share an address, what the other one did may be the cause.
            let mut aliases: Vec<&Done> = (0..4u8)
                .filter_map(|memory| self.places.get(&(divergence.device.0, memory, place?.2)))
                .flat_map(|history| history.iter().rev().take(WINDOWS[0]))
                .collect();
            aliases.sort_unstable();
            all.push(self.by_thread(aliases.into_iter()));
        }
        let last = |thread: usize, count: usize| self.last[thread].iter().rev().take(count);
        if let Some(thread) = divergence.thread.map(usize::from) {
            for other in (0..self.threads).filter(|other| *other != thread) {
                all.push(self.by_thread(last(thread, 2).chain(last(other, 2))));
                if all.len() > 16 {
                    break;
                }
            }
        }
        for count in [1, 2, 4] {
            all.push(
                self.by_thread((0..self.threads.min(8)).flat_map(|thread| last(thread, count))),
            );
        }
        all
    }

    /// The last two operations of these threads.
    fn current(&self, threads: &[u16]) -> Vec<Vec<Op>> {
        let last = threads
            .iter()
            .flat_map(|thread| self.last[usize::from(*thread)].iter().rev().take(2));
        self.by_thread(last)
    }

    /// Operations, with the allocation of each buffer that is released, by thread and in order.
    fn by_thread<'a>(&self, done: impl Iterator<Item = &'a Done>) -> Vec<Vec<Op>> {
        let mut wanted: Vec<(Done, Op)> = done
            .filter_map(|done| Some((*done, *self.ops.get(done)?)))
            .collect();
        for index in 0..wanted.len() {
            if let Op::Release { slot, epoch } = wanted[index].1
                && let Some(allocation) = self.allocation(slot.0, epoch)
            {
                wanted.push(allocation);
            }
        }
        wanted.sort_unstable_by_key(|(done, _)| *done);
        wanted.dedup_by_key(|(done, _)| *done);
        let mut ops = vec![Vec::new(); self.threads];
        for (done, op) in wanted {
            ops[usize::from(done.thread)].push(op);
        }
        ops
    }

    fn allocation(&self, wanted: u32, of: u32) -> Option<(Done, Op)> {
        let (done, op, _) = self.slots.get(&wanted)?;
        let fits = matches!(op, Op::Allocate { epoch, .. } if *epoch == of);
        if fits {
            return Some((*done, *op));
        }
        self.ops
            .iter()
            .find(|(_, op)| {
                matches!(op, Op::Allocate { slot, epoch, .. } if slot.0 == wanted && *epoch == of)
            })
            .map(|(done, op)| (*done, *op))
    }
}

fn remember(history: &mut VecDeque<Done>, done: Done) {
    if history.back() == Some(&done) {
        return;
    }
    if history.len() == REMEMBERED {
        history.pop_front();
    }
    history.push_back(done);
}
