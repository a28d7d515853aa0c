//! Traces: the record of a run.
//!
//! [`event`] says what can happen, [`objects`] what it can happen to, [`codec`] how it is written,
//! [`file`](mod@file) how a trace is kept, [`recorder`] how running threads write one, and
//! [`merge`] how the streams of all threads become one schedule again. [`capture`] is what went
//! over connections and [`journal`] what a server took in, both in blocks of [`records`].
//! [`import`] reads what other tools recorded, and [`observation`] is what all of them show of
//! messages. Nothing here judges a run: that is [`crate::oracle`]'s.

pub mod capture;
pub mod codec;
pub mod event;
pub mod file;
mod header;
pub mod in_flight;
pub mod journal;
pub mod merge;
pub mod observation;
pub mod recorder;
pub mod records;
pub mod sends;
pub mod text;
