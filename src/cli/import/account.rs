//! What `heisenbed import` says of the records that it read.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use super::ImportArgs;
use crate::cli::check::no_history;
use crate::cli::foreign::other_format;
use crate::import::accounting::Accounting;
use crate::import::pickle;
use crate::import::torch_snapshot::ConvertedSnapshot;
use crate::numbers::{grouped, plural};
use crate::trace::file::ImportFormat;

/// Lines not understood that the text output lists.
const SHOWN: usize = 10;

/// What came of an import.
pub(super) struct ImportedRecords {
    pub(crate) accounting: Accounting,
    pub(crate) trace_bytes: Option<u64>,
    /// Of a pickle.
    pub(crate) snapshot: Option<(ConvertedSnapshot, pickle::SnapshotSummary)>,
}

/// What is said of a file of which nothing was understood.
pub(super) fn not_understood(
    path: &Path,
    format: ImportFormat,
    accounting: &Accounting,
    start: &[u8],
) -> String {
    let records = plural(accounting.lines, format.position_word());
    let mut text = format!(
        "{}: none of its {records} is understood as {}: is it the right FORMAT?",
        path.display(),
        format.a_noun(),
    );
    if let Some(first) = accounting.first_unrecognised.first() {
        let why = first.reason.why();
        let _ = write!(
            text,
            "\n  not understood, for one: {}{}",
            printable(&first.excerpt),
            why.map_or(String::new(), |why| format!("\n  {why}"))
        );
    }
    let other = other_format(path, format, start);
    if other.is_empty() {
        let _ = write!(
            text,
            "\n  {} has lines like: {}",
            format.a_noun(),
            format.sample_line()
        );
    }
    text + &other
}

/// A text without what a terminal would take for a command.
fn printable(text: &str) -> String {
    let mut printable = String::new();
    for c in text.chars() {
        if c.is_control() {
            printable.extend(c.escape_default());
        } else {
            printable.push(c);
        }
    }
    printable
}

pub(super) fn json(
    args: &ImportArgs,
    format: ImportFormat,
    imported: &ImportedRecords,
) -> serde_json::Value {
    let accounting = &imported.accounting;
    let unrecognised: Vec<_> = accounting
        .first_unrecognised
        .iter()
        .map(|line| json!({ "line": line.line, "reason": line.reason.name(), "excerpt": line.excerpt }))
        .collect();
    let mut value = json!({
        "format": format.name(),
        "lines": accounting.lines,
        "parsed": accounting.parsed,
        "known_other": accounting.known_other,
        "unrecognised": accounting.unrecognised,
        "unrecognised_lines": unrecognised,
        "overlong": accounting.overlong,
        "forms": accounting.forms,
        "trace": args.output.as_ref().map(|path| path.display().to_string()),
        "trace_bytes": imported.trace_bytes,
    });
    if let Some((converted, summary)) = &imported.snapshot {
        value["segments"] = summary.segments.into();
        value["blocks"] = converted.blocks.into();
        value["blocks_bytes"] = converted.blocks_bytes.into();
        value["history"] = converted.has_history().into();
        value["pickle_bytes"] = summary.bytes.into();
        value["devices"] = summary.devices.into();
        value["dropped"] = summary.dropped.into();
        value["trailing_bytes"] = summary.trailing_bytes.into();
    }
    value
}

pub(super) fn words(args: &ImportArgs, format: ImportFormat, imported: &ImportedRecords) -> String {
    let mut text = String::new();
    let accounting = &imported.accounting;
    let records = plural(accounting.lines, format.position_word());
    let name = match args.files.as_slice() {
        [one] => one.display().to_string(),
        many => plural(many.len() as u64, "file"),
    };
    let _ = writeln!(
        text,
        "{name}: {records}: {} parsed, {} known other, {} not understood",
        grouped(accounting.parsed),
        grouped(accounting.known_other),
        grouped(accounting.unrecognised),
    );
    let width = accounting
        .forms
        .keys()
        .map(|form| form.len())
        .max()
        .unwrap_or(0);
    for (form, count) in &accounting.forms {
        let _ = writeln!(text, "  {form:width$}  {}", grouped(*count));
    }
    for line in accounting.first_unrecognised.iter().take(SHOWN) {
        let why = line.reason.why();
        let why = why.map_or(String::new(), |why| format!(" ({why})"));
        let _ = writeln!(
            text,
            "{name}:{}: not understood{why}: {}",
            line.line,
            printable(&line.excerpt)
        );
    }
    if let Some((converted, summary)) = &imported.snapshot {
        if summary.segments.is_some() {
            let _ = writeln!(
                text,
                "in use when the snapshot was taken: {}, {}",
                plural(converted.blocks, "block"),
                plural(converted.blocks_bytes, "byte")
            );
        }
        if summary.odd_blocks > 0 {
            let _ = writeln!(
                text,
                "{} or segments not understood, or too many: the allocator's table is not kept",
                plural(summary.odd_blocks, "block")
            );
        }
        if !converted.has_history() {
            let _ = writeln!(text, "{}", no_history(accounting.lines));
        }
        if summary.dropped > 0 {
            let _ = writeln!(
                text,
                "{} texts or frames were too many or too long to keep",
                grouped(summary.dropped)
            );
        }
        if summary.trailing_bytes > 0 {
            let _ = writeln!(
                text,
                "{} bytes after the snapshot's end (byte {}) were not read",
                grouped(summary.trailing_bytes),
                summary.bytes
            );
        }
    }
    if accounting.parsed == 0 && imported.snapshot.is_none() {
        let _ = writeln!(
            text,
            "nothing in it says that a buffer was allocated or released"
        );
    }
    if let Some((output, bytes)) = args.output.as_ref().zip(imported.trace_bytes) {
        let _ = writeln!(
            text,
            "trace: {} ({})\n\nNext: heisenbed check {0}",
            output.display(),
            plural(bytes, "byte")
        );
    }
    text
}
