//! `heisenbed explain`: what a divergence, a cause or a verdict means, what leaves it, and what to
//! do next.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::outcome::{CommandOutcome, Context, Format};
use crate::diagnosis::Cause;
use crate::native::execution::FailureKind;
use crate::native::target::words;
use crate::oracle::{Kind, Verdict};

/// Arguments of `heisenbed explain`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A divergence (unknown-free), a cause (reordering), a verdict (inconclusive), a failure of a
    /// program (data-race) or of a target (overlap); without it, all of them in a line each
    #[arg(value_name = "KIND|CAUSE|VERDICT")]
    pub(crate) name: Option<String>,
}

/// A word that reports use.
struct Explained {
    name: &'static str,
    /// What it is a kind of.
    what: &'static str,
    means: &'static str,
    /// What leaves it, and what to do next.
    next: &'static str,
}

/// Runs the subcommand.
pub(crate) fn run(args: &ExplainArgs, context: &Context) -> CommandOutcome {
    let all = all();
    let Some(name) = &args.name else {
        return CommandOutcome {
            stdout: match context.format {
                Format::Human => list(&all),
                Format::Json => format!("{}\n", json!({ "words": names(&all) })),
            },
            ..CommandOutcome::default()
        };
    };
    let Some(found) = all.iter().find(|word| word.name == name) else {
        let known = names(&all).join(", ");
        let error = format!(
            "{name} is no divergence, cause, verdict or failure; there are: {known} (other words are in \
             docs/glossary.md)"
        );
        return CommandOutcome::bad_input(error, context.format);
    };
    CommandOutcome {
        stdout: match context.format {
            Format::Human => format!(
                "{} ({}): {}.\n\n{}\n",
                found.name, found.what, found.means, found.next
            ),
            Format::Json => format!(
                "{}\n",
                json!({
                    "name": found.name, "what": found.what, "means": found.means,
                    "next": found.next,
                })
            ),
        },
        ..CommandOutcome::default()
    }
}

fn names(all: &[Explained]) -> Vec<&'static str> {
    all.iter().map(|word| word.name).collect()
}

fn list(all: &[Explained]) -> String {
    let mut text = String::new();
    let mut what = "";
    for word in all {
        if word.what != what {
            let plural = match word.what.split_once(' ') {
                Some((noun, rest)) => format!("{noun}s {rest}"),
                None => format!("{}s", word.what),
            };
            let gap = if what.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}{plural}");
            what = word.what;
        }
        let _ = writeln!(text, "  {:18} {}", word.name, word.means);
    }
    text
}

fn all() -> Vec<Explained> {
    let kinds = Kind::ALL.into_iter().map(|kind| Explained {
        name: kind.name(),
        what: "divergence",
        means: kind.explain(),
        next: after_kind(kind),
    });
    let causes = Cause::ALL.into_iter().map(|cause| Explained {
        name: cause.name(),
        what: "cause",
        means: cause.explain(),
        next: after_cause(cause),
    });
    let verdicts = [
        Verdict::Clean,
        Verdict::Proved,
        Verdict::Diverged,
        Verdict::Inconclusive,
    ];
    let verdicts = verdicts.into_iter().map(verdict);
    let of_targets = FailureKind::OF_TARGETS.into_iter().filter_map(|kind| {
        let (means, next) = words::explained(kind)?;
        Some(Explained {
            name: kind.name(),
            what: "failure of a target",
            means,
            next,
        })
    });
    let of_programs = OF_PROGRAMS
        .into_iter()
        .map(|(kind, means, next)| Explained {
            name: kind.name(),
            what: "failure of a program",
            means,
            next,
        });
    kinds
        .chain(causes)
        .chain(verdicts)
        .chain(of_programs)
        .chain(of_targets)
        .collect()
}

