//! The text timeline: one small run as text that is pasted into an issue and kept in a snapshot.
//!
//! A column for each thread and one for the server, time downwards; the preemption that decides,
//! every divergence where it shows, what is live and what is shown at rest, and one paragraph that
//! says in words what went wrong and which gap let it. `walk` works out what happened (`history`),
//! with the server's table at its side (`shown_table`); `labels` writes a cell, `table` sets the
//! table, `explain` writes the paragraph with the `gap` in it. Not here: colours, other formats,
//! and long runs.
//!
//! Invariants: the text depends on the events alone; every recorded event is in it; it has no
//! trailing blanks.

mod explain;
mod gap;
mod history;
mod labels;
mod shown_table;
mod table;
mod walk;

use crate::engine::controlled::machine::RunEnd;
use crate::engine::controlled::observe::ObservedRun;
use crate::scenario::Scenario;
use crate::trace::merge::MergedEvent;

/// What a timeline is drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Timeline<'a> {
    /// What was run.
    pub scenario: &'a Scenario,
    /// What happened, in order.
    pub events: &'a [MergedEvent],
    /// The index of the event that runs because of the deciding preemption, if known.
    pub deciding: Option<usize>,
    /// Whether all threads came to their end.
    pub completed: bool,
}

impl<'a> Timeline<'a> {
    /// The timeline of a schedule that was run under control.
    pub fn of(scenario: &'a Scenario, run: &'a ObservedRun) -> Timeline<'a> {
        Timeline {
            scenario,
            events: &run.events,
            deciding: run.deciding(),
            completed: run.end == RunEnd::Completed,
        }
    }
}

impl Timeline<'_> {
    /// The timeline as text, its lines ended by `\n`.
    pub fn render(&self) -> String {
        let history = walk::history(self.scenario, self.events, self.deciding, self.completed);
        let mut text = self.title();
        text.push_str("\n\n");
        text.push_str(&table::drawn(&history, self.deciding));
        text.push('\n');
        text.push_str(&explain::explain(&history));
        text
    }

    /// What was run, in a line.
    fn title(&self) -> String {
        let Scenario {
            order,
            publish,
            semantics,
            ..
        } = *self.scenario;
        format!(
            "{}: {order}, {publish} publication, {semantics} server",
            self.scenario.discipline.name
        )
    }
}
