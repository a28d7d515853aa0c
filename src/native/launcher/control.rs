//! The control socket: what the fork server is given, and what it replies.

use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use heisenbed_runtime::protocol as wire;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::watched::{Stillness, is_at_work};
use super::{LaunchError, Launcher, system};
use crate::native::execution::ExitKind;

/// `PLAN_DONE` of `runtime/driver/driver.h`.
pub(super) const DRIVER_DONE: i32 = 85;

/// How long a reply, or the loading of the program, is waited for.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long what was written already is waited for.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// So often in a row nobody is to be at work.
const MOST_IDLE: u32 = 4;

/// So often is waited for who is at work.
const MOST_PATIENCE: u32 = 20;

pub(super) struct Reply {
    pub(super) kind: u32,
    pub(super) pid: i32,
    pub(super) status: i32,
    pub(super) swept: u32,
    pub(super) cpu_us: u64,
}

impl Reply {
    /// Of a process that goes on.
    pub(super) fn well(pid: i32) -> Reply {
        Reply {
            kind: wire::reply::ENDED,
            pid,
            // As the driver ends.
            status: DRIVER_DONE << 8,
            swept: 0,
            cpu_us: 0,
        }
    }

    fn parse(bytes: &[u8; wire::REPLY_BYTES]) -> Reply {
        let word = |at: usize| {
            let word = bytes[at..].first_chunk().copied();
            u32::from_le_bytes(word.unwrap_or_default())
        };
        Reply {
            kind: word(0),
            pid: word(4) as i32,
            status: word(8) as i32,
            swept: word(12),
            cpu_us: u64::from(word(16)) | u64::from(word(20)) << 32,
        }
    }
}

impl Launcher {
    /// The next reply; of the end of a schedule, where its process is named.
    pub(super) fn expect_reply(&mut self, schedule: Option<i32>) -> Result<Reply, LaunchError> {
        match self.patient_reply(schedule) {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) if Stillness::of(self.pid) == Stillness::Stopped => {
                Err(LaunchError::ServerGone { how: "was stopped" })
            }
            Ok(None) => Err(LaunchError::ServerSilent),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(LaunchError::ServerGone { how: "ended" })
            }
            Err(error) => Err(system("the fork server")(error)),
        }
    }

    /// The next reply; none if it does not come, though all who could give it had the processor.
    pub(super) fn patient_reply(&mut self, schedule: Option<i32>) -> io::Result<Option<Reply>> {
        let server = self.pid;
        let look = || match Stillness::of(server) {
            Stillness::Stopped => Look::Stopped,
            _ if is_at_work(server, schedule) => Look::AtWork,
            _ => Look::Idle,
        };
        patiently(|limit| self.reply(limit), look)
    }

    /// The next reply; none if it does not come in time.
    fn reply(&mut self, limit: Duration) -> io::Result<Option<Reply>> {
        if let Some(tracker) = &mut self.tracker
            && tracker
                .serve_until(&[&self.control], self.page.memory(), limit)?
                .is_none()
        {
            return Ok(None);
        }
        self.control.set_read_timeout(Some(limit))?;
        let mut bytes = [0; wire::REPLY_BYTES];
        let mut got = 0;
        while got < bytes.len() {
            match self.control.read(&mut bytes[got..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => got += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Reply::parse(&bytes)))
    }
}

/// What those do who could write a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    AtWork,
    Idle,
    /// A signal stopped them.
    Stopped,
}

/// Reads until there is something, or those who could write it have been at no work for long.
///
/// Who waits for the processor is not stuck: a loaded machine is no reason to give up. Nor is who
/// was killed dead before it had the processor once more. The kernel's own workers may be held up,
/// too, for more than a minute (Linux 6.18 says so in its log, `workqueue lockup`), so one look is
/// not enough. Whoever was found at no work may have written right before: so it is read once more
/// after the last.
fn patiently<T>(
    mut read: impl FnMut(Duration) -> io::Result<Option<T>>,
    mut look: impl FnMut() -> Look,
) -> io::Result<Option<T>> {
    let mut idle = 0;
    for _ in 0..MOST_PATIENCE {
        if let Some(read) = read(REPLY_TIMEOUT)? {
            return Ok(Some(read));
        }
        idle = match look() {
            Look::AtWork => 0,
            Look::Idle => idle + 1,
            Look::Stopped => MOST_IDLE,
        };
        if idle >= MOST_IDLE {
            break;
        }
    }
    read(LAST_LOOK)
}

/// As `waitpid` encodes it.
pub(super) fn exit_kind(status: i32) -> ExitKind {
    let status = ExitStatus::from_raw(status);
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitKind::Exited(code),
        (None, signal) => ExitKind::Killed(signal.unwrap_or(0)),
    }
}

pub(super) fn send_all(control: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(6))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    with.push(SendAncillaryMessage::ScmRights(descriptors));
    sendmsg(
        control,
        &[IoSlice::new(b"f")],
        &mut with,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_is_written_between_a_read_and_a_look_is_read() {
        let written = Cell::new(false);
        let read = |_| Ok(written.get().then_some(7));
        let ends_its_work = || {
            written.set(true);
            Look::Stopped
        };
        assert_eq!(patiently(read, ends_its_work).expect("it reads"), Some(7));
    }

    #[test]
    fn who_is_at_work_is_waited_for_and_who_is_not_is_given_up() {
        let looks = Cell::new(0);
        let read = |_| Ok((looks.get() == 3).then_some(7));
        let works = || {
            looks.set(looks.get() + 1);
            Look::AtWork
        };
        assert_eq!(patiently(read, works).expect("it reads"), Some(7));
        let reads = Cell::new(0);
        let nothing = |_| {
            reads.set(reads.get() + 1);
            Ok(None::<u8>)
        };
        assert_eq!(patiently(nothing, || Look::Idle).expect("it reads"), None);
        assert_eq!(reads.get(), MOST_IDLE + 1);
    }
}
