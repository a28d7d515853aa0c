//! `heisenbed run` and real programs: those of `programs/` and of `benches/native/programs/`, built
//! by a C compiler when the tests run.

mod programs;

mod campaign;
mod features;
mod hostile;
mod planted;
mod reproducers;
mod strategies;
