//! Verdicts for any number of threads, operations and addresses, and any placement policy of the
//! allocator: one address is watched, and the buffers that are or were at it are counted.
//!
//! Why that is enough, and what is left out, step by step, is in `docs/proofs.md`. In short:
//!
//! - What a server gets wrong, it gets wrong of one key: an address of one memory of one device.
//!   All keys are alike, so that any one may be watched.
//! - What matters of the allocator is whether that address is taken, and by which buffer; of the
//!   server, whether it has an entry for it, and of which buffer. A buffer elsewhere changes
//!   neither. It can only keep others waiting, by the locks that it holds: leaving it out allows
//!   more interleavings, none less.
//! - A buffer at the address is a [`Life`](life::Life): where its allocation and each of its
//!   releases stand, its status, whether it is visible. Any thread may begin an allocation at any
//!   time, and a release of any buffer that is visible and has one to come. So it does not matter
//!   which thread does what. Where only the thread that allocated a buffer releases it, a release
//!   begins when its allocation has ended, one after the other ([`usage`]).
//! - A server that goes by sequence numbers takes the messages of a device in the order of their
//!   numbers, whenever they come: with its number a message has its place, and so its effect.
//! - While each key sees ALLOC and FREE in turn, all servers do the same.
//! - Lives that are alike are counted: none, one, many. *Many* stands for any number above one, so
//!   that there are finitely many states, and each state of a run is among them.
//!
//! So an abstract search without a divergence is a proof. A divergence that it finds may be one of
//! the abstraction's own: whoever asks tries it in a bounded search, and says which it is.
//!
//! Not here: deadlock; programs whose effect depends on more than one key (mesh buffers), lossy
//! transports, several processes, connections of a thread's own. Those are refused by name
//! ([`NotCovered`]), never ignored.

mod life;
mod program;
mod search;
#[cfg(test)]
mod tests;
mod usage;

use thiserror::Error;

pub use search::{Abstract, AbstractStep, search_ops};
pub(crate) use usage::owners_release;

use crate::lifecycle::MicroStep;
use crate::registry::Semantics;

/// Why there is no verdict for any number: what the abstraction does not cover.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotCovered {
    /// A step whose effect is not that of one address.
    #[error("`{0}` is not covered: its effect depends on more than one address")]
    Step(Box<MicroStep>),
    /// A message that a server which goes by numbers takes whenever it comes.
    #[error("`{0}` without a number is not covered: it has no place among those with one")]
    Unnumbered(Box<MicroStep>),
    /// Processes with locks, handles and numbers of their own.
    #[error("several processes are not covered")]
    Processes,
    /// A table of locks that a device may be beyond.
    #[error("`{0}` is not covered: a device may be beyond the table")]
    Table(Box<MicroStep>),
    /// How messages get to the server.
    #[error(
        "{0} are not covered: messages may be lost, or taken in another order than they were sent in"
    )]
    Transport(&'static str),
    /// A key that buffers of different memories may share.
    #[error(
        "buffers of several memories are not covered: to this {0} server those at one address are one"
    )]
    Memories(Semantics),
    /// A mistake in the client, the server or the allocator.
    #[error("a planted mistake is not covered")]
    Planted,
    /// Buffers that a program of their own treats.
    #[error("{0} buffers are not covered")]
    Buffers(&'static str),
    /// An operation that is no allocation and no release of one buffer.
    #[error("{0} is not covered")]
    Operation(&'static str),
    /// A discipline that no run can begin with.
    #[error("the lint refuses the discipline")]
    Refused,
}
