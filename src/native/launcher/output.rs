//! Where a program prints and reads, and how much of it is kept.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use rustix::fs::MemfdFlags;

use super::control::send_all;
use super::{LaunchError, system};
use crate::native::page::Page;

/// Where a program prints, and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgramOutput {
    /// It is kept, and nothing is there to be read.
    Kept,
    /// Where heisenbed prints and reads.
    Ours,
    /// The same, but to stderr.
    OurStderr,
    /// The same, but all to stdout.
    OurStdout,
}

/// How much of what a program prints is kept.
const KEPT_OUTPUT: u64 = 64 * 1024;

pub(super) fn memory_file() -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create(
        "heisenbed-output",
        MemfdFlags::CLOEXEC,
    )?))
}

/// Where what a program prints is kept, if it is.
pub(super) fn kept_output(
    output: ProgramOutput,
) -> Result<(Option<File>, Option<File>), LaunchError> {
    if output != ProgramOutput::Kept {
        return Ok((None, None));
    }
    let file = || memory_file().map_err(system("memory for output"));
    Ok((Some(file()?), Some(file()?)))
}

pub(super) fn tail(file: Option<&File>) -> io::Result<String> {
    let Some(file) = file else {
        return Ok(String::new());
    };
    // Most have printed nothing, and to look for that costs less than to ask for the length.
    if file.read_at(&mut [0], 0)? == 0 {
        return Ok(String::new());
    }
    let length = file.metadata()?.len();
    let from = length.saturating_sub(KEPT_OUTPUT);
    let mut bytes = vec![0; (length - from) as usize];
    file.read_exact_at(&mut bytes, from)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The page, and what the program reads and writes.
pub(super) fn send_descriptors(
    control: &UnixStream,
    page: &Page,
    [stdout, stderr]: [Option<&File>; 2],
    output: ProgramOutput,
    [asks, turns]: [Option<&OwnedFd>; 2],
) -> io::Result<()> {
    let null = File::open("/dev/null")?;
    let (own_in, own_out, own_err) = (io::stdin(), io::stdout(), io::stderr());
    let printed = match output {
        ProgramOutput::OurStderr => own_err.as_fd(),
        _ => own_out.as_fd(),
    };
    let complained = match output {
        ProgramOutput::OurStdout => own_out.as_fd(),
        _ => own_err.as_fd(),
    };
    let descriptors: [BorrowedFd<'_>; 6] = [
        page.memory().file().as_fd(),
        if stdout.is_some() {
            null.as_fd()
        } else {
            own_in.as_fd()
        },
        stdout.map_or(printed, AsFd::as_fd),
        stderr.map_or(complained, AsFd::as_fd),
        asks.map_or(null.as_fd(), AsFd::as_fd),
        turns.map_or(null.as_fd(), AsFd::as_fd),
    ];
    send_all(control, &descriptors)
}
