//! `heisenbed diagnose`: what went wrong in a record, by the messages alone: ranked causes with
//! their evidence.

mod calibrate;
mod print;
mod second_look;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::ci::CiArgs;
use super::foreign;
use super::outcome::{CommandOutcome, Context};
use super::progress::Progress;
use super::scenario_args::word;
use super::verdict::VerdictSummary;
use crate::calibration::RunsOn;
use crate::diagnosis::{Cause, Circumstances, Diagnoser, Diagnosis};
use crate::import::allocation::{self, AllocationEvent, AllocationSource};
use crate::import::recognise::{RECOGNISED_BYTES, Recognised, recognise};
use crate::import::rocprof;
use crate::import::stacks::StackId;
use crate::numbers::{grouped, plural};
use crate::observe::{self, Seen, Visit};
use crate::oracle::allocation_check::{AllocationCheck, AllocationReport, TableComparison};
use crate::oracle::{Divergence, Report, Strength, Verdict};
use crate::trace::file::{Header, ImportFormat, ImportHeader, TraceFile};
use crate::trace::text::TextReader;
use second_look::Divergences;

const READ_BYTES: usize = 256 << 10;
/// What positions are where rows were put into order.
const BY_TIME: &str =
    "rows are read in the order of their times, as `import` keeps them: lines count in that order";

/// Arguments of `heisenbed diagnose`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    heisenbed diagnose server.log\n  \
    heisenbed diagnose --calibrate --engine threads --runs 200 --seed 1\n  \
    heisenbed diagnose --calibrate --program './my_client {socket} {seed}' --runs 50\n  \
    heisenbed diagnose --calibrate --from one.json two.json --markdown")]
pub(crate) struct DiagnoseArgs {
    /// A trace of any kind, or the text of a recording as it is: see docs/formats.md
    #[arg(value_name = "FILE", required_unless_present = "calibrate")]
    pub file: Option<PathBuf>,
    /// Diagnose runs with a known cause instead, and print how often the diagnosis is right
    #[arg(long, conflicts_with = "file")]
    pub calibrate: bool,
    /// Who makes those runs: `controlled` or `threads` (real threads and sockets, on the machine as
    /// found, on one core, and loaded)
    #[arg(long, value_name = "ENGINE", default_value = "controlled", value_parser = word::<RunsOn>, requires = "calibrate")]
    pub engine: RunsOn,
    /// Take the traffic of this program instead: a shell command, with {socket} where the server
    /// listens and {seed} for a number; other causes are planted into what it sends
    #[arg(long, value_name = "CMD", requires = "calibrate")]
    pub program: Option<String>,
    /// The cause that the program has in itself; it ends with 0 where it struck, and with 3 where
    /// it is to be run again
    #[arg(long, value_name = "CAUSE", value_parser = cause, requires = "program")]
    pub plants: Option<Cause>,
    /// Only runs of this cause, by name
    #[arg(long, value_name = "CAUSE", value_parser = cause, requires = "calibrate")]
    pub cause: Option<Cause>,
    /// Runs of each cause
    #[arg(long, value_name = "N", default_value_t = 100, requires = "calibrate", value_parser = clap::value_parser!(u64).range(1..))]
    pub runs: u64,
    /// Keep what was confident and wrong in this folder: the record, to be diagnosed again, and the
    /// truth of it as JSON
    #[arg(
        long,
        value_name = "DIR",
        requires = "calibrate",
        conflicts_with = "from"
    )]
    pub keep: Option<PathBuf>,
    /// Make no runs: put together what these files have, which `--calibrate --format json` printed
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "calibrate", conflicts_with_all = ["cause", "program", "engine", "runs"])]
    pub from: Vec<PathBuf>,
    /// Print Markdown tables
    #[arg(long, requires = "calibrate")]
    pub markdown: bool,
    /// For CI pages.
    #[command(flatten)]
    pub ci: CiArgs,
}

