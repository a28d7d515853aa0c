//! The `heisenbed` binary: parse and dispatch, nothing else.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use heisenbed::cli::{self, Cli};

fn main() -> ExitCode {
    let outcome = cli::run(Cli::parse());
    // A reader that has gone (`| head`) is no error of ours.
    let _ = std::io::stderr().write_all(outcome.stderr.as_bytes());
    let _ = std::io::stdout().write_all(outcome.stdout.as_bytes());
    ExitCode::from(outcome.exit_code)
}
