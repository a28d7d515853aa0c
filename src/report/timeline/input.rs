//! What a timeline is drawn from: a scenario, and the events of one run of it.

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
    pub(crate) fn of(scenario: &'a Scenario, run: &'a ObservedRun) -> Timeline<'a> {
        Timeline {
            scenario,
            events: &run.events,
            deciding: run.deciding(),
            completed: run.end == RunEnd::Completed,
        }
    }
}

impl Timeline<'_> {
    /// What was run, in a line.
    pub(super) fn title(&self) -> String {
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