/// What `run` finds in any program; a deadlock is among the divergences.
const OF_PROGRAMS: [(FailureKind, &str, &str); 6] = [
    (
        FailureKind::Crash,
        "a signal ended the program",
        "The stack that is shown is where it was. Replay it under a debugger (docs/native.md), or \
         build it by `heisenbed cc` to see the data race that came before.",
    ),
    (
        FailureKind::Abort,
        "the program ended itself: an assertion that does not hold, an uncaught exception",
        "What it printed last is shown. The timeline has the one preemption, or the few, without \
         which it holds: look at what the other thread did in between.",
    ),
    (
        FailureKind::ExitStatus,
        "the program exited with another status than 0",
        "In some schedules only: look at what it read in between the preemptions of the timeline. \
         Where it does so in all, run it without heisenbed first.",
    ),
    (
        FailureKind::Livelock,
        "the program came to no end, though threads go on",
        "A loop waits for what nobody does any more, or goes round what a race has bent: a list that \
         has become a circle. Or threads give way to each other for ever. The timeline ends with \
         what they repeat, as far as that is seen; of a target's totals and check, asked for after \
         the workload, the text says so. What is slow gets more with --timeout, and a small \
         workload of a target needs less: --timeout 300ms.",
    ),
    (
        FailureKind::DataRace,
        "two accesses to the same memory, one of them a write, and nothing orders them",
        "Both stacks are shown. Hold one lock around both, or make the object atomic. Where a \
         library that was not built by `heisenbed cc` orders them, build that, too.",
    ),
    (
        FailureKind::LockMisuse,
        "a lock was taken again, unlocked or destroyed by who must not",
        "The C library may say nothing there, or hang. Lock and unlock in one thread, and destroy \
         what nobody holds.",
    ),
];

fn after_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::UnknownFree | Kind::DuplicateAlloc => {
            "A message came out of order, was lost, or a buffer was released twice: `heisenbed \
             diagnose FILE` says which the record shows. `heisenbed matrix --discipline FILE` says \
             under which protocol it cannot happen."
        }
        Kind::StaleMetadata => {
            "A server that counts references keeps the first entry of a key. The warnings go, the \
             numbers are wrong. Look for the ALLOC that came while the old entry was live."
        }
        Kind::PhantomLive => {
            "The buffer's FREE was lost, or came before its own ALLOC, or ended another entry of the \
             key. It is a leak of the server's picture, not of the program."
        }
        Kind::MissingLive => {
            "Another buffer's FREE ended this one's entry, or its ALLOC was lost. Compare the \
             messages at its address: `heisenbed replay FILE` draws them."
        }
        Kind::Misattributed => {
            "The server's key lacks the memory or the device: DRAM and L1 begin at the same \
             addresses. Use a server that keys by memory (`--semantics typed`), or name it in FREE."
        }
        Kind::LostMessage => {
            "A client that does not wait drops what a full socket has no room for. No lock helps: \
             wait (blocking send), or count what was dropped and send it again."
        }
        Kind::TornFrame => {
            "Two threads wrote one frame in pieces, or a connection was read in another layout. Send \
             each frame in one write, under one lock where it can be cut."
        }
        Kind::DoubleFree => {
            "Two threads found the buffer live before either marked it. A lock after the check does \
             not help: claim it (compare and swap live to dying) before the release."
        }
        Kind::Deadlock => {
            "Two locks are taken in opposite orders, or one is never released. The timeline names \
             the cycle: take them in one order everywhere."
        }
        Kind::DriftedTotal => {
            "Two threads loaded one counter before either stored it, or an add and its subtraction \
             are not of the same bytes. Use one atomic add (`fetch-add`), or one lock around both."
        }
        Kind::Underflow => {
            "More was taken off than there was: a comparison and the subtraction after it are two \
             steps. Subtract in a compare-and-swap loop that stops at 0."
        }
        Kind::SlotConflict => {
            "Two found the slot free before either had written its number. Claim it by compare and \
             swap, from 0 to your own."
        }
        Kind::LostRegion => {
            "Whoever found the region did not know that another was still making it, or already \
             zeroing it. Publish a word that says it is ready, and wait for it."
        }
        Kind::UseAfterRelease => {
            "The entry was looked up, and released before it was used. Hold one lock over both, or \
             take a reference at the look-up."
        }
        Kind::Overrun => {
            "Two threads compared with the quota before either had counted itself. Count and compare \
             in one compare-and-swap loop, or hold one lock over both."
        }
        Kind::LateMessage => {
            "A thread saw the tracker up, and told it when another had torn it down. Hold one lock \
             over the look and the message, shared by those who tell, and alone while it goes."
        }
        Kind::LockOutOfBounds => {
            "The lock table has fewer entries than there are devices (galaxy 32, tg 36). Use a map \
             that grows, filled under its own lock."
        }
    }
}

