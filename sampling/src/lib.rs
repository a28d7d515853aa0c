//! The sampling schedulers: who steps next, drawn at random.
//!
//! Written once for both kinds of run: the engine uses them for models of code, the preloaded
//! runtime for real code. So nothing here allocates, blocks, or knows what an actor is: an actor is
//! a number, and what is kept for each is a slice that the caller provides.
//!
//! The same stream gives the same picks on every machine.

#![no_std]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod hold;
pub mod pct;
pub mod pos;
pub mod stream;
pub mod surw;
pub mod urw;

pub use hold::Hold;
pub use pct::Pct;
pub use pos::Pos;
pub use stream::Stream;
pub use surw::Surw;
pub use urw::Urw;
