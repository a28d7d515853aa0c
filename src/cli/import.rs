//! `heisenbed import`: turns what another tool recorded into a trace, and accounts for every line
//! of it.

mod wire;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::outcome::{CommandOutcome, Context, Format};
use super::output::{self, Beside, OutputKind};
use super::progress::Progress;
use super::scenario_args::word;
use crate::import::accounting::{Accounting, UnrecognisedReason};
use crate::import::server_log::ServerLogReader;
use crate::import::{allocation, pickle, torch_snapshot};
use crate::numbers::{grouped, plural};
use crate::trace::file::{ImportFormat, ImportHeader};
use crate::trace::text::{self, TextWriter};
use crate::tracking::Layout;

/// Lines not understood that the text output lists.
const SHOWN: usize = 10;
const READ_BYTES: usize = 256 << 10;

/// Arguments of `heisenbed import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// What recorded it
    #[arg(value_enum, value_name = "FORMAT")]
    pub source: ImportSource,
    /// The recording
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The trace to write; without it, only the account is given
    #[arg(short, long, value_name = "TRACE")]
    pub output: Option<PathBuf>,
    /// Replace the file of -o also where it is no trace that `import` made
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Of `wire`: the layout, where it is known; else it is found out
    #[arg(long, value_name = "72|112|128|144|648|extended", value_parser = word::<Layout>)]
    pub layout: Option<Layout>,
}

/// Formats that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportSource {
    /// The log of a tracking server
    ServerLog,
    /// The runtime's debug log (TT_BUFFER_DEBUG_LOG): blocks with call stacks
    DebugLog,
    /// An RMM allocation log: CSV
    RmmLog,
    /// A PyTorch CUDA memory snapshot: a pickle, of which nothing is executed
    TorchSnapshot,
    /// What a client sent over its socket, as raw bytes of any layout, also with a damaged start
    Wire,
}

impl ImportSource {
    /// `None` for bytes, which become a capture.
    fn format(self) -> Option<ImportFormat> {
        Some(match self {
            ImportSource::ServerLog => ImportFormat::ServerLog,
            ImportSource::DebugLog => ImportFormat::DebugLog,
            ImportSource::RmmLog => ImportFormat::RmmLog,
            ImportSource::TorchSnapshot => ImportFormat::TorchSnapshot,
            ImportSource::Wire => return None,
        })
    }
}

/// What came of an import.
struct Imported {
    accounting: Accounting,
    trace_bytes: Option<u64>,
    /// Of a pickle.
    summary: Option<pickle::SnapshotSummary>,
}

