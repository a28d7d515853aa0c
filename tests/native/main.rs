//! `heisenbed run` and real programs: those of `programs/` and of `benches/native/programs/`, built
//! by a C compiler when the tests run.

mod programs;

mod allocators;
mod campaign;
mod exhaustive;
mod features;
mod hostile;
mod limits;
mod outside;
mod planted;
mod races;
mod reported;
mod reproducers;
mod signals;
mod strategies;
mod targets;
mod tracked;
