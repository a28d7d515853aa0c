//! POS: partial order sampling (Yuan, Yang, Gu, *Partial Order Aware Concurrency Sampling*, CAV
//! 2018).
//!
//! Each step that somebody is about to take has a priority, drawn at random; the highest is taken.
//! A step that was taken draws new ones for the steps that depend on it, so that the order of
//! two dependent steps is drawn afresh each time and that of independent ones is not drawn at all.

use crate::stream::Stream;

/// See the [module](self). `P` holds a priority for each actor's next step.
#[derive(Clone, Debug, Default)]
pub struct Pos<P> {
    priorities: P,
}

/// A step that has no priority yet.
const UNDRAWN: u64 = 0;

impl<P: AsMut<[u64]> + AsRef<[u64]>> Pos<P> {
    /// A schedule of as many actors as `priorities` has elements. What they hold does not matter.
    pub fn new(mut priorities: P) -> Self {
        priorities.as_mut().fill(UNDRAWN);
        Pos { priorities }
    }

    /// Picks one of `ready`, none if there is none.
    pub fn pick(
        &mut self,
        ready: impl Iterator<Item = usize> + Clone,
        stream: &mut Stream,
    ) -> Option<usize> {
        let priorities = self.priorities.as_mut();
        for actor in ready.clone() {
            if priorities[actor] == UNDRAWN {
                priorities[actor] = stream.bits() | 1;
            }
        }
        ready.max_by_key(|actor| priorities[*actor])
    }

    /// `actor` took its step: its next one gets a new priority.
    pub fn took(&mut self, actor: usize) {
        self.priorities.as_mut()[actor] = UNDRAWN;
    }

    /// The step that `actor` is about to take depends on the one that was taken.
    pub fn depends(&mut self, actor: usize) {
        self.priorities.as_mut()[actor] = UNDRAWN;
    }
}
