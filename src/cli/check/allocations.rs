//! Checks what an allocator recorded of itself: the runtime's debug log, RMM's log, a PyTorch
//! snapshot. Where the recording holds the allocator's own table, the records are held against it.

mod table;

pub(in crate::cli) use table::no_history;

use std::fmt::Write as _;
use std::time::Instant;

use serde_json::{Value, json};

use super::super::outcome::{CommandOutcome, Context, Format};
use super::super::progress::Progress;
use super::super::verdict::{VerdictSummary, explained_table};
use super::{SHOWN, weak_report};
use crate::device::Memory;
use crate::import::allocation::{self, AllocationSource};
use crate::import::stacks::{StackId, StackTable};
use crate::import::telling_frames;
use crate::numbers::{bytes_together, grouped, plural, sum_in_json};
use crate::oracle::allocation_check::{AllocationCheck, AllocationReport, LiveGroup, LiveRecord};
use crate::oracle::message_check::FirstFinding;
use crate::oracle::{Kind, Report, Strength};
use crate::trace::file::{ImportFormat, ImportHeader, TraceFile};
use crate::trace::text::TextReader;

/// Frames of a call stack that the text output shows.
const SHOWN_FRAMES: usize = 8;

/// Checks an imported trace that is no server's log.
pub(super) fn check(trace: &TraceFile, header: &ImportHeader, context: &Context) -> CommandOutcome {
    let started = Instant::now();
    let fail = |error: &dyn std::fmt::Display| {
        CommandOutcome::bad_input(
            format!("{}: {error}", trace.path().display()),
            context.format,
        )
    };
    let mut text = TextReader::new(trace);
    let Some(mut source) = allocation::source(header, &mut text) else {
        return fail(&"it is about messages");
    };
    let mut check = AllocationCheck::of(header.format);
    let mut progress = Progress::new(context.quiet, "check", "lines", trace.events());
    let mut has_table = false;
    loop {
        let record = source.next();
        if let Some(table) = source.table().filter(|_| !has_table) {
            check.compare_with(table);
            has_table = true;
        }
        match record {
            Some(Ok(record)) => check.observe(&record),
            Some(Err(error)) => return fail(&error),
            None => break,
        }
        progress.update(source.accounting().lines);
    }
    progress.finish();
    let found = check.finish();
    let json = json_of(header.format, &found, source.as_ref());
    let words = words(header.format, &found, source.as_ref());
    let findings = findings(header.format, &found, source.stacks());
    let read = RecordsRead {
        lost: source.accounting().lost(header.format),
        entries: source.accounting().lines,
        table_is_lost: source.table_is_lost(),
    };
    drop(source);
    let report = report(header.format, &found, read, text.damage());
    let mut summary = VerdictSummary::new(u16::try_from(found.threads).unwrap_or(u16::MAX), 0);
    summary.add(&report);
    summary.elapsed_s = started.elapsed().as_secs_f64();
    let stdout = match context.format {
        Format::Json => summary.json(&json),
        Format::Human => {
            let mut text = format!(
                "{}: the {} of {}: {words}\n{} ({})\n",
                trace.path().display(),
                header.format.noun(),
                header.source,
                summary.verdict,
                match summary.check {
                    Strength::Exact => "exact check: against the allocator's own table",
                    _ if summary.messages == 0 => "nothing was checked",
                    _ => "messages check: it has no truth to compare with",
                }
            );
            if let Some(note) = &summary.note {
                let _ = writeln!(text, "  {note}");
            }
            text.push_str(&explained_table(&summary.divergences, explain));
            text + &findings
        }
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: summary.exit_code(),
    }
}

/// What became of the records, before anything was found in them.
#[derive(Clone, Copy)]
struct RecordsRead {
    /// Not understood.
    lost: u64,
    /// All of them.
    entries: u64,
    /// There was a table of what is in use, and it was not kept.
    table_is_lost: bool,
}

