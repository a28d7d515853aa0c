//! Schedulers: who steps next. One a file.
//!
//! A scheduler sees actors and nothing of what they do. The same seed and schedule number give the
//! same picks on every machine, whatever ran before.

pub mod bytes;
pub mod pct;
pub mod random;
pub mod replay;
pub mod urw;

pub use bytes::Bytes;
pub use pct::Pct;
pub use random::RandomWalk;
pub use replay::Replay;
pub use urw::Urw;

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
