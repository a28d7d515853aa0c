//! Op streams: a thread's operations, drawn one at a time from a workload's figures and a seed, so
//! that a run of any length takes the same memory.
//!
//! Invariant: done round by round, all operations of all threads can be done in a sequential order,
//! so a workload never blocks for good. In each round a thread allocates what its neighbour will
//! release in the next one; the slots for that are double-buffered by the parity of the round.

mod in_turn;

use crate::device::{BufferKind, DeviceId, Memory};

use super::op::{MAX_PARTS, Op, Request, SlotId};
use super::random::{Purpose, Random};
use super::workload::Workload;
pub(super) use in_turn::devices_in_turn;

/// Where the slots of a workload are: each thread has a region of its own, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotLayout {
    private: u32,
    handoff: u32,
    shared: u32,
    leaks: u32,
}

impl SlotLayout {
    /// The layout for a drawn workload.
    pub(crate) fn new(workload: &Workload, threads: u16) -> SlotLayout {
        SlotLayout {
            private: workload.private_slots,
            handoff: workload.handoff,
            shared: workload.shared,
            leaks: workload.leaks.div_ceil(u32::from(threads)),
        }
    }

    /// Slots a thread has.
    pub(crate) fn per_thread(&self) -> u32 {
        self.private + 2 * (self.handoff + self.shared) + self.leaks
    }

    fn base(&self, thread: u16) -> u32 {
        u32::from(thread) * self.per_thread()
    }

    fn private_slot(&self, thread: u16, index: u32) -> SlotId {
        SlotId(self.base(thread) + index)
    }

    fn handoff_slot(&self, thread: u16, round: u64, index: u32) -> SlotId {
        let parity = (round % 2) as u32;
        SlotId(self.base(thread) + self.private + parity * self.handoff + index)
    }

    fn shared_slot(&self, thread: u16, round: u64, index: u32) -> SlotId {
        let parity = (round % 2) as u32;
        SlotId(self.base(thread) + self.private + 2 * self.handoff + parity * self.shared + index)
    }

    fn leak_slot(&self, thread: u16, index: u32) -> SlotId {
        SlotId(self.base(thread) + self.private + 2 * (self.handoff + self.shared) + index)
    }
}

/// What kinds of operation are left in the current round.
#[derive(Clone, Copy, Debug, Default)]
struct RoundLeft {
    private: u64,
    handoff_allocates: u32,
    handoff_releases: u32,
    shared_allocates: u32,
    shared_releases_own: u32,
    shared_releases_other: u32,
    leaks: u32,
}

impl RoundLeft {
    fn counts(&self) -> [u64; 7] {
        [
            self.private,
            self.handoff_allocates.into(),
            self.handoff_releases.into(),
            self.shared_allocates.into(),
            self.shared_releases_own.into(),
            self.shared_releases_other.into(),
            self.leaks.into(),
        ]
    }
}

/// One thread's operations, drawn one at a time.
#[derive(Clone, Debug)]
pub(crate) struct OpStream {
    workload: Workload,
    layout: SlotLayout,
    thread: u16,
    threads: u16,
    devices: u16,
    leaks: u32,
    random: Random,
    round: u64,
    rounds: u64,
    left: RoundLeft,
    private_left: u64,
    /// Epoch of each private slot, and whether it is open (a buffer is there).
    private: Vec<(u32, bool)>,
    open: u64,
    done: u64,
    /// Buffers that were asked for in turn, and about how many there will be.
    requests: usize,
    pairs: usize,
    tail: Tail,
}

/// What follows the drawn operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    None,
    Throw,
    AwaitOthers,
    Close(u16),
}

