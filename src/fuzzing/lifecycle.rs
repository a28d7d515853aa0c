//! Arbitrary workloads and schedules on disciplines that are correct: any divergence is a defect of
//! heisenbed.
//!
//! Input: one byte for the cell (a discipline with its switches), one for the shape (threads,
//! devices, allocator, whether the devices are closed at the end), one for the number of
//! operations, these, drawn by [`arbitrary`], and then one byte a choice of the [`Bytes`]
//! scheduler.
//!
//! Operations are drawn in one sequence and dealt to the threads in its order, so that a sequential
//! order in which all can be done always exists. Demanded: every schedule ends, it is clean, and
//! the leaks are exactly what no thread releases, where every allocation succeeds.

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};

use crate::corpus::{Expected, Reproducer};
use crate::device::{BufferKind, DeviceId, Memory, Policy};
use crate::engine::controlled::machine::{RunEnd, Setup};
use crate::engine::controlled::observe::{ObservedRun, observe};
use crate::engine::controlled::schedule::Schedule;
use crate::engine::controlled::schedulers::Bytes;
use crate::lifecycle::{Order, Publication};
use crate::oracle::Verdict;
use crate::scenario::op::{Op, Request, SlotId};
use crate::scenario::{Scenario, ScenarioFile};

/// Longer inputs only take longer.
const MAX_OPS: usize = 32;
/// More than any schedule of [`MAX_OPS`] operations takes: one that goes on is a defect.
const MAX_STEPS: u64 = 100_000;

/// A protocol under which nothing may diverge, by the known answers that exhaustive search shows.
#[derive(Clone, Copy, Debug)]
struct Cell {
    discipline: &'static str,
    order: Order,
    publish: Publication,
    /// Whether two threads may release one buffer.
    shared: bool,
    /// Whether there may be mesh buffers.
    mesh: bool,
}

/// Correct under both orders and both publications; whether with shared releases, and with mesh
/// buffers, too.
const WIDE: [(&str, bool, bool); 7] = [
    ("lifecycle-wide", false, false),
    ("global-wide", false, false),
    ("in-allocator", false, true),
    ("lifecycle-array8", false, false),
    ("sequenced", false, true),
    ("claimed-wide", true, false),
    ("views-first", true, true),
];
/// Correct track-first and published late only.
const NARROW: [&str; 3] = ["unlocked", "tracker-mutex", "lifecycle-narrow"];

fn cells() -> Vec<Cell> {
    let mut cells: Vec<Cell> = NARROW
        .map(|discipline| Cell {
            discipline,
            order: Order::TrackFirst,
            publish: Publication::Late,
            shared: false,
            mesh: false,
        })
        .into();
    for (discipline, shared, mesh) in WIDE {
        for order in [Order::TrackFirst, Order::FreeFirst] {
            for publish in [Publication::Late, Publication::Early] {
                cells.push(Cell {
                    discipline,
                    order,
                    publish,
                    shared,
                    mesh,
                });
            }
        }
    }
    cells
}

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let Some(case) = Case::draw(bytes) else {
        return;
    };
    let (setup, observed) = case.observe();
    let report = &observed.report;
    let complaint = if observed.end != RunEnd::Completed {
        Some(format!("it ended so: {:?}", observed.end))
    } else if report.verdict == Verdict::Diverged {
        Some("it diverged".to_owned())
    } else if report.leaks != case.leaks && report.allocs_failed == 0 {
        Some(format!(
            "{} leaks, and {} addresses are never released",
            report.leaks, case.leaks
        ))
    } else {
        None
    };
    if let Some(complaint) = complaint {
        panic!("{complaint}\n\n{}", reproducer(&setup, &observed).to_toml());
    }
}

/// The input as a reproducer, which `shrink` and `replay` take. `None`: it is too short to be a
/// case.
pub(crate) fn decode(bytes: &[u8]) -> Option<Reproducer> {
    let (setup, observed) = Case::draw(bytes)?.observe();
    Some(reproducer(&setup, &observed))
}

/// What an input stands for.
struct Case<'a> {
    scenario: Scenario,
    /// How many addresses no thread releases: a mesh buffer has one on each device, a pre-allocated
    /// buffer none of its own.
    leaks: u64,
    schedule: &'a [u8],
}

/// One operation, as the fuzzer draws it.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Draw {
    /// Whether it allocates, and what.
    what: u8,
    /// Which thread, and which live buffer or size.
    which: u8,
}

