//! Makes a workload of what an allocator recorded: the same sizes and lifetimes, and the same
//! threads where they are known.
//!
//! The result is a script, complete in itself: the imported trace is not needed to run it again.
//!
//! The rules:
//! - A *life* is an allocation and its release. Lives are taken whole, in the order of the
//!   recording, until each thread has its operations; of several devices whose records come one
//!   after the other, each gives an equal part, and they are merged by time.
//! - Threads are those of the recording, in the order in which they appear, modulo the number of
//!   threads; where it names none, lives are dealt out in turn. Devices likewise, by their numbers.
//! - A thread does its allocations and releases in the order of the recording, so all of them can
//!   be done in that order, and no thread waits for good. A slot is used again only by the thread
//!   that released it: threads wait for each other only where a buffer goes from one to another.
//! - A buffer that the recording never releases is never released (`releases=0`): a leak of the
//!   program.
//! - Sizes are divided by a power of two for each memory, so that what the threads have live at
//!   once at most fits half of it.
//! - The same recording and options yield the same script.

mod fit;
mod lives;

use std::path::Path;

use thiserror::Error;

use self::lives::{BufferLife, Census, Lives};
use super::allocation;
use crate::device::{BufferKind, DeviceId, Memory, Profile};
use crate::scenario::imported::Imported;
use crate::scenario::op::{Op, Request, SlotId};
use crate::scenario::{MAX_DEVICES, MAX_THREADS};
use crate::trace::file::{Header, ImportFormat, ImportHeader, TraceError, TraceFile};
use crate::trace::text::TextReader;

/// Operations that a script has at most, over all threads: a trace's header holds them.
pub(crate) const MAX_IMPORTED_OPS: u64 = 400_000;
/// Epochs of a slot in a script; see [`Scenario::check`](crate::scenario::Scenario::check).
const MAX_EPOCH: u32 = 255;

/// What a workload is to fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkloadLimits {
    /// Threads, where they are asked for.
    pub(crate) threads: Option<u16>,
    /// Threads where neither they nor the recording say.
    pub(crate) default_threads: u16,
    /// Devices, where they are asked for.
    pub(crate) devices: Option<u16>,
    /// Whose memory the devices have.
    pub(crate) profile: Profile,
    /// The most operations of a thread.
    pub(crate) ops: u64,
}

/// A workload from an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImportedWorkload {
    /// Each thread's operations.
    pub(crate) script: Vec<Vec<String>>,
    /// Devices.
    pub(crate) devices: u16,
    /// What became of the import.
    pub(crate) imported: Imported,
}

/// Why there is no workload.
#[derive(Debug, Error)]
pub(crate) enum WorkloadError {
    /// The file is no trace.
    #[error("{0}\nimport it first: heisenbed import FORMAT FILE -o TRACE")]
    NotATrace(#[from] TraceError),
    /// The trace is of something else.
    #[error(
        "{path}: {what} holds no allocations to run again; use what `heisenbed import` made of an allocator's recording (docs/formats.md)"
    )]
    NotAllocations {
        /// The file.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The recording has no allocations at all.
    #[error("{path}: {what} holds no allocation to run again{hint}")]
    NoHistory {
        /// The file.
        path: String,
        /// What it is.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// Nothing could be taken.
    #[error(
        "{path}: none of its {allocations} allocations is taken (an allocation and its release are 2 operations of a thread: see --ops)"
    )]
    Empty {
        /// The file.
        path: String,
        /// How many it holds.
        allocations: u64,
    },
}

/// Makes a workload of the imported trace at `path`.
pub(crate) fn load(path: &Path, frame: &WorkloadLimits) -> Result<ImportedWorkload, WorkloadError> {
    let trace = TraceFile::open(path)?;
    let not_allocations = |what| WorkloadError::NotAllocations {
        path: path.display().to_string(),
        what,
    };
    let header = match trace.header() {
        Header::Import(header) => header,
        other => return Err(not_allocations(other.what())),
    };
    let mut census = Census::default();
    let damaged = for_each(&trace, header, |record| census.count(record))
        .ok_or_else(|| not_allocations("a server's log"))?
        .map_err(|source| WorkloadError::Io {
            path: path.display().to_string(),
            source,
        })?;
    if census.allocations == 0 {
        return Err(WorkloadError::NoHistory {
            path: path.display().to_string(),
            what: header.source.clone(),
            hint: match header.format {
                ImportFormat::TorchSnapshot => {
                    ": the snapshot has no history; call torch.cuda.memory._record_memory_history() before the run"
                }
                _ => "",
            },
        });
    }
    let plan = Plan::new(&census, frame);
    let mut lives = Lives::new(&census, &plan);
    for_each(&trace, header, |record| lives.take(record))
        .ok_or_else(|| not_allocations("a server's log"))?
        .map_err(|source| WorkloadError::Io {
            path: path.display().to_string(),
            source,
        })?;
    let lives = lives.finish();
    if lives.is_empty() {
        return Err(WorkloadError::Empty {
            path: path.display().to_string(),
            allocations: census.allocations,
        });
    }
    let mut imported = Imported {
        source: header.source.clone(),
        format: header.format.name().to_owned(),
        allocations: lives.len() as u64,
        allocations_in_source: census.allocations,
        never_released: lives.iter().filter(|life| life.end.is_none()).count() as u64,
        threads_in_source: census.threads.len() as u64,
        devices_in_source: census.devices.len() as u64,
        damaged,
        ..Imported::default()
    };
    let steps = schedule(&lives, &plan, &mut imported);
    let divided_by = fit::divisors(&lives, &steps, &plan, &frame.profile);
    imported.divided_by = divided_by.map(|fit| fit.divisor);
    imported.crowded = divided_by.iter().any(|fit| fit.crowded);
    Ok(ImportedWorkload {
        script: script(&lives, &steps, &plan, &imported.divided_by),
        devices: plan.devices,
        imported,
    })
}

