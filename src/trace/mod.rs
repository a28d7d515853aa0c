//! Traces: the record of a run.
//!
//! [`event`] says what can happen, [`codec`] how it is written, [`file`](mod@file) how a trace is
//! kept, [`recorder`] how running threads write one, and [`merge`] how the streams of all threads
//! become one schedule again. [`sends`] knows which message each send carries, [`in_flight`] what
//! is on its way. [`capture`] is what went over connections and [`journal`] what a server took in,
//! both in blocks of [`records`]; [`text`] keeps what another tool wrote. [`observation`] is what
//! all of them show of messages. Nothing here judges a run: that is [`crate::oracle`]'s.

mod block_cursor;
pub mod capture;
pub mod codec;
pub mod event;
pub mod file;
mod header;
pub(crate) mod in_flight;
pub(crate) mod journal;
pub mod merge;
pub mod observation;
pub mod recorder;
pub(crate) mod records;
pub(crate) mod sends;
pub mod shared_event;
pub(crate) mod text;
