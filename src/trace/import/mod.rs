//! Importers: foreign records of a run, read line by line into the crate's own words.
//!
//! An importer states what its source says and where it says it, and accounts for every line. It does
//! not judge: that is the oracle's work.

pub mod server_log;
