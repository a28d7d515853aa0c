//! Schedulers: who steps next. One a file.
//!
//! A scheduler sees actors and nothing of what they do. The same seed and schedule number give the
//! same picks on every machine, whatever ran before.

pub(crate) mod bytes;
pub(crate) mod pct;
pub(crate) mod random;
pub(crate) mod replay;
pub(crate) mod urw;

pub(crate) use bytes::Bytes;
pub(crate) use pct::Pct;
pub use random::RandomWalk;
pub(crate) use replay::Replay;
pub(crate) use urw::Urw;

use super::actors::{Actor, Actors};

/// Decides who steps next.
pub trait Scheduler {
    /// Whether an actor goes on unasked while its next step is *safe*: while no step that another
    /// could take before it depends on it (see [`super::reduction`]). Nothing that can happen is
    /// lost, and choices are made only where they matter.
    const FUSES: bool = true;

    /// Schedule number `index` begins.
    fn begin(&mut self, index: u64);

    /// Picks one of `ready`, which is not empty. `current` took the last step. A pick may turn out
    /// to be unable to go on: then the next question has one candidate less. `None`: the schedule
    /// ends here.
    fn pick(&mut self, ready: Actors, current: Option<Actor>) -> Option<Actor>;

    /// The last pick did take a step.
    #[inline]
    fn took(&mut self, _actor: Actor) {}
}

/// Actors as the samplers know them.
fn numbers(actors: Actors) -> impl Iterator<Item = usize> + Clone {
    actors.map(|actor| usize::from(actor.0))
}

/// What a sampler picked of them.
fn actor(number: usize) -> Actor {
    Actor(number as u16)
}
