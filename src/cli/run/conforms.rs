//! `run --conforms`: whether executions of a program are runs of a discipline.

use std::fmt::Write as _;
use std::time::Instant;

use serde_json::{Value, json};

use super::super::exit::ExitStatus;
use super::super::outcome::{CommandOutcome, Context, Format};
use super::recording::{self, RecordingRequest};
use super::{ProgramRunArgs, SCHEDULES};
use crate::lifecycle;
use crate::native::extract::conform::{self, Conformity, Departure};
use crate::native::extract::{Reading, Recorded};
use crate::numbers::plural;
use crate::oracle::Verdict;

/// As many as are shown.
const MOST_SHOWN: usize = 8;

pub(super) fn run(
    args: &ProgramRunArgs,
    name: &str,
    context: &Context,
) -> Result<CommandOutcome, Box<dyn std::error::Error>> {
    let started = Instant::now();
    let discipline = lifecycle::load(name)?;
    let (recorded, symbols) = recording::record(
        &RecordingRequest {
            program: recording::program(
                &args.program,
                &args.target,
                args.tracking.always()?,
                context,
            )?,
            // What one operation does differs less from schedule to schedule than orders do.
            schedules: args.schedules.unwrap_or(SCHEDULES / 10),
            timeout: args.timeout,
            max_steps: args.steps,
            what: "run",
        },
        context,
    )?;
    if let Some(why) = recording::says_nothing(&recorded) {
        return Ok(CommandOutcome::undecided(why, context.format));
    }
    let reading = Reading::new(&recorded, &symbols);
    let found = conform::check(&reading, &discipline);
    let note = note(&found).or_else(|| not_to_the_end(&recorded));
    let verdict = match (&found.departures[..], &note) {
        ([_, ..], _) => Verdict::Diverged,
        ([], Some(_)) => Verdict::Inconclusive,
        ([], None) => Verdict::Clean,
    };
    let stdout = match context.format {
        Format::Json => {
            let departures: Vec<Value> = found.departures.iter().map(json_of).collect();
            let value = json!({
                "verdict": verdict,
                "note": note,
                "discipline": discipline.name,
                "file": name,
                "operations": found.checked,
                "schedules": recorded.schedules,
                "failures": recorded.failures,
                "departures": departures,
                "unchecked": found.unchecked,
                "notes": found.unseen.iter().chain(&reading.notes).collect::<Vec<_>>(),
                "seed": recording::seed(context),
                "elapsed_s": started.elapsed().as_secs_f64(),
            });
            format!("{value}\n")
        }
        Format::Human => {
            let elapsed = started.elapsed().as_secs_f64();
            let mut text = headline(verdict, name, &found, &recorded, elapsed);
            write_more(&mut text, name, &found, &reading);
            text
        }
    };
    Ok(CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: ExitStatus::of(verdict).code(),
    })
}

/// Why it is no answer.
fn note(found: &Conformity) -> Option<String> {
    if found.checked == 0 && found.unchecked.is_empty() {
        return Some("no operation was there to be checked".to_owned());
    }
    (!found.unchecked.is_empty()).then(|| found.unchecked.join("; "))
}

fn headline(
    verdict: Verdict,
    name: &str,
    found: &Conformity,
    recorded: &Recorded,
    elapsed: f64,
) -> String {
    let seen = format!(
        "{} of {}, in {elapsed:.1} s",
        plural(found.checked, "operation"),
        plural(recorded.schedules, "schedule"),
    );
    match verdict {
        Verdict::Diverged => {
            let differ: u64 = found.departures.iter().map(|one| one.operations).sum();
            format!("diverged: {differ} are no runs of {name}, of {seen}\n")
        }
        Verdict::Inconclusive => {
            format!("inconclusive: what was seen conforms to {name}: {seen}\n")
        }
        _ => format!("clean: each is a run of {name}: {seen}\n"),
    }
}

fn write_more(text: &mut String, name: &str, found: &Conformity, reading: &Reading<'_>) {
    for departure in found.departures.iter().take(MOST_SHOWN) {
        let _ = writeln!(text, "\n{}", in_words(name, departure));
    }
    if found.departures.len() > MOST_SHOWN {
        let more = (found.departures.len() - MOST_SHOWN) as u64;
        let _ = writeln!(text, "\n… and {}", plural(more, "further difference"));
    }
    for words in &found.unchecked {
        let _ = writeln!(text, "  {words}");
    }
    for words in found.unseen.iter().chain(&reading.notes) {
        let _ = writeln!(text, "  note: {words}");
    }
}

/// Why schedules that were recorded say nothing of the rest, if they do not.
fn not_to_the_end(recorded: &Recorded) -> Option<String> {
    let (broken, cut) = (recorded.broken, recorded.cut);
    if broken > 0 {
        let schedules = plural(broken, "schedule");
        return Some(format!(
            "something went wrong in {schedules}: what came after that was not checked; `heisenbed \
             run` shows it"
        ));
    }
    (cut > 0).then(|| {
        let operations = plural(cut, "operation");
        format!("{operations} did not come to an end: what was left of them was not checked")
    })
}

fn in_words(name: &str, departure: &Departure) -> String {
    let line = match departure.line {
        0 => name.to_owned(),
        line => format!("{name}:{line}"),
    };
    let expected = match departure.expected {
        Some(step) => format!("is `{step}`"),
        None => "is not there: the program has ended".to_owned(),
    };
    let found = match (&departure.found, &departure.place) {
        (Some(step), place) => format!("the code does `{step}`\n  at {place}"),
        (None, place) => format!("the operation ends\n  after {place}"),
    };
    let why = match &departure.why {
        Some(why) => format!("\n  {why}"),
        None => String::new(),
    };
    format!(
        "{line}: {}{} step {} {expected}; {found}{why}\n  first in schedule {}, in {}",
        departure.path.prefix(),
        departure.program,
        departure.step,
        departure.schedule,
        plural(departure.operations, "operation"),
    )
}

fn json_of(departure: &Departure) -> Value {
    json!({
        "path": departure.path,
        "program": departure.program,
        "step": departure.step,
        "line": (departure.line > 0).then_some(departure.line),
        "expected": departure.expected,
        "found": departure.found,
        "place": departure.place,
        "why": departure.why,
        "schedule": departure.schedule,
        "operations": departure.operations,
    })
}
