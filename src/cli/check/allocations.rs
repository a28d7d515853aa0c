//! Checks what an allocator recorded of itself: the runtime's debug log, RMM's log, a PyTorch
//! snapshot.

use std::fmt::Write as _;
use std::time::Instant;

use serde_json::{Value, json};

use super::super::outcome::{CommandOutcome, Context, Format};
use super::super::progress::Progress;
use super::super::verdict::{VerdictSummary, divergence_table};
use super::{SHOWN, weak_report};
use crate::device::Memory;
use crate::import::accounting::Accounting;
use crate::import::allocation::{self, AllocationSource};
use crate::import::stacks::{StackId, StackTable};
use crate::numbers::{grouped, plural};
use crate::oracle::allocation_check::{AllocationCheck, AllocationReport, LiveRecord};
use crate::oracle::{Report, Verdict};
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
    let mut check = AllocationCheck::new(header.format.begins_in_the_middle());
    let mut progress = Progress::new(context.quiet, "check", "lines", trace.events());
    while let Some(record) = source.next() {
        match record {
            Ok(record) => check.observe(&record),
            Err(error) => return fail(&error),
        }
        progress.update(source.accounting().lines);
    }
    progress.finish();
    let found = check.finish();
    let json = json_of(header.format, &found, source.as_ref());
    let words = words(header.format, &found, source.as_ref());
    let findings = findings(header.format, &found, source.stacks());
    let lost = lost_records(header.format, source.accounting());
    drop(source);
    let report = report(header.format, &found, lost, text.damage());
    let mut summary = VerdictSummary::new(u16::try_from(found.threads).unwrap_or(u16::MAX), 0);
    summary.add(&report);
    summary.elapsed_s = started.elapsed().as_secs_f64();
    let stdout = match context.format {
        Format::Json => summary.json(&json),
        Format::Human => {
            let mut text = format!(
                "{}: {} of {}: {words}\n{} (messages check: it has no truth to compare with)\n",
                trace.path().display(),
                kind_of(header.format),
                header.source,
                summary.verdict
            );
            if let Some(note) = &summary.note {
                let _ = writeln!(text, "  {note}");
            }
            text.push_str(&divergence_table(&summary.divergences));
            text + &findings
        }
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: summary.exit_code(),
    }
}

/// The findings as a report: without truth nothing is ever clean. What was never released is a leak
/// where the records end with the program. A record that could not be read makes the others
/// contradict each other, once at most: so many findings say nothing of the program.
fn report(
    format: ImportFormat,
    found: &AllocationReport,
    lost: u64,
    damage: Option<&str>,
) -> Report {
    let checked = found.allocations + found.releases;
    let weak = match checked {
        0 => "there is no allocation and no release in it: nothing was checked",
        _ => "the records have no truth to compare with: they do not contradict each other",
    };
    let findings: u64 = found.findings.values().sum();
    let report = weak_report(&found.findings, found.first.as_ref());
    let explained = findings > 0 && findings <= lost;
    let lost_note = || {
        let records = plural(lost, "record");
        match explained {
            true => format!(
                "{records} not understood: what contradicts the others may be no more than what is missing"
            ),
            false => format!(
                "{records} not understood: the others contradict each other more often than that explains"
            ),
        }
    };
    let note = match (findings, lost) {
        (0, _) => Some(weak.to_owned()),
        (_, 0) => None,
        _ => Some(lost_note()),
    };
    Report {
        verdict: if explained {
            Verdict::Inconclusive
        } else {
            report.verdict
        },
        leaks: if format.begins_in_the_middle() {
            0
        } else {
            found.live_total
        },
        events: found.records,
        messages: found.allocations + found.releases,
        allocs_failed: found.failed,
        note: damage.map(str::to_owned).or(note),
        complete: damage.is_none() && checked > 0,
        ..report
    }
}

/// How many records there were, at least, that could not be read. Lines between the blocks of a
/// debug log are none.
fn lost_records(format: ImportFormat, accounting: &Accounting) -> u64 {
    match format {
        ImportFormat::DebugLog => accounting.forms.get("cut-block").copied().unwrap_or(0),
        _ => accounting.unrecognised,
    }
}

