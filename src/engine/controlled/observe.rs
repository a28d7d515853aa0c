//! One schedule, seen in full: its events, and what the oracle says of them.
//!
//! Searches run thousands of schedules without recording anything; the few that matter are run again here.

use std::sync::Arc;

use crate::oracle::rest::table;
use crate::oracle::{Checker, Report};
use crate::trace::event::Event;
use crate::trace::file::{AtRest, End};
use crate::trace::merge::Merged;

use super::actors::Actor;
use super::machine::{Machine, RunEnd, Setup};
use super::schedule::Noted;
use super::schedulers::RandomWalk;
use super::schedulers::{Replay, Scheduler};
use super::world::Record;

/// A schedule that was run and recorded.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Who took each step.
    pub picks: Vec<Actor>,
    /// For each step, the index of its first event.
    pub first_event: Vec<usize>,
    /// What happened, in order.
    pub events: Vec<Merged>,
    /// How it ended.
    pub end: RunEnd,
    /// What the oracle says.
    pub report: Report,
    /// Steps, by index, that another actor took although the one before could have gone on.
    pub preemptions: Vec<usize>,
}

/// Collects events in one sequence.
impl Record for Vec<Merged> {
    #[inline]
    fn record(&mut self, stream: u16, event: &Event) {
        self.push(Merged {
            stream,
            event: *event,
        });
    }
}

/// Takes nothing down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unrecorded;

impl Record for Unrecorded {
    #[inline]
    fn record(&mut self, _stream: u16, _event: &Event) {}
}

/// Runs schedule `index` of `scheduler` from the start, and checks it.
pub fn observe<S: Scheduler>(
    setup: &Arc<Setup>,
    scheduler: S,
    index: u64,
    max_steps: u64,
) -> (Observed, S) {
    let mut machine = Machine::new(setup);
    let mut noted = Noted::new(scheduler);
    noted.begin(index);
    let mut events: Vec<Merged> = Vec::new();
    let mut first_event = Vec::new();
    let mut preemptions = Vec::new();
    let mut current: Option<Actor> = None;
    let end = loop {
        let before = events.len();
        let could_go_on = current.is_some_and(|current| can_step(&machine, current));
        let steps = machine.steps();
        // One step at a time, so that its first event and whether it preempts are known.
        let end = machine.run(
            &mut OneStep {
                noted: &mut noted,
                current,
            },
            &mut events,
            (steps + 1).min(max_steps),
        );
        if machine.steps() > steps {
            let actor = *noted.picks.last().expect("a step was taken");
            if could_go_on && current != Some(actor) {
                preemptions.push(first_event.len());
            }
            first_event.push(before);
            current = Some(actor);
        }
        if end != RunEnd::CutShort || machine.steps() == steps {
            break end;
        }
    };
    let report = check(&machine, &events, end);
    let observed = Observed {
        picks: noted.picks,
        first_event,
        events,
        end,
        report,
        preemptions,
    };
    (observed, noted.scheduler)
}

/// Runs `picks` from the start, and checks them; afterwards, where threads are left, they run in any fixed order.
pub fn observe_picks(setup: &Arc<Setup>, picks: &[Actor]) -> Observed {
    let replay: Replay<RandomWalk> = Replay::new(picks.to_vec(), None);
    observe(setup, replay, 0, u64::MAX).0
}

/// What the oracle says of the events of a run that ended so.
pub fn check(machine: &Machine, events: &[Merged], end: RunEnd) -> Report {
    let scenario = &machine.setup().scenario;
    let mut checker = Checker::new(scenario, true);
    events.iter().for_each(|event| checker.observe(event));
    debug_assert_eq!(checker.contradiction(), None);
    let end = End {
        completed: end == RunEnd::Completed,
        server: AtRest::Table(at_rest(machine)),
        ..End::default()
    };
    checker.finish(Some(&end), None)
}

/// The server's table once it has stopped waiting for what does not come.
fn at_rest(machine: &Machine) -> Vec<crate::trace::file::TableEntry> {
    let mut registry = machine.server().registry().clone();
    registry.flush(&mut |_, _| {});
    table(&registry)
}

/// Whether `actor` could take a step now.
pub fn can_step(machine: &Machine, actor: Actor) -> bool {
    machine.ready().contains(actor) && machine.clone().step(actor, &mut Unrecorded)
}

/// Another scheduler, asked with the current actor of a run that is done a step at a time.
struct OneStep<'a, S> {
    noted: &'a mut Noted<S>,
    current: Option<Actor>,
}

impl<S: Scheduler> Scheduler for OneStep<'_, S> {
    fn begin(&mut self, _index: u64) {}

    fn pick(&mut self, ready: super::actors::Actors, current: Option<Actor>) -> Option<Actor> {
        self.noted.pick(ready, current.or(self.current))
    }

    fn took(&mut self, actor: Actor) {
        self.noted.took(actor);
    }
}
