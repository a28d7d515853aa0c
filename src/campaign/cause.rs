//! Causes: what tells one divergence from another, so that the same race found a thousand times is
//! reported once.
//!
//! A cause is the kind of divergence that shows first, the discipline in the form in which it was
//! run, and the preemption that decides: between which two micro-steps of one thread another goes
//! first. Where it is, how large the buffers are and how often threads are switched before makes no
//! other cause of it. It is read off the smallest run; what a finding *looks* like is the same read
//! off the run in which it was found, and says which findings need not be minimised again.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::corpus::{Expected, Reproducer};
use crate::engine::controlled::observe::ObservedRun;
use crate::engine::controlled::schedule::Schedule;
use crate::lifecycle::BufferPath;
use crate::numbers::plural;
use crate::oracle::{Kind, Verdict};
use crate::scenario::Scenario;
use crate::scenario::objects::Objects;
use crate::scenario::op::Op;
use crate::trace::event::Event;
use crate::trace::file::SERVER_STREAM;
use crate::trace::merge::MergedEvent;
use crate::trace::shared_event::{CellAccess, LedgerAction, SharedEvent};
use crate::tracking::sent::SentKind;

use super::fuzz::Crash;
use super::record::{CauseRecord, Input};

/// The cause of `kind` in `scenario`, where `deciding` is the preemption that decides; without a
/// reproducer yet.
pub(crate) fn cause(
    scenario: &Scenario,
    kind: Kind,
    deciding: String,
    size: String,
) -> CauseRecord {
    let discipline = &scenario.discipline;
    let mut text = format!("{kind}\n{deciding}\n{}\n", discipline.name);
    let takes_mesh = scenario.has_mesh();
    let is_taken = |path| path == BufferPath::Plain || takes_mesh;
    for (_, _, program) in discipline.programs().filter(|(path, ..)| is_taken(*path)) {
        for step in program.steps() {
            text.push_str(&format!("{step}; "));
        }
        text.push('\n');
    }
    CauseRecord {
        id: format!("{:016x}", xxh3_64(text.as_bytes())),
        kind: kind.to_string(),
        discipline: format!(
            "{} {} {}",
            discipline.name, scenario.order, scenario.publish
        ),
        deciding,
        size,
        known: None,
        reproducer: None,
        trace: None,
        input: None,
    }
}

/// The cause of a fuzz target's failure: the target, and where it fails.
pub(crate) fn of_crash(target: &str, crash: &Crash) -> CauseRecord {
    let text = format!("fuzz\n{target}\n{}\n", crash.looks());
    let says = match crash.says.as_str() {
        "" => String::new(),
        says => format!(": {says}"),
    };
    CauseRecord {
        id: format!("{:016x}", xxh3_64(text.as_bytes())),
        kind: crash.kind.to_owned(),
        discipline: format!("fuzz {target}"),
        deciding: format!("{}{says}", crash.at),
        size: plural(crash.input.len() as u64, "byte"),
        known: None,
        reproducer: None,
        trace: None,
        input: Some(Input(crash.input.clone())),
    }
}

/// The kind that shows first in a run, and the preemption that decides, in words.
pub(crate) fn signature(scenario: &Scenario, observed: &ObservedRun) -> Option<(Kind, String)> {
    let report = &observed.report;
    let first = report.first.map(|first| first.kind);
    let kind = first.or_else(|| report.divergences.keys().next().copied())?;
    Some((kind, deciding(scenario, observed)))
}

/// A reproducer of a run as it is, for what could not be minimised.
pub(crate) fn unminimised(
    scenario: &Scenario,
    ops: &[Box<[Op]>],
    observed: &ObservedRun,
) -> Reproducer {
    let mut scripted = scenario.clone();
    scripted.workload.script = Some(
        ops.iter()
            .map(|ops| ops.iter().map(Op::to_string).collect())
            .collect(),
    );
    let expect = Expected {
        verdict: Verdict::Diverged,
        divergences: observed.report.divergences.clone(),
    };
    let schedule = Schedule::of(&observed.picks, scenario.threads);
    Reproducer::new(&scripted, Some(schedule), expect)
}

/// Which causes the reproducers of a corpus have: their ids, and where each is.
pub(crate) fn known(corpus: &[(String, String)]) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    for (path, text) in corpus {
        let rerun = Reproducer::from_toml(text, path).and_then(|reproducer| reproducer.run());
        // One that cannot be run is reported by its own unit.
        let Ok(rerun) = rerun else { continue };
        let scenario = &rerun.setup.scenario;
        let signature = rerun
            .observed
            .and_then(|observed| signature(scenario, &observed));
        if let Some((kind, deciding)) = signature {
            let id = cause(scenario, kind, deciding, String::new()).id;
            known.entry(id).or_insert_with(|| path.clone());
        }
    }
    known
}

