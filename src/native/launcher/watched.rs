//! The processes of a program, from outside: whether they run, and how those are ended whose parent
//! is gone. What the system does not say counts as running.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How often is looked whether a process that was killed is gone.
const MOST_ORPHAN_LOOKS: u32 = 400;

/// Whether the fork server is about to run, or the process of its schedule, or another that it
/// made, as far as the system tells those (`CONFIG_PROC_CHILDREN`).
pub(super) fn is_at_work(server: i32, schedule: Option<i32>) -> bool {
    let made = format!("/proc/{server}/task/{server}/children");
    let made = std::fs::read_to_string(made).unwrap_or_default();
    let made = made
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok());
    let made = schedule.into_iter().chain(made);
    // Who is gone is at no work; of the server, that is seen where it was to reply.
    let mut made = made.filter(|pid| Path::new(&format!("/proc/{pid}")).exists());
    Stillness::of(server) == Stillness::Runs
        || made.any(|pid| Stillness::of(pid) == Stillness::Runs)
}

/// Whether a process that one of `parents` made is about to run; none of `but`.
pub(super) fn has_busy_child(parents: [i32; 2], but: i32) -> bool {
    let Ok(all) = std::fs::read_dir("/proc") else {
        return false;
    };
    let pids = all
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let parent = rest
            .split_ascii_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok());
        *pid != but && parent.is_some_and(|parent: i32| parents.contains(&parent))
    };
    pids.filter(is_child)
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
    /// One of them runs, and takes no step that is seen.
    Hides,
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

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// Ended with the test.
    struct Shell(Child);

    impl Shell {
        fn does(script: &str) -> Shell {
            let started = Command::new("sh").arg("-c").arg(script).spawn();
            Shell(started.expect("a shell is there"))
        }

        fn pid(&self) -> i32 {
            self.0.id() as i32
        }

        /// Once it has begun to sleep.
        fn asleep(self) -> Shell {
            while Stillness::of(self.pid()) == Stillness::Runs {
                std::thread::sleep(Duration::from_millis(2));
            }
            self
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_schedule_that_waits_for_the_processor_is_at_work_though_its_server_sleeps() {
        let server = Shell::does("exec sleep 1000").asleep();
        assert!(!is_at_work(server.pid(), None));
        let busy = Shell::does("while :; do :; done");
        assert!(is_at_work(server.pid(), Some(busy.pid())));
        assert!(is_at_work(busy.pid(), None));
    }

    #[test]
    fn a_child_that_waits_for_the_processor_is_seen_and_one_that_sleeps_is_not() {
        let us = std::process::id() as i32;
        let still = Shell::does("exec sleep 1000").asleep();
        assert!(!has_busy_child([still.pid(), still.pid()], 0));
        let _busy = Shell::does("while :; do :; done");
        assert!(has_busy_child([still.pid(), us], still.pid()));
    }

    #[test]
    fn who_sleeps_or_is_gone_is_at_no_work() {
        let server = Shell::does("exec sleep 1000").asleep();
        let still = Shell::does("exec sleep 1000").asleep();
        assert!(!is_at_work(server.pid(), Some(still.pid())));
        let mut gone = Shell::does("exit 0");
        gone.0.wait().expect("it ends");
        assert!(!is_at_work(server.pid(), Some(gone.pid())));
    }
}