fn after_cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Reordering => {
            "Between taking (or giving back) an address and the message about it another thread did \
             both. Hold one lock from the allocator's step to the message (`lifecycle-wide`), or \
             stamp messages inside the allocator and let the server order them (`sequenced`). \
             `heisenbed explore` shows the smallest case."
        }
        Cause::Loss => {
            "Look at the client's own count of what it sent and dropped, and at the socket's mode: \
             MSG_DONTWAIT drops when the server is slow. A lock does not help."
        }
        Cause::DoubleRelease => {
            "The status is read, and only later marked: two threads pass. Claim the buffer by \
             compare and swap before the release (`claimed-wide`)."
        }
        Cause::TypeAliasing => {
            "DRAM and L1 are separate address spaces and FREE names neither. Key the server's table \
             by memory, or send it."
        }
        Cause::LateAttach => {
            "Start the server, and the record, before the clients; what was live before is unknown \
             and no fault of the program."
        }
        Cause::PidReuse => {
            "Key clients by something that is not given out again (a pidfd, a connection), and drop \
             what a process held when it ends."
        }
        Cause::LayoutMismatch => {
            "Client and server were built from different revisions. `heisenbed proxy --record` shows \
             each connection's layout."
        }
        Cause::DeadClientSweep => {
            "A server in another pid namespace takes living clients for dead. Let it share the \
             namespace, or sweep by connections."
        }
        Cause::RealLeak => {
            "It is the program's: the call stacks of the debug log or the snapshot name the place \
             that allocates and never releases."
        }
        Cause::MeshRelease => {
            "The backing buffer gives the address back, and only then the views send their FREEs. No \
             lock around a view's message covers that: release the views first, or hold the lock \
             over the whole mesh buffer."
        }
    }
}

fn verdict(verdict: Verdict) -> Explained {
    let (name, means, next) = match verdict {
        Verdict::Clean => (
            "clean",
            "nothing diverged in what was run",
            "It says nothing of other schedules: `heisenbed explore` searches them all for a small \
             workload. Exit code 0.",
        ),
        Verdict::Proved => (
            "proved",
            "no schedule of what was searched diverges",
            "It holds for the workload that the report names, with so many threads and operations. \
             Exit code 0.",
        ),
        Verdict::Diverged => (
            "diverged",
            "the server's picture differs from what the allocator did",
            "The report names the first divergence; `heisenbed shrink` makes it small. Exit code 1.",
        ),
        Verdict::Inconclusive => (
            "inconclusive",
            "undecided: it was cut short, or there was nothing to check, or no truth to compare with",
            "The report says which, and what would decide it. Exit code 3; or 0, where all was looked \
             at and there is only no truth to compare with.",
        ),
    };
    Explained {
        name,
        what: "verdict",
        means,
        next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_explained_once() {
        let mut words = names(&all());
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
        let failures = FailureKind::OF_TARGETS.len() + OF_PROGRAMS.len();
        assert_eq!(count, Kind::ALL.len() + failures + Cause::ALL.len() + 4);
    }
}