impl<'a> Case<'a> {
    fn draw(bytes: &'a [u8]) -> Option<Case<'a>> {
        let (&[cell, shape, count], rest) = bytes.split_first_chunk()?;
        let count = usize::from(count) % (MAX_OPS + 1);
        let (draws, schedule) = rest.split_at_checked(2 * count)?;
        let mut draws = Unstructured::new(draws);
        let cells = cells();
        let cell = cells[usize::from(cell) % cells.len()];
        let threads = 1 + u16::from(shape & 3);
        let mut dealt = Dealt::new(threads, 1 + u16::from(shape >> 2 & 1), cell);
        for _ in 0..count {
            dealt.deal(Draw::arbitrary(&mut draws).ok()?);
        }
        let (script, leaks) = dealt.finish(shape & 0x10 != 0);
        let mut file = ScenarioFile::load("own-buffers").expect("it is built in");
        file.name = "fuzzed".to_owned();
        file.discipline = cell.discipline.to_owned();
        file.order = Some(cell.order);
        file.publish = Some(cell.publish);
        file.threads = threads;
        file.devices = Some(1 + u16::from(shape >> 2 & 1));
        file.allocator = Policy::ALL[usize::from(shape >> 5) % Policy::ALL.len()];
        file.workload.script = Some(script);
        let scenario = file.resolve().expect("what is dealt keeps its promises");
        Some(Case {
            scenario,
            leaks,
            schedule,
        })
    }

    fn observe(&self) -> (Arc<Setup>, ObservedRun) {
        let setup = Setup::new(self.scenario.clone(), 0).expect("it is small");
        let (observed, _) = observe(&setup, Bytes::new(self.schedule), 0, MAX_STEPS);
        (setup, observed)
    }
}

/// Operations as they are dealt to threads.
struct Dealt {
    threads: Vec<Vec<Op>>,
    devices: u16,
    cell: Cell,
    /// Slots whose buffer is not released yet: the slot, its epoch, and where its allocate stands.
    live: Vec<(SlotId, u32, Place)>,
    /// Slots that their thread may allocate again, with their last epoch.
    closed: Vec<Vec<(SlotId, u32)>>,
    slots: u32,
}

/// A thread, and an operation of it.
type Place = (usize, usize);

impl Dealt {
    fn new(threads: u16, devices: u16, cell: Cell) -> Dealt {
        Dealt {
            threads: vec![Vec::new(); usize::from(threads)],
            devices,
            cell,
            live: Vec::new(),
            closed: vec![Vec::new(); usize::from(threads)],
            slots: 0,
        }
    }

    fn deal(&mut self, draw: Draw) {
        let thread = usize::from(draw.which & 3) % self.threads.len();
        let rest = draw.which >> 2;
        if draw.what & 1 == 0 || self.live.is_empty() {
            self.allocate(thread, draw.what >> 1, rest);
        } else {
            self.release(thread, usize::from(rest), draw.what & 2 != 0);
        }
    }

    fn allocate(&mut self, thread: usize, what: u8, size: u8) {
        const SIZES: [u64; 8] = [1, 32, 64, 4096, 4096, 4097, 100_000, 1 << 17];
        let (slot, epoch) = match self.closed[thread].pop() {
            Some((slot, last)) => (slot, last + 1),
            None => {
                self.slots += 1;
                (SlotId(self.slots - 1), 1)
            }
        };
        let kind = match what & 7 {
            0..5 => BufferKind::Owned,
            5 => BufferKind::Circular,
            6 => BufferKind::Preallocated,
            _ if self.cell.mesh => BufferKind::Mesh,
            _ => BufferKind::Owned,
        };
        let memory = if what & 8 == 0 || kind == BufferKind::Circular {
            Memory::L1
        } else {
            Memory::Dram
        };
        let request = Request {
            kind,
            device: DeviceId(u16::from(what >> 4 & 1) % self.devices),
            parts: if kind == BufferKind::Mesh {
                self.devices as u8
            } else {
                1
            },
            memory,
            size_bytes: SIZES[usize::from(size) % SIZES.len()],
            releases: 0,
        };
        let place = (thread, self.threads[thread].len());
        self.threads[thread].push(Op::Allocate {
            slot,
            epoch,
            request,
        });
        self.live.push((slot, epoch, place));
    }

    fn release(&mut self, thread: usize, which: usize, twice: bool) {
        let index = which % self.live.len();
        let (slot, epoch, place) = self.live.swap_remove(index);
        let other = (thread + 1) % self.threads.len();
        let by = if twice && self.cell.shared && other != thread {
            vec![thread, other]
        } else {
            vec![thread]
        };
        if let Op::Allocate { request, .. } = &mut self.threads[place.0][place.1] {
            request.releases = by.len() as u8;
        }
        for thread in by {
            self.threads[thread].push(Op::Release { slot, epoch });
        }
        self.closed[place.0].push((slot, epoch));
    }

    /// The script, and how many addresses are never released.
    fn finish(mut self, close: bool) -> (Vec<Vec<String>>, u64) {
        let mut leaks = 0;
        if close {
            self.threads[0].push(Op::AwaitOthers);
            let devices = (0..self.devices).map(DeviceId);
            self.threads[0].extend(devices.map(|device| Op::Close { device }));
        } else {
            let parts =
                |&(_, _, (thread, at)): &(SlotId, u32, Place)| match self.threads[thread][at] {
                    Op::Allocate { request, .. } if request.kind != BufferKind::Preallocated => {
                        u64::from(request.parts)
                    }
                    _ => 0,
                };
            leaks = self.live.iter().map(parts).sum();
        }
        let text = |ops: &Vec<Op>| ops.iter().map(Op::to_string).collect();
        (self.threads.iter().map(text).collect(), leaks)
    }
}

fn reproducer(setup: &Setup, observed: &ObservedRun) -> Reproducer {
    let expect = Expected {
        verdict: observed.report.verdict,
        divergences: observed.report.divergences.clone(),
    };
    let schedule = Schedule::of(&observed.picks, setup.scenario.threads);
    let mut reproducer = Reproducer::new(&setup.scenario, Some(schedule), expect);
    reproducer.provenance.from = "fuzz target lifecycle".to_owned();
    reproducer
}
