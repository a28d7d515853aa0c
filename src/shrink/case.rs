//! A case: a scenario with the operations of its threads, in the form in which operations are left
//! out.
//!
//! Every life of a buffer has a slot of its own, so that no operation waits for one that was left
//! out, but a release for its allocation; and a thread without operations is none.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::device::{BufferKind, DeviceId, Memory};
use crate::engine::controlled::machine::Setup;
use crate::numbers::plural;
use crate::scenario::Scenario;
use crate::scenario::op::{Op, Request, SlotId};
use crate::scenario::workload::Workload;

use super::ShrinkError;

/// The plainest size.
const PLAIN_BYTES: u64 = 4096;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShrinkCase {
    scenario: Scenario,
    ops: Vec<Vec<Op>>,
}

impl fmt::Display for ShrinkCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (threads, ops) = (self.threads() as u64, self.count() as u64);
        write!(
            f,
            "{} of {}",
            plural(ops, "operation"),
            plural(threads, "thread")
        )
    }
}

impl ShrinkCase {
    /// The case of these operations, with what cannot be done taken out: a release whose buffer is
    /// never allocated.
    pub(crate) fn new(scenario: &Scenario, ops: Vec<Vec<Op>>) -> ShrinkCase {
        let mut case = ShrinkCase {
            scenario: scenario.clone(),
            ops,
        };
        case.normalise();
        case
    }

    /// How many operations it has.
    pub(crate) fn count(&self) -> usize {
        self.ops.iter().map(Vec::len).sum()
    }

    /// How many threads.
    pub(crate) fn threads(&self) -> usize {
        self.ops.len()
    }

    /// How many devices its buffers are on.
    pub(crate) fn devices(&self) -> u16 {
        self.used_devices().len() as u16
    }

    /// Ready to be run.
    pub(crate) fn setup(&self) -> Result<Arc<Setup>, ShrinkError> {
        let mut scenario = self.scenario.clone();
        scenario.threads = self.ops.len() as u16;
        scenario.ops = 0;
        scenario.perturb = false;
        let script = |ops: &Vec<Op>| ops.iter().map(Op::to_string).collect();
        scenario.workload = Workload {
            script: Some(self.ops.iter().map(script).collect()),
            processes: self.scenario.workload.processes,
            ..Workload::default()
        };
        // What a trace says need not be possible.
        scenario.check()?;
        Ok(Setup::new(scenario, 0)?)
    }

    /// Without the operations for which `keep` is false, given their place in the order of threads.
    pub(crate) fn keeping(&self, keep: impl Fn(usize) -> bool) -> ShrinkCase {
        let mut at = 0;
        let is_staged = self.is_staged();
        let mut kept = |op: &Op| {
            at += 1;
            // What a process begins and ends with belongs to what it does in between.
            let stays = matches!(op, Op::Run { on: None, .. } | Op::Kill { .. });
            keep(at - 1) || is_staged && stays
        };
        let ops = self
            .ops
            .iter()
            .map(|ops| ops.iter().copied().filter(&mut kept).collect())
            .collect();
        ShrinkCase::new(&self.scenario, ops)
    }

    /// Whether its threads are more than a choice of operations: they are of several processes, or
    /// run programs that others count on.
    pub(crate) fn is_staged(&self) -> bool {
        let stages = |op: &Op| matches!(op, Op::Run { on: None, .. } | Op::Kill { .. });
        self.scenario.workload.processes > 1 || self.ops.iter().flatten().any(stages)
    }

    /// With the operations of thread `other` done by `thread`, after or before its own.
    pub(crate) fn merged(&self, thread: usize, other: usize, after: bool) -> ShrinkCase {
        let mut ops = self.ops.clone();
        let moved = std::mem::take(&mut ops[other]);
        if after {
            ops[thread].extend(moved);
        } else {
            ops[thread].splice(0..0, moved);
        }
        ShrinkCase::new(&self.scenario, ops)
    }

    /// Whether all operations can be done one after another in some order: then a thread that waits
    /// for good waits for a lock or the server, and not for an operation that comes later.
    pub(crate) fn can_be_done(&self) -> bool {
        let mut at = vec![0; self.ops.len()];
        let mut allocated: Vec<SlotId> = Vec::new();
        loop {
            let left = |at: &[usize], thread: usize| self.ops[thread].len() - at[thread];
            let waiting = (0..at.len())
                .filter(|thread| left(&at, *thread) > 0)
                .count();
            let next = (0..at.len()).find(|thread| match self.ops[*thread].get(at[*thread]) {
                None => false,
                Some(
                    Op::Release { slot, .. }
                    | Op::Run {
                        on: Some((slot, _)),
                        ..
                    },
                ) => allocated.contains(slot),
                Some(Op::AwaitOthers) => waiting == 1,
                Some(_) => true,
            });
            let Some(thread) = next else {
                return waiting == 0;
            };
            match self.ops[thread][at[thread]] {
                Op::Allocate { slot, .. } => allocated.push(slot),
                Op::Throw => at[thread] = self.ops[thread].len() - 1,
                _ => {}
            }
            at[thread] += 1;
        }
    }