impl OpStream {
    /// The operations of `thread` in run `run` of `seed`: `ops` of them, one less where buffers
    /// must come out even.
    pub(crate) fn new(
        workload: &Workload,
        ops: u64,
        threads: u16,
        devices: u16,
        seed: u64,
        run: u64,
        thread: u16,
    ) -> OpStream {
        let neighbourly = 2 * u64::from(workload.handoff) + 3 * u64::from(workload.shared);
        let leaks = leaks_of(workload.leaks, threads, thread);
        let budget = ops.saturating_sub(u64::from(leaks));
        // Neighbours wait for one another's rounds: all have as many, whoever has one leak more.
        let most_leaks = workload.leaks.div_ceil(u32::from(threads));
        let rounds = match neighbourly {
            0 => 1,
            cost => {
                let budget = ops.saturating_sub(u64::from(most_leaks));
                (budget / (cost + u64::from(workload.round_ops))).max(1)
            }
        };
        let mut private_left = budget.saturating_sub(rounds * neighbourly);
        let throws = workload.throw_after.is_some() && thread < workload.throwing_threads;
        if workload.private_slots == 0 {
            private_left = 0;
        } else if !workload.close && !throws {
            private_left &= !1;
        }
        let tail = match (throws, workload.close && thread == 0) {
            (true, _) => Tail::Throw,
            (false, true) => Tail::AwaitOthers,
            (false, false) => Tail::None,
        };
        let mut stream = OpStream {
            layout: SlotLayout::new(workload, threads),
            leaks,
            workload: workload.clone(),
            thread,
            threads,
            devices,
            random: Random::new(seed, run, Purpose::Workload, u64::from(thread)),
            round: 0,
            rounds,
            left: RoundLeft::default(),
            private_left,
            private: vec![(0, false); workload.private_slots as usize],
            open: 0,
            done: 0,
            requests: 0,
            pairs: usize::try_from(ops / 2).unwrap_or(usize::MAX),
            tail,
        };
        stream.begin_round();
        stream
    }

    fn begin_round(&mut self) {
        let (first, last) = (self.round == 0, self.round == self.rounds);
        let (handoff, shared) = (self.workload.handoff, self.workload.shared);
        let private = if last {
            0
        } else {
            self.private_left / (self.rounds - self.round)
        };
        self.private_left -= private;
        self.left = RoundLeft {
            private,
            handoff_allocates: if last { 0 } else { handoff },
            handoff_releases: if first { 0 } else { handoff },
            shared_allocates: if last { 0 } else { shared },
            shared_releases_own: if first { 0 } else { shared },
            shared_releases_other: if first { 0 } else { shared },
            leaks: if first { self.leaks } else { 0 },
        };
    }

    fn neighbour(&self) -> u16 {
        (self.thread + self.threads - 1) % self.threads
    }

    fn private_op(&mut self) -> Op {
        let left = self.left.private + self.private_left;
        let keeps_open = self.workload.close || self.tail == Tail::Throw;
        let must_release = !keeps_open && left <= self.open;
        let index = self.private_slot(must_release);
        let slot = self.layout.private_slot(self.thread, index as u32);
        let (epoch, open) = &mut self.private[index];
        *open = !*open;
        if *open {
            *epoch = epoch.wrapping_add(1);
            let epoch = *epoch;
            self.open += 1;
            Op::Allocate {
                slot,
                epoch,
                request: self.request(1),
            }
        } else {
            self.open -= 1;
            Op::Release {
                slot,
                epoch: *epoch,
            }
        }
    }

    /// A random private slot, or a random open one.
    fn private_slot(&mut self, open: bool) -> usize {
        let start = self.random.below(self.private.len() as u64) as usize;
        if !open {
            return start;
        }
        let slots = self.private.len();
        (0..slots)
            .map(|k| (start + k) % slots)
            .find(|i| self.private[*i].1)
            .expect("left <= open and left > 0: one is open")
    }

    fn request(&mut self, releases: u8) -> Request {
        if self.workload.in_turn {
            return self.next_in_turn(releases);
        }
        let (workload, random) = (&self.workload, &mut self.random);
        let device = DeviceId(random.below(u64::from(self.devices)) as u16);
        let kind = if random.percent(workload.mesh_percent) {
            BufferKind::Mesh
        } else if random.percent(workload.circular_percent) {
            BufferKind::Circular
        } else if random.percent(workload.preallocated_percent) {
            BufferKind::Preallocated
        } else {
            BufferKind::Owned
        };
        let parts = parts_of(kind, self.devices);
        let memory = if kind == BufferKind::Circular {
            Memory::L1
        } else {
            workload.memories.draw(random)
        };
        Request {
            kind,
            device,
            parts,
            memory,
            size_bytes: workload.sizes.draw(random),
            releases,
        }
    }

