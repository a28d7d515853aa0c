//! `heisenbed report`: what was recorded, as one page that anyone can open.
//!
//! Each file becomes a part of the page, by what it is: [`traces`] reads what begins with
//! `HBTRACE` and what can be imported, [`reproducers`] runs those again, [`programs`] does so with
//! those of `run`, [`tables`] reads a matrix and a campaign's folder. What the verdict is, `check`
//! and `diagnose` say: a page that says something else than they do would be worse than none.

mod programs;
mod reproducers;
mod tables;
mod traces;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::outcome::{CommandOutcome, Context, Format};
use super::output::{self, OutputKind};
use super::rerun::is_text;
use super::run::again;
use crate::numbers::{grouped, plural};
use crate::report::page::{self, picture::PagePart};

/// Bytes of a file by which it is told what it is.
const LOOKED_AT_BYTES: u64 = 4096;
/// A matrix or a summary is no larger.
const MOST_JSON_BYTES: u64 = 64 << 20;

/// Arguments of `heisenbed report`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    heisenbed report race.toml -o race.html\n  \
    heisenbed report run.hb smaller.toml -o report.html\n  \
    heisenbed report server.log -o log.html\n  \
    heisenbed matrix --discipline my-fix.toml --save runs --format json > matrix.json;\n    \
    heisenbed report matrix.json -o matrix.html\n  \
    heisenbed report night/ -o night.html")]
pub(crate) struct ReportArgs {
    /// What is shown: traces (of runs, imports, captures, journals), recordings that can be
    /// imported, reproducers, those of `run` too, the JSON of `matrix`, folders of campaigns
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The page to write
    #[arg(short, long, value_name = "HTML")]
    pub(crate) output: PathBuf,
    /// Replace the file of -o also where it is no page that `report` made
    #[arg(long)]
    pub(crate) force: bool,
}

/// Runs the subcommand: exit 0 when the page is written, whatever it shows.
pub(crate) fn run(args: &ReportArgs, context: &Context) -> CommandOutcome {
    match write(args, context) {
        Ok(outcome) => outcome,
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}

fn write(args: &ReportArgs, context: &Context) -> Result<CommandOutcome, String> {
    for file in &args.files {
        // Not even by --force: it would be lost, and the page is no substitute.
        if output::is_same(&args.output, file) {
            return Err(format!(
                "{}: it would replace what is read; give another file",
                args.output.display()
            ));
        }
        output::may_replace_beside(&args.output, OutputKind::Page, file, args.force)?;
    }
    let mut parts = Vec::new();
    for file in &args.files {
        let first = parts.len();
        let made = parts_of(file, first, context)?;
        parts.extend(made);
    }
    let text = page::page(&parts);
    output::write(&args.output, &text)?;
    let shown = parts.iter().filter(|part| !part.is_hidden);
    let stdout = match context.format {
        Format::Json => {
            let parts: Vec<_> = shown
                .map(|part| {
                    json!({
                        "file": part.name,
                        "verdict": part.verdict,
                        "events": part.picture.as_ref().map(|picture| picture.events.count),
                        "aggregated": part.picture.as_ref().map(|picture| picture.left_out),
                    })
                })
                .collect();
            let object = json!({ "page": args.output, "bytes": text.len(), "parts": parts });
            format!("{object}\n")
        }
        Format::Human => {
            let mut said = format!(
                "{}: {}, {}\n",
                args.output.display(),
                plural(text.len() as u64, "byte"),
                plural(shown.clone().count() as u64, "file"),
            );
            for part in shown {
                said.push_str(&format!("  {}: {}\n", part.name, part.verdict));
                if let Some(left_out) = aggregated(part) {
                    said.push_str(&format!("    {left_out}\n"));
                }
            }
            said
        }
    };
    Ok(CommandOutcome {
        stdout,
        ..CommandOutcome::default()
    })
}

fn aggregated(part: &PagePart) -> Option<String> {
    let picture = part
        .picture
        .as_ref()
        .filter(|picture| picture.left_out > 0)?;
    Some(format!(
        "{} of {} are aggregated: counted in the lanes, without details",
        grouped(picture.left_out),
        plural(u64::from(picture.events.count), "event"),
    ))
}

/// The parts of a file, of which the first has number `first` on the page.
fn parts_of(path: &Path, first: usize, context: &Context) -> Result<Vec<PagePart>, String> {
    if path.is_dir() {
        return tables::campaign(path, first, context);
    }
    if let Some(why) = super::opened::not_a_file(path) {
        return Err(format!("{}: {why}", path.display()));
    }
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LOOKED_AT_BYTES).read_to_end(&mut start))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if start.starts_with(b"HBTRACE") {
        return Ok(vec![traces::part(path, path, context)?]);
    }
    if again::is_run(path) {
        return Ok(vec![programs::part(path)?]);
    }
    if is_text(path) {
        return Ok(vec![reproducers::part(path)?]);
    }
    if let Some(matrix) = tables::matrix(path, &start, first, context)? {
        return Ok(matrix);
    }
    Ok(vec![traces::recording(path, context)?])
}

/// A JSON file, unless it is too large to be one of ours.
fn json_file(path: &Path) -> Result<serde_json::Value, String> {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(|error| at(&error))?;
    let mut text = String::new();
    file.take(MOST_JSON_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| at(&error))?;
    if text.len() as u64 > MOST_JSON_BYTES {
        return Err(at(&"it is larger than any that heisenbed writes"));
    }
    serde_json::from_str(&text).map_err(|error| at(&error))
}

/// The last part of a path: what a page calls it.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// A path on a command line.
fn word(path: &Path) -> String {
    page::text::shell_word(&path.display().to_string())
}
