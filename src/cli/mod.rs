//! The command line: one file a subcommand, each with its arguments, what it runs, and what it prints.
//!
//! A subcommand returns an [`Outcome`] rather than printing, so that a test reads what a user would.

pub mod disciplines;

use clap::ValueEnum;

/// The form of what a command writes to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people.
    #[default]
    Human,
    /// One JSON object.
    Json,
}

/// What a command prints, and how it exits: 0 when what was checked holds, 1 when it does not, 2 on bad input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For stdout.
    pub stdout: String,
    /// For stderr.
    pub stderr: String,
    /// The exit code.
    pub exit_code: u8,
}
