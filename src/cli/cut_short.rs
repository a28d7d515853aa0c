//! Ctrl-C and SIGTERM in commands that read a record and print what they make of it: they end at
//! once, undecided, and leave nothing half-written behind. Commands with work of their own that can
//! be kept end by [`Context::interrupt`](super::outcome::Context) instead.

use std::io::{self, Write as _};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::exit::ExitStatus;
use super::outcome::Format;
use super::output;

const NOTE: &str = "interrupted before its end: nothing is concluded, and nothing was written";

/// From now on either signal ends the process so.
pub(super) fn ends_undecided(format: Format) {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else {
        return;
    };
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            output::remove_unfinished();
            let _ = match format {
                Format::Json => {
                    let said = serde_json::json!({"verdict": "inconclusive", "note": NOTE});
                    writeln!(io::stdout(), "{said}")
                }
                Format::Human => writeln!(io::stderr(), "{NOTE}"),
            };
            std::process::exit(ExitStatus::Undecided.code().into());
        }
    });
}
