//! The client under test: a shell command in a process group of its own, until it ends or has to be
//! killed.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::super::restart::{describe, signal_of};
use super::trace::{self, CallCounts};
use super::{SOCKET_PLACEHOLDER, SOCKET_VARIABLE};

/// How a client ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgramEnd {
    status: ExitStatus,
    /// Whether it had to be killed.
    pub(crate) is_hung: bool,
    /// How long it ran.
    pub(crate) ran: Duration,
}

impl ProgramEnd {
    /// Its exit code, where it ended by itself.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code().filter(|_| !self.is_hung)
    }

    /// Whether a signal ended it that it got by itself.
    pub(crate) fn is_killed(&self) -> bool {
        !self.is_hung && signal_of(self.status).is_some()
    }

    pub(crate) fn is_success(&self) -> bool {
        !self.is_hung && self.status.success()
    }

    /// How it ended, in words.
    pub(crate) fn words(&self) -> String {
        match (self.is_hung, self.is_killed()) {
            (true, _) => "it did not end and had to be killed".to_owned(),
            (_, true) => format!("it was {}", describe(self.status)),
            _ => format!("it ended by itself ({})", describe(self.status)),
        }
    }
}

/// How often it is looked whether the client has ended.
const POLL: Duration = Duration::from_millis(2);
/// How often it is looked whether one that is followed runs for too long.
const TRACED_POLL: Duration = Duration::from_millis(50);

/// A client that runs.
#[derive(Debug)]
pub(crate) struct RunningClient {
    child: Child,
    started: Instant,
}

impl RunningClient {
    pub(crate) fn start(command: &str, socket: &Path) -> io::Result<RunningClient> {
        let child = shell(command, socket).stdin(Stdio::null()).spawn()?;
        Ok(RunningClient {
            child,
            started: Instant::now(),
        })
    }

    /// Waits until it has ended, for `limit` since its start, or until `interrupt` is set.
    pub(crate) fn wait(
        mut self,
        limit: Duration,
        interrupt: &AtomicBool,
    ) -> io::Result<ProgramEnd> {
        let mut is_hung = false;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if interrupt.load(Ordering::Relaxed) {
                return Err(interrupted());
            }
            if self.started.elapsed() > limit {
                is_hung = true;
                self.kill();
                break self.child.wait()?;
            }
            thread::sleep(POLL);
        };
        Ok(ProgramEnd {
            status,
            is_hung,
            ran: self.started.elapsed(),
        })
    }

    fn kill(&self) {
        // It may have ended, and all that it started.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
    }
}

impl Drop for RunningClient {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// Runs a client and counts its calls; `Err` where the system does not let it be followed.
pub(super) fn run_traced(
    command: &str,
    socket: &Path,
    limit: Duration,
    interrupt: &AtomicBool,
) -> io::Result<(ProgramEnd, CallCounts)> {
    // It waits for a line until it is followed.
    let mut child = shell(&format!("read -r _\n{command}"), socket)
        .stdin(Stdio::piped())
        .spawn()?;
    let leader = Pid::from_child(&child);
    let started = Instant::now();
    let mut input = child.stdin.take().expect("it was started with one");
    if let Err(error) = trace::seize(leader) {
        let _ = kill_process_group(leader, Signal::KILL);
        let _ = child.wait();
        return Err(error);
    }
    input.write_all(b"\n")?;
    drop(input);
    let is_hung = AtomicBool::new(false);
    let followed = thread::scope(|scope| {
        let (ended, at_end) = channel::<()>();
        let is_hung = &is_hung;
        scope.spawn(move || {
            while at_end.recv_timeout(TRACED_POLL) == Err(RecvTimeoutError::Timeout) {
                let is_late = started.elapsed() > limit;
                if is_late || interrupt.load(Ordering::Relaxed) {
                    is_hung.store(true, Ordering::Relaxed);
                    let _ = kill_process_group(leader, Signal::KILL);
                    return;
                }
            }
        });
        let followed = trace::follow(leader);
        drop(ended);
        followed
    });
    // Whatever it left behind.
    let _ = kill_process_group(leader, Signal::KILL);
    let (status, counts) = followed?;
    if interrupt.load(Ordering::Relaxed) {
        return Err(interrupted());
    }
    let end = ProgramEnd {
        status,
        is_hung: is_hung.load(Ordering::Relaxed),
        ran: started.elapsed(),
    };
    Ok((end, counts))
}

/// Whether the shell finds what the command begins with; yes, where that is no plain word.
pub(super) fn is_found(command: &str) -> io::Result<bool> {
    let word = command.split_ascii_whitespace().next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./+-".contains(c);
    if !word.chars().all(is_plain) {
        return Ok(true);
    }
    let found = Command::new("sh")
        .args(["-c", "command -v -- \"$1\"", "sh", word])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(found.success())
}

fn interrupted() -> io::Error {
    io::Error::other("interrupted")
}

fn shell(command: &str, socket: &Path) -> Command {
    let path = socket.display().to_string();
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(command.replace(SOCKET_PLACEHOLDER, &path))
        .env(SOCKET_VARIABLE, socket)
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    shell
}
