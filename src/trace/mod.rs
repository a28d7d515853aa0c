//! Traces: the record of a run.
//!
//! [`event`] says what can happen, [`objects`] what it can happen to, [`codec`] how it is written,
//! [`file`](mod@file) how a trace is kept, [`recorder`] how running threads write one, and [`merge`]
//! how the streams of all threads become one schedule again. [`import`] reads what other tools recorded, and
//! [`observation`] is what all of them show of messages.
//! Nothing here judges a run: that is [`crate::oracle`]'s.

pub mod codec;
pub mod event;
pub mod file;
pub(crate) mod handles;
mod header;
pub mod import;
pub(crate) mod in_flight;
pub mod merge;
pub mod message;
pub mod objects;
pub mod observation;
pub mod recorder;
pub mod text;
