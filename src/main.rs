//! The `heisenbed` binary: runs what the command line asks for, and prints what comes of it.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use heisenbed::cli;

fn main() -> ExitCode {
    let outcome = cli::start(std::env::args_os());
    // A reader that has gone (`| head`) is no error of ours.
    let _ = io::stderr().write_all(outcome.stderr.as_bytes());
    match print(&outcome.stdout) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "error: stdout: {error}");
            ExitCode::from(cli::exit::ExitStatus::BadInput.code())
        }
        _ => ExitCode::from(outcome.exit_code),
    }
}

fn print(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    cli::stdout_is_open()?;
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

extern "C" fn look_at_stdout() {
    let is_there = |path| rustix::fs::lstat(path).is_ok();
    if is_there("/proc/self/fd") && !is_there("/proc/self/fd/1") {
        cli::STDOUT_IS_CLOSED.store(true, Ordering::Relaxed);
    }
}

/// Called by the loader, before the runtime: it makes two system calls and stores a flag, and needs
/// nothing of the runtime.
#[used]
#[allow(unsafe_code)]
#[unsafe(link_section = ".init_array")]
static LOOK_AT_STDOUT: extern "C" fn() = look_at_stdout;
