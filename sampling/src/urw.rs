//! URW: a random walk that takes every interleaving for about as likely as another (Zhao, Wolff,
//! Mathur, Roychoudhury, *Selectively Uniform Concurrency Testing*, ASPLOS 2025).
//!
//! Each step, an actor is picked with a probability proportional to the steps that it has left. A
//! plain random walk favours schedules in which short threads end early; this one does not. How
//! many steps an actor has is taken from a first schedule; where that is off (locks, early
//! returns), the walk is uniform only nearly.

use crate::stream::Stream;

/// See the [module](self). `L` holds the steps that each actor is expected to have left.
#[derive(Clone, Debug, Default)]
pub struct Urw<L> {
    left: L,
}

impl<L: AsMut<[u64]> + AsRef<[u64]>> Urw<L> {
    /// A walk over actors that take about so many steps each.
    pub fn new(left: L) -> Self {
        Urw { left }
    }

    /// Picks one of `ready`, none if there is none.
    pub fn pick(
        &mut self,
        ready: impl Iterator<Item = usize> + Clone,
        stream: &mut Stream,
    ) -> Option<usize> {
        let left = self.left.as_ref();
        // Whoever is not expected to go on any more, and does, must still be picked some time.
        stream.weighted(ready, |actor| left[actor].max(1))
    }

    /// `actor` took a step.
    #[inline]
    pub fn took(&mut self, actor: usize) {
        let left = &mut self.left.as_mut()[actor];
        *left = left.saturating_sub(1);
    }

    /// The storage, for another schedule.
    pub fn into_storage(self) -> L {
        self.left
    }
}
