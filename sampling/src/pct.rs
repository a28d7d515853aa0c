//! PCT: probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte, *A
//! Randomized Scheduler with Probabilistic Guarantees of Finding Bugs*, ASPLOS 2010).
//!
//! Every actor has a priority, drawn at random; the highest that can go on does. At d − 1 steps,
//! drawn at random from the k that a schedule has, the actor that is about to step falls below all
//! others. A divergence that needs d ordering constraints is then found by each schedule with
//! probability at least 1/(n·k^(d−1)), for n actors.
//!
//! Deviation from the paper: k is not known beforehand; it is the number of steps of a first
//! schedule.

use crate::stream::Stream;

/// See the [module](self). `P` holds a priority for each actor, `C` a step for each change.
#[derive(Clone, Debug, Default)]
pub struct Pct<P, C> {
    /// By actor; the highest goes first. Of the first ones, as many as there are changes are kept
    /// for those that fall.
    priorities: P,
    /// Steps, ascending, at which an actor falls.
    changes: C,
    /// Changes made.
    fallen: usize,
    step: u64,
}

impl<P: AsMut<[u64]> + AsRef<[u64]>, C: AsMut<[u64]> + AsRef<[u64]>> Pct<P, C> {
    /// A schedule of about `steps` steps: each element of `priorities` stands for an actor, each of
    /// `changes` for a change of priorities. What they hold does not matter.
    pub fn new(mut priorities: P, mut changes: C, steps: u64, stream: &mut Stream) -> Self {
        let kept = changes.as_ref().len() as u64;
        let all = priorities.as_mut();
        for (priority, rank) in all.iter_mut().zip(0..) {
            *priority = kept + rank;
        }
        for last in (1..all.len()).rev() {
            all.swap(last, stream.below(last as u64 + 1) as usize);
        }
        for change in changes.as_mut() {
            *change = stream.below(steps);
        }
        changes.as_mut().sort_unstable();
        Pct {
            priorities,
            changes,
            fallen: 0,
            step: 0,
        }
    }

    /// Picks one of `ready`, none if there is none.
    pub fn pick(&mut self, ready: impl Iterator<Item = usize> + Clone) -> Option<usize> {
        loop {
            let priorities = self.priorities.as_ref();
            // The first of several, but priorities differ.
            let first = ready.clone().max_by_key(|actor| priorities[*actor])?;
            let changes = self.changes.as_ref();
            if changes.get(self.fallen).is_none_or(|at| *at > self.step) {
                return Some(first);
            }
            // Later falls are deeper: each gets the lowest priority that is left.
            let left = changes.len() - 1 - self.fallen;
            self.priorities.as_mut()[first] = left as u64;
            self.fallen += 1;
        }
    }

    /// The last pick did take a step.
    pub fn took(&mut self) {
        self.step += 1;
    }

    /// `actor` lets all others go first, from now on: it waits in a loop for what another does.
    pub fn fall(&mut self, actor: usize) {
        let priorities = self.priorities.as_mut();
        let own = priorities[actor];
        for priority in priorities.iter_mut() {
            *priority += u64::from(*priority < own);
        }
        let lowest = self.changes.as_ref().len() - self.fallen;
        priorities[actor] = lowest as u64;
    }

    /// The storage, for another schedule.
    pub fn into_storage(self) -> (P, C) {
        (self.priorities, self.changes)
    }
}
