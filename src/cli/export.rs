//! `heisenbed export`: what a trace, a reproducer, a capture or an import holds, in the form of
//! another tool.
//!
//! What is written takes its place when it is whole. What the format cannot say is said once, with
//! its count.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::closed_stdout::stdout_is_open;
use super::exit::ExitStatus;
use super::foreign::no_trace;
use super::outcome::{CommandOutcome, Context, Format};
use super::output::{self, Beside, OutputKind};
use super::progress::Progress;
use super::rerun::{is_text, rerun_of};
use crate::corpus::Rerun;
use crate::engine::controlled::machine::RunEnd;
use crate::export::{self, ExportFormat, ExportInput, ExportOptions, ExportTable, Exported};
use crate::native::RunReproducer;
use crate::numbers::plural;
use crate::trace::file::TraceFile;

/// Arguments of `heisenbed export`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExportArgs {
    /// What to write
    #[arg(value_enum, value_name = "FORMAT")]
    pub(crate) to: ExportFormat,
    /// A trace, a reproducer, a capture, a journal, or what `import` made
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The file to write; `-` for stdout
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Of `csv` and `parquet`: which table. Without it, messages where FILE shows nothing else
    #[arg(long, value_enum, value_name = "TABLE")]
    pub(crate) table: Option<ExportTable>,
    /// Of `rmm-csv`: the device, where there are several
    #[arg(long, value_name = "N")]
    pub(crate) device: Option<i32>,
    /// Replace the file of -o
    #[arg(long)]
    pub(crate) force: bool,
}

/// What is read.
enum Opened {
    Trace(Box<TraceFile>),
    Rerun(Box<Rerun>),
}

/// Runs the subcommand.
pub(crate) fn run(args: &ExportArgs, context: &Context) -> CommandOutcome {
    match export(args, context) {
        Ok(Some(exported)) => said(args, &exported, context),
        Ok(None) => CommandOutcome::default(),
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}

/// `None` where the reader of stdout has gone.
fn export(args: &ExportArgs, context: &Context) -> Result<Option<Exported>, String> {
    if args.table.is_some() && !has_tables(args.to) {
        return Err("--table is for csv and parquet: other formats have no choice".to_owned());
    }
    if args.device.is_some() && args.to != ExportFormat::RmmCsv {
        return Err("--device is for rmm-csv: other formats have all devices".to_owned());
    }
    let opened = open(&args.file)?;
    if is_stdout(args) {
        stdout_is_open().map_err(|error| format!("stdout: {error}"))?;
        if is_binary(args.to) && io::stdout().is_terminal() {
            return Err(format!(
                "{} is no text: give a file to -o, or send stdout elsewhere",
                name(args.to)
            ));
        }
        let mut stdout = io::stdout();
        let mut stdout = Watched::new(&mut stdout);
        let exported = write(args, &opened, &mut stdout, context);
        // A reader that has gone (`| head`) is no error.
        return match (exported, stdout.has_gone) {
            (Err(_), true) => Ok(None),
            (exported, _) => exported.map(Some),
        };
    }
    output::may_replace_beside(&args.output, OutputKind::Export, &args.file, args.force)?;
    if output::is_same(&args.output, &args.file) {
        return Err(at(&args.output, &"it would replace what is read"));
    }
    let beside = Beside::create(&args.output).map_err(|error| at(&args.output, &error))?;
    let mut file: File = beside.file().map_err(|error| at(&args.output, &error))?;
    let exported = write(args, &opened, &mut Watched::new(&mut file), context)?;
    beside.keep().map_err(|error| at(&args.output, &error))?;
    Ok(Some(exported))
}

/// Where it goes: what fails there is not the input's fault.
struct Watched<'a> {
    to: &'a mut (dyn Write + Send),
    failed: bool,
    /// Its reader has gone.
    has_gone: bool,
}

