//! Engines: they run scenarios.
//!
//! [`step`] is the one interpreter of disciplines, [`code`] what it runs, [`backend`] what it acts
//! on; [`slot`] the state of a buffer's handle. [`threads`] runs them on OS threads with real
//! mutexes, real allocators and real sockets; [`controlled`] in a world of plain data, step by
//! step. An engine produces a trace; what the trace means is [`crate::oracle`]'s.

pub mod backend;
pub mod code;
pub mod controlled;
pub(crate) mod slot;
pub mod step;
pub mod threads;
