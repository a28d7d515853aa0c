//! Counts the system calls of a client that tell how it does without a server: where nobody
//! listens, nobody else sees that it tries to connect, or that it closes what is closed.
//!
//! With ptrace, as a debugger: nothing of the client is changed but its speed. The one that starts
//! the client must be the thread that follows it.

#![allow(
    unsafe_code,
    reason = "ptrace is a system call that rustix does not have"
)]

use std::collections::HashSet;
use std::ffi::c_long;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpgid};

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CallCounts {
    /// Calls of connect.
    pub(crate) connects: u64,
    /// Calls of close of a descriptor that is not open. -1 is none: shells close that.
    pub(crate) closed_twice: u64,
}

/// Follows the process `leader`, which leads a process group and waits for something that comes
/// after this call.
pub(super) fn seize(leader: Pid) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SEIZE, leader, 0, options as usize)?;
    request(libc::PTRACE_INTERRUPT, leader, 0, 0)
}

/// Lets the process that was [seized](seize) run until it ends, and counts meanwhile, in it and
/// whatever it starts.
pub(super) fn follow(leader: Pid) -> io::Result<(ExitStatus, CallCounts)> {
    let mut counts = CallCounts::default();
    // Threads that are about to close something.
    let mut closing: HashSet<Pid> = HashSet::new();
    let all = WaitOptions::from_bits_retain(libc::__WALL.cast_unsigned());
    loop {
        let (pid, status) = match waitpgid(leader, all) {
            Ok(Some(found)) => found,
            Ok(None) | Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let Some(signal) = status.stopping_signal() else {
            if pid == leader {
                return Ok((ExitStatus::from_raw(status.as_raw()), counts));
            }
            closing.remove(&pid);
            continue;
        };
        let next = match stop_of(status, signal) {
            Stop::Call => {
                note_call(pid, &mut closing, &mut counts);
                (libc::PTRACE_SYSCALL, 0)
            }
            Stop::Event => (libc::PTRACE_SYSCALL, 0),
            Stop::Group => (libc::PTRACE_LISTEN, 0),
            Stop::Signal => (libc::PTRACE_SYSCALL, signal as usize),
        };
        // One that was killed meanwhile is reported as ended next.
        let _ = request(next.0, pid, 0, next.1);
    }
}

enum Stop {
    /// At the beginning or the end of a system call.
    Call,
    /// Something that happened to it, such as a new thread.
    Event,
    /// It is stopped as a job is.
    Group,
    /// A signal is about to reach it.
    Signal,
}

fn stop_of(status: WaitStatus, signal: i32) -> Stop {
    const IN_CALL: i32 = libc::SIGTRAP | 0x80;
    let event = status.as_raw() >> 16;
    let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    match event {
        0 if signal == IN_CALL => Stop::Call,
        0 => Stop::Signal,
        libc::PTRACE_EVENT_STOP if stops.contains(&signal) && signal != libc::SIGSTOP => {
            Stop::Group
        }
        _ => Stop::Event,
    }
}

fn note_call(pid: Pid, closing: &mut HashSet<Pid>, counts: &mut CallCounts) {
    const ENTRY: u8 = libc::PTRACE_SYSCALL_INFO_ENTRY;
    const EXIT: u8 = libc::PTRACE_SYSCALL_INFO_EXIT;
    const CONNECT: u64 = libc::SYS_connect.cast_unsigned();
    const CLOSE: u64 = libc::SYS_close.cast_unsigned();
    let Ok(info) = call_info(pid) else {
        return;
    };
    match info.op {
        ENTRY => {
            counts.connects += u64::from(info.value == CONNECT);
            let descriptor = info.argument as u32;
            if info.value == CLOSE && descriptor.cast_signed() >= 0 {
                closing.insert(pid);
            }
        }
        EXIT if closing.remove(&pid) => {
            let bad = (-i64::from(libc::EBADF)).cast_unsigned();
            counts.closed_twice += u64::from(info.value == bad);
        }
        _ => {}
    }
}

/// The beginning of the kernel's `ptrace_syscall_info`.
struct CallInfo {
    op: u8,
    /// At the entry the number of the call, at the exit what it returns.
    value: u64,
    /// At the entry the call's first argument.
    argument: u64,
}

fn call_info(pid: Pid) -> io::Result<CallInfo> {
    const VALUE_AT: usize = 3;
    let mut words = [0u64; 11];
    let size = size_of_val(&words);
    request(
        libc::PTRACE_GET_SYSCALL_INFO,
        pid,
        size,
        words.as_mut_ptr() as usize,
    )?;
    Ok(CallInfo {
        op: words[0].to_ne_bytes()[0],
        value: words[VALUE_AT],
        argument: words[VALUE_AT + 1],
    })
}

/// One request of ptrace.
fn request(what: libc::c_uint, pid: Pid, address: usize, data: usize) -> io::Result<()> {
    let pid = pid.as_raw_nonzero().get();
    // SAFETY: the requests that are made here write nothing to this process but
    // PTRACE_GET_SYSCALL_INFO, which writes at most `address` bytes to `data`: `call_info` hands
    // over an array of that size, which lives until the call returns.
    let result: c_long = unsafe { libc::ptrace(what, pid, address, data) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
