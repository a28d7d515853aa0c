//! A server under test that is started anew, by a command of the user's, so that no case meets what
//! another one left, or is charged with its crash.
//!
//! The command runs the server in the foreground: then it is ended with its process group. Where a
//! server listens already when the suite begins, the command restarts that one and returns.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a server may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may take to end when it is asked to.
const END_TIMEOUT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(2);
/// How long a server that a case has killed may live on.
const SETTLE: Duration = Duration::from_millis(30);

/// The command, and what runs of it.
#[derive(Debug)]
pub(super) struct RestartedServer<'a> {
    command: &'a str,
    path: &'a Path,
    /// Whether the command restarts a server that is not its child.
    is_service: bool,
    child: Option<Child>,
}

impl<'a> RestartedServer<'a> {
    pub(super) fn new(command: &'a str, path: &'a Path) -> RestartedServer<'a> {
        RestartedServer {
            command,
            path,
            is_service: UnixStream::connect(path).is_ok(),
            child: None,
        }
    }

    /// Ends the server that runs, and starts one that listens when this returns.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.end();
        let mut child = Command::new("sh")
            .args(["-c", self.command])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let started = Instant::now();
        loop {
            let status = child.try_wait()?;
            if let Some(status) = status.filter(|status| !status.success()) {
                let how = describe(status);
                return Err(io::Error::other(format!("the command ended: {how}")));
            }
            let may_listen = !self.is_service || status.is_some();
            if may_listen && UnixStream::connect(self.path).is_ok() {
                self.child = Some(child);
                return Ok(());
            }
            if started.elapsed() > START_TIMEOUT {
                self.child = Some(child);
                return Err(io::Error::other("nobody listens after 30 s"));
            }
            thread::sleep(POLL);
        }
    }

    /// How it ended by itself, if it did; a moment after the case.
    pub(super) fn ended(&mut self) -> Option<String> {
        thread::sleep(SETTLE);
        let child = self.child.as_mut()?;
        match child.try_wait() {
            Ok(Some(status)) if !status.success() => Some(describe(status)),
            _ => None,
        }
    }

    fn end(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if self.is_service {
            return;
        }
        let group = Pid::from_child(&child);
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::TERM);
        let asked = Instant::now();
        while child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if asked.elapsed() > END_TIMEOUT {
                let _ = kill_process_group(group, Signal::KILL);
            }
            thread::sleep(POLL);
        }
        // What the shell started besides.
        let _ = kill_process_group(group, Signal::KILL);
        if UnixStream::connect(self.path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            // The file of the server that was ended: many cannot listen where one is.
            let _ = fs::remove_file(self.path);
        }
    }
}

impl Drop for RestartedServer<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// The signal that ended a process; a shell says of its child's only 128 and the number.
pub(super) fn signal_of(status: ExitStatus) -> Option<i32> {
    const SHELL: i32 = 128;
    let of_child = status.code().map(|code| code - SHELL);
    let of_child = of_child.filter(|signal| (1..=MAX_SIGNAL).contains(signal));
    status.signal().or(of_child)
}

/// The last of the signals that have names.
const MAX_SIGNAL: i32 = 31;

/// How a process ended.
pub(super) fn describe(status: ExitStatus) -> String {
    match signal_of(status) {
        Some(signal) => {
            let name = signal_hook::low_level::signal_name(signal);
            name.map_or(format!("killed by signal {signal}"), |name| {
                format!("killed by {name}")
            })
        }
        None => format!("exit code {}", status.code().unwrap_or_default()),
    }
}
