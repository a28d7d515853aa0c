//! The table: steps as rows, threads and server as columns, rules across where something decides or
//! ends.
//!
//! A cell begins with a bar while its thread holds a lock, whoever runs, so that the eye sees
//! sections and what enters them. Steps that change nothing that the server could be wrong about
//! share a row when they follow each other in one thread and fit; no step is left out.

use crate::numbers::grouped;
use crate::oracle::Kind;
use crate::trace::event::{Event, SendOutcome};
use crate::trace::file::SERVER_STREAM;

use super::history::{Mark, RunHistory, RunStep, StepNumber};
use super::{DEFAULT_WIDTH, labels};

/// Of more threads, no column is wider than this.
const COLUMN_WIDTH: usize = 32;

/// Steps share a row up to this many characters.
const GROUP_WIDTH: usize = 26;

/// The narrowest that a column is cut to.
const NARROWEST: usize = 8;

/// At most this many buffers of a thread, or entries of the server, are listed at rest.
const LISTED_AT_REST: usize = 8;

/// A line of the table, or several that belong together.
struct TableRow {
    label: String,
    /// By column, the lines of its cell.
    cells: Vec<Vec<String>>,
    /// By column, whether its thread holds a lock.
    bars: Vec<bool>,
    /// Text in a rule above the row.
    rule: Option<String>,
}

/// The table of a run. `deciding` is the index of the event that runs because of the deciding
/// preemption.
pub(super) fn table(history: &RunHistory, deciding: Option<usize>) -> String {
    // With more threads each column has its own bound.
    let limit = (history.threads <= 3).then_some(DEFAULT_WIDTH);
    set(history, &rows(history, deciding), limit)
}

/// As [`table`], no wider than `width` as far as its columns can be narrowed.
pub(super) fn table_within(history: &RunHistory, deciding: Option<usize>, width: usize) -> String {
    set(history, &rows(history, deciding), Some(width))
}

fn rows(history: &RunHistory, deciding: Option<usize>) -> Vec<TableRow> {
    let mut rows = Vec::new();
    let mut at = 0;
    while at < history.steps.len() {
        let end = group_end(history, at, deciding);
        rows.push(row(history, at, end, deciding));
        at = end;
    }
    if history.completed {
        rows.push(row_at_rest(history));
    }
    rows
}

/// The end of the row that begins with the step at `begin`.
fn group_end(history: &RunHistory, begin: usize, deciding: Option<usize>) -> usize {
    let first = &history.steps[begin];
    let mut width = history.step_label(first).chars().count();
    let mut end = begin + 1;
    while let Some(step) = history.steps.get(end) {
        width += " · ".len() - 1 + history.step_label(step).chars().count();
        let alike = step.stream == first.stream && guarded(step) == guarded(first);
        let quiet = is_quiet(history, first) && is_quiet(history, step);
        if !alike || !quiet || width > GROUP_WIDTH || deciding == Some(step.index) {
            break;
        }
        end += 1;
    }
    end
}

/// Whether the step's own thread holds a lock before or after it.
fn guarded(step: &RunStep) -> bool {
    step.holding.contains(&step.stream)
}

/// Whether a step may share its row.
fn is_quiet(history: &RunHistory, step: &RunStep) -> bool {
    let marked = history
        .marks
        .iter()
        .any(|mark| mark.step == Some(step.number));
    let quiet = matches!(
        step.event,
        Event::Vacate { .. }
            | Event::Lock { .. }
            | Event::Unlock { .. }
            | Event::Stamp { .. }
            | Event::Check { live: true, .. }
            | Event::Claim { won: true, .. }
            | Event::MarkLive { .. }
            | Event::MarkDead { .. }
            | Event::Publish { .. }
            | Event::ConnRead { .. }
            | Event::DebugLog
            | Event::Stopped
            | Event::Finish
    );
    quiet && !marked
}

fn row(history: &RunHistory, begin: usize, end: usize, deciding: Option<usize>) -> TableRow {
    let steps = &history.steps[begin..end];
    let (first, last) = (&steps[0], &steps[steps.len() - 1]);
    let columns = usize::from(history.threads) + 1;
    let server = columns - 1;
    let mut cells = vec![Vec::new(); columns];
    let column = match first.stream {
        SERVER_STREAM => server,
        thread => usize::from(thread).min(server),
    };
    let labels: Vec<String> = steps.iter().map(|step| history.step_label(step)).collect();
    if column != server {
        cells[column].push(labels.join(" · "));
    }
    if let Event::Accept { conn } = first.event {
        cells[server].push(format!("accept connection {}", conn.0));
    }
    cells[server].extend(first.taken.iter().map(|taken| history.taken_label(taken)));
    for mark in &history.marks {
        if mark.step == Some(first.number) {
            let at = if shows_at_server(first, mark) {
                server
            } else {
                column
            };
            cells[at].push(mark_label(mark));
        }
    }
    TableRow {
        label: row_label(first.number, last.number),
        cells,
        bars: (0..columns)
            .map(|column| first.holding.contains(&(column as u16)))
            .collect(),
        rule: (deciding == Some(first.index))
            .then(|| preemption(history, begin))
            .flatten(),
    }
}

