//! One execution of a program: what was done, and how it ended.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use heisenbed_runtime::protocol::{KINDS, outcome};

use super::page::PageResult;
use super::races::{AccusedRace, RacePlan, SeenRaces};
use super::steps::Steps;
use crate::oracle::Kind;
use crate::oracle::traffic::TrafficReport;

/// One execution of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Execution {
    /// Its number: see [`RunPlan::index`](super::RunPlan).
    pub(crate) index: u64,
    /// Who took the steps.
    pub(crate) steps: Steps,
    /// The runs of steps that began by a preemption: the thread before could have gone on.
    pub(crate) preempted: Vec<usize>,
    /// How many steps there were.
    pub(crate) step_count: u64,
    /// How many each thread took.
    pub(crate) thread_steps: Vec<u64>,
    /// How many threads there were, the main one included.
    pub(crate) threads: u32,
    /// What went wrong, if anything.
    pub(crate) failure: Option<Failure>,
    /// The data race that is what went wrong.
    pub(crate) race: Option<AccusedRace>,
    /// It did not follow the steps that it was to take: the thread that could not.
    pub(crate) strayed: Option<u32>,
    /// How the process ended.
    pub(crate) status: ExitKind,
    /// Calls that were left to the system.
    pub(crate) outside: u32,
    /// Threads that the system would not make.
    pub(crate) refused: u32,
    /// Processes that it started: they are not controlled.
    pub(crate) children: u32,
    /// Processes that it left behind, and that were ended.
    pub(crate) swept: u32,
    /// Whether it was ended because its time was up.
    pub(crate) timed_out: bool,
    /// Loads and stores that were seen.
    pub(crate) accesses: u64,
    /// The end of what it printed.
    pub(crate) stdout: String,
    /// The same of stderr.
    pub(crate) stderr: String,
    /// Processor time.
    pub(crate) cpu_us: u64,
    /// What its messages to a tracking server come to, where that is looked at.
    pub(crate) tracked: Option<TrafficReport>,
    pub(super) page: PageResult,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitKind {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Of which kind.
    pub(crate) kind: FailureKind,
    /// In one line.
    pub(crate) summary: String,
    /// The thread in which it showed.
    pub(crate) thread: Option<u32>,
    /// Who waited for what when it ended.
    pub(crate) waits: Vec<WaitingThread>,
    /// The stack of the thread in which it showed: the innermost first.
    pub(crate) stack: Vec<u64>,
}

/// Kinds of failures of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FailureKind {
    /// A signal ended it.
    Crash,
    /// It ended itself: an assertion, an uncaught exception.
    Abort,
    /// It exited with another status than 0.
    ExitStatus,
    /// It came to no end.
    Livelock,
    /// Two accesses to the same memory, one of them a write, that nothing orders.
    DataRace,
    /// A lock was unlocked or destroyed by who must not.
    LockMisuse,
    /// Of a target: two live buffers share memory.
    Overlap,
    /// Of a target: an address is no multiple of what it must be.
    Misaligned,
    /// Of a target: an address is not in its memory.
    OutOfBounds,
    /// Of a target: when everything was released, memory is not whole.
    Fragmented,
    /// Of a target: an allocation found no room where there is room.
    Exhausted,
    /// Of a target: an address is not where its policy says.
    Misplaced,
    /// Of a target: it found something wrong with itself.
    Invariant,
    /// Of a target: it believes something else to be live than what it handed out.
    WrongTotals,
    /// Of a target: it said that it failed.
    TargetFailed,
    /// Nobody could go on, or what the oracle found in its tracking messages.
    Diverged(Kind),
}

impl Failure {
    /// The process is gone, and nobody said that the operations were done: `_exit(0)`, or a system
    /// call.
    pub(super) fn target_ended() -> Failure {
        Failure {
            kind: FailureKind::TargetFailed,
            summary: "it ended the process before its operations were done".to_owned(),
            thread: None,
            waits: Vec::new(),
            stack: Vec::new(),
        }
    }
}

impl Execution {
    /// How long it takes; none of one that was ended itself.
    pub(crate) fn taken(&self) -> Option<Duration> {
        (!self.timed_out).then(|| Duration::from_micros(self.cpu_us))
    }

    /// Why it says nothing, if it does not.
    pub(crate) fn unusable(&self) -> Option<String> {
        if let Some(why) = &self.page.unusable {
            return Some(why.clone());
        }
        if self.page.outcome == outcome::TOO_MUCH {
            return Some(self.page.text.clone());
        }
        (!self.page.started).then(|| "it ended before `main`".to_owned())
    }

    /// The same, with its first data race for a failure, if it has no other.
    pub(super) fn failed_by_race(mut self) -> Execution {
        if self.failure.is_none() {
            self.race = self.seen_races().accused(&RacePlan::FAIL);
            self.failure = self.race.as_ref().map(AccusedRace::failure);
        }
        self
    }

