//! Importers: foreign records of a run, read one by one into the crate's own words.
//!
//! An importer states what its source says and where it says it, and accounts for every line. It
//! does not judge: that is the oracle's work.
//!
//! [`server_log`] reads what a tracking server printed of messages. The others read what an
//! allocator recorded of itself, and share their words: [`allocation`] for what happened to
//! buffers, [`stacks`] for where in the program. [`workload`] makes operations of it.

pub mod accounting;
pub mod allocation;
mod by_time;
mod clock;
mod csv_row;
pub(crate) mod debug_log;
pub(crate) mod generic;
pub(crate) mod graph_capture;
mod json_elements;
mod line_records;
pub(crate) mod lines;
pub(crate) mod live_table;
pub(crate) mod pickle;
pub(crate) mod recognise;
pub(crate) mod rmm_log;
pub(crate) mod rocprof;
pub mod server_log;
pub(crate) mod stacks;
pub(crate) mod telling_frames;
pub mod torch_snapshot;
pub(crate) mod umpire;
pub(crate) mod vma_replay;
pub(crate) mod wire;
mod without_empty;
pub(crate) mod workload;
