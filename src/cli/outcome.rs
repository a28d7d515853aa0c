//! What every subcommand is told, and what it returns.
//!
//! A subcommand returns an [`CommandOutcome`] rather than printing, so that a test reads what a
//! user would. Only progress goes to stderr while a command runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;

use super::ci::CiCase;
use super::exit::ExitStatus;
use crate::oracle::Verdict;

/// What every subcommand is told.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The form of what goes to stdout.
    pub(crate) format: Format,
    /// Whether GitHub reads what goes to stdout and stderr.
    pub(crate) github: bool,
    /// `--seed`.
    pub(crate) seed: Option<u64>,
    /// `--quiet`.
    pub(crate) quiet: bool,
    /// What was looked at so far, for CI pages.
    pub(crate) cases: Arc<Mutex<Vec<CiCase>>>,
    /// Whether signals are caught already.
    pub(crate) catches: Arc<AtomicBool>,
    /// Set by Ctrl-C and SIGTERM: end soon, and keep what there is. A second one ends at once.
    pub(crate) interrupt: Arc<AtomicBool>,
}

impl Context {
    /// Tells CI pages of something that was looked at.
    pub(crate) fn case(&self, case: CiCase) {
        let cases = self.cases.lock();
        cases.unwrap_or_else(PoisonError::into_inner).push(case);
    }

    /// What was told.
    pub(super) fn take_cases(&self) -> Vec<CiCase> {
        let cases = self.cases.lock();
        std::mem::take(&mut *cases.unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets Ctrl-C and SIGTERM set [`Context::interrupt`]; from the second on they end the process.
    pub(crate) fn catch_interrupts(&self) {
        // Twice would make the first signal the second one.
        if self.catches.swap(true, Ordering::Relaxed) {
            return;
        }
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // In this order: the first signal finds the flag unset and sets it, the second finds it
            // set.
            let _ = signal_hook::flag::register_conditional_default(
                signal,
                Arc::clone(&self.interrupt),
            );
            let _ = signal_hook::flag::register(signal, Arc::clone(&self.interrupt));
        }
    }
}

/// `--format`: the form of what goes to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// Text for people
    #[default]
    Human,
    /// One JSON object
    Json,
    /// Text for people, with annotations and a job summary for GitHub Actions
    Github,
}

impl FormatArg {
    /// What commands have to know of it.
    pub(super) fn format(self) -> Format {
        match self {
            FormatArg::Human | FormatArg::Github => Format::Human,
            FormatArg::Json => Format::Json,
        }
    }
}

/// The form of what a command writes to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people.
    #[default]
    Human,
    /// One JSON object.
    Json,
}

/// What a command prints, and how it exits: see [`ExitStatus`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandOutcome {
    /// For stdout.
    pub stdout: String,
    /// For stderr.
    pub stderr: String,
    /// The exit code.
    pub exit_code: u8,
}

impl CommandOutcome {
    /// Bad usage or input: `error` on stderr, and as JSON on stdout where that was asked for.
    pub(crate) fn bad_input(error: impl std::fmt::Display, format: Format) -> CommandOutcome {
        let stdout = match format {
            Format::Human => String::new(),
            Format::Json => format!("{}\n", serde_json::json!({ "error": error.to_string() })),
        };
        CommandOutcome {
            stdout,
            stderr: format!("error: {error}\n"),
            exit_code: ExitStatus::BadInput.code(),
        }
    }

    /// The work was not done: `why` on stderr, and as JSON with the verdict where that was asked
    /// for.
    pub(crate) fn undecided(why: impl std::fmt::Display, format: Format) -> CommandOutcome {
        let stdout = match format {
            Format::Human => String::new(),
            Format::Json => {
                let why = why.to_string();
                let object = serde_json::json!({
                    "verdict": Verdict::Inconclusive, "note": why, "error": why,
                });
                format!("{object}\n")
            }
        };
        CommandOutcome {
            stdout,
            stderr: format!("inconclusive: {why}\n"),
            exit_code: ExitStatus::Undecided.code(),
        }
    }
}
