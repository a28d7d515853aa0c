//! Reads anybody's own log of allocations, as CSV or as JSON Lines, by the names of its fields.
//!
//! | field | says | where it is absent |
//! |---|---|---|
//! | `op` | `alloc`, `free`, `release-requested`, `holder-ended` or `fail` | the row is not understood |
//! | `address` | decimal, or hexadecimal after `0x`; `null` for none | not needed for `fail` |
//! | `time` | ns since any origin, or seconds with a decimal point, or a time of day `HH:MM:SS.ffffff` | unknown |
//! | `device` | a number, with or without a word before it (`cuda:1`) | 0 |
//! | `memory` | `dram`, `l1`, `l1_small`, `trace`, `system`, or a name of your own | `dram` |
//! | `size` | bytes | unknown; of a `free`, 0 says nothing either |
//! | `thread` | a number, or a name | unknown |
//! | `process` | a number | unknown |
//!
//! An address belongs to a process, a device and a memory. Usual other names of fields and
//! operations are taken too (module `fields`), fields that have no meaning here are left out.
//! docs/formats.md says it for users.
//!
//! What holds:
//! - Every line is counted once: as parsed, as known-other (headers, comments, blank lines, null
//!   addresses) or as unrecognised.
//! - Memory does not grow with the length of the log, but by the names of threads, of which there
//!   are [`MAX_NAMES`] at most, and of memories, of which there are 192.

mod csv;
mod fields;
mod jsonl;
mod scalar;

pub(crate) use csv::CsvReader;
pub(crate) use jsonl::JsonlReader;
pub(super) use scalar::Scalar;

/// Names of threads that are told apart.
pub(crate) const MAX_NAMES: usize = 1 << 16;