/// Runs the subcommand.
pub fn run(args: &ImportArgs, context: &Context) -> CommandOutcome {
    let stdout = match args.source.format() {
        Some(format) => import(args, format, context).map(|imported| match context.format {
            Format::Json => format!("{}\n", account_json(args, format, &imported)),
            Format::Human => account(args, &imported),
        }),
        None => wire::import(args, context.format),
    };
    match stdout {
        Ok(stdout) => CommandOutcome {
            stdout,
            ..CommandOutcome::default()
        },
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}

/// Opens the recording, which must not be the trace too.
fn open(args: &ImportArgs) -> Result<File, String> {
    let file = File::open(&args.file).map_err(|error| at(&args.file, &error))?;
    if let Some(output) = args
        .output
        .as_ref()
        .filter(|output| same_file(&args.file, output))
    {
        return Err(format!(
            "{}: the trace would replace the recording; give another file to -o",
            output.display()
        ));
    }
    if let Some(output) = &args.output {
        output::may_replace(output, OutputKind::ImportTrace, args.force)?;
    }
    Ok(file)
}

fn import(args: &ImportArgs, format: ImportFormat, context: &Context) -> Result<Imported, String> {
    if args.layout.is_some() {
        return Err("--layout is for `import wire`: other recordings have none".to_owned());
    }
    let file = open(args)?;
    let header = ImportHeader {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        format,
        source: args
            .file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
    };
    match format {
        ImportFormat::TorchSnapshot => import_pickle(args, file, header, context),
        ImportFormat::ServerLog | ImportFormat::DebugLog | ImportFormat::RmmLog => {
            import_text(args, file, header)
        }
    }
}

/// A text is kept as it is, and read before for the account.
fn import_text(
    args: &ImportArgs,
    mut file: File,
    header: ImportHeader,
) -> Result<Imported, String> {
    let text = BufReader::with_capacity(READ_BYTES, &file);
    let accounting = match allocation::source(&header, text) {
        Some(mut records) => {
            for record in records.by_ref() {
                record.map_err(|error| at(&args.file, &error))?;
            }
            records.accounting().clone()
        }
        None => {
            let mut lines = ServerLogReader::new(BufReader::with_capacity(READ_BYTES, &file));
            for record in lines.by_ref() {
                record.map_err(|error| at(&args.file, &error))?;
            }
            lines.into_accounting()
        }
    };
    let mut trace_bytes = None;
    if let Some(output) = &args.output {
        file.rewind().map_err(|error| at(&args.file, &error))?;
        let beside = Beside::create(output).map_err(|error| at(output, &error))?;
        let trace = beside.file().map_err(|error| at(output, &error))?;
        let written = text::write(trace, header, &mut file).map_err(|error| at(output, &error))?;
        beside.keep().map_err(|error| at(output, &error))?;
        trace_bytes = Some(written);
    }
    Ok(Imported {
        accounting,
        trace_bytes,
        summary: None,
    })
}

/// Of a pickle the entries are kept, as they are read. Where it is damaged, the trace holds what
/// came before, and has no end.
fn import_pickle(
    args: &ImportArgs,
    file: File,
    header: ImportHeader,
    context: &Context,
) -> Result<Imported, String> {
    let mut trace = match &args.output {
        None => None,
        Some(output) => {
            let created = File::create(output).and_then(|trace| TextWriter::create(trace, header));
            Some((output, created.map_err(|error| at(output, &error))?))
        }
    };
    let length = file.metadata().map_or(0, |data| data.len());
    let mut progress = Progress::new(context.quiet, "import", "bytes", length);
    let writer = trace.as_mut().map(|(_, writer)| writer);
    let (accounting, read) =
        torch_snapshot::convert(file, writer, &mut |bytes| progress.update(bytes));
    progress.finish();
    let summary = match read {
        Ok(summary) => summary,
        Err(error) => return Err(unreadable(args, &error, trace, accounting.lines)),
    };
    let mut trace_bytes = None;
    if let Some((output, writer)) = trace {
        trace_bytes = Some(writer.end().map_err(|error| at(output, &error))?);
    }
    Ok(Imported {
        accounting,
        trace_bytes,
        summary: Some(summary),
    })
}

/// What is said of a pickle that cannot be read to its end. What was read of it is kept, if it is
/// anything.
fn unreadable(
    args: &ImportArgs,
    error: &pickle::PickleError,
    trace: Option<(&PathBuf, TextWriter)>,
    entries: u64,
) -> String {
    let what = at(&args.file, error);
    let Some((output, writer)) = trace else {
        return what;
    };
    if entries == 0 {
        let _ = std::fs::remove_file(output);
        return what;
    }
    match writer.cut_short() {
        Ok(_) => format!(
            "{what}\n{}: holds the {} before that",
            output.display(),
            entries_word(entries)
        ),
        Err(error) => format!("{what}\n{}", at(output, &error)),
    }
}

fn at(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

fn entries_word(count: u64) -> String {
    match count {
        1 => "1 entry".to_owned(),
        _ => format!("{} entries", grouped(count)),
    }
}

/// Whether two paths lead to one file.
fn same_file(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| std::fs::metadata(path).map(|data| (data.dev(), data.ino()));
    matches!((id(a), id(b)), (Ok(a), Ok(b)) if a == b)
}

fn account_json(args: &ImportArgs, format: ImportFormat, imported: &Imported) -> serde_json::Value {
    let accounting = &imported.accounting;
    let unrecognised: Vec<_> = accounting
        .first_unrecognised
        .iter()
        .map(|line| json!({ "line": line.line, "reason": format!("{:?}", line.reason), "excerpt": line.excerpt }))
        .collect();
    let mut value = json!({
        "format": format.name(),
        "lines": accounting.lines,
        "parsed": accounting.parsed,
        "known_other": accounting.known_other,
        "unrecognised": accounting.unrecognised,
        "unrecognised_lines": unrecognised,
        "overlong": accounting.overlong,
        "forms": accounting.forms,
        "trace": args.output.as_ref().map(|path| path.display().to_string()),
        "trace_bytes": imported.trace_bytes,
    });
    if let Some(summary) = &imported.summary {
        value["pickle_bytes"] = summary.bytes.into();
        value["devices"] = summary.devices.into();
        value["dropped"] = summary.dropped.into();
        value["trailing_bytes"] = summary.trailing_bytes.into();
    }
    value
}

fn account(args: &ImportArgs, imported: &Imported) -> String {
    let mut text = String::new();
    let accounting = &imported.accounting;
    let records = match imported.summary {
        Some(_) => entries_word(accounting.lines),
        None => plural(accounting.lines, "line"),
    };
    let _ = writeln!(
        text,
        "{}: {records}: {} parsed, {} known other, {} not understood",
        args.file.display(),
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
        let why = match line.reason {
            UnrecognisedReason::CutBlock => format!(" ({})", line.reason.explain()),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "{}:{}: not understood{why}: {}",
            args.file.display(),
            line.line,
            line.excerpt
        );
    }
    if let Some(summary) = &imported.summary {
        if summary.dropped > 0 {
            let _ = writeln!(
                text,
                "{} texts or frames were too many or too long to keep",
                grouped(summary.dropped)
            );
        }
        if summary.trailing_bytes > 0 {
            let _ = writeln!(
                text,
                "{} bytes after the snapshot's end (byte {}) were not read",
                grouped(summary.trailing_bytes),
                summary.bytes
            );
        }
    }
    if let Some((output, bytes)) = args.output.as_ref().zip(imported.trace_bytes) {
        let _ = writeln!(
            text,
            "trace: {} ({} bytes)\n\nNext: heisenbed check {0}",
            output.display(),
            grouped(bytes)
        );
    }
    text
}
