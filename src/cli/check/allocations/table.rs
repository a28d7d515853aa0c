//! What is said of records that were held against the allocator's own table.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::device::DeviceId;
use crate::numbers::{bytes_together, grouped_sum, plural, sum_in_json};
use crate::oracle::allocation_check::{AllocationReport, BufferSum, LiveRecord, TableComparison};
use crate::oracle::{Divergence, Kind, Report, Strength, Verdict};

/// What is said of a snapshot whose history, of `entries`, says of no buffer what happened to it.
pub(in crate::cli) fn no_history(entries: u64) -> String {
    let call = "call torch.cuda.memory._record_memory_history()";
    match entries {
        0 => format!("the snapshot has no history: recording was not on; {call} before the run"),
        _ => format!(
            "the snapshot has no history of buffers: not one of its {} is an allocation or a \
             release; {call} before they are allocated",
            plural(entries, "entry")
        ),
    }
}

/// What is said of a table that was not kept whole.
pub(super) const TABLE_IS_LOST: &str = "the allocator's own table was not understood as a whole: \
    the records are not held against it, and what is in use is told by them alone";

/// Adds the differences to what the records say by themselves: the check is exact.
pub(super) fn add(report: &mut Report, compared: &TableComparison) {
    report.strength = Strength::Exact;
    let kinds = [
        (Kind::PhantomLive, compared.lost_releases.buffers),
        (Kind::MissingLive, compared.lost_allocations.buffers),
        (Kind::StaleMetadata, compared.other_sizes),
    ];
    for (kind, count) in kinds.into_iter().filter(|(_, count)| *count > 0) {
        *report.divergences.entry(kind).or_default() += count;
    }
    report.verdict = match report.divergences.is_empty() {
        true => Verdict::Clean,
        false => Verdict::Diverged,
    };
    report.first = report.first.or(first(compared).map(|first| Divergence {
        kind: first.kind,
        device: DeviceId(u16::try_from(first.device).unwrap_or(0)),
        memory: None,
        address: Some(first.address),
        thread: None,
        op: None,
    }));
}

/// The first difference.
struct FirstDifference {
    kind: Kind,
    device: i32,
    address: u64,
    /// 0: no record says so.
    position: u64,
}

fn first(compared: &TableComparison) -> Option<FirstDifference> {
    let said = |kind, live: &LiveRecord| FirstDifference {
        kind,
        device: live.buffer.device,
        address: live.buffer.address,
        position: live.position,
    };
    let lost = compared
        .lost_release_groups
        .iter()
        .map(|group| &group.first);
    let lost = lost
        .min_by_key(|live| live.position)
        .map(|live| said(Kind::PhantomLive, live));
    let other = compared.first_other_size.as_ref();
    let other = other.map(|live| said(Kind::StaleMetadata, live));
    let missing = compared.first_lost_allocation.map(|block| FirstDifference {
        kind: Kind::MissingLive,
        device: block.device,
        address: block.address,
        position: 0,
    });
    lost.or(other).or(missing)
}

/// Where the first difference is, where a record says so.
pub(super) fn first_position(compared: &TableComparison) -> Option<u64> {
    let position = first(compared)?.position;
    (position > 0).then_some(position)
}

/// What the table says, in lines. What the records say by themselves comes first.
pub(super) fn words(
    compared: &TableComparison,
    found: &AllocationReport,
    position: &str,
) -> String {
    let mut text = String::new();
    if let Some(found) = &found.first {
        text.push_str(&super::first_line(found, position));
    } else if let Some(first) = first(compared) {
        let _ = writeln!(
            text,
            "first: {} on device {} at {:#x}{}",
            first.kind,
            first.device,
            first.address,
            match first.position {
                0 => String::new(),
                number => format!(", {position} {number}"),
            }
        );
    }
    if let Some(requested) = compared
        .requested_bytes
        .filter(|bytes| *bytes != compared.in_use.bytes)
    {
        let _ = writeln!(
            text,
            "of the bytes in use {} were asked for: the allocator rounds up",
            grouped_sum(requested)
        );
    }
    let rows = [
        (
            compared.older,
            "in use are older than the history: the peak is at least what is said",
        ),
        (
            compared.awaiting,
            "more are released and await their stream",
        ),
        (
            compared.lost_allocations,
            "are in use and were released by the history: it lost their allocation",
        ),
    ];
    let rows = &rows[usize::from(found.records == 0)..];
    for (sum, what) in rows.iter().filter(|(sum, _)| sum.buffers > 0) {
        let _ = writeln!(
            text,
            "{}, {}, {what}",
            plural(sum.buffers, "buffer"),
            bytes_together(sum.bytes)
        );
    }
    text
}

/// The same for scripts.
pub(super) fn json(compared: &TableComparison) -> Value {
    let sum = |sum: &BufferSum| json!({ "buffers": sum.buffers, "bytes": sum_in_json(sum.bytes) });
    json!({
        "in_use": sum(&compared.in_use),
        "requested_bytes": compared.requested_bytes.map(sum_in_json),
        "awaiting_release": sum(&compared.awaiting),
        "older_than_history": sum(&compared.older),
        "lost_releases": sum(&compared.lost_releases),
        "lost_allocations": sum(&compared.lost_allocations),
        "other_sizes": compared.other_sizes,
    })
}
