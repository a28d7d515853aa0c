//! Traces as parts of a page: runs, imports, captures, journals; and recordings, which are imported
//! first.

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::Value;

use super::{name_of, word};
use crate::cli::import::{self, ImportArgs, ImportSource};
use crate::cli::outcome::{Context, Format};
use crate::cli::verdict::{headline_with, place};
use crate::cli::{check, diagnose, foreign, opened};
use crate::import::allocation;
use crate::import::recognise::{RECOGNISED_BYTES, Recognised, recognise};
use crate::import::server_log::ServerLogReader;
use crate::numbers::{bytes_together, grouped, plural};
use crate::observe;
use crate::oracle::allocation_check::AllocationCheck;
use crate::oracle::message_check::{FirstFinding, MessageCheck};
use crate::oracle::observation_check::ObservationCheck;
use crate::oracle::{Kind, Report, Strength, Verdict};
use crate::report::page::messages::MessageWalk;
use crate::report::page::picture::{
    CauseShown, DiagnosisShown, ExhibitShown, KindRow, LeakRow, LeaksShown, PagePart,
};
use crate::report::page::records::{self, RecordWalk};
use crate::report::page::run::{RunWalk, WalkedRun};
use crate::trace::file::{Header, ImportFormat, ImportHeader, RunHeader, TraceFile};
use crate::trace::merge::{Merge, MergeEnd};
use crate::trace::text::TextReader;
use crate::trace::{capture, journal};

/// Runs with more events are not diagnosed, too: it takes as long as the rest.
const MOST_DIAGNOSED: u64 = 3_000_000;
/// Pieces of evidence that are shown of a cause.
const EXHIBITS: usize = 8;

/// The part of the trace at `path`, which came from `source`.
pub(super) fn part(path: &Path, source: &Path, context: &Context) -> Result<PagePart, String> {
    let trace = opened::open(path).map_err(|error| foreign::no_trace(path, &error))?;
    if trace.events() > MOST_DIAGNOSED {
        let mut part = pictured(&trace, path, source, context)?;
        part.notes.push(format!(
            "It is too long to be diagnosed here: heisenbed diagnose {}",
            word(source)
        ));
        return Ok(part);
    }
    // Both read the whole trace, and neither waits for the other.
    std::thread::scope(|scope| {
        let diagnosed = scope.spawn(|| diagnosis(path, context));
        let mut part = pictured(&trace, path, source, context)?;
        part.diagnosis = diagnosed.join().unwrap_or(None);
        Ok(part)
    })
}

/// All of a part but the diagnosis.
fn pictured(
    trace: &TraceFile,
    path: &Path,
    source: &Path,
    context: &Context,
) -> Result<PagePart, String> {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", source.display());
    let mut part = match trace.header() {
        Header::Run(header) => run(trace, header, source).map_err(|error| at(&error))?,
        Header::Import(header) if header.format == ImportFormat::ServerLog => {
            let findings = log_findings(trace).map_err(|error| at(&error))?;
            let mut part = messages(trace, "line", findings)?;
            part.what = format!("{}, {}", header.format.a_noun(), header.source);
            part
        }
        Header::Import(header) => allocations(trace, header).map_err(|error| at(&error))?,
        Header::Capture(header) => {
            let mut check = ObservationCheck::default();
            capture::messages(trace, header, &mut |seen| check.observe(&seen));
            messages(trace, "message", check.finish().listed)?
        }
        Header::Journal(_) => {
            let mut check = ObservationCheck::default();
            journal::observations(trace, &mut |seen| check.observe(&seen));
            messages(trace, "message", check.finish().listed)?
        }
    };
    part.name = name_of(source);
    let explain = match trace.header() {
        Header::Run(_) => return Ok(part),
        Header::Import(header) if header.format != ImportFormat::ServerLog => {
            check::explain_of_records
        }
        _ => Kind::explain,
    };
    checked(&mut part, path, source, context)?;
    let says = |kind: &str| {
        let known = Kind::ALL.into_iter().find(|known| known.name() == kind);
        known.map_or("", explain).to_owned()
    };
    for kind in &mut part.kinds {
        kind.says = says(&kind.kind);
    }
    for row in &mut part.divergences {
        row.says = says(&row.kind);
    }
    Ok(part)
}

