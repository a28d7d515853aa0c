//! Fuzzing: what each target generates from its bytes, and what it then demands.
//!
//! A target is one function from bytes to nothing that panics when something does not hold. The crate in `fuzz/` is
//! glue that hands libFuzzer's bytes to these functions; the corpus test hands them every file in
//! `corpus/fuzz/`, so each seed, and each input that ever failed and was kept, is also an ordinary test.
//!
//! Rooms: [`wire_stream`], [`registry`], [`allocator`], [`trace_file`], [`import_log`] and [`import_pickle`]. Nothing outside of tests
//! and fuzz targets may use them.

pub mod allocator;
pub mod import_log;
pub mod import_pickle;
pub mod registry;
pub mod trace_file;
pub mod wire_stream;

/// A target: its name, which is also its folder in `corpus/fuzz/`, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 6] = [
    ("wire_stream", wire_stream::run),
    ("registry", registry::run),
    ("allocator", allocator::run),
    ("trace_file", trace_file::run),
    ("import_log", import_log::run),
    ("import_pickle", import_pickle::run),
];
