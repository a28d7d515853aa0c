//! The processes of a program, from outside: whether they run, and how those are ended whose parent
//! is gone. What the system does not say counts as running.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How often is looked whether a process that was killed is gone.
const MOST_ORPHAN_LOOKS: u32 = 400;

/// Whether the process, or one that it made, is about to run.
pub(super) fn is_at_work(pid: i32) -> bool {
    let made = format!("/proc/{pid}/task/{pid}/children");
    let made = std::fs::read_to_string(made).unwrap_or_default();
    let made = made
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok());
    std::iter::once(pid)
        .chain(made)
        .any(|pid| Stillness::of(pid) == Stillness::Runs)
}

/// How long the threads that the process has now have had the processor, in microseconds.
pub(super) fn processor_time_us(pid: i32) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    let of_task = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let first = text.split_ascii_whitespace().next()?;
        first.parse::<u64>().ok()
    };
    tasks.flatten().filter_map(of_task).sum::<u64>() / 1000
}

/// Ends a schedule whose fork server is gone, and its group; it is nobody's child of ours.
pub(super) fn end_orphan(pid: i32) {
    let Some(of) = Pid::from_raw(pid) else {
        return;
    };
    let _ = kill_process_group(of, Signal::KILL);
    let _ = kill_process(of, Signal::KILL);
    let exe = format!("/proc/{pid}/exe");
    for _ in 0..MOST_ORPHAN_LOOKS {
        // Whoever has ended has no program any more.
        if std::fs::read_link(&exe).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the threads of a process do, as far as the system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stillness {
    /// One of them runs, or is about to.
    Runs,
    /// None does.
    Sleeps,
    /// None does, for a signal stopped them.
    Stopped,
}

impl Stillness {
    pub(super) fn of(pid: i32) -> Stillness {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
            return Stillness::Runs;
        };
        let mut still = Stillness::Sleeps;
        for task in tasks.flatten() {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The name may hold anything, but the state follows its last bracket.
            match stat.rsplit_once(')').map(|(_, rest)| rest.trim_start()) {
                Some(state) if state.starts_with('T') => still = Stillness::Stopped,
                Some(state) if !state.starts_with(['S', 'Z', 'X']) => return Stillness::Runs,
                _ => {}
            }
        }
        still
    }
}