    /// The epoch of a double-buffered slot in `round`.
    fn epoch(round: u64) -> u32 {
        (round / 2) as u32 + 1
    }

    fn draw(&mut self, class: usize) -> Op {
        let (layout, thread, round) = (self.layout, self.thread, self.round);
        let neighbour = self.neighbour();
        let release = |slot| Op::Release {
            slot,
            epoch: OpStream::epoch(round - 1),
        };
        match class {
            0 => {
                let op = self.private_op();
                self.left.private -= 1;
                op
            }
            1 => {
                self.left.handoff_allocates -= 1;
                let slot = layout.handoff_slot(thread, round, self.left.handoff_allocates);
                Op::Allocate {
                    slot,
                    epoch: OpStream::epoch(round),
                    request: self.request(1),
                }
            }
            2 => {
                self.left.handoff_releases -= 1;
                release(layout.handoff_slot(neighbour, round - 1, self.left.handoff_releases))
            }
            3 => {
                self.left.shared_allocates -= 1;
                let slot = layout.shared_slot(thread, round, self.left.shared_allocates);
                Op::Allocate {
                    slot,
                    epoch: OpStream::epoch(round),
                    request: self.request(2),
                }
            }
            4 => {
                self.left.shared_releases_own -= 1;
                release(layout.shared_slot(thread, round - 1, self.left.shared_releases_own))
            }
            5 => {
                self.left.shared_releases_other -= 1;
                release(layout.shared_slot(neighbour, round - 1, self.left.shared_releases_other))
            }
            _ => {
                self.left.leaks -= 1;
                let slot = layout.leak_slot(thread, self.left.leaks);
                Op::Allocate {
                    slot,
                    epoch: 1,
                    request: self.request(0),
                }
            }
        }
    }

    fn tail(&mut self) -> Option<Op> {
        let (op, next) = match self.tail {
            Tail::None => return None,
            Tail::Throw => (Op::Throw, Tail::None),
            Tail::AwaitOthers => (Op::AwaitOthers, Tail::Close(0)),
            Tail::Close(device) if device < self.devices => (
                Op::Close {
                    device: DeviceId(device),
                },
                Tail::Close(device + 1),
            ),
            Tail::Close(_) => return None,
        };
        self.tail = next;
        Some(op)
    }
}

impl Iterator for OpStream {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        if self.tail == Tail::Throw && Some(self.done) == self.workload.throw_after {
            self.round = self.rounds + 1;
            self.left = RoundLeft::default();
        }
        loop {
            let counts = self.left.counts();
            let total: u64 = counts.iter().sum();
            if total == 0 {
                let last = if self.workload.handoff + self.workload.shared == 0 {
                    self.rounds - 1
                } else {
                    self.rounds
                };
                if self.round >= last {
                    return self.tail();
                }
                self.round += 1;
                self.begin_round();
                continue;
            }
            let class = if counts[0] == total {
                0
            } else {
                let mut pick = self.random.below(total);
                counts
                    .iter()
                    .position(|count| match pick.checked_sub(*count) {
                        None => true,
                        Some(rest) => {
                            pick = rest;
                            false
                        }
                    })
                    .expect("pick is below the sum of the counts")
            };
            self.done += 1;
            return Some(self.draw(class));
        }
    }
}

/// `thread`'s share of the leaks.
fn leaks_of(leaks: u32, threads: u16, thread: u16) -> u32 {
    let (threads, thread) = (u32::from(threads), u32::from(thread));
    leaks / threads + u32::from(thread < leaks % threads)
}

fn parts_of(kind: BufferKind, devices: u16) -> u8 {
    match kind {
        BufferKind::Mesh => mesh_parts(devices),
        _ => 1,
    }
}