/// The findings as a report: without truth nothing is ever clean. What was never released is a leak
/// where the records end with the program.
fn report(
    format: ImportFormat,
    found: &AllocationReport,
    read: RecordsRead,
    damage: Option<&str>,
) -> Report {
    let mut report = weak_report(&found.findings, found.first.as_ref());
    let compared = found.table.as_ref().filter(|_| damage.is_none());
    let has_history = found.allocations + found.releases > 0;
    if let Some(compared) = compared.filter(|_| has_history) {
        table::add(&mut report, compared);
    }
    let weak = match (has_history, format) {
        (true, _) if report.strength == Strength::Exact => None,
        (true, _) if read.table_is_lost => Some(table::TABLE_IS_LOST.to_owned()),
        (true, _) => Some(
            "the records have no truth to compare with: they do not contradict each other"
                .to_owned(),
        ),
        (false, ImportFormat::TorchSnapshot) => Some(table::no_history(read.entries)),
        (false, _) => Some(
            "nothing was checked: no record says that a buffer was allocated or released"
                .to_owned(),
        ),
    };
    let report = Report {
        leaks: if format.begins_in_the_middle() {
            0
        } else {
            found.live_total
        },
        events: found.records,
        messages: found.allocations + found.releases,
        allocs_failed: found.failed,
        note: weak.filter(|_| report.divergences.is_empty()),
        complete: has_history && !read.table_is_lost,
        ..report
    };
    super::with_damage(report, read.lost, damage)
}

/// What the records are, in one line.
fn words(format: ImportFormat, found: &AllocationReport, source: &dyn AllocationSource) -> String {
    let mut text = format!(
        "{}, {}",
        plural(found.allocations, "allocation"),
        plural(found.releases, "release")
    );
    if found.failed > 0 {
        let _ = write!(text, ", {}", plural(found.failed, "failed allocation"));
    }
    if found.devices > 0 {
        let _ = write!(text, ", {}", plural(found.devices, "device"));
    }
    if found.threads > 0 {
        let _ = write!(text, ", {}", plural(found.threads, "thread"));
    }
    if source.left_out() > 0 {
        let records = plural(source.left_out(), "record");
        let _ = write!(text, ", {records} of buffers of no bytes left out");
    }
    let unrecognised = source.accounting().unrecognised;
    let records = plural(unrecognised, format.position_word());
    let _ = writeln!(
        text,
        "; at {} {} at once; {records} not understood",
        if found.peak_is_least { "least" } else { "most" },
        bytes_together(found.peak_bytes),
    );
    text
}

fn findings(format: ImportFormat, found: &AllocationReport, stacks: &StackTable) -> String {
    let mut text = String::new();
    let position = format.position_word();
    if let Some(compared) = &found.table {
        text.push_str(&table::words(compared, found, position));
    } else if let Some(first) = &found.first {
        text.push_str(&first_line(first, position));
    }
    for (note, noted) in &found.notes {
        let _ = writeln!(
            text,
            "note: {} ({}), first at {position} {}: {}",
            note.name(),
            grouped(noted.count),
            noted.first_line,
            note.explain()
        );
    }
    if let Some(compared) = &found.table {
        let lost = &compared.lost_release_groups;
        if !lost.is_empty() {
            let sum = compared.lost_releases;
            let _ = writeln!(
                text,
                "released without an entry: {}, {}",
                plural(sum.buffers, "buffer"),
                bytes_together(sum.bytes)
            );
            write_groups(&mut text, lost, position, stacks);
        }
    }
    let title = match (found.table.is_some(), format.begins_in_the_middle()) {
        (true, _) => "in use when the snapshot was taken",
        (false, true) => "live at the end (in use when the snapshot was taken, or leaked)",
        (false, false) => "never released",
    };
    if found.live_total == 0 {
        let _ = writeln!(text, "{title}: none");
        return text;
    }
    let _ = writeln!(
        text,
        "{title}: {}, {}",
        plural(found.live_total, "buffer"),
        bytes_together(found.live_bytes)
    );
    write_groups(&mut text, &found.groups, position, stacks);
    text
}

/// The first record that contradicts those before it.
fn first_line(first: &FirstFinding, position: &str) -> String {
    format!(
        "first: {} on device {} at {:#x}, {position} {}\n",
        first.kind.name(),
        first.device.unwrap_or(0),
        first.address,
        first.line
    )
}

