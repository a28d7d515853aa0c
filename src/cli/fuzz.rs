//! `heisenbed fuzz`: what a fuzz target's input says, for people.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::outcome::{CommandOutcome, Context, Format};
use crate::fuzzing::{TARGETS, find};

/// Arguments of `heisenbed fuzz`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    heisenbed fuzz list\n  \
    heisenbed fuzz decode registry fuzz/artifacts/registry/crash-1234\n  \
    heisenbed fuzz decode lifecycle fuzz/artifacts/lifecycle/crash-1234 -o found.toml\n  \
    heisenbed shrink found.toml -o smallest.toml\n\n\
    The targets are run with cargo-fuzz, from the checkout:\n  \
    cargo fuzz run registry corpus/fuzz/registry")]
pub(crate) struct FuzzArgs {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: FuzzCommand,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum FuzzCommand {
    /// List the fuzz targets
    List,
    /// Turn an input of a target, such as a crash that it wrote, into text; of `lifecycle` into a
    /// reproducer
    Decode {
        /// The target
        #[arg(value_name = "TARGET")]
        target: String,
        /// The input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Where the text goes; without it, to stdout
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Runs the subcommand: exit 2 for what is no target or cannot be read.
pub(crate) fn run(args: &FuzzArgs, context: &Context) -> CommandOutcome {
    let result = match &args.command {
        FuzzCommand::List => Ok(list(context.format)),
        FuzzCommand::Decode {
            target,
            file,
            output,
        } => decode(target, file, output.as_deref(), context.format),
    };
    match result {
        Ok(stdout) => CommandOutcome {
            stdout,
            ..CommandOutcome::default()
        },
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}

fn list(format: Format) -> String {
    match format {
        Format::Json => {
            let targets: Vec<_> = TARGETS
                .iter()
                .map(|target| json!({ "name": target.name, "about": target.about }))
                .collect();
            format!("{}\n", json!({ "targets": targets }))
        }
        Format::Human => TARGETS.iter().fold(String::new(), |mut text, target| {
            let _ = writeln!(text, "{:16} {}", target.name, target.about);
            text
        }),
    }
}

fn decode(
    target: &str,
    file: &Path,
    output: Option<&Path>,
    format: Format,
) -> Result<String, String> {
    let target = find(target).ok_or_else(|| {
        format!("{target}: no such fuzz target; `heisenbed fuzz list` names them")
    })?;
    let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let text = (target.decode)(&bytes);
    if text.is_empty() {
        return Err(format!(
            "{}: {} bytes are too short to be an input of {}",
            file.display(),
            bytes.len(),
            target.name
        ));
    }
    if let Some(output) = output {
        std::fs::write(output, &text).map_err(|error| format!("{}: {error}", output.display()))?;
    }
    Ok(match (format, output) {
        (Format::Json, _) => {
            let output = output.map(|path| path.display().to_string());
            format!(
                "{}\n",
                json!({ "target": target.name, "decoded": text, "output": output })
            )
        }
        (Format::Human, None) => text,
        (Format::Human, Some(output)) => format!("written to {}\n", output.display()),
    })
}