/// How many parts a mesh buffer has on a system of `devices`.
pub(crate) fn mesh_parts(devices: u16) -> u8 {
    devices.clamp(1, u16::from(MAX_PARTS)) as u8
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn run_sequentially(workload: &Workload, ops: u64, threads: u16) -> (u64, usize) {
        let mut streams: Vec<_> = (0..threads)
            .map(|t| OpStream::new(workload, ops, threads, 4, 1, 0, t).peekable())
            .collect();
        let mut slots: HashMap<SlotId, (u32, u8)> = HashMap::new();
        let (mut done, mut progress) = (0, true);
        while progress {
            progress = false;
            for stream in &mut streams {
                while let Some(op) = stream.peek() {
                    match *op {
                        Op::Allocate {
                            slot,
                            epoch,
                            request,
                        } => {
                            let (last, left) = slots.get(&slot).copied().unwrap_or((0, 0));
                            if left > 0 {
                                break;
                            }
                            assert_eq!(epoch, last + 1, "{op}");
                            slots.insert(slot, (epoch, request.releases));
                        }
                        Op::Release { slot, epoch } => match slots.get_mut(&slot) {
                            Some((at, left)) if *at == epoch && *left > 0 => *left -= 1,
                            _ => break,
                        },
                        _ => {}
                    }
                    done += u64::from(op.counts());
                    stream.next();
                    progress = true;
                }
            }
        }
        assert!(
            streams.iter_mut().all(|s| s.peek().is_none()),
            "a thread is stuck"
        );
        (done, slots.values().filter(|(_, left)| *left > 0).count())
    }

    #[test]
    fn private_slots_use_the_operations_asked_for_and_leave_nothing_open() {
        assert_eq!(run_sequentially(&Workload::default(), 1000, 3), (3000, 0));
    }

    #[test]
    fn handoff_and_shared_slots_never_block_and_come_out_even() {
        let workload = Workload {
            handoff: 3,
            shared: 2,
            ..Workload::default()
        };
        for threads in 1..5 {
            let (done, open) = run_sequentially(&workload, 5000, threads);
            assert_eq!(open, 0);
            assert!(done >= 4990 * u64::from(threads), "{done}");
        }
    }

    #[test]
    fn without_private_slots_only_the_neighbour_releases() {
        let workload = Workload {
            private_slots: 0,
            round_ops: 0,
            handoff: 4,
            ..Workload::default()
        };
        assert_eq!(run_sequentially(&workload, 800, 2), (1600, 0));
    }

    #[test]
    fn neighbours_have_as_many_rounds_however_the_leaks_are_dealt() {
        for (threads, leaks) in (2..5).flat_map(|t| (0..7).map(move |leaks| (t, leaks))) {
            let workload = Workload {
                private_slots: 2,
                round_ops: 2,
                handoff: 1,
                shared: 1,
                leaks,
                ..Workload::default()
            };
            // A round takes 7: the leaks decide whether there is one more.
            for ops in 7..30 {
                run_sequentially(&workload, ops, threads);
            }
        }
    }

    #[test]
    fn planted_leaks_are_allocated_once_and_never_released() {
        let workload = Workload {
            leaks: 5,
            ..Workload::default()
        };
        let allocates = OpStream::new(&workload, 100, 1, 1, 3, 0, 0)
            .filter(|op| matches!(op, Op::Allocate { request, .. } if request.releases == 0))
            .count();
        assert_eq!(allocates, 5);
    }

    #[test]
    fn a_throwing_thread_stops_where_it_was_told() {
        let workload = Workload {
            throw_after: Some(7),
            throwing_threads: 1,
            ..Workload::default()
        };
        let ops: Vec<Op> = OpStream::new(&workload, 100, 2, 1, 3, 0, 0).collect();
        assert_eq!((ops.len(), ops.last()), (8, Some(&Op::Throw)));
        assert_eq!(OpStream::new(&workload, 100, 2, 1, 3, 0, 1).count(), 100);
    }

    #[test]
    fn the_same_seed_draws_the_same_operations() {
        let draw =
            |seed| OpStream::new(&Workload::default(), 500, 2, 4, seed, 0, 1).collect::<Vec<_>>();
        assert_eq!(draw(9), draw(9));
        assert_ne!(draw(9), draw(10));
    }
}