/// Buffers by the place in the program that they come from.
fn write_groups(text: &mut String, groups: &[LiveGroup], position: &str, stacks: &StackTable) {
    let frames: Vec<Vec<&str>> = groups
        .iter()
        .take(SHOWN)
        .map(|group| match group.first.buffer.stack {
            Some(stack) => stacks.frames_of(stack).collect(),
            None => Vec::new(),
        })
        .collect();
    let telling = telling_frames::choose(&frames, SHOWN_FRAMES);
    for (group, telling) in groups.iter().zip(telling) {
        let first = &group.first;
        let _ = writeln!(
            text,
            "  {}, {} on device {}, {}; the first at {:#x}, {}, {}{}",
            plural(group.buffers, "buffer"),
            bytes_together(group.bytes),
            first.buffer.device,
            type_word(first, stacks),
            first.buffer.address,
            plural(first.buffer.size_bytes.unwrap_or(0), "byte"),
            match first.position {
                0 => format!("no {position} allocates it"),
                number => format!("{position} {number}"),
            },
            match first.thread {
                Some(thread) => format!(", thread {thread}"),
                None => String::new(),
            }
        );
        for frame in &telling.frames {
            let _ = writeln!(text, "      {frame}");
        }
        if telling.left_out > 0 {
            let _ = writeln!(text, "      ({} more)", telling.left_out);
        }
    }
    if groups.len() > SHOWN {
        let _ = writeln!(
            text,
            "  and {} more places; --format json lists them",
            grouped((groups.len() - SHOWN) as u64)
        );
    }
}

/// What a kind is where an allocator recorded itself.
pub(in crate::cli) fn explain(kind: Kind) -> &'static str {
    match kind {
        Kind::UnknownFree => "a release of a buffer that was never allocated",
        Kind::DuplicateAlloc => "an allocation of memory that was in use",
        Kind::StaleMetadata => "another size than the buffer's allocation says",
        Kind::PhantomLive => {
            "live by the history, not in use by the allocator's table: the history lost its release"
        }
        Kind::MissingLive => {
            "in use by the allocator's table, released by the history: it lost its allocation"
        }
        other => other.explain(),
    }
}

fn json_of(format: ImportFormat, found: &AllocationReport, source: &dyn AllocationSource) -> Value {
    let notes: serde_json::Map<String, Value> = found
        .notes
        .iter()
        .map(|(note, noted)| {
            let value = json!({ "count": noted.count, "first_line": noted.first_line });
            (note.name().to_owned(), value)
        })
        .collect();
    let stacks = source.stacks();
    let live: Vec<Value> = found
        .live
        .iter()
        .map(|live| live_json(live, stacks))
        .collect();
    let stack = |id: Option<StackId>| -> Vec<&str> {
        id.map(|id| stacks.frames_of(id).collect())
            .unwrap_or_default()
    };
    let groups: Vec<Value> = found
        .groups
        .iter()
        .take(crate::oracle::allocation_check::MAX_LIVE_LISTED)
        .map(|group| {
            json!({
                "buffers": group.buffers,
                "bytes": sum_in_json(group.bytes),
                "first": live_json(&group.first, stacks),
                "stack": stack(group.first.buffer.stack),
            })
        })
        .collect();
    let accounting = source.accounting();
    let first_line = match (&found.first, &found.table) {
        (Some(first), _) => Some(first.line),
        (None, Some(compared)) => table::first_position(compared),
        (None, None) => None,
    };
    let mut value = json!({
        "format": format.name(),
        "lines": accounting.lines,
        "unrecognised": accounting.unrecognised,
        "position": format.position_word(),
        "first_line": first_line,
        "left_out": source.left_out(),
        "allocations": found.allocations,
        "releases": found.releases,
        "failed": found.failed,
        "devices": found.devices,
        "peak_bytes": sum_in_json(found.peak_bytes),
        "peak_is_least": found.peak_is_least,
        "live_at_end": found.live_total,
        "live_bytes": sum_in_json(found.live_bytes),
        "live": live,
        "live_by_stack": groups,
        "notes": notes,
    });
    if let Some(compared) = &found.table {
        value["table"] = table::json(compared);
    }
    value
}

fn live_json(live: &LiveRecord, stacks: &StackTable) -> Value {
    json!({
        "process": live.buffer.process,
        "device": live.buffer.device,
        "memory": type_word(live, stacks),
        "address": live.buffer.address,
        "size_bytes": live.buffer.size_bytes,
        "line": Some(live.position).filter(|position| *position > 0),
        "thread": live.thread,
    })
}

fn type_word<'a>(live: &LiveRecord, stacks: &'a StackTable) -> &'a str {
    let buffer_type = live.buffer.buffer_type;
    let known = Memory::from_buffer_type(buffer_type).map(Memory::name);
    known
        .or_else(|| stacks.memory_name(buffer_type))
        .unwrap_or("another memory")
}