/// Hands every record of a trace to `take`, and says whether it is damaged; `None` for a server's
/// log.
fn for_each(
    trace: &TraceFile,
    header: &ImportHeader,
    mut take: impl FnMut(&allocation::AllocationRecord),
) -> Option<std::io::Result<bool>> {
    let mut text = TextReader::new(trace);
    let records = allocation::source(header, &mut text)?;
    for record in records {
        match record {
            Ok(record) => take(&record),
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(text.damage().is_some()))
}

/// How many threads, devices and operations there are.
#[derive(Clone, Copy, Debug)]
struct Plan {
    threads: u16,
    devices: u16,
    /// Operations of a thread at most.
    ops: u64,
}

impl Plan {
    fn new(census: &Census, frame: &WorkloadLimits) -> Plan {
        let within = |count: usize, most: u16| u16::try_from(count).map_or(most, |n| n.min(most));
        let threads = frame.threads.unwrap_or(match census.threads.len() {
            0 => frame.default_threads,
            count => within(count, MAX_THREADS),
        });
        // The scenario's own check refuses what is out of range.
        let threads = threads.clamp(1, MAX_THREADS);
        Plan {
            threads,
            devices: frame
                .devices
                .unwrap_or(within(census.devices.len(), MAX_DEVICES))
                .clamp(1, MAX_DEVICES),
            ops: frame.ops.min(MAX_IMPORTED_OPS / u64::from(threads)),
        }
    }
}

/// The begin or the end of a life, and who does it.
#[derive(Clone, Copy, Debug)]
struct Step {
    life: u32,
    thread: u16,
    begins: bool,
}

/// All steps in the order of the recording.
fn schedule(lives: &[BufferLife], plan: &Plan, imported: &mut Imported) -> Vec<Step> {
    let mut order: Vec<(lives::StepOrder, u32, bool)> = Vec::with_capacity(2 * lives.len());
    for (index, life) in lives.iter().enumerate() {
        order.push((life.begin, index as u32, true));
        if let Some(end) = life.end {
            order.push((end.at, index as u32, false));
        }
    }
    order.sort_unstable();
    // A life's operations are its allocating thread's, until another thread that has room takes its
    // release.
    let mut used = vec![0_u64; usize::from(plan.threads)];
    for life in lives {
        used[usize::from(life.thread)] += 2;
    }
    let mut steps = Vec::with_capacity(order.len());
    for (_, index, begins) in order {
        let life = &lives[index as usize];
        let mut thread = life.thread;
        if let Some(end) = life.end.filter(|end| !begins && end.thread != thread) {
            let room = &mut used[usize::from(end.thread)];
            if *room < plan.ops {
                *room += 1;
                used[usize::from(thread)] -= 1;
                thread = end.thread;
            } else {
                imported.moved_releases += 1;
            }
        }
        steps.push(Step {
            life: index,
            thread,
            begins,
        });
    }
    steps
}

/// The operations, as text.
fn script(
    lives: &[BufferLife],
    steps: &[Step],
    plan: &Plan,
    divided_by: &[u64; 4],
) -> Vec<Vec<String>> {
    let mut script = vec![Vec::new(); usize::from(plan.threads)];
    // Slots that a thread may use again, with their last epoch; the one released first comes first.
    let mut free = vec![std::collections::VecDeque::new(); usize::from(plan.threads)];
    let mut places = vec![(SlotId(0), 0); lives.len()];
    let mut slots = 0;
    for step in steps {
        let (life, thread) = (&lives[step.life as usize], usize::from(step.thread));
        let place = &mut places[step.life as usize];
        let op = if step.begins {
            let (slot, last) = free[thread].pop_front().unwrap_or_else(|| {
                slots += 1;
                (SlotId(slots - 1), 0)
            });
            *place = (slot, last + 1);
            Op::Allocate {
                slot,
                epoch: place.1,
                request: Request {
                    kind: BufferKind::Owned,
                    device: DeviceId(life.device),
                    parts: 1,
                    memory: life.memory,
                    size_bytes: scaled(life, divided_by),
                    releases: u8::from(life.end.is_some()),
                },
            }
        } else {
            let (slot, epoch) = *place;
            if step.thread == life.thread && epoch < MAX_EPOCH {
                free[thread].push_back(*place);
            }
            Op::Release { slot, epoch }
        };
        script[thread].push(op.to_string());
    }
    script
}

fn scaled(life: &BufferLife, divided_by: &[u64; 4]) -> u64 {
    fit::scaled(life.size_bytes, divided_by[memory_index(life.memory)])
}

fn memory_index(memory: Memory) -> usize {
    memory as usize
}
