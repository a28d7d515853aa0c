//! The check at rest: live tables in the form in which they are compared and kept, and the check of
//! a run that has nothing else to show.

use crate::device::{DeviceId, Memory};
use crate::registry::Registry;
use crate::scenario::Scenario;
use crate::trace::event::ReceiveCode;
use crate::trace::file::{AtRest, TableEntry};
use crate::tracking::entry::{Class, Entry};

use super::judge::Judge;
use super::kind::{Divergence, Kind, Leak, Report, Strength, Verdict};

/// The live table of `registry`, sorted. Kernels and system memory are no device buffers and left
/// out.
pub(crate) fn table(registry: &Registry) -> Vec<TableEntry> {
    entries(&registry.live())
}

/// Entries of a server's live table, sorted, in the form of the trace.
pub(crate) fn entries(live: &[Entry]) -> Vec<TableEntry> {
    let mut table: Vec<TableEntry> = live
        .iter()
        .filter(|entry| entry.class != Class::Kernel)
        .filter_map(|entry| {
            Some(TableEntry {
                device: entry.device.0,
                memory: Memory::from_buffer_type(entry.buffer_type)? as u8,
                circular: entry.class == Class::Circular,
                address: entry.address,
                size_bytes: entry.size_bytes,
                thread: entry.thread,
                generation: entry.generation,
                refcount: entry.refcount,
            })
        })
        .collect();
    table.sort_unstable();
    table
}

/// A buffer that is live at rest, from the allocators themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveAtRest {
    /// Where it is, and where it came from as far as that is known.
    pub(crate) origin: Leak,
    /// Which life of its address it is.
    pub(crate) generation: u64,
    /// Whether it is a circular buffer.
    pub(crate) circular: bool,
}

/// What is known of a run that was not recorded.
#[derive(Clone, Copy, Debug)]
pub struct Unrecorded<'a> {
    /// Whether every thread came to its end.
    pub(crate) completed: bool,
    /// Whether it was given up because threads waited for each other.
    pub(crate) deadlocked: bool,
    /// What is live at rest.
    pub(crate) live: &'a [LiveAtRest],
    /// What the server showed at rest.
    pub(crate) at_rest: &'a AtRest,
    /// How the server took the messages, by [`ReceiveCode`], where it is one that says so.
    pub(crate) received: Option<&'a [u64; ReceiveCode::ALL.len()]>,
    /// Messages that the client counted as sent.
    pub(crate) sent: u64,
    /// Messages that the client counted as dropped.
    pub(crate) dropped: u64,
    /// Times a lock table was indexed out of its bounds.
    pub(crate) out_of_bounds: u64,
    /// Times an address was given back that its handle no longer owned.
    pub(crate) double_frees: u64,
}

/// The check of a run that was not recorded: what is live against what the server shows at rest,
/// and what the server itself had to complain of. Weaker than a check of a trace, and said to be.
pub fn check_unrecorded(scenario: &Scenario, seen: &Unrecorded<'_>) -> Report {
    let Unrecorded {
        completed,
        deadlocked,
        live,
        at_rest,
        received,
        sent,
        dropped,
        out_of_bounds,
        double_frees,
    } = *seen;
    let mut judge = Judge::new(scenario);
    judge.extended = false;
    for buffer in live {
        judge
            .truth
            .alloc(buffer.origin, buffer.generation, buffer.circular);
    }
    let mut complain = |kind, count| {
        if count > 0 {
            judge.count(Divergence {
                kind,
                device: DeviceId(0),
                memory: None,
                address: None,
                thread: None,
                op: None,
            });
            *judge.divergences.entry(kind).or_default() += count - 1;
        }
    };
    complain(Kind::LostMessage, dropped);
    complain(Kind::LockOutOfBounds, out_of_bounds);
    complain(Kind::DoubleFree, double_frees);
    complain(Kind::Deadlock, u64::from(deadlocked));
    if let Some(received) = received {
        complain(
            Kind::UnknownFree,
            received[ReceiveCode::UnknownFree as usize],
        );
        complain(
            Kind::DuplicateAlloc,
            received[ReceiveCode::Replaced as usize],
        );
        complain(
            Kind::StaleMetadata,
            received[ReceiveCode::Incremented as usize],
        );
        complain(Kind::LostMessage, received[ReceiveCode::Rejected as usize]);
        complain(Kind::TornFrame, received[ReceiveCode::Unknown as usize]);
    }
    match at_rest {
        AtRest::Table(table) if completed => judge.compare_table(table),
        AtRest::Totals(totals) if completed => judge.compare_totals(totals),
        _ => {}
    }
    let diverged = !judge.divergences.is_empty();
    let silent = *at_rest == AtRest::Unknown;
    let nothing = sent == 0 && dropped == 0;
    let note = match (completed, silent) {
        (false, _) => Some("the run did not come to its end".to_owned()),
        (true, _) if nothing => Some("no message was sent: nothing was checked".to_owned()),
        (true, _) if scenario.discipline.shares() => Some(
            "what cells and ledgers held is in a recording only, and nothing was recorded"
                .to_owned(),
        ),
        (true, true) => Some("the server did not say what it shows at rest".to_owned()),
        (true, false) => None,
    };
    Report {
        verdict: match (diverged, &note) {
            (true, _) => Verdict::Diverged,
            (false, None) => Verdict::Clean,
            (false, Some(_)) => Verdict::Inconclusive,
        },
        strength: if silent {
            Strength::Messages
        } else {
            Strength::Totals
        },
        divergences: judge.divergences,
        first: judge.first,
        leaks: if completed { live.len() as u64 } else { 0 },
        leaked: Vec::new(),
        events: 0,
        messages: received.map_or(0, |received| received.iter().sum()),
        shared_steps: 0,
        ops: 0,
        allocs_failed: 0,
        peak_live: 0,
        note,
        complete: completed && !nothing,
    }
}