/// The part of what another tool recorded.
pub(super) fn recording(path: &Path, context: &Context) -> Result<PagePart, String> {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(RECOGNISED_BYTES as u64).read_to_end(&mut start))
        .map_err(|error| at(&error))?;
    let Recognised::Recording(format) = recognise(&start) else {
        return Err(match TraceFile::open(path) {
            Err(error) => foreign::no_trace(path, &error),
            Ok(_) => at(&"it is nothing that a page is made of"),
        });
    };
    let folder = tempfile::tempdir().map_err(|error| at(&error))?;
    let trace = folder.path().join(name_of(path) + ".hb");
    let imported = import::run(
        &ImportArgs {
            source: ImportSource::Recording(format),
            files: vec![path.to_owned()],
            output: Some(trace.clone()),
            force: false,
            layout: None,
        },
        &quiet(context),
    );
    if imported.exit_code != 0 {
        let said = imported.stderr.trim_start_matches("error: ").trim_end();
        return Err(said.to_owned());
    }
    let mut part = part(&trace, path, context)?;
    let import = format!(
        "heisenbed import {} {} -o imported.hb",
        format.name(),
        word(path)
    );
    part.commands = vec![
        import,
        "heisenbed check imported.hb".to_owned(),
        format!("heisenbed diagnose {}", word(path)),
    ];
    Ok(part)
}

fn quiet(context: &Context) -> Context {
    Context {
        format: Format::Json,
        quiet: true,
        ..context.clone()
    }
}

/// A run whose truth is known.
fn run(trace: &TraceFile, header: &RunHeader, source: &Path) -> Result<PagePart, String> {
    let scenario = &header.scenario;
    scenario.check().map_err(|error| error.to_string())?;
    let mut merge = Merge::new(trace, header);
    let mut walk = RunWalk::new(scenario, header.server_recorded, trace.events(), &[], None);
    let mut events = 0u64;
    while let Some(merged) = merge.next_in_place() {
        walk.observe(merged);
        events += 1;
    }
    let prefix = match merge.end().map_err(|error| error.to_string())? {
        MergeEnd::Complete => None,
        MergeEnd::Prefix { why } => Some(format!(
            "{why}; {events} of the {} events found could be used",
            trace.events()
        )),
    };
    let walked = walk.finish(trace.end(), prefix);
    if let Some(why) = &walked.contradiction {
        return Err(format!("the trace contradicts itself at {why}"));
    }
    let file = word(source);
    let mut part = of_walk(walked);
    part.what = headline_with(scenario, &format!("{} server", scenario.semantics));
    part.facts.extend([
        ("engine", header.engine.clone()),
        ("seed", format!("{}, run {}", scenario.seed, header.run)),
        ("recorded by", format!("heisenbed {}", header.version)),
    ]);
    part.commands = vec![
        format!("heisenbed replay {file}"),
        format!("heisenbed check {file}"),
        format!("heisenbed diagnose {file}"),
    ];
    if part.verdict == Verdict::Diverged.to_string() {
        part.commands
            .push(format!("heisenbed shrink {file} -o smaller.toml"));
    }
    Ok(part)
}

/// What every run whose truth is known has.
pub(super) fn of_walk(walked: WalkedRun) -> PagePart {
    let report = &walked.report;
    PagePart {
        verdict: report.verdict.to_string(),
        sentence: sentence(report),
        notes: report.note.clone().into_iter().collect(),
        facts: vec![
            ("events", grouped(report.events)),
            ("messages", grouped(report.messages)),
            ("operations", grouped(report.ops)),
            ("most live at once", plural(report.peak_live, "buffer")),
            ("check", strength(report.strength).to_owned()),
        ],
        kinds: report
            .divergences
            .iter()
            .map(|(kind, count)| KindRow {
                kind: kind.name().to_owned(),
                count: *count,
                says: kind.explain().to_owned(),
            })
            .collect(),
        leaks: (report.leaks > 0).then(|| LeaksShown {
            buffers: report.leaks,
            bytes: (report.leaked.iter())
                .map(|leak| u128::from(leak.size_bytes))
                .sum(),
            ended: true,
            places: report
                .leaked
                .iter()
                .map(|leak| LeakRow {
                    buffers: 1,
                    bytes: leak.size_bytes.into(),
                    position: None,
                    place: format!(
                        "device {} {}, {:#x}: thread {}, operation {}",
                        leak.device,
                        leak.memory.name(),
                        leak.address,
                        leak.thread,
                        leak.op
                    ),
                    frames: Vec::new(),
                    not_users: 0,
                })
                .collect(),
        }),
        divergences: walked.divergences,
        picture: Some(walked.picture),
        ..PagePart::default()
    }
}

