//! The check at rest: live tables in the form in which they are compared and kept, and the check of a run
//! that has nothing else to show.

use crate::device::DeviceId;
use crate::scenario::Scenario;
use crate::server::registry::{Class, Entry, Registry};
use crate::trace::event::ReceiveCode;
use crate::trace::file::{AtRest, TableEntry};
use crate::trace::message::memory_of;

use super::judge::Judge;
use super::kind::{Divergence, Kind, Leak, Report, Strength, Verdict};

/// The live table of `registry`, sorted. Kernels and system memory are no device buffers and left out.
pub fn table(registry: &Registry) -> Vec<TableEntry> {
    entries(&registry.live())
}

/// Entries of a server's live table, sorted, in the form of the trace.
pub fn entries(live: &[Entry]) -> Vec<TableEntry> {
    let mut table: Vec<TableEntry> = live
        .iter()
        .filter(|entry| entry.class != Class::Kernel)
        .filter_map(|entry| {
            Some(TableEntry {
                device: entry.device.0,
                memory: memory_of(entry.buffer_type)? as u8,
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
pub struct LiveBuffer {
    /// Where it is, and where it came from as far as that is known.
    pub origin: Leak,
    /// Which life of its address it is.
    pub generation: u64,
    /// Whether it is a circular buffer.
    pub circular: bool,
}

/// The check of a run that was not recorded: what is live against what the server shows at rest, and what the server
/// itself had to complain of. Weaker than a check of a trace, and said to be.
pub fn check_unrecorded(
    scenario: &Scenario,
    completed: bool,
    live: &[LiveBuffer],
    at_rest: &AtRest,
    received: Option<&[u64; ReceiveCode::ALL.len()]>,
    dropped: u64,
) -> Report {
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
        complain(Kind::TornFrame, received[ReceiveCode::Unknown as usize]);
    }
    match at_rest {
        AtRest::Table(table) if completed => judge.compare_table(table),
        AtRest::Totals(totals) if completed => judge.compare_totals(totals),
        _ => {}
    }
    let diverged = !judge.divergences.is_empty();
    Report {
        verdict: match (diverged, completed) {
            (true, _) => Verdict::Diverged,
            (false, true) => Verdict::Clean,
            (false, false) => Verdict::Inconclusive,
        },
        strength: Strength::Totals,
        divergences: judge.divergences,
        first: judge.first,
        leaks: if completed { live.len() as u64 } else { 0 },
        leaked: Vec::new(),
        events: 0,
        messages: received.map_or(0, |received| received.iter().sum()),
        ops: 0,
        allocs_failed: 0,
        peak_live: 0,
        note: (!completed).then(|| "the run did not come to its end".to_owned()),
    }
}
