//! `--watch`: a command is run again each time that a file which it reads is saved, until Ctrl-C.
//!
//! Files are looked at a few times a second, by what the file system says of them: editors replace
//! files rather than write them, or empty them first, and a build removes a program before it is
//! there again.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use super::outcome::{CommandOutcome, Context};

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The option.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct WatchArgs {
    /// Run again each time that a file which is read (discipline, scenario, program) is saved,
    /// until Ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
}

/// What the file system says of a file: another value, another content.
type Stamp = Option<(u64, i64, i64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let data: Metadata = std::fs::metadata(path).ok().filter(is_written)?;
    Some((data.ino(), data.mtime(), data.mtime_nsec(), data.len()))
}

/// Whether there is something in a file: who writes it anew may have emptied it only.
fn is_written(data: &Metadata) -> bool {
    data.is_file() && data.len() > 0
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| stamp(file)).collect()
}

/// Runs `run` again and again, and hands what came of it to `show`; returns the last outcome, which
/// was shown. Its files must be there.
pub(super) fn again_and_again(
    files: &[PathBuf],
    context: &Context,
    mut run: impl FnMut() -> CommandOutcome,
    mut show: impl FnMut(CommandOutcome) -> u8,
) -> CommandOutcome {
    context.catch_interrupts();
    loop {
        let before = stamps(files);
        let exit_code = show(run());
        let last = CommandOutcome {
            exit_code,
            ..CommandOutcome::default()
        };
        if context.interrupt.load(Ordering::Relaxed) {
            return last;
        }
        crate::say!("watching {}: Ctrl-C ends", names(files));
        let mut seen = before.clone();
        loop {
            std::thread::sleep(POLL_INTERVAL);
            if context.interrupt.load(Ordering::Relaxed) {
                return last;
            }
            let now = stamps(files);
            // A file that is being written changes from look to look.
            let settled = now == seen && now.iter().all(Option::is_some);
            if settled && now != before {
                break;
            }
            seen = now;
        }
    }
}

fn names(files: &[PathBuf]) -> String {
    let names = files.iter().map(|file| file.display().to_string());
    super::terminal::cleaned(&names.collect::<Vec<_>>().join(", "))
}
