//! What must hold for any input: drawn ones, damaged ones, and those that the fuzz targets kept.

mod allocator_model;
mod changed_seeds;
#[path = "../common/mod.rs"]
mod common;
mod fuzz_corpus;
mod trace_robustness;
