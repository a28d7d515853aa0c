//! `heisenbed import`: turns what another tool recorded into a trace, and accounts for every line of it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::verdict::{grouped, plural};
use super::{Context, Format, Outcome};
use crate::trace::file::{ImportFormat, ImportHeader};
use crate::trace::import::server_log::{Accounting, ServerLogReader};
use crate::trace::text;

/// Lines not understood that the text output lists.
const SHOWN: usize = 10;

/// Arguments of `heisenbed import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// What recorded it
    #[arg(value_enum, value_name = "FORMAT")]
    pub source: Source,
    /// The recording
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The trace to write; without it, only the account is given
    #[arg(short, long, value_name = "TRACE")]
    pub output: Option<PathBuf>,
}

/// Formats that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// The log of a tracking server
    ServerLog,
}

/// Runs the subcommand.
pub fn run(args: &ImportArgs, context: &Context) -> Outcome {
    match import(args) {
        Ok((accounting, bytes)) => {
            let stdout = match context.format {
                Format::Json => format!("{}\n", account_json(args, &accounting, bytes)),
                Format::Human => account(args, &accounting, bytes),
            };
            Outcome {
                stdout,
                ..Outcome::default()
            }
        }
        Err(error) => Outcome::bad_input(error, context.format),
    }
}

fn import(args: &ImportArgs) -> Result<(Accounting, Option<u64>), String> {
    let at = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = File::open(&args.file).map_err(|error| at(&args.file, error))?;
    let mut reader = ServerLogReader::new(BufReader::new(&file));
    for record in reader.by_ref() {
        record.map_err(|error| at(&args.file, error))?;
    }
    let accounting = reader.into_accounting();
    let Some(output) = &args.output else {
        return Ok((accounting, None));
    };
    if same_file(&args.file, output) {
        return Err(format!(
            "{}: the trace would replace the recording; give another file to -o",
            output.display()
        ));
    }
    let header = ImportHeader {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        format: ImportFormat::ServerLog,
        source: args
            .file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
    };
    file.rewind().map_err(|error| at(&args.file, error))?;
    let trace = File::create(output).map_err(|error| at(output, error))?;
    let bytes = text::write(trace, header, &mut file).map_err(|error| at(output, error))?;
    Ok((accounting, Some(bytes)))
}

/// Whether two paths lead to one file.
fn same_file(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| std::fs::metadata(path).map(|data| (data.dev(), data.ino()));
    matches!((id(a), id(b)), (Ok(a), Ok(b)) if a == b)
}

fn account_json(
    args: &ImportArgs,
    accounting: &Accounting,
    bytes: Option<u64>,
) -> serde_json::Value {
    let unrecognised: Vec<_> = accounting
        .first_unrecognised
        .iter()
        .map(|line| json!({ "line": line.line, "reason": format!("{:?}", line.reason), "excerpt": line.excerpt }))
        .collect();
    json!({
        "format": "server-log",
        "lines": accounting.lines,
        "parsed": accounting.parsed,
        "known_other": accounting.known_other,
        "unrecognised": accounting.unrecognised,
        "unrecognised_lines": unrecognised,
        "overlong": accounting.overlong,
        "forms": accounting.forms,
        "trace": args.output.as_ref().map(|path| path.display().to_string()),
        "trace_bytes": bytes,
    })
}

fn account(args: &ImportArgs, accounting: &Accounting, bytes: Option<u64>) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}: {}: {} parsed, {} known other, {} not understood",
        args.file.display(),
        plural(accounting.lines, "line"),
        grouped(accounting.parsed),
        grouped(accounting.known_other),
        grouped(accounting.unrecognised),
    );
    let width = accounting
        .forms
        .keys()
        .map(|form| form.len())
        .max()
        .unwrap_or(0);
    for (form, count) in &accounting.forms {
        let _ = writeln!(text, "  {form:width$}  {}", grouped(*count));
    }
    for line in accounting.first_unrecognised.iter().take(SHOWN) {
        let _ = writeln!(
            text,
            "{}:{}: not understood: {}",
            args.file.display(),
            line.line,
            line.excerpt
        );
    }
    if let Some((output, bytes)) = args.output.as_ref().zip(bytes) {
        let _ = writeln!(
            text,
            "trace: {} ({} bytes)\n\nNext: heisenbed check {0}",
            output.display(),
            grouped(bytes)
        );
    }
    text
}
