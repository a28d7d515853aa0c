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
mod table;
mod walk;

pub use input::Timeline;

impl Timeline<'_> {
    /// The timeline as text, its lines ended by `\n`.
    pub fn render(&self) -> String {
        let history = walk::history(self);
        let mut text = self.title();
        text.push_str("\n\n");
        text.push_str(&table::table(&history, self.deciding));
        text.push('\n');
        text.push_str(&explain::explain(&history));
        text
    }
}
