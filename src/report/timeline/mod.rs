//! The text timeline: one small run as text that is pasted into an issue and kept in a snapshot.
//!
//! A column for each thread and one for the server, time downwards. It shows the preemption that
//! decides, every divergence where it shows, what is live and what the server shows at rest. One
//! paragraph below says in words what went wrong and which gap let it.
//!
//! In three steps. `walk` goes over the events and writes down what happened (`history`), with the
//! server's side of it (`server_view`). `table` sets that in rows and columns. `explain` writes the
//! paragraph, with the `gap` in it. The `labels` of threads, places and steps are the same in both.
//! Not here: colours, other formats, and long runs.
//!
//! Invariants: the text depends on the events alone; every recorded event is in it; it has no
//! trailing blanks.

mod explain;
mod gap;
mod history;
mod input;
mod labels;
mod server_view;
mod shared_labels;
mod table;
mod walk;

pub use input::Timeline;

/// A table of up to three threads is no wider than this, in characters, where nothing else is
/// asked.
const DEFAULT_WIDTH: usize = 110;
/// The paragraph is no wider than this.
const TEXT_WIDTH: usize = 100;

impl Timeline<'_> {
    /// The timeline as text, its lines ended by `\n`.
    pub fn render(&self) -> String {
        let history = walk::history(self);
        let table = table::table(&history, self.deciding);
        let explained = explain::explain(&history, TEXT_WIDTH);
        format!("{}\n\n{table}\n{explained}", self.title())
    }

    /// As [`Timeline::render`], in lines of at most `width` characters, as far as its columns can
    /// be narrowed to that.
    pub fn render_within(&self, width: usize) -> String {
        let history = walk::history(self);
        let table = table::table_within(&history, self.deciding, width);
        let explained = explain::explain(&history, TEXT_WIDTH.min(width));
        format!(
            "{}\n{table}\n{explained}",
            explain::wrapped(&self.title(), width)
        )
    }

    /// What went wrong, in a paragraph without line breaks.
    pub(crate) fn explanation(&self) -> String {
        let explained = explain::explain(&walk::history(self), usize::MAX);
        explained.trim_end().to_owned()
    }
}
