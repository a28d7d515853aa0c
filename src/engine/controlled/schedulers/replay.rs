//! Replay: the picks of a recorded schedule, one after another.
//!
//! Where the scheduled actor cannot go on, or the schedule is at its end, the recording is left:
//! for good, and by what was given for that case (`--adapt`), or else the run stops there.

use crate::engine::controlled::actors::{Actor, Actors};

use super::Scheduler;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Replay<F> {
    picks: Vec<Actor>,
    taken: usize,
    left_at: Option<usize>,
    otherwise: Option<F>,
}

impl<F> Replay<F> {
    /// Replays `picks`, then goes on under `otherwise`.
    pub(crate) fn new(picks: Vec<Actor>, otherwise: Option<F>) -> Replay<F> {
        Replay {
            picks,
            taken: 0,
            left_at: None,
            otherwise,
        }
    }

    /// Steps that were taken as scheduled.
    pub(crate) fn followed(&self) -> usize {
        self.taken
    }

    /// The step at which the recording was left, where that was before its end.
    pub(crate) fn left_at(&self) -> Option<usize> {
        self.left_at.filter(|step| *step < self.picks.len())
    }

    /// Who should have taken the next step of the recording.
    pub(crate) fn wanted(&self) -> Option<Actor> {
        self.picks.get(self.taken).copied()
    }

    /// Whether the whole schedule was followed.
    pub(crate) fn is_complete(&self) -> bool {
        self.taken == self.picks.len()
    }
}

impl<F: Scheduler> Scheduler for Replay<F> {
    const FUSES: bool = false;

    fn begin(&mut self, index: u64) {
        self.taken = 0;
        self.left_at = None;
        if let Some(otherwise) = &mut self.otherwise {
            otherwise.begin(index);
        }
    }

    fn pick(&mut self, ready: Actors, current: Option<Actor>) -> Option<Actor> {
        if self.left_at.is_none() {
            match self.picks.get(self.taken) {
                Some(actor) if ready.contains(*actor) => return Some(*actor),
                _ => self.left_at = Some(self.taken),
            }
        }
        self.otherwise.as_mut()?.pick(ready, current)
    }

    fn took(&mut self, actor: Actor) {
        if self.left_at.is_some() {
            if let Some(otherwise) = &mut self.otherwise {
                otherwise.took(actor);
            }
        } else {
            self.taken += 1;
        }
    }
}