fn deciding(scenario: &Scenario, observed: &ObservedRun) -> String {
    let Some(at) = observed.deciding() else {
        return "no preemption".to_owned();
    };
    let events = &observed.events;
    let objects = scenario.objects();
    let Some(before) = at.checked_sub(1).and_then(|last| events.get(last)) else {
        return "no preemption".to_owned();
    };
    let preempted = before.stream;
    let who = match preempted {
        SERVER_STREAM => "the server".to_owned(),
        thread => format!("{} is preempted", op_at(events, at - 1, thread)),
    };
    let next = events[at..].iter().find(|event| event.stream == preempted);
    let next = next.map_or("its end".to_owned(), |event| word(&objects, &event.event));
    let first = events.get(at).map_or(SERVER_STREAM, |event| event.stream);
    let other = match first {
        SERVER_STREAM => "the server".to_owned(),
        thread => op_at(events, at, thread).to_owned(),
    };
    format!(
        "{who} between {} and {next}, {other} goes first",
        word(&objects, &before.event)
    )
}

/// What `thread` is about at event `at`.
fn op_at(events: &[MergedEvent], at: usize, thread: u16) -> &'static str {
    let open = events[..=at].iter().rev().find_map(|merged| {
        (merged.stream == thread)
            .then_some(())
            .and(match merged.event {
                Event::Open { op, .. } => Some(op),
                _ => None,
            })
    });
    match open {
        Some(Op::Allocate { .. }) => "an allocate",
        Some(Op::Release { .. }) => "a release",
        Some(Op::Close { .. }) => "the closing of a device",
        Some(Op::Throw) => "an exception",
        Some(Op::Run { .. }) => "a program of its own",
        Some(Op::Kill { .. }) => "the end of a process",
        Some(Op::AwaitOthers) | None => "another thread",
    }
}

fn shared_word(event: &SharedEvent) -> &'static str {
    match event {
        SharedEvent::Cell { access, .. } => match access {
            CellAccess::Load => "`load`",
            CellAccess::Store(_) => "`store`",
            CellAccess::Add(_) => "`fetch-add`",
            CellAccess::Sub(_) => "`fetch-sub`",
            CellAccess::Swap { .. } => "`cas`",
            CellAccess::Join => "`join`",
            CellAccess::Leave => "`leave`",
            CellAccess::Tell => "`tell`",
        },
        SharedEvent::Ledger { action, .. } => match action {
            LedgerAction::Find => "`find`",
            LedgerAction::Insert => "`insert`",
            LedgerAction::Erase => "`erase`",
        },
        SharedEvent::Use { .. } => "`use`",
        SharedEvent::LockShared { .. } => "`lock-shared`",
        SharedEvent::UnlockShared { .. } => "`unlock-shared`",
        SharedEvent::TryFailed { .. } => "`try-lock`",
        SharedEvent::Wait { .. } | SharedEvent::BlockedOnNotify { .. } => "`wait`",
        SharedEvent::Notify { .. } => "`notify`",
        SharedEvent::Kill { .. } | SharedEvent::Reclaim { .. } => "the end of a process",
        SharedEvent::BlockedOnCell { .. } => "`await`",
        SharedEvent::OutOfRounds => "`retry`",
    }
}

/// A micro-step as disciplines write it, without what differs from run to run.
fn word(objects: &Objects, event: &Event) -> String {
    let lock = |lock| {
        let name = objects.lock_name(lock);
        name.split(" of device")
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let word = match event {
        Event::Open { .. } => "its beginning",
        Event::Part { .. } => "the next part",
        Event::CloseBuffer { .. } => "the next buffer",
        Event::Vacate { .. } => "the end of a release",
        Event::Lock { lock: taken, .. } => return format!("`lock {}`", lock(*taken)),
        Event::Unlock { lock: left } => return format!("`unlock {}`", lock(*left)),
        Event::LockOutOfBounds { .. } => "a lock out of bounds",
        Event::Alloc { .. } | Event::AllocFailed { .. } => "`alloc`",
        Event::Free { .. } => "`free`",
        Event::Stamp { .. } => "`stamp`",
        Event::Check { .. } => "`check-live`",
        Event::Claim { .. } => "`claim`",
        Event::MarkLive { .. } => "`mark-live`",
        Event::MarkDead { .. } => "`mark-dead`",
        Event::Publish { .. } => "`publish`",
        Event::ConnRead { .. } | Event::Connect { .. } | Event::ConnStore { .. } => {
            "the connecting"
        }
        Event::Send { kind, chunk, .. } => {
            let kind = match kind {
                SentKind::Alloc => "ALLOC",
                SentKind::Free => "FREE",
                SentKind::CbAlloc => "CB_ALLOC",
                SentKind::CbFree => "CB_FREE",
            };
            return match chunk {
                0 => format!("`send {kind}`"),
                _ => format!("the rest of `send {kind}`"),
            };
        }
        Event::DebugLog => "`debug-log`",
        Event::Shared(event) => shared_word(event),
        Event::BlockedOnLock { lock: wanted } => {
            return format!("waiting for `lock {}`", lock(*wanted));
        }
        Event::BlockedOnOp { .. } => "waiting for another thread",
        Event::BlockedOnSend { .. } => "waiting for the server",
        Event::Stopped | Event::Finish => "its end",
        Event::Accept { .. } => "accepting",
        Event::Receive { .. } => "taking a message",
    };
    word.to_owned()
}