    /// Of which kind its failure is.
    pub(super) fn kind(&self) -> Option<FailureKind> {
        self.failure.as_ref().map(|failure| failure.kind)
    }

    /// The data races that showed.
    pub(crate) fn seen_races(&self) -> &SeenRaces {
        &self.page.races
    }
}

impl FailureKind {
    /// Nobody could go on.
    pub(crate) const DEADLOCK: FailureKind = FailureKind::Diverged(Kind::Deadlock);

    /// Those that no tracking message shows.
    const OF_THE_PROGRAM: [FailureKind; 6] = [
        FailureKind::Crash,
        FailureKind::Abort,
        FailureKind::ExitStatus,
        FailureKind::Livelock,
        FailureKind::DataRace,
        FailureKind::LockMisuse,
    ];

    /// Those that the driver of a target finds.
    pub(crate) const OF_TARGETS: [FailureKind; 9] = [
        FailureKind::Overlap,
        FailureKind::Misaligned,
        FailureKind::OutOfBounds,
        FailureKind::Fragmented,
        FailureKind::Exhausted,
        FailureKind::Misplaced,
        FailureKind::Invariant,
        FailureKind::WrongTotals,
        FailureKind::TargetFailed,
    ];

    /// What the driver says: its kind, and what it is.
    pub(crate) fn of_driver(text: &str) -> (FailureKind, &str) {
        let named = text.split_once(": ").and_then(|(name, rest)| {
            let kind = FailureKind::OF_TARGETS
                .into_iter()
                .find(|kind| kind.name() == name)?;
            Some((kind, rest))
        });
        named.unwrap_or((FailureKind::TargetFailed, text))
    }

    /// As it is written everywhere.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FailureKind::Crash => "crash",
            FailureKind::Abort => "abort",
            FailureKind::ExitStatus => "exit-status",
            FailureKind::Livelock => "livelock",
            FailureKind::DataRace => "data-race",
            FailureKind::LockMisuse => "lock-misuse",
            FailureKind::Overlap => "overlap",
            FailureKind::Misaligned => "misaligned",
            FailureKind::OutOfBounds => "out-of-bounds",
            FailureKind::Fragmented => "fragmented",
            FailureKind::Exhausted => "exhausted",
            FailureKind::Misplaced => "misplaced",
            FailureKind::Invariant => "invariant",
            FailureKind::WrongTotals => "wrong-totals",
            FailureKind::TargetFailed => "target-failed",
            FailureKind::Diverged(kind) => kind.name(),
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FailureKind {
    type Err = String;

    fn from_str(text: &str) -> Result<FailureKind, String> {
        let found = Kind::ALL.map(FailureKind::Diverged);
        let own = FailureKind::OF_THE_PROGRAM.into_iter();
        let mut all = own.chain(FailureKind::OF_TARGETS).chain(found);
        all.find(|kind| kind.name() == text)
            .ok_or_else(|| format!("{text:?} is no kind of failure"))
    }
}

serde_as_text!(FailureKind);

/// A thread that waits, or is about to do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WaitingThread {
    pub(super) kind: u16,
    /// Which thread.
    pub(crate) thread: u32,
    /// For which object.
    pub(crate) object: Option<u32>,
    /// Where that is.
    pub(crate) address: u64,
    /// The call.
    pub(crate) pc: u64,
    /// Who holds it.
    pub(crate) holder: Option<u32>,
    /// Innermost first; empty unless stacks were asked for.
    pub(crate) stack: Vec<u64>,
}

impl WaitingThread {
    /// What it waits for or is about to do: see `docs/native.md`.
    pub(crate) fn action(&self) -> &'static str {
        kind_name(self.kind)
    }

    /// One that stands nowhere.
    #[cfg(test)]
    pub(super) fn in_test(
        kind: u16,
        thread: u32,
        address: u64,
        holder: Option<u32>,
    ) -> WaitingThread {
        WaitingThread {
            kind,
            thread,
            object: None,
            address,
            pc: 0,
            holder,
            stack: Vec::new(),
        }
    }
}

/// A visible action that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VisibleAction {
    pub(super) kind: u16,
    /// Who took it.
    pub(crate) thread: u32,
    /// The thread that ran before could have gone on, and this is the first that was done instead.
    pub(crate) after_preemption: bool,
    /// On which object.
    pub(crate) object: Option<u32>,
    /// Where an operation begins: how many steps its thread has taken, this one included.
    pub(crate) own_steps: u32,
    /// The call, or the instruction.
    pub(crate) pc: u64,
    /// Where the object is, or the memory.
    pub(crate) address: u64,
    /// What came of it.
    pub(crate) value: u32,
    /// Innermost first; empty unless stacks were asked for.
    pub(crate) stack: Vec<u64>,
}

