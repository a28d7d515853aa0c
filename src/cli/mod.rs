//! The command line: one file a subcommand; arguments, printing and exit codes.

pub mod serve;
