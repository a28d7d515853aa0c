//! The `heisenbed` binary: parse and dispatch, nothing else.

use std::process::ExitCode;

use clap::Parser;
use heisenbed::cli::serve::{self, ServeArgs};

/// A record-and-replay fuzzing and stress testbed for device allocators with allocation tracking.
#[derive(Parser)]
#[command(version)]
enum Command {
    Serve(ServeArgs),
}

fn main() -> ExitCode {
    match Command::parse() {
        Command::Serve(args) => serve::run(&args),
    }
}