fn kind_of(format: ImportFormat) -> &'static str {
    match format {
        ImportFormat::ServerLog => "a server's log",
        ImportFormat::DebugLog => "the debug log",
        ImportFormat::RmmLog => "the RMM log",
        ImportFormat::TorchSnapshot => "the memory snapshot",
    }
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
    let _ = write!(text, ", {}", plural(found.devices, "device"));
    if found.threads > 0 {
        let _ = write!(text, ", {}", plural(found.threads, "thread"));
    }
    let unrecognised = source.accounting().unrecognised;
    let position = format.position_word();
    let records = match position {
        "entry" => format!("{} entries", grouped(unrecognised)),
        _ => plural(unrecognised, position),
    };
    let _ = writeln!(
        text,
        "; at most {} bytes at once; {records} not understood",
        grouped(found.peak_bytes),
    );
    text
}

fn findings(format: ImportFormat, found: &AllocationReport, stacks: &StackTable) -> String {
    let mut text = String::new();
    let position = format.position_word();
    if let Some(first) = &found.first {
        let _ = writeln!(
            text,
            "first: {} on device {} at {:#x}, {position} {}",
            first.kind.name(),
            first.device.unwrap_or(0),
            first.address,
            first.line
        );
    }
    for (note, noted) in &found.notes {
        let _ = writeln!(
            text,
            "note: {} ({}), first at {position} {}",
            note.name(),
            grouped(noted.count),
            noted.first_line
        );
    }
    let title = if format.begins_in_the_middle() {
        "live at the end (in use when the snapshot was taken, or leaked)"
    } else {
        "never released"
    };
    if found.live_total == 0 {
        let _ = writeln!(text, "{title}: none");
        return text;
    }
    let _ = writeln!(
        text,
        "{title}: {}, {} bytes",
        plural(found.live_total, "buffer"),
        grouped(found.live_bytes)
    );
    for group in found.groups.iter().take(SHOWN) {
        let first = &group.first;
        let _ = writeln!(
            text,
            "  {}, {} bytes on device {}, {}; the first at {:#x}, {} bytes, {position} {}{}",
            plural(group.buffers, "buffer"),
            grouped(group.bytes),
            first.buffer.device,
            type_word(first),
            first.buffer.address,
            grouped(first.buffer.size_bytes.unwrap_or(0)),
            first.position,
            match first.thread {
                Some(thread) => format!(", thread {thread}"),
                None => String::new(),
            }
        );
        if let Some(stack) = first.buffer.stack {
            write_frames(&mut text, stacks, stack);
        }
    }
    if found.groups.len() > SHOWN {
        let _ = writeln!(
            text,
            "  and {} more places; --format json lists them",
            grouped((found.groups.len() - SHOWN) as u64)
        );
    }
    text
}

fn write_frames(text: &mut String, stacks: &StackTable, stack: StackId) {
    let frames = stacks.frames_of(stack);
    let more = frames.len().saturating_sub(SHOWN_FRAMES);
    for frame in frames.take(SHOWN_FRAMES) {
        let _ = writeln!(text, "      {frame}");
    }
    if more > 0 {
        let _ = writeln!(text, "      ({more} more)");
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
    let live: Vec<Value> = found.live.iter().map(live_json).collect();
    let stack = |id: Option<StackId>| -> Vec<&str> {
        id.map(|id| source.stacks().frames_of(id).collect())
            .unwrap_or_default()
    };
    let groups: Vec<Value> = found
        .groups
        .iter()
        .take(crate::oracle::allocation_check::MAX_LIVE_LISTED)
        .map(|group| {
            json!({
                "buffers": group.buffers,
                "bytes": group.bytes,
                "first": live_json(&group.first),
                "stack": stack(group.first.buffer.stack),
            })
        })
        .collect();
    let accounting = source.accounting();
    json!({
        "format": format.name(),
        "lines": accounting.lines,
        "unrecognised": accounting.unrecognised,
        "position": format.position_word(),
        "first_line": found.first.as_ref().map(|first| first.line),
        "allocations": found.allocations,
        "releases": found.releases,
        "failed": found.failed,
        "devices": found.devices,
        "peak_bytes": found.peak_bytes,
        "live_at_end": found.live_total,
        "live_bytes": found.live_bytes,
        "live": live,
        "live_by_stack": groups,
        "notes": notes,
    })
}

fn live_json(live: &LiveRecord) -> Value {
    json!({
        "device": live.buffer.device,
        "memory": type_word(live),
        "address": live.buffer.address,
        "size_bytes": live.buffer.size_bytes,
        "line": live.position,
        "thread": live.thread,
    })
}

fn type_word(live: &LiveRecord) -> &'static str {
    Memory::from_buffer_type(live.buffer.buffer_type).map_or("another memory", Memory::name)
}