/// A cause by its name.
fn cause(name: &str) -> Result<Cause, String> {
    let known = Cause::ALL.into_iter().find(|cause| cause.name() == name);
    known.ok_or_else(|| {
        let names: Vec<&str> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

/// A diagnosis with what is known of its source.
struct Diagnosed {
    /// What the source is, in words.
    what: String,
    seen: Seen,
    diagnosis: Diagnosis,
    /// Where buffers come from that were never released, where the source knows.
    places: Vec<LeakPlace>,
    /// What `check` finds, where the diagnosis finds nothing wrong.
    missed: Divergences,
    elapsed_s: f64,
}

/// A place in the program whose buffers were never released.
struct LeakPlace {
    buffers: u64,
    bytes: u64,
    /// Allocations from there, released ones included.
    allocations: u64,
    position: u64,
    address: u64,
    device: i32,
    /// Innermost first.
    frames: Vec<String>,
}

/// Runs the subcommand.
pub(crate) fn run(args: &DiagnoseArgs, context: &Context) -> CommandOutcome {
    let Some(file) = &args.file else {
        return calibrate::run(args, context);
    };
    match diagnose(file, context) {
        Ok(diagnosed) => print::outcome(file, &diagnosed, context),
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}

/// What the subcommand says of a file as JSON; `None` where it cannot be diagnosed.
pub(super) fn json_of_file(path: &Path, context: &Context) -> Option<serde_json::Value> {
    let diagnosed = diagnose(path, context).ok()?;
    Some(print::json_of(&diagnosed))
}

fn diagnose(path: &Path, context: &Context) -> Result<Diagnosed, String> {
    let started = Instant::now();
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut diagnosed = match super::opened::open(path) {
        Ok(trace) => diagnose_trace(&trace, context).map_err(|error| at(&error))?,
        // What is no trace may be a text; what is not that either is told as no trace.
        Err(no_trace) => match diagnose_text(path, context) {
            Some(result) => result.map_err(|error| at(&error))?,
            None => return Err(foreign::no_trace(path, &no_trace)),
        },
    };
    diagnosed.elapsed_s = started.elapsed().as_secs_f64();
    Ok(diagnosed)
}

fn diagnose_trace(trace: &TraceFile, context: &Context) -> Result<Diagnosed, String> {
    if let Header::Import(header) = trace.header()
        && header.format != ImportFormat::ServerLog
    {
        let mut text = TextReader::new(trace);
        let mut diagnosed = diagnose_records(header, &mut text, trace.events(), context)?;
        if text.damage().is_some() {
            diagnosed.seen = diagnosed.seen.damaged(&text);
        }
        return Ok(diagnosed);
    }
    let what = match trace.header() {
        Header::Run(run) => format!("a recorded run of {}", run.scenario.name),
        Header::Import(header) => format!("{}, {}", header.format.a_noun(), header.source),
        other => other.what().to_owned(),
    };
    let diagnosed = diagnose_messages(what, trace.events(), context, |visit| {
        observe::each(trace, visit).map_err(|error| error.to_string())
    })?;
    if let Some(exact) = second_look::exact(trace) {
        return Ok(Diagnosed {
            diagnosis: diagnosed.diagnosis.held_against(&exact),
            ..diagnosed
        }
        .looked_at_again(|| exact.divergences));
    }
    Ok(diagnosed.looked_at_again(|| second_look::of_trace(trace)))
}

/// Diagnoses a text that no import has made a trace of. `None`: it is none that is known.
fn diagnose_text(path: &Path, context: &Context) -> Option<Result<Diagnosed, String>> {
    // A pipe cannot be read from its start again.
    if super::opened::not_a_file(path).is_some() {
        return None;
    }
    let mut file = File::open(path).ok()?;
    let mut start = Vec::new();
    (&file)
        .take(RECOGNISED_BYTES as u64)
        .read_to_end(&mut start)
        .ok()?;
    file.rewind().ok()?;
    let format = match recognise(&start) {
        // A pickle is no text.
        Recognised::Recording(ImportFormat::TorchSnapshot) => return None,
        Recognised::Recording(format) => format,
        _ => return None,
    };
    let header = ImportHeader::new(format, path.file_name()?.to_string_lossy());
    let text = BufReader::with_capacity(READ_BYTES, file);
    match header.format {
        ImportFormat::ServerLog => {}
        ImportFormat::Rocprof => return Some(diagnose_rows(&header, text, context)),
        _ => return Some(diagnose_records(&header, text, 0, context)),
    }
    let what = header.format.a_noun();
    let diagnosed = diagnose_messages(what, 0, context, |visit| {
        observe::each_line(text, visit).map_err(|error| error.to_string())
    });
    let again = || {
        let file = File::open(path);
        file.map_or_else(
            |_| Divergences::new(),
            |file| second_look::of_log(BufReader::with_capacity(READ_BYTES, file)),
        )
    };
    Some(diagnosed.map(|diagnosed| diagnosed.looked_at_again(again)))
}

/// Diagnoses rows in the order of their times, as an import keeps them.
fn diagnose_rows(
    header: &ImportHeader,
    mut text: BufReader<File>,
    context: &Context,
) -> Result<Diagnosed, String> {
    let sorted = rocprof::sorted(&mut text).map_err(|error| error.to_string())?;
    let Some(sorted) = sorted else {
        return diagnose_records(header, text, 0, context);
    };
    let sorted = BufReader::with_capacity(READ_BYTES, sorted);
    let mut diagnosed = diagnose_records(header, sorted, 0, context)?;
    diagnosed.diagnosis.notes.push(BY_TIME.to_owned());
    Ok(diagnosed)
}

fn diagnose_messages(
    what: String,
    positions: u64,
    context: &Context,
    each: impl FnOnce(&mut Visit) -> Result<Seen, String>,
) -> Result<Diagnosed, String> {
    let mut diagnoser = Diagnoser::default();
    let mut progress = Progress::new(context.quiet, "diagnose", "positions", positions);
    let seen = each(&mut |observation| {
        diagnoser.observe(&observation);
        progress.update(observation.position);
        ControlFlow::Continue(())
    })?;
    progress.finish();
    let diagnosis = diagnoser.finish(Circumstances {
        complete: seen.complete,
        begins_in_the_middle: seen.begins_in_the_middle,
        ..Circumstances::default()
    });
    Ok(Diagnosed {
        what,
        seen,
        diagnosis,
        places: Vec::new(),
        missed: Divergences::new(),
        elapsed_s: 0.0,
    })
}

/// Diagnoses what an allocator recorded of itself, with the places in the program that it names.
fn diagnose_records(
    header: &ImportHeader,
    text: impl BufRead,
    positions: u64,
    context: &Context,
) -> Result<Diagnosed, String> {
    let format = header.format;
    let Some(mut source) = allocation::source(header, text) else {
        return Err("it is about messages".to_owned());
    };
    let mut diagnoser = Diagnoser::of_records();
    let mut check = AllocationCheck::of(format);
    let mut allocations: BTreeMap<StackId, u64> = BTreeMap::new();
    let mut progress = Progress::new(context.quiet, "diagnose", "lines", positions);
    let mut has_table = false;
    while let Some(record) = source.next() {
        let record = record.map_err(|error| error.to_string())?;
        if let Some(table) = source.table().filter(|_| !has_table) {
            check.compare_with(table);
            has_table = true;
        }
        if let AllocationEvent::Allocated(buffer) = record.what
            && let Some(stack) = buffer.stack
        {
            *allocations.entry(stack).or_default() += 1;
        }
        check.observe(&record);
        if let (Some(observation), Some(buffer)) = (record.observation(), record.buffer()) {
            diagnoser.observe_record(&observation, record.thread, buffer.size_bytes);
        }
        progress.update(source.accounting().lines);
    }
    progress.finish();
    let found = check.finish();
    let places = leak_places(&found, &allocations, source.as_ref());
    let seen = Seen {
        damage: found.table.as_ref().and_then(lost_entries),
        ..Seen::of_records(format, source.accounting())
    };
    let never_released = places
        .iter()
        .filter(|place| place.buffers == place.allocations)
        .map(|place| place.buffers)
        .sum();
    let diagnosis = diagnoser.finish(Circumstances {
        complete: seen.complete,
        begins_in_the_middle: seen.begins_in_the_middle,
        never_released,
        knows_stacks: !source.stacks().is_empty(),
    });
    let missed = second_look::of_records(format, &found, source.accounting());
    let diagnosed = Diagnosed {
        what: format!("{}, {}", format.a_noun(), header.source),
        seen,
        diagnosis,
        places,
        missed: Divergences::new(),
        elapsed_s: 0.0,
    };
    Ok(diagnosed.looked_at_again(|| missed))
}

/// What a history lacks, by the allocator's own table.
fn lost_entries(compared: &TableComparison) -> Option<String> {
    (compared.differences() > 0).then(|| {
        format!(
            "by the allocator's own table the history lacks {} and {}, and {} another size: see `heisenbed check`",
            plural(compared.lost_releases.buffers, "release"),
            plural(compared.lost_allocations.buffers, "allocation"),
            match compared.other_sizes {
                1 => "1 buffer has".to_owned(),
                count => format!("{} buffers have", grouped(count)),
            }
        )
    })
}

fn leak_places(
    found: &AllocationReport,
    allocations: &BTreeMap<StackId, u64>,
    source: &dyn AllocationSource,
) -> Vec<LeakPlace> {
    let with_stack = |group: &crate::oracle::allocation_check::LiveGroup| {
        let stack = group.first.buffer.stack?;
        Some(LeakPlace {
            buffers: group.buffers,
            bytes: u64::try_from(group.bytes).unwrap_or(u64::MAX),
            allocations: allocations.get(&stack).copied().unwrap_or(0),
            position: group.first.position,
            address: group.first.buffer.address,
            device: group.first.buffer.device,
            frames: source
                .stacks()
                .frames_of(stack)
                .map(str::to_owned)
                .collect(),
        })
    };
    found.groups.iter().filter_map(with_stack).collect()
}

impl Diagnosed {
    /// The same, with what `check` finds where the diagnosis finds nothing wrong, or leaks only.
    fn looked_at_again(mut self, look: impl FnOnce() -> Divergences) -> Diagnosed {
        self.diagnosis = self.diagnosis.without_unread(self.seen.lost);
        let named = self.diagnosis.named().is_some();
        let silent = self.has_only_leaks() && (named || !self.diagnosis.trouble);
        Diagnosed {
            missed: if silent { look() } else { Divergences::new() },
            ..self
        }
    }

    /// Whether what is wrong may be no more than what could not be read.
    fn is_unread(&self) -> bool {
        let missed: u64 = self.missed.values().sum();
        let may_be = missed <= self.seen.lost && self.diagnosis.may_be_unread(self.seen.lost);
        // What is live where a record was cut may be released in what is missing.
        may_be || (missed == 0 && self.seen.damage.is_some() && self.has_only_leaks())
    }

    fn has_only_leaks(&self) -> bool {
        self.diagnosis.divergences.is_empty()
            && self
                .diagnosis
                .all_named()
                .all(|suspect| suspect.cause == Cause::RealLeak)
    }

    /// Whether something is wrong, with a cause or without one.
    fn is_wrong(&self) -> bool {
        !self.is_unread() && self.seems_wrong()
    }

    fn seems_wrong(&self) -> bool {
        self.diagnosis.named().is_some() || self.diagnosis.trouble || !self.missed.is_empty()
    }

    /// Whether that nothing wrong was found says nothing: there was no message, or not all of the
    /// record could be read.
    fn says_nothing(&self) -> bool {
        self.diagnosis.messages == 0 || self.seen.damage.is_some() || self.seen.lost > 0
    }

    fn note(&self) -> Option<String> {
        const EMPTY: &str = "it holds no message about a buffer: nothing was looked at";
        let empty = (self.diagnosis.messages == 0).then(|| EMPTY.to_owned());
        let missed = self.missed_words();
        let note = self.seen.note().or_else(|| self.lost());
        note.or(missed).or(empty)
    }

    /// What `check` finds and no cause explains, in words.
    fn missed_words(&self) -> Option<String> {
        let kinds: Vec<String> = self
            .missed
            .iter()
            .map(|(kind, count)| format!("{} {}", grouped(*count), kind.name()))
            .collect();
        (!kinds.is_empty()).then(|| {
            let kinds = kinds.join(", ");
            format!("no cause that is known here explains what `heisenbed check` finds: {kinds}")
        })
    }

    /// What could not be read, in words.
    fn lost(&self) -> Option<String> {
        (self.seen.lost > 0).then(|| {
            let records = plural(self.seen.lost, "record");
            format!("{records} not understood: what they say is not known")
        })
    }

    /// The common part of every verdict. A leak is no divergence: where it is all that is wrong,
    /// the verdict is clean.
    fn summary(&self) -> VerdictSummary {
        let diagnosis = &self.diagnosis;
        let leaks = diagnosis
            .all_named()
            .find(|suspect| suspect.cause == Cause::RealLeak)
            .map_or(0, |suspect| suspect.count);
        let named = diagnosis.named();
        let verdict = match named {
            Some(_) if self.has_only_leaks() && self.missed.is_empty() => match self.is_unread() {
                true => Verdict::Inconclusive,
                false => Verdict::Clean,
            },
            Some(_) => Verdict::Diverged,
            None if self.is_unread() => Verdict::Inconclusive,
            None if !self.missed.is_empty() => Verdict::Diverged,
            None if diagnosis.trouble || self.says_nothing() => Verdict::Inconclusive,
            None => Verdict::Clean,
        };
        let first = diagnosis.first.as_ref().map(|(kind, sighting)| Divergence {
            kind: *kind,
            device: crate::device::DeviceId(
                sighting
                    .device
                    .and_then(|device| u16::try_from(device).ok())
                    .unwrap_or(0),
            ),
            memory: None,
            address: sighting.address,
            thread: None,
            op: None,
        });
        let mut summary = VerdictSummary::new(0, 0);
        summary.add(&Report {
            verdict,
            strength: Strength::Messages,
            divergences: match self.missed.is_empty() {
                true => diagnosis.divergences.clone(),
                false => self.missed.clone(),
            },
            first,
            leaks,
            leaked: Vec::new(),
            events: self.seen.positions,
            messages: self.seen.frames.unwrap_or(diagnosis.messages),
            shared_steps: 0,
            ops: 0,
            allocs_failed: 0,
            peak_live: 0,
            note: self.note(),
            complete: false,
        });
        summary.elapsed_s = self.elapsed_s;
        summary
    }
}
