//! A target's process, which runs one schedule after another: the target is closed and opened, and
//! neither a process nor a thread is made.
//!
//! Nothing is believed of that without a proof: the first schedule is run twice, and again from
//! time to time, and must come out the same; and whatever is not as usual in a later one is run
//! again in a process of its own ([`Launcher`](super::Launcher)). A target that leaks from one
//! schedule into the next is named, and has a process for each from then on.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::plan::RunPlan;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Anew {
    /// Whether it may be tried.
    pub(super) may: bool,
    /// Where a process says that a schedule is over.
    pub(super) turns: Option<UnixStream>,
    /// One that waits for its next.
    pub(super) live: Option<LiveProcess>,
    /// The first schedule, and what was done in it.
    pub(super) first: Option<(RunPlan, Vec<SeenAction>)>,
    /// Whether its threads share one thread of the system: see `runtime/c/swift.c`.
    pub(super) swift: bool,
    /// Why it is not tried any more.
    pub(super) why_not: Option<String>,
}

/// Of an action: its kind, its thread, its object, and what came of it.
pub(super) type SeenAction = (u16, u32, Option<u32>, u32);

/// After so many schedules of a process its first is run once more.
const BETWEEN_PROOFS: u64 = 500;

/// A process between two schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LiveProcess {
    pub(super) pid: i32,
    /// Processor time so far.
    pub(super) cpu_us: u64,
    /// How many schedules it has run.
    pub(super) schedules: u64,
}

/// What a launcher waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// A schedule is over, and its process goes on; its processor time.
    Turn(u64),
    /// The fork server has a reply.
    Reply,
}

impl Anew {
    /// With the end that the program gets.
    pub(super) fn new(may: bool) -> io::Result<(Anew, Option<OwnedFd>)> {
        let (turns, theirs) = match may {
            true => Some(UnixStream::pair()?).unzip(),
            false => (None, None),
        };
        let anew = Anew {
            may,
            swift: may,
            turns,
            live: None,
            first: None,
            why_not: None,
        };
        Ok((anew, theirs.map(OwnedFd::from)))
    }

    /// Whether a plan may be run in a process that runs others.
    pub(super) fn suits(&self, plan: &RunPlan) -> bool {
        self.may && plan.strategy.is_controlled() && !plan.every_action
    }

    /// Whether nothing shows yet that a process can be used again.
    pub(super) fn wants_proof(&self) -> bool {
        self.may && self.first.is_none() && self.live.is_some()
    }

    /// Whether the first schedule is to be run once more: what is left behind may show late.
    pub(super) fn is_due(&self) -> bool {
        let schedules = self.live.map_or(0, |live| live.schedules);
        self.may && schedules % BETWEEN_PROOFS == BETWEEN_PROOFS - 1
    }

    /// No more of this.
    pub(super) fn give_up(&mut self, why: &str) {
        self.may = false;
        self.why_not = Some(format!(
            "a schedule leaves something behind that the next one sees, though the target was \
             closed and opened between ({why}): each has a process of its own now, which is slower"
        ));
    }

    /// What a process said that was killed is nobody else's turn.
    pub(super) fn drop_turns(&mut self) {
        let Some(turns) = &mut self.turns else {
            return;
        };
        let mut used = [0; 64];
        if turns.set_nonblocking(true).is_ok() {
            while turns.read(&mut used).is_ok_and(|got| got > 0) {}
            let _ = turns.set_nonblocking(false);
        }
    }

    /// Tells the process what to do.
    pub(super) fn ask(&mut self, what: u8) -> io::Result<()> {
        match &mut self.turns {
            Some(turns) => turns.write_all(&[what]),
            None => Ok(()),
        }
    }

    /// What is waited for, beside `control`: where a process says that a schedule is over.
    pub(super) fn awaited<'a>(&'a self, control: &'a UnixStream) -> Vec<&'a UnixStream> {
        self.turns.iter().chain([control]).collect()
    }

    /// What has come by the one with this number.
    pub(super) fn take(&mut self, first: usize) -> io::Result<Awaited> {
        match &mut self.turns {
            Some(turns) if first == 0 => {
                let mut used = [0; 8];
                turns.read_exact(&mut used)?;
                Ok(Awaited::Turn(u64::from_le_bytes(used)))
            }
            _ => Ok(Awaited::Reply),
        }
    }
}

/// The first of them that can be read from.
pub(super) fn ready<F: AsFd>(sockets: &[F], limit: Duration) -> io::Result<Option<usize>> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut polled: Vec<_> = sockets
            .iter()
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        match poll(&mut polled, Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(polled.iter().position(|one| !one.revents().is_empty())),
        }
    }
}

/// `/proc/PID/maps` with the lines of the file `own` first: it is what the user knows.
pub(super) fn own_first(maps: &str, own: &str) -> String {
    let mut lines: Vec<&str> = maps.lines().collect();
    let is_own = |line: &str| line.ends_with(own);
    let Some(begin) = lines.iter().position(|line| is_own(line)) else {
        return maps.to_owned();
    };
    let last = lines.iter().rposition(|line| is_own(line)).unwrap_or(begin);
    // Zeroed memory that follows belongs to it.
    let follows = lines
        .get(last + 1)
        .is_some_and(|line| line.split_ascii_whitespace().count() == 5);
    let end = last + 1 + usize::from(follows);
    lines[..end].rotate_right(end - begin);
    let mut text = lines.join("\n");
    text.push('\n');
    text
}