/// Whether a divergence is the server's to show, or the thread's that did the step.
fn shows_at_server(step: &RunStep, mark: &Mark) -> bool {
    let dropped = matches!(
        step.event,
        Event::Send {
            outcome: SendOutcome::Dropped,
            ..
        }
    );
    let of_ledger = matches!(step.event, Event::Shared(_));
    !dropped
        && !of_ledger
        && !matches!(
            mark.divergence.kind,
            Kind::DoubleFree
                | Kind::Deadlock
                | Kind::LockOutOfBounds
                | Kind::DriftedTotal
                | Kind::Underflow
                | Kind::SlotConflict
                | Kind::LostRegion
                | Kind::UseAfterRelease
                | Kind::Overrun
                | Kind::LateMessage
        )
}

fn mark_label(mark: &Mark) -> String {
    format!("✗ {}", mark.divergence.kind)
}

fn row_label(first: StepNumber, last: StepNumber) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

/// The rule above the step that runs because of the deciding preemption.
fn preemption(history: &RunHistory, begin: usize) -> Option<String> {
    let before = history.steps[..begin].last()?;
    let (stopped, runs) = (before.stream, history.steps[begin].stream);
    let (stopped_name, runs_name) = (labels::stream(stopped), labels::stream(runs));
    let could_go_on = before.event != Event::Finish && !before.event.is_blocked();
    (stopped != runs).then(|| {
        if could_go_on {
            format!(
                "▶ {stopped_name} is preempted here; {runs_name} runs (this preemption decides)"
            )
        } else {
            format!("▶ {runs_name} runs here (this decides)")
        }
    })
}

/// What is live, by the thread that allocated it, and what the server shows.
fn row_at_rest(history: &RunHistory) -> TableRow {
    let columns = usize::from(history.threads) + 1;
    let server = columns - 1;
    let mut cells = vec![Vec::new(); columns];
    for (index, buffer) in history.buffers.iter().enumerate() {
        if buffer.ended.is_none() {
            cells[usize::from(buffer.thread)].push(format!(
                "live: {} {} B",
                history.place_of(index),
                grouped(buffer.handle.size_bytes)
            ));
        }
    }
    cells[server].extend(history.late.iter().map(|taken| history.taken_label(taken)));
    if !history.tells_server {
        cells[server].extend(history.counters());
    } else if history.reconstructs {
        if history.shown.is_empty() {
            cells[server].push("shows nothing".to_owned());
        }
        let shown = |shown| format!("shows {}", history.shown_label(shown));
        cells[server].extend(history.shown.iter().map(shown));
    } else {
        cells[server].push("order of messages unknown".to_owned());
    }
    for cell in &mut cells {
        let more = cell.len().saturating_sub(LISTED_AT_REST);
        if more > 0 {
            cell.truncate(LISTED_AT_REST);
            cell.push(format!("and {more} more"));
        }
    }
    let marks = history.marks.iter().filter(|mark| mark.step.is_none());
    cells[server].extend(marks.map(mark_label));
    TableRow {
        label: String::new(),
        cells,
        bars: vec![false; columns],
        rule: Some("at rest".to_owned()),
    }
}

/// Sets the rows in columns, within `limit` characters.
fn set(history: &RunHistory, rows: &[TableRow], limit: Option<usize>) -> String {
    let mut heads: Vec<String> = (0..history.threads).map(labels::stream).collect();
    heads.push("server".to_owned());
    let columns = ColumnWidths::new(history, &heads, rows, limit);
    let mut text = String::new();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    push_line(&mut text, &columns.line("step", &[], &heads));
    push_line(&mut text, &"─".repeat(columns.table_width()));
    for row in rows {
        if let Some(label) = &row.rule {
            for line in rule(label, columns.table_width()) {
                push_line(&mut text, &line);
            }
        }
        let cells: Vec<Vec<String>> = row
            .cells
            .iter()
            .zip(&columns.widths)
            .map(|(cell, width)| cell.iter().flat_map(|line| wrapped(line, *width)).collect())
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or_default();
        for line in 0..height {
            let label = if line == 0 { row.label.as_str() } else { "" };
            let texts: Vec<&str> = cells
                .iter()
                .map(|cell| cell.get(line).map_or("", String::as_str))
                .collect();
            push_line(&mut text, &columns.line(label, &row.bars, &texts));
        }
    }
    push_line(&mut text, &"─".repeat(columns.table_width()));
    text
}

