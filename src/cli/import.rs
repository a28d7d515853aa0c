//! `heisenbed import`: turns what another tool recorded into a trace, and accounts for every line
//! of it.
//!
//! What is no recording of the format is refused: a file of another kind is named, and one of which
//! not a line is understood is no import.

mod account;
mod snapshot;
mod text;
mod wire;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use self::account::ImportedRecords;
use super::foreign::foreign_words;
use super::outcome::{CommandOutcome, Context, Format};
use super::output::{self, Beside, OutputKind};
use super::scenario_args::word;
use crate::import::recognise::{RECOGNISED_BYTES, Recognised, recognise};
use crate::import::rmm_log;
use crate::trace::file::{ImportFormat, ImportHeader};
use crate::tracking::Layout;

const READ_BYTES: usize = 256 << 10;

/// Arguments of `heisenbed import`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ImportArgs {
    /// What recorded it
    #[arg(value_enum, value_name = "FORMAT")]
    pub(crate) source: ImportSource,
    /// The recording; of `rmm-log` also several, of one process and a device each
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The trace to write; without it, only the account is given
    #[arg(short, long, value_name = "TRACE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace the file of -o also where it is no trace that `import` made
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
    /// Of `wire`: the layout, where it is known; else it is found out
    #[arg(long, value_name = "72|112|128|144|648|extended", value_parser = word::<Layout>)]
    pub(crate) layout: Option<Layout>,
}

/// What can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImportSource {
    /// A recording of calls, or a log.
    Recording(ImportFormat),
    /// Bytes, which become a capture.
    Wire,
}

impl ValueEnum for ImportSource {
    fn value_variants<'a>() -> &'a [ImportSource] {
        static ALL: LazyLock<Vec<ImportSource>> = LazyLock::new(|| {
            let recordings = ImportFormat::value_variants().iter();
            let recordings = recordings.map(|format| ImportSource::Recording(*format));
            recordings.chain([ImportSource::Wire]).collect()
        });
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            ImportSource::Recording(format) => format.to_possible_value(),
            ImportSource::Wire => Some(PossibleValue::new("wire").help(
                "What a client sent over its socket, as raw bytes of any layout, also with a \
                 damaged start",
            )),
        }
    }
}

/// Runs the subcommand.
pub(crate) fn run(args: &ImportArgs, context: &Context) -> CommandOutcome {
    let stdout = match args.source {
        ImportSource::Recording(format) => {
            import(args, format, context).map(|imported| match context.format {
                Format::Json => format!("{}\n", account::json(args, format, &imported)),
                Format::Human => account::words(args, format, &imported),
            })
        }
        ImportSource::Wire => wire::import(args, context.format),
    };
    match stdout {
        Ok(stdout) => CommandOutcome {
            stdout,
            ..CommandOutcome::default()
        },
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}

fn import(
    args: &ImportArgs,
    format: ImportFormat,
    context: &Context,
) -> Result<ImportedRecords, String> {
    if args.layout.is_some() {
        return Err("--layout is for `import wire`: other recordings have none".to_owned());
    }
    let names: Vec<String> = args.files.iter().map(|file| name_of(file)).collect();
    let mut header = ImportHeader::new(format, names.join(", "));
    if let [file] = args.files.as_slice() {
        let file = open(args, file)?;
        return match format {
            ImportFormat::TorchSnapshot => snapshot::import(args, file, header, context),
            _ => text::import(args, file, header),
        };
    }
    if format != ImportFormat::RmmLog {
        return Err(several_files(format));
    }
    rmm_log::devices_of(&names)?;
    header.files = names;
    text::import_merged(args, header)
}

fn several_files(format: ImportFormat) -> String {
    format!(
        "several files become one trace for `rmm-log` only, which has a file a device; import each {} by itself",
        format.noun()
    )
}

/// Writes the trace of `output` by `write`, which returns its length: beside its place first.
fn written(output: &Path, write: impl FnOnce(File) -> std::io::Result<u64>) -> Result<u64, String> {
    let written = Beside::create(output).and_then(|beside| {
        let bytes = write(beside.file()?)?;
        beside.keep()?;
        Ok(bytes)
    });
    written.map_err(|error| at(output, &error))
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Opens a recording, which must not be the trace too, and is refused where it is known to be
/// something else.
fn open(args: &ImportArgs, path: &Path) -> Result<File, String> {
    let file = File::open(path).map_err(|error| at(path, &error))?;
    if let Some(output) = args
        .output
        .as_ref()
        .filter(|output| same_file(path, output))
    {
        return Err(format!(
            "{}: the trace would replace the recording; give another file to -o",
            output.display()
        ));
    }
    if let Some(output) = &args.output {
        output::may_replace(output, OutputKind::ImportTrace, args.force)?;
    }
    match recognise(&start_of(&file)) {
        Recognised::Foreign(foreign) => Err(foreign_words(path, foreign)),
        Recognised::Trace => Err(format!(
            "{}: it is a trace of heisenbed already; see it with: heisenbed check {0}",
            path.display()
        )),
        Recognised::Empty | Recognised::Recording(_) | Recognised::Unknown => Ok(file),
    }
}

/// The beginning of a file, which is not read by that; nothing of a pipe.
fn start_of(file: &File) -> Vec<u8> {
    let mut start = vec![0; RECOGNISED_BYTES];
    let mut length = 0;
    while let Ok(read @ 1..) = file.read_at(&mut start[length..], length as u64) {
        length += read;
    }
    start.truncate(length);
    start
}

fn at(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

/// Whether two paths lead to one file.
fn same_file(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| std::fs::metadata(path).map(|data| (data.dev(), data.ino()));
    matches!((id(a), id(b)), (Ok(a), Ok(b)) if a == b)
}