    /// Every way in which it can be made plainer without leaving out operations, one at a time.
    pub(crate) fn plainer(&self) -> Vec<ShrinkCase> {
        let mut all = Vec::new();
        let mut scenario = |change: &dyn Fn(&mut Scenario)| {
            let mut case = self.clone();
            change(&mut case.scenario);
            if case.scenario != self.scenario {
                all.push(case);
            }
        };
        scenario(&|scenario| scenario.transport = crate::scenario::Transport::default());
        scenario(&|scenario| scenario.transport.chunks = 1);
        scenario(&|scenario| scenario.transport.chunks = scenario.transport.chunks.min(2));
        scenario(&|scenario| scenario.transport.connections = crate::scenario::Connections::Shared);
        scenario(&|scenario| scenario.transport.layout = crate::tracking::Layout::Extended);
        scenario(&|scenario| scenario.debug_log = crate::scenario::DebugLog::default());
        scenario(&|scenario| scenario.server = crate::scenario::ServerPace::default());
        let mut requests = |change: &dyn Fn(&mut Request)| {
            let mut case = self.clone();
            for op in case.ops.iter_mut().flatten() {
                if let Op::Allocate { request, .. } = op {
                    change(request);
                }
            }
            if case.ops != self.ops {
                all.push(case);
            }
        };
        requests(&|request| {
            request.kind = BufferKind::Owned;
            request.parts = 1;
        });
        // What the workload never asks for would be another workload's run.
        let (size, memory) = (self.plain_size(), self.plain_memory());
        requests(&|request| request.size_bytes = size.unwrap_or(request.size_bytes));
        requests(&|request| {
            let is_l1 = request.kind == BufferKind::Circular;
            request.memory = memory.filter(|_| !is_l1).unwrap_or(request.memory);
        });
        requests(&|request| request.device = DeviceId(0));
        let used = self.used_devices();
        let needed = used.iter().map(|device| device.0 + 1).max().unwrap_or(1);
        if needed < self.scenario.devices {
            let mut case = self.clone();
            case.scenario.devices = needed;
            all.push(case);
        }
        all
    }

    /// One connection that never fills up, and whole frames.
    pub(crate) fn on_plain_transport(&self) -> ShrinkCase {
        let mut case = self.clone();
        case.scenario.transport = crate::scenario::Transport::default();
        case
    }

    /// Room for one frame on each connection, where messages are dropped when it is full.
    pub(crate) fn tightened(&self) -> ShrinkCase {
        let mut case = self.clone();
        case.scenario.transport.send_buffer_bytes = 1;
        case
    }

    fn plain_size(&self) -> Option<u64> {
        let sizes = self.scenario.workload.sizes;
        sizes.has(PLAIN_BYTES).then_some(PLAIN_BYTES)
    }

    fn plain_memory(&self) -> Option<Memory> {
        let memories = self.scenario.workload.memories.weighted();
        let plain = memories.iter().find(|memory| **memory == Memory::L1);
        plain.or(memories.first()).copied()
    }

    fn used_devices(&self) -> Vec<DeviceId> {
        self.scenario
            .objects()
            .devices_of(self.ops.iter().flatten())
    }

    fn normalise(&mut self) {
        let mut lives: BTreeMap<(SlotId, u32), (SlotId, u8)> = BTreeMap::new();
        for op in self.ops.iter().flatten() {
            if let Op::Allocate { slot, epoch, .. } = op {
                let next = SlotId(lives.len() as u32);
                lives.entry((*slot, *epoch)).or_insert((next, 0));
            }
        }
        for op in self.ops.iter().flatten() {
            if let Op::Release { slot, epoch } = op
                && let Some((_, releases)) = lives.get_mut(&(*slot, *epoch))
            {
                *releases = releases.saturating_add(1);
            }
        }
        for ops in &mut self.ops {
            ops.retain_mut(|op| match op {
                Op::Allocate {
                    slot,
                    epoch,
                    request,
                } => {
                    let (life, releases) = lives[&(*slot, *epoch)];
                    (*slot, *epoch) = (life, 1);
                    request.releases = releases;
                    true
                }
                Op::Release { slot, epoch } => match lives.get(&(*slot, *epoch)) {
                    Some((life, _)) => {
                        (*slot, *epoch) = (*life, 1);
                        true
                    }
                    None => false,
                },
                Op::Run {
                    on: Some((slot, epoch)),
                    ..
                } => match lives.get(&(*slot, *epoch)) {
                    Some((life, _)) => {
                        (*slot, *epoch) = (*life, 1);
                        true
                    }
                    None => false,
                },
                _ => true,
            });
            // A device is closed by a thread that waited for the others.
            let mut alone = false;
            ops.retain(|op| {
                alone |= *op == Op::AwaitOthers;
                alone || !matches!(op, Op::Close { .. })
            });
        }
        // Which process a thread is of follows from its number.
        if self.scenario.workload.processes <= 1 {
            self.ops.retain(|ops| !ops.is_empty());
        }
    }
}
