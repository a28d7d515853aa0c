//! Progress on stderr for what takes over a second: a bar on a terminal, a line now and then
//! elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shown only after this long.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Tells how far something has come.
#[derive(Debug)]
pub(crate) struct Progress {
    quiet: bool,
    on_terminal: bool,
    what: String,
    unit: &'static str,
    total: u64,
    started: Instant,
    bar: Option<ProgressBar>,
    last_line: Instant,
    /// What was there already when it began.
    done_before: Option<u64>,
    note: String,
}

impl Progress {
    /// Progress of `what`, in `unit`s out of `total` (0: unknown).
    pub(crate) fn new(
        quiet: bool,
        what: impl Into<String>,
        unit: &'static str,
        total: u64,
    ) -> Progress {
        let now = Instant::now();
        Progress {
            quiet,
            on_terminal: std::io::stderr().is_terminal(),
            what: what.into(),
            unit,
            total,
            started: now,
            bar: None,
            last_line: now,
            done_before: None,
            note: String::new(),
        }
    }

    /// More that is worth a word.
    pub(crate) fn note(&mut self, note: String) {
        self.note = note;
    }

    /// It has come to `done`.
    pub(crate) fn update(&mut self, done: u64) {
        let before = *self.done_before.get_or_insert(done);
        if self.quiet || self.started.elapsed() < TIMEOUT {
            return;
        }
        let done = if self.total > 0 {
            done.min(self.total)
        } else {
            done
        };
        if self.on_terminal {
            let bar = self
                .bar
                .get_or_insert_with(|| bar(&self.what, self.unit, self.total));
            bar.set_position(done);
            if !self.note.is_empty() {
                bar.set_message(format!("{}: {}", self.what, self.note));
            }
        } else if self.last_line.elapsed() > LINE_INTERVAL {
            self.last_line = Instant::now();
            let of = if self.total > 0 {
                format!(" of {}", self.total)
            } else {
                String::new()
            };
            let seconds = self.started.elapsed().as_secs_f64();
            let rate = done.saturating_sub(before) as f64 / seconds;
            let left = if self.total > done && rate > 0.0 {
                format!(", {:.0} s left", (self.total - done) as f64 / rate)
            } else {
                String::new()
            };
            let note = match self.note.as_str() {
                "" => String::new(),
                note => format!(", {note}"),
            };
            crate::say!(
                "{}: {done}{of} {} after {seconds:.0} s, {rate:.0} a second{note}{left}",
                self.what,
                self.unit
            );
        }
    }

    /// There are about so many.
    pub(crate) fn expect(&mut self, total: u64) {
        self.total = total;
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    /// It is over: the bar goes.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &str, unit: &str, total: u64) -> ProgressBar {
    let (bar, template) = if total > 0 {
        (
            ProgressBar::new(total),
            format!("{{msg}} {{wide_bar}} {{human_pos}}/{{human_len}} {unit} {{per_sec}} {{eta}}"),
        )
    } else {
        (
            ProgressBar::new_spinner(),
            format!("{{msg}} {{spinner}} {{human_pos}} {unit} {{elapsed}}"),
        )
    };
    let style = ProgressStyle::with_template(&template).expect("the template is fixed and valid");
    bar.with_style(style).with_message(what.to_owned())
}
