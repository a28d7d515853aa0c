//! States of the machine under which real threads run: what a race leaves depends on who is
//! preempted where, and that on how many cores there are and what else runs.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::scenario::random::Random;

/// Threads that do nothing but run, for each core.
const SPINNERS_PER_CORE: usize = 1;

/// A state of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MachineState {
    /// As it is found.
    AsFound,
    /// All threads of the run share one core.
    OneCore,
    /// As many other threads as cores do nothing but run, too.
    Loaded,
}

impl MachineState {
    pub(super) fn draw(random: &mut Random) -> MachineState {
        use MachineState::{AsFound, Loaded, OneCore};
        // Under load a run takes many times as long.
        [AsFound, AsFound, OneCore, OneCore, Loaded][random.below(5) as usize]
    }

    /// Runs `run`, and the threads that it starts, in this state. A machine that refuses is left as
    /// it is found.
    pub(super) fn during<R>(self, run: impl FnOnce() -> R) -> R {
        match self {
            MachineState::AsFound => run(),
            MachineState::OneCore => on_one_core(run),
            MachineState::Loaded => loaded(run),
        }
    }
}

impl fmt::Display for MachineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MachineState::AsFound => "as found",
            MachineState::OneCore => "one core",
            MachineState::Loaded => "loaded",
        })
    }
}

fn on_one_core<R>(run: impl FnOnce() -> R) -> R {
    let before = sched_getaffinity(None);
    if let Ok(before) = &before
        && let Some(core) = (0..CpuSet::MAX_CPU).find(|core| before.is_set(*core))
    {
        let mut one = CpuSet::new();
        one.set(core);
        // Threads that are started inherit it.
        let _ = sched_setaffinity(None, &one);
    }
    let result = run();
    if let Ok(before) = &before {
        let _ = sched_setaffinity(None, before);
    }
    result
}

fn loaded<R>(run: impl FnOnce() -> R) -> R {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..SPINNERS_PER_CORE * cores {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = run();
        over.store(true, Ordering::Relaxed);
        result
    })
}