impl Watched<'_> {
    fn new(to: &mut (dyn Write + Send)) -> Watched<'_> {
        Watched {
            to,
            failed: false,
            has_gone: false,
        }
    }
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes);
        let error = written.as_ref().err().map(io::Error::kind);
        self.failed |= error.is_some_and(|kind| kind != io::ErrorKind::Interrupted);
        self.has_gone |= error == Some(io::ErrorKind::BrokenPipe);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn write(
    args: &ExportArgs,
    opened: &Opened,
    to: &mut Watched<'_>,
    context: &Context,
) -> Result<Exported, String> {
    let (input, total) = match opened {
        Opened::Trace(trace) => (ExportInput::Trace(trace), trace.events()),
        Opened::Rerun(rerun) => {
            let observed = rerun.observed.as_ref().expect("it was opened with a run");
            let input = ExportInput::Run {
                scenario: &rerun.setup.scenario,
                events: &observed.events,
                completed: observed.end == RunEnd::Completed,
            };
            (input, observed.events.len() as u64)
        }
    };
    let options = ExportOptions {
        table: args.table,
        device: args.device,
    };
    let mut progress = Progress::new(context.quiet, "export", "records", total);
    let exported = export::export(&input, args.to, options, to, &mut |done| {
        progress.update(done);
    });
    progress.finish();
    exported.map_err(|error| match (to.failed, is_stdout(args)) {
        (true, true) => format!("stdout: {error}"),
        (true, false) => at(&args.output, &error),
        (false, _) => at(&args.file, &error),
    })
}

fn open(path: &Path) -> Result<Opened, String> {
    if !is_text(path) {
        let trace = super::opened::open(path).map_err(|error| no_trace(path, &error))?;
        return Ok(Opened::Trace(Box::new(trace)));
    }
    if RunReproducer::read(path).is_ok() {
        let file = path.display();
        return Err(format!(
            "{file}: it holds a schedule of a program, and no events: see it with: heisenbed \
             replay {file}"
        ));
    }
    let rerun = rerun_of(path)?;
    match rerun.observed {
        Some(_) => Ok(Opened::Rerun(Box::new(rerun))),
        None => Err(at(
            path,
            &"there is no run to show: every schedule of it was searched, and none diverges",
        )),
    }
}

/// What is said of it, on stdout, or on stderr where stdout has the export itself.
fn said(args: &ExportArgs, exported: &Exported, context: &Context) -> CommandOutcome {
    let text = match (context.format, is_stdout(args)) {
        (Format::Json, false) => format!("{}\n", account_json(args, exported)),
        _ => account(args, exported),
    };
    let (stdout, stderr) = match is_stdout(args) {
        true if context.quiet && exported.damage.is_none() => Default::default(),
        true => (String::new(), text),
        false => (text, String::new()),
    };
    let status = match exported.damage.is_some() || exported.written == 0 {
        true => ExitStatus::Undecided,
        false => ExitStatus::Holds,
    };
    CommandOutcome {
        stdout,
        stderr,
        exit_code: status.code(),
    }
}

fn account(args: &ExportArgs, exported: &Exported) -> String {
    let mut text = format!(
        "{}: {} ({})\n",
        args.output.display(),
        counted(exported),
        plural(exported.bytes, "byte")
    );
    if exported.written == 0 {
        text += &format!(
            "inconclusive: nothing in {} is anything that {} says\n",
            args.file.display(),
            name(args.to)
        );
    }
    if let Some(words) = exported.left_out.words() {
        text += &format!(
            "left out, for {} has no form for it: {words}\n",
            name(args.to)
        );
    }
    for note in &exported.notes {
        text += &format!("note: {note}\n");
    }
    if let Some(damage) = &exported.damage {
        text += &format!("inconclusive: it holds what comes before this: {damage}\n");
    }
    text
}

fn counted(exported: &Exported) -> String {
    plural(exported.written, exported.noun)
}

fn account_json(args: &ExportArgs, exported: &Exported) -> Value {
    let left_out: Map<String, Value> = exported
        .left_out
        .iter()
        .map(|(what, count)| (what.to_owned(), count.into()))
        .collect();
    json!({
        "format": name(args.to),
        "input": args.file.display().to_string(),
        "output": args.output.display().to_string(),
        "written": exported.written,
        "unit": exported.noun,
        "bytes": exported.bytes,
        "left_out": left_out,
        "notes": exported.notes,
        "note": exported.damage,
    })
}

fn name(format: ExportFormat) -> String {
    let value = format.to_possible_value();
    value.map_or(String::new(), |value| value.get_name().to_owned())
}

fn is_stdout(args: &ExportArgs) -> bool {
    args.output.as_os_str() == "-"
}

fn has_tables(format: ExportFormat) -> bool {
    match format {
        ExportFormat::Csv => true,
        #[cfg(feature = "parquet")]
        ExportFormat::Parquet => true,
        _ => false,
    }
}

fn is_binary(format: ExportFormat) -> bool {
    match format {
        ExportFormat::Perfetto | ExportFormat::TorchSnapshot => true,
        #[cfg(feature = "parquet")]
        ExportFormat::Parquet => true,
        _ => false,
    }
}

fn at(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}
