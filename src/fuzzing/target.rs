//! The target `target`: arbitrary operations of a user's allocator, the shared library that
//! HEISENBED_TARGET names, with HEISENBED_TARGET_OPTIONS as its options.
//!
//! Bytes are operations on a few slots in small memories, so that memory is soon full and soon in
//! pieces. One thread does them in turn; or two or three do, in a few schedules that follow from
//! the input. Either is in a process of its own, so that nothing it does ends the fuzzer. What is
//! checked is what the driver checks. Without HEISENBED_TARGET an input is decoded, and what it
//! says must be a plan that can be done.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use crate::device::{BufferKind, DeviceId, Memory, Profile};
use crate::native::launcher::{LaunchOptions, ProgramOutput};
use crate::native::plan::RunStrategy;
use crate::native::target::served::ServedTarget;
use crate::native::target::{TargetAbout, TargetSetup};
use crate::native::{LaunchError, Launcher, RunPlan, UserProgram};
use crate::scenario::op::{Op, Request, SlotId};
use crate::scenario::{Scenario, ScenarioFile};

/// Slots of an input.
const SLOTS: usize = 16;
/// Bytes of each memory.
const MEMORY_BYTES: u32 = 1 << 16;
/// Devices.
const DEVICES: u16 = 2;
/// Bytes of an operation.
const OP_BYTES: usize = 4;
/// Schedules of an input with several threads.
const SCHEDULES: u64 = 4;
/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// At most so many operations.
const MOST_OPS: usize = 4_096;

/// What an input says.
struct TargetCase {
    ops: Vec<Vec<Op>>,
    in_turn: bool,
}

/// A target that is fuzzed.
#[derive(Debug)]
pub struct FuzzedTarget {
    setup: TargetSetup,
    memories: Vec<Memory>,
    served: ServedTarget,
    controlled: Launcher,
}

impl FuzzedTarget {
    /// The library, and what its `open` is given as options.
    pub fn new(library: &Path, options: &str) -> Result<FuzzedTarget, String> {
        let library = std::fs::canonicalize(library)
            .map_err(|error| format!("{}: {error}", library.display()))?;
        let bare = TargetSetup::new(&small()?, 0, options);
        let about = TargetAbout::ask(&library, &bare).map_err(|error| error.to_string())?;
        let memories: Vec<Memory> = Memory::ALL
            .into_iter()
            .filter(|memory| about.has_memory(*memory))
            .collect();
        if memories.is_empty() {
            return Err(format!("{}: the target has no memory", library.display()));
        }
        let setup = bare.for_target(&about, &small()?);
        let setup = TargetSetup {
            socket: None,
            ..setup.with_ops(Vec::new())
        };
        let served = ServedTarget::new(&library, &setup).map_err(|error| error.to_string())?;
        let program =
            UserProgram::target(&library, setup.clone()).map_err(|error| error.to_string())?;
        let options = LaunchOptions {
            timeout: TIMEOUT,
            output: ProgramOutput::Kept,
        };
        let controlled = Launcher::start(&program, options).map_err(|error| error.to_string())?;
        Ok(FuzzedTarget {
            setup,
            memories,
            served,
            controlled,
        })
    }

    /// Does what the input says; `Err`: what is wrong, its kind first.
    pub fn run(&mut self, bytes: &[u8]) -> Result<(), String> {
        let case = parse(bytes, &self.memories);
        let setup = self.setup.with_ops(case.ops);
        if case.in_turn {
            let ran = self.served.run(&setup);
            return ran.unwrap_or_else(|error| Err(format!("the driver: {error}")));
        }
        self.schedules(setup, xxhash_rust::xxh3::xxh3_64(bytes))
            .unwrap_or_else(|error| Err(error.to_string()))
    }