fn sentence(report: &Report) -> String {
    match report.verdict {
        Verdict::Clean if report.messages == 0 => {
            "The program's own tracking agreed with the allocator; no server was compared."
                .to_owned()
        }
        Verdict::Clean => "The server's picture was the allocator's truth.".to_owned(),
        Verdict::Proved => "No schedule diverges.".to_owned(),
        Verdict::Diverged => {
            let first = report.first.as_ref().map(place);
            let first = first.map_or_else(String::new, |first| format!(" First: {first}."));
            format!("What the server reconstructed is not what the allocator did.{first}")
        }
        Verdict::Inconclusive => match &report.note {
            Some(note) => format!("It cannot be said: {note}."),
            None => "It cannot be said.".to_owned(),
        },
    }
}

fn strength(strength: Strength) -> &'static str {
    match strength {
        Strength::Exact => "exact: the server's live table against the truth, entry by entry",
        Strength::Totals => "totals: the server's totals against the truth's",
        Strength::Messages => "messages: against each other",
    }
}

/// What `check` finds in the lines of a server's log.
fn log_findings(trace: &TraceFile) -> Result<Vec<FirstFinding>, String> {
    let mut text = TextReader::new(trace);
    let mut check = MessageCheck::default();
    for record in ServerLogReader::new(&mut text) {
        check.observe(&record.map_err(|error| error.to_string())?);
    }
    Ok(check.finish().listed)
}

fn messages(
    trace: &TraceFile,
    position: &'static str,
    mut findings: Vec<FirstFinding>,
) -> Result<PagePart, String> {
    findings.sort_by_key(|found| found.line);
    let mut walk = MessageWalk::new(position, findings);
    let seen = observe::each(trace, &mut |seen| {
        walk.observe(&seen);
        ControlFlow::Continue(())
    })
    .map_err(|error| format!("{}: {error}", trace.path().display()))?;
    let (picture, divergences) = walk.finish();
    let mut notes: Vec<String> = seen.note().into_iter().collect();
    if seen.unrecognised > 0 {
        let what = plural(seen.unrecognised, seen.position_word);
        notes.push(format!("{what} not understood"));
    }
    Ok(PagePart {
        what: trace.header().what().to_owned(),
        notes,
        divergences,
        picture: Some(picture),
        ..PagePart::default()
    })
}

/// What an allocator wrote down of itself.
fn allocations(trace: &TraceFile, header: &ImportHeader) -> Result<PagePart, String> {
    let format = header.format;
    let none = || "it is about messages".to_owned();
    let mut text = TextReader::new(trace);
    let mut source = allocation::source(header, &mut text).ok_or_else(none)?;
    let mut check = AllocationCheck::of(format);
    let mut has_table = false;
    let mut walk = RecordWalk::new(format.position_word());
    let mut known = 0;
    loop {
        let record = source.next();
        if let Some(table) = source.table().filter(|_| !has_table) {
            check.compare_with(table);
            has_table = true;
        }
        let Some(record) = record else { break };
        let record = record.map_err(|error| error.to_string())?;
        check.observe(&record);
        let found = check.findings();
        walk.observe(&record, found > known, source.stacks());
        known = found;
    }
    let found = check.finish();
    let (picture, divergences) = walk.finish(source.stacks(), &found.listed);
    let ended = !format.begins_in_the_middle();
    let leaks = records::leaks(&found, source.stacks(), ended);
    let unrecognised = source.accounting().unrecognised;
    drop(source);
    let mut notes: Vec<String> = text.damage().map(str::to_owned).into_iter().collect();
    if unrecognised > 0 {
        let records = plural(unrecognised, format.position_word());
        notes.push(format!("{records} not understood"));
    }
    let more = match found.threads == crate::oracle::allocation_check::MAX_COUNTED as u64 {
        true => " or more",
        false => "",
    };
    Ok(PagePart {
        what: format!("{}, {}", format.a_noun(), header.source),
        notes,
        facts: vec![
            ("records", grouped(found.records)),
            ("allocations", grouped(found.allocations)),
            ("releases", grouped(found.releases)),
            ("failed", grouped(found.failed)),
            ("threads", format!("{}{more}", grouped(found.threads))),
            ("peak", bytes_together(found.peak_bytes)),
        ],
        divergences,
        leaks: (leaks.buffers > 0).then_some(leaks),
        picture: Some(picture),
        ..PagePart::default()
    })
}