impl VisibleAction {
    /// Of an access, or of what may have to wait: whether others' accesses to the same may come
    /// before or after it with another result.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.action(), "read" | "atomic-load" | "read-lock")
    }

    /// What was done: see `docs/native.md`.
    pub(crate) fn action(&self) -> &'static str {
        kind_name(self.kind)
    }
}

pub(super) fn kind_name(kind: u16) -> &'static str {
    KINDS.get(usize::from(kind)).copied().unwrap_or("unknown")
}

/// What the oracle found in a program's messages, as its failure.
pub(super) fn divergence_of(found: &TrafficReport) -> Option<Failure> {
    let report = &found.report;
    // What is seen at rest is seen all at once: the order of addresses is nobody's business.
    let kind = match (found.first_event, report.first) {
        (Some(_), Some(first)) => first.kind,
        _ => *report.divergences.keys().next()?,
    };
    let first = report.first.filter(|first| first.kind == kind);
    let mut summary = kind.explain().to_owned();
    if let Some(first) = first {
        summary.push_str(&format!(": device {}", first.device));
        if let Some(memory) = first.memory {
            summary.push_str(&format!(", {}", memory.name()));
        }
        if let Some(address) = first.address {
            summary.push_str(&format!(", {address:#x}"));
        }
    }
    Some(Failure {
        kind: FailureKind::Diverged(kind),
        summary,
        thread: first.and_then(|first| first.thread).map(u32::from),
        waits: Vec::new(),
        stack: Vec::new(),
    })
}

/// How an execution ended, from what the runtime and the system say of it.
pub(super) fn failure_of(
    page: &PageResult,
    status: ExitKind,
    timed_out: Option<Duration>,
    stderr: &str,
) -> Option<Failure> {
    let failure = |kind, summary: String| {
        Some(Failure {
            kind,
            summary,
            thread: page.culprit,
            waits: page.waits.clone(),
            stack: page.crash.clone(),
        })
    };
    if page.unusable.is_some() {
        return None;
    }
    if let Some(limit) = timed_out {
        let limit = humantime::format_duration(limit);
        return if page.waits_outside {
            failure(
                FailureKind::DEADLOCK,
                format!("everybody waits, and nothing came from outside for {limit}"),
            )
        } else {
            failure(
                FailureKind::Livelock,
                match page.text.as_str() {
                    "" => format!("no end within {limit}, after {} steps", page.steps),
                    call => format!(
                        "no end within {limit}, after {} steps, in the target's {call}",
                        page.steps
                    ),
                },
            )
        };
    }
    match page.outcome {
        outcome::DEADLOCK => failure(FailureKind::DEADLOCK, deadlock_summary(&page.waits)),
        outcome::LIVELOCK => failure(
            FailureKind::Livelock,
            match page.text.as_str() {
                "" => format!("no end within {} steps", page.steps),
                why => why.to_owned(),
            },
        ),
        outcome::MISUSE => failure(FailureKind::LockMisuse, page.text.clone()),
        outcome::ALLOCATOR => {
            let (kind, summary) = FailureKind::of_driver(&page.text);
            failure(kind, summary.to_owned())
        }
        outcome::STRAYED | outcome::TOO_MUCH | outcome::NOT_SWIFT | outcome::ASLEEP => None,
        _ => match status {
            ExitKind::Killed(signal) if signal == rustix::process::Signal::ABORT.as_raw() => {
                failure(FailureKind::Abort, abort_summary(stderr))
            }
            ExitKind::Killed(signal) => failure(FailureKind::Crash, crash_summary(page, signal)),
            ExitKind::Exited(0) => None,
            ExitKind::Exited(status) => failure(
                FailureKind::ExitStatus,
                format!("exited with status {status}"),
            ),
        },
    }
}

fn deadlock_summary(waits: &[WaitingThread]) -> String {
    match waits {
        [only] if only.holder == Some(only.thread) => {
            format!(
                "thread {} waits for a lock that it holds itself",
                only.thread
            )
        }
        [only] => format!(
            "thread {} waits, and nobody is left to go on ({})",
            only.thread,
            only.action()
        ),
        _ => format!("{} threads wait, and nobody can go on", waits.len()),
    }
}

fn crash_summary(page: &PageResult, signal: i32) -> String {
    let name = signal_hook::low_level::signal_name(signal);
    let name = name.map_or_else(|| format!("signal {signal}"), str::to_owned);
    let what = match signal {
        _ if page.signal != signal as u32 => String::new(),
        11 | 7 => format!(" at address {:#x}", page.fault_address),
        _ => String::new(),
    };
    format!("{name}{what}")
}

/// What a program says before it ends itself is the last that it says.
fn abort_summary(stderr: &str) -> String {
    let line = stderr.lines().rfind(|line| !line.trim().is_empty());
    line.map_or_else(
        || "SIGABRT, without a word on stderr".to_owned(),
        |line| line.trim().chars().take(200).collect(),
    )
}