    /// A few schedules, which follow from the input.
    fn schedules(
        &mut self,
        setup: TargetSetup,
        seed: u64,
    ) -> Result<Result<(), String>, LaunchError> {
        self.controlled.drive(setup)?;
        for index in 0..SCHEDULES {
            let plan = RunPlan::new(RunStrategy::Random, seed, index);
            let execution = self.controlled.run(&plan)?;
            if let Some(failure) = &execution.failure {
                return Ok(Err(format!("{}: {}", failure.kind, failure.summary)));
            }
        }
        Ok(Ok(()))
    }
}

/// Runs an input; it panics where the target does something wrong.
pub fn run(bytes: &[u8]) {
    static TARGET: LazyLock<Option<Mutex<FuzzedTarget>>> = LazyLock::new(|| {
        let library = PathBuf::from(std::env::var_os("HEISENBED_TARGET")?);
        let options = std::env::var("HEISENBED_TARGET_OPTIONS").unwrap_or_default();
        let target = FuzzedTarget::new(&library, &options);
        Some(Mutex::new(target.unwrap_or_else(|error| panic!("{error}"))))
    });
    let Some(target) = &*TARGET else {
        let case = parse(bytes, &Memory::ALL);
        assert!(crate::native::target::can_be_done(&case.ops));
        return;
    };
    let mut target = target.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(what) = target.run(bytes) {
        panic!("{what}");
    }
}

/// What an input says: a scenario for `run --target` and `stress --target`.
pub fn decode(bytes: &[u8]) -> String {
    let case = parse(bytes, &Memory::ALL);
    if case.ops.iter().all(Vec::is_empty) {
        return String::new();
    }
    let mut text = format!(
        "name = \"fuzzed\"\nthreads = {}\ndevices = {DEVICES}\nprofile = \
         \"custom:{DEVICES}x{MEMORY_BYTES}\"\n\n[workload]\nscript = [\n",
        case.ops.len()
    );
    for ops in &case.ops {
        text.push_str("    [\n");
        for op in ops {
            text.push_str(&format!("        \"{op}\",\n"));
        }
        text.push_str("    ],\n");
    }
    text.push_str("]\n");
    text
}

fn small() -> Result<Scenario, String> {
    let mut file = ScenarioFile::load("own-buffers").map_err(|error| error.to_string())?;
    file.profile = Some(Profile::Custom {
        devices: DEVICES,
        bank_bytes: MEMORY_BYTES,
    });
    (file.threads, file.ops) = (1, 2);
    file.resolve().map_err(|error| error.to_string())
}

/// Each slot belongs to one thread, so that any bytes can be done.
fn parse(bytes: &[u8], memories: &[Memory]) -> TargetCase {
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let threads = match first % 4 {
        0 | 1 => 1,
        more => usize::from(more),
    };
    let mut ops = vec![Vec::new(); threads];
    let mut slots = [(0u32, false); SLOTS];
    for op in rest.chunks_exact(OP_BYTES).take(MOST_OPS) {
        let [what, slot, low, high] = *op else {
            continue;
        };
        let slot = usize::from(slot) % SLOTS;
        let id = SlotId(slot as u32);
        let thread = slot % threads;
        let (epoch, is_open) = &mut slots[slot];
        if *is_open {
            *is_open = false;
            ops[thread].push(Op::Release {
                slot: id,
                epoch: *epoch,
            });
            continue;
        }
        (*epoch, *is_open) = (*epoch + 1, true);
        let size = u64::from(u16::from_le_bytes([low, high]));
        ops[thread].push(Op::Allocate {
            slot: id,
            epoch: *epoch,
            request: Request {
                kind: BufferKind::Owned,
                device: DeviceId(u16::from(what >> 4) % DEVICES),
                parts: 1,
                memory: memories[usize::from(what % 16) % memories.len()],
                // Small ones more often than large ones.
                size_bytes: 1 + (size >> (high % 8)),
                releases: 1,
            },
        });
    }
    // Everything is released: then memory must be whole.
    for (slot, (epoch, is_open)) in slots.into_iter().enumerate() {
        if is_open {
            ops[slot % threads].push(Op::Release {
                slot: SlotId(slot as u32),
                epoch,
            });
        }
    }
    TargetCase {
        ops,
        in_turn: threads == 1,
    }
}