/// The verdict, as `check` gives it.
fn checked(
    part: &mut PagePart,
    path: &Path,
    source: &Path,
    context: &Context,
) -> Result<(), String> {
    let args = check::CheckArgs {
        trace: path.to_owned(),
        ci: super::super::ci::CiArgs::default(),
    };
    let outcome = check::run(&args, &quiet(context));
    let value: Value = serde_json::from_str(&outcome.stdout).map_err(|error| error.to_string())?;
    if let Some(error) = value["error"].as_str() {
        return Err(error.to_owned());
    }
    let kinds: Vec<(String, u64)> = (value["divergences"].as_object().into_iter().flatten())
        .map(|(kind, count)| (kind.clone(), count.as_u64().unwrap_or(0)))
        .collect();
    part.verdict = value["verdict"]
        .as_str()
        .unwrap_or("inconclusive")
        .to_owned();
    let note = value["note"].as_str().map(str::to_owned);
    part.sentence = match part.verdict.as_str() {
        "diverged" => "The records contradict each other.".to_owned(),
        "clean" => "The records do not contradict each other.".to_owned(),
        _ => match &note {
            Some(note) => format!("It cannot be said whether this is right: {note}."),
            None => "It cannot be said whether this is right.".to_owned(),
        },
    };
    if part.verdict == "diverged" {
        part.notes.extend(note);
    }
    part.kinds = kinds
        .into_iter()
        .map(|(kind, count)| KindRow {
            kind,
            count,
            says: String::new(),
        })
        .collect();
    if let Some((events, picture)) = value["events"].as_u64().zip(part.picture.as_ref()) {
        part.facts.push(("read", plural(events, picture.position)));
    }
    if let Some(messages) = value["messages"].as_u64().filter(|messages| *messages > 0) {
        part.facts.push(("messages", grouped(messages)));
    }
    let file = word(source);
    part.commands = vec![
        format!("heisenbed check {file}"),
        format!("heisenbed diagnose {file}"),
    ];
    Ok(())
}

/// The causes, as `diagnose` gives them; `None` where there is nothing to diagnose.
fn diagnosis(path: &Path, context: &Context) -> Option<DiagnosisShown> {
    let value = diagnose::json_of_file(path, &quiet(context))?;
    let texts = |list: &Value| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(|text| Some(text.as_str()?.to_owned()))
            .collect()
    };
    let exhibit = |one: &Value| ExhibitShown {
        says: match (one["device"].as_i64(), one["address"].as_u64()) {
            (Some(device), Some(address)) => {
                format!(
                    "device {device} {address:#x}: {}",
                    one["says"].as_str().unwrap_or("")
                )
            }
            _ => one["says"].as_str().unwrap_or("").to_owned(),
        },
        positions: (one["positions"].as_array().into_iter().flatten())
            .filter_map(Value::as_u64)
            .collect(),
    };
    let cause = |one: &Value| CauseShown {
        name: one["cause"].as_str().unwrap_or("").to_owned(),
        score: one["score"].as_f64().unwrap_or(0.0),
        says: one["says"].as_str().unwrap_or("").to_owned(),
        count: one["count"].as_u64().unwrap_or(0),
        exhibits: (one["exhibits"].as_array().into_iter().flatten())
            .take(EXHIBITS)
            .map(exhibit)
            .collect(),
    };
    let causes: Vec<CauseShown> = (value["causes"].as_array().into_iter().flatten())
        .map(cause)
        .collect();
    let mut notes = texts(&value["notes"]);
    notes.extend(texts(&value["record_to_tell"]));
    Some(DiagnosisShown { causes, notes })
}
