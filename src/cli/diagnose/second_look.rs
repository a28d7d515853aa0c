//! What `check` finds of the same record: where a diagnosis finds nothing wrong and the check does,
//! that nothing was found would be a wrong answer.
//!
//! No cause is told from it. It keeps a diagnosis from saying that all is well, and, of a run whose
//! truth was recorded, from a cause that the truth contradicts.

use std::collections::BTreeMap;
use std::io::BufRead;

use super::super::check;
use crate::diagnosis::KnownTruth;
use crate::import::accounting::Accounting;
use crate::import::server_log::ServerLogReader;
use crate::oracle::allocation_check::AllocationReport;
use crate::oracle::check::check_trace;
use crate::oracle::message_check::MessageCheck;
use crate::oracle::{Kind, Report, Strength, Verdict};
use crate::trace::event::Event;
use crate::trace::file::{Header, ImportFormat, TraceFile};
use crate::trace::merge::Merge;
use crate::trace::text::TextReader;
use crate::tracking::sent::SentKind;

/// Divergences by their kind.
pub(super) type Divergences = BTreeMap<Kind, u64>;

/// Of a run whose truth and whose server were recorded, to their ends; `None` of others.
pub(super) fn exact(trace: &TraceFile) -> Option<KnownTruth> {
    let Header::Run(header) = trace.header() else {
        return None;
    };
    let report = check_trace(trace, |_| ()).ok()?;
    if !header.server_recorded || report.strength != Strength::Exact {
        return None;
    }
    let mut truth = KnownTruth {
        divergences: report.divergences,
        leaks: report.leaks,
        ..KnownTruth::default()
    };
    let mut merge = Merge::new(trace, header);
    while let Some(merged) = merge.next_in_place() {
        match &merged.event {
            Event::Alloc { .. } => truth.allocations += 1,
            Event::Send {
                kind: SentKind::Alloc,
                chunk: 0,
                ..
            } => truth.announced += 1,
            _ => (),
        }
    }
    Some(truth)
}

/// Of a recorded run, or of a server's log that was imported; nothing of other traces.
pub(super) fn of_trace(trace: &TraceFile) -> Divergences {
    match trace.header() {
        // What contradicts itself was refused by the diagnosis.
        Header::Run(_) => check_trace(trace, |_| ()).map_or_else(|_| Divergences::new(), certain),
        Header::Import(header) if header.format == ImportFormat::ServerLog => {
            of_log(TextReader::new(trace))
        }
        _ => Divergences::new(),
    }
}

/// Of a server's log.
pub(super) fn of_log(text: impl BufRead) -> Divergences {
    let mut log = ServerLogReader::new(text);
    let mut check = MessageCheck::default();
    for record in &mut log {
        // What cannot be read is an error of the diagnosis.
        let Ok(record) = record else {
            return Divergences::new();
        };
        check.observe(&record);
    }
    let found = check.finish();
    let lost = log.into_accounting().lost(ImportFormat::ServerLog);
    certain(check::with_damage(
        check::report(&found, "a log"),
        lost,
        None,
    ))
}

/// Of what an allocator recorded of itself; not of its own table, which says of the history what
/// that lacks.
pub(super) fn of_records(
    format: ImportFormat,
    found: &AllocationReport,
    accounting: &Accounting,
) -> Divergences {
    let report = check::weak_report(&found.findings, found.first.as_ref());
    certain(check::with_damage(report, accounting.lost(format), None))
}

fn certain(report: Report) -> Divergences {
    match report.verdict {
        Verdict::Diverged => report.divergences,
        _ => Divergences::new(),
    }
}