/// How wide everything is.
struct ColumnWidths {
    label: usize,
    /// Blanks before a column.
    gap: usize,
    widths: Vec<usize>,
}

impl ColumnWidths {
    fn new(
        history: &RunHistory,
        heads: &[String],
        rows: &[TableRow],
        limit: Option<usize>,
    ) -> ColumnWidths {
        let labels = rows.iter().map(|row| width(&row.label));
        let mut columns = ColumnWidths {
            label: labels.max().unwrap_or_default().max(width("step")),
            gap: 2,
            widths: heads.iter().map(|head| width(head)).collect(),
        };
        for row in rows {
            for (widest, cell) in columns.widths.iter_mut().zip(&row.cells) {
                let lines = cell.iter().map(|line| width(line));
                *widest = (*widest).max(lines.max().unwrap_or_default());
            }
        }
        if history.threads > 3 {
            for width in &mut columns.widths {
                *width = (*width).min(COLUMN_WIDTH);
            }
        }
        let Some(limit) = limit else {
            return columns;
        };
        if columns.table_width() > limit {
            columns.gap = 1;
        }
        while columns.table_width() > limit && columns.narrow(rows) {}
        columns
    }

    /// Narrows the column in which that wraps the fewest lines; whether there was one.
    fn narrow(&mut self, rows: &[TableRow]) -> bool {
        let lines = |column: usize, width: usize| -> usize {
            let cells = rows.iter().flat_map(|row| &row.cells[column]);
            cells.map(|line| wrapped(line, width).len()).sum()
        };
        let narrowest = (0..self.widths.len())
            .filter(|column| self.widths[*column] > NARROWEST)
            .min_by_key(|column| {
                let width = self.widths[*column];
                let more = lines(*column, width - 1).saturating_sub(lines(*column, width));
                (more, usize::MAX - width)
            });
        narrowest.is_some_and(|column| {
            self.widths[column] -= 1;
            true
        })
    }

    fn table_width(&self) -> usize {
        let columns: usize = self.widths.iter().map(|width| self.gap + 2 + width).sum();
        // The server holds no lock: its column has no bar.
        self.label + columns - 2
    }

    /// A line of the table: label, bars and one line of each cell.
    fn line(&self, label: &str, bars: &[bool], texts: &[&str]) -> String {
        let mut line = format!("{label:>width$}", width = self.label);
        for (column, (text, width)) in texts.iter().zip(&self.widths).enumerate() {
            line.push_str(&" ".repeat(self.gap));
            if column + 1 < texts.len() {
                let holds = bars.get(column).copied().unwrap_or_default();
                line.push_str(if holds { "│ " } else { "  " });
            }
            line.push_str(&format!("{text:<width$}"));
        }
        line
    }
}

/// `text` in lines of at most `limit` characters, those after the first indented; a word that is
/// longer is cut.
fn wrapped(text: &str, limit: usize) -> Vec<String> {
    const INDENT: &str = "  ";
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.trim().is_empty() && width(&line) + 1 + width(word) > limit {
            lines.push(std::mem::replace(&mut line, INDENT.to_owned()));
        } else if !line.is_empty() {
            line.push(' ');
        }
        let room = limit.saturating_sub(width(&line));
        if width(word) > room {
            line.extend(word.chars().take(room.saturating_sub(1)).chain(['…']));
        } else {
            line.push_str(word);
        }
    }
    lines.push(line);
    lines
}

/// A rule across the table, with text in it: in several lines where it does not fit in one.
fn rule(text: &str, table_width: usize) -> Vec<String> {
    const BEGIN: &str = "─── ";
    let room = table_width.saturating_sub(width(BEGIN));
    let across = |(number, line): (usize, String)| {
        let begin = if number == 0 { BEGIN } else { "    " };
        let rest = room.saturating_sub(width(&line) + 1);
        format!("{begin}{line} {}", "─".repeat(rest))
    };
    wrapped(text, room.max(NARROWEST))
        .into_iter()
        .enumerate()
        .map(across)
        .collect()
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

fn width(text: &str) -> usize {
    text.chars().count()
}
