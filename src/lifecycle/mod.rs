//! The lifecycle language: disciplines as programs of micro-steps.
//!
//! A discipline is data, readable next to the C++ it stands for: two lists of micro-steps,
//! `allocate` and `deallocate`, and two more where mesh buffers go another way. This room parses,
//! transforms, lints, draws and ships them; it does not run them, and it does not judge whether a
//! protocol is *correct*: a program that can race or deadlock is accepted here, because showing
//! that is the engine's work.
//!
//! - [`step`]: the micro-steps and their text.
//! - [`discipline`]: the programs and their limits.
//! - [`parser`]: TOML text → [`Discipline`], with errors that name the line.
//! - [`mod@lint`]: rejects programs that cannot be run as written, and warns about suspicious ones.
//! - [`switches`]: release order and publication, applied to any discipline.
//! - [`builtin`]: the disciplines that ship with heisenbed.
//! - `same`: whether two disciplines say the same but for names.
//! - [`shared`]: steps on cells, ledgers and other locks, with branches and loops.
//! - [`mod@render`]: the two programs side by side, with the lock scopes drawn.
//!
//! Invariant: what [`load`] and [`builtin::all`] hand out has passed the lint without an error.

pub mod builtin;
pub(crate) mod discipline;
pub mod lint;
pub(crate) mod parser;
pub(crate) mod render;
mod same;
pub mod shared;
pub(crate) mod step;
pub(crate) mod switches;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod testing;

pub use builtin::load;
pub use discipline::{BufferPath, Discipline, MeshPath, Program, ProgramKind, TooLong};
pub(crate) use lint::has_one_lock_order;
pub(crate) use lint::shared::needs_buffer;
pub use lint::{LintFinding, MAX_HELD, Severity, lint};
pub(crate) use parser::DisciplineError;
pub(crate) use render::render;
pub use same::DisciplineDifference;
pub use shared::{CellSpec, Name, SharedStep};
pub use step::{Lock, MicroStep, SendKind, StepError};
pub use switches::{Order, Publication};
