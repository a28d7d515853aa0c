//! One schedule, seen in full: its events, and what the oracle says of them.
//!
//! Searches run thousands of schedules without recording anything; the few that matter are run
//! again here.

use std::sync::Arc;

use crate::oracle::rest::table;
use crate::oracle::{Checker, Report, Verdict};
use crate::trace::event::Event;
use crate::trace::file::{AtRest, End};
use crate::trace::merge::MergedEvent;

use super::actors::Actor;
use super::machine::{Machine, RunEnd, Setup};
use super::schedule::NotingScheduler;
use super::schedulers::{Bytes, Replay, Scheduler};
use super::world::EventSink;

/// A schedule that was run and recorded.
#[derive(Clone, Debug)]
pub struct ObservedRun {
    /// Who took each step.
    pub picks: Vec<Actor>,
    /// For each step, the index of its first event.
    pub first_event: Vec<usize>,
    /// What happened, in order.
    pub events: Vec<MergedEvent>,
    /// How it ended.
    pub end: RunEnd,
    /// What the oracle says.
    pub report: Report,
    /// The index of the event that shows the first divergence; `None` also where one shows at rest
    /// only.
    pub diverged_at: Option<usize>,
    /// Steps, by index, that another actor took although the one before could have gone on.
    pub preemptions: Vec<usize>,
}

/// Collects events in one sequence.
impl EventSink for Vec<MergedEvent> {
    #[inline]
    fn record(&mut self, stream: u16, event: &Event) {
        self.push(MergedEvent {
            stream,
            event: *event,
        });
    }
}

/// Takes nothing down.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecording;

impl EventSink for NoRecording {
    #[inline]
    fn record(&mut self, _stream: u16, _event: &Event) {}
}

/// Runs schedule `index` of `scheduler` from the start, and checks it.
pub fn observe<S: Scheduler>(
    setup: &Arc<Setup>,
    scheduler: S,
    index: u64,
    max_steps: u64,
) -> (ObservedRun, S) {
    let mut noted = NotingScheduler::new(scheduler);
    noted.begin(index);
    let end = Machine::new(setup).run(&mut noted, &mut NoRecording, max_steps);
    (observe_picks(setup, noted.picks, end), noted.scheduler)
}

/// Runs `picks` from the start and then, where threads are left, one after another as far as each
/// can.
pub(crate) fn observe_path(setup: &Arc<Setup>, picks: Vec<Actor>) -> ObservedRun {
    let replay = Replay::new(picks, Some(Bytes::new(&[])));
    observe(setup, replay, 0, u64::MAX).0
}

/// Runs `picks`, which led to `end`, from the start, and checks them.
fn observe_picks(setup: &Arc<Setup>, picks: Vec<Actor>, end: RunEnd) -> ObservedRun {
    let mut machine = Machine::new(setup);
    let mut events: Vec<MergedEvent> = Vec::new();
    let mut first_event = Vec::with_capacity(picks.len());
    let mut preemptions = Vec::new();
    let mut current: Option<Actor> = None;
    for (index, actor) in picks.iter().copied().enumerate() {
        let switched = current.filter(|current| *current != actor);
        if switched.is_some_and(|current| machine.can_step(current)) {
            preemptions.push(index);
        }
        first_event.push(events.len());
        let stepped = machine.step(actor, &mut events);
        debug_assert!(stepped, "the same picks lead to the same steps");
        current = Some(actor);
    }
    if end != RunEnd::CutShort {
        machine.finish(&mut events);
    }
    let (report, diverged_at) = check(&machine, &events, end);
    ObservedRun {
        picks,
        first_event,
        events,
        end,
        report,
        diverged_at,
        preemptions,
    }
}

impl ObservedRun {
    /// The index of the first event of the preemption that decides: the last one before the first
    /// divergence.
    pub fn deciding(&self) -> Option<usize> {
        if self.report.divergences.is_empty() {
            return None;
        }
        let shows = self.diverged_at.unwrap_or(self.events.len());
        let first_events = self.preemptions.iter().map(|step| self.first_event[*step]);
        first_events.take_while(|event| *event <= shows).last()
    }
}

/// What the oracle says of the events of a run that ended so, and where the first divergence shows.
fn check(machine: &Machine, events: &[MergedEvent], end: RunEnd) -> (Report, Option<usize>) {
    let scenario = &machine.setup().scenario;
    let mut checker = Checker::new(scenario, true);
    let mut diverged_at = None;
    for (index, event) in events.iter().enumerate() {
        checker.observe(event);
        if diverged_at.is_none() && !checker.listed().is_empty() {
            diverged_at = Some(index);
        }
    }
    let contradiction = checker.contradiction().map(ToOwned::to_owned);
    let end = End {
        completed: end == RunEnd::Completed,
        server: AtRest::Table(at_rest(machine)),
        ..End::default()
    };
    let mut report = checker.finish(Some(&end), None);
    if contradiction.is_some() {
        report.verdict = Verdict::Inconclusive;
        report.note = contradiction;
    }
    (report, diverged_at)
}

/// The server's table once it has stopped waiting for what does not come.
fn at_rest(machine: &Machine) -> Vec<crate::trace::file::TableEntry> {
    let mut registry = machine.server().registry().clone();
    registry.flush(&mut |_, _| {});
    table(&registry)
}
