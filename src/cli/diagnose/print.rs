//! What `diagnose` prints.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::super::ci::CiCase;
use super::super::exit::ExitStatus;
use super::super::outcome::{CommandOutcome, Context, Format};
use super::{Diagnosed, LeakPlace};
use crate::diagnosis::{CONFIDENT, Cause, Exhibit, PROBABLE, Suspect};
use crate::import::telling_frames;
use crate::numbers::{grouped, plural};
use crate::trace::file::TraceFile;

/// Pieces of evidence that the text output shows for a cause that is named, and for one that is
/// only mentioned.
const SHOWN: usize = 5;
const SHOWN_OF_WEAK: usize = 2;
/// Places in the program, and frames of each, that it shows.
const SHOWN_PLACES: usize = 5;
const SHOWN_FRAMES: usize = 8;

pub(super) fn outcome(path: &Path, diagnosed: &Diagnosed, context: &Context) -> CommandOutcome {
    let status = match diagnosed.is_wrong() {
        true => ExitStatus::Diverged,
        false if diagnosed.says_nothing() => ExitStatus::Undecided,
        false => ExitStatus::Holds,
    };
    for case in cases(path, diagnosed, status) {
        context.case(case);
    }
    CommandOutcome {
        stdout: match context.format {
            Format::Json => diagnosed.summary().json(&json_of(diagnosed)),
            Format::Human => human(path, diagnosed),
        },
        stderr: String::new(),
        exit_code: status.code(),
    }
}

/// What CI pages show of it: a case for each cause that is named.
fn cases(path: &Path, diagnosed: &Diagnosed, status: ExitStatus) -> Vec<CiCase> {
    let name = path.display().to_string();
    // Positions of a trace are no lines of the file.
    let is_text = TraceFile::open(path).is_err() && diagnosed.seen.position_word == "line";
    let line = |suspect: &Suspect| {
        let first = suspect.exhibits.first()?.sighting.positions.first();
        first.copied().filter(|_| is_text)
    };
    let named: Vec<CiCase> = diagnosed
        .diagnosis
        .all_named()
        .map(|suspect| {
            let why = format!("{}: {}", suspect.cause, suspect.says);
            let name = format!("{name}: {}", suspect.cause);
            CiCase::of_status(name, ExitStatus::Diverged.code(), &why).at(path, line(suspect))
        })
        .collect();
    if !named.is_empty() {
        return named;
    }
    let note = diagnosed.note().unwrap_or_default();
    let why = format!("{}\n{note}", headline(diagnosed));
    // Of what is not explained, where the likeliest cause has its evidence.
    let place = diagnosed.diagnosis.causes.first().and_then(line);
    vec![CiCase::of_status(name, status.code(), &why).at(path, place)]
}

fn human(path: &Path, diagnosed: &Diagnosed) -> String {
    let (seen, diagnosis) = (&diagnosed.seen, &diagnosed.diagnosis);
    let mut text = format!(
        "{}: {}: {}, {}, {} not understood\n",
        path.display(),
        diagnosed.what,
        many(seen.positions, seen.position_word),
        match seen.position_word {
            // Positions count all of them.
            "message" => format!("{} about a buffer", grouped(diagnosis.messages)),
            _ => plural(diagnosis.messages, "message"),
        },
        grouped(seen.unrecognised),
    );
    if let Some(note) = seen.note().or_else(|| diagnosed.lost()) {
        let _ = writeln!(text, "  {note}");
    }
    let _ = writeln!(text, "\n{}", headline(diagnosed));
    for suspect in &diagnosis.causes {
        cause(&mut text, suspect, diagnosed);
    }
    if let Some(missed) = diagnosed.missed_words() {
        let _ = writeln!(text, "\nnote: {missed}");
    }
    for note in &diagnosis.notes {
        let _ = writeln!(text, "\nnote: {note}");
    }
    if !diagnosis.advice.is_empty() {
        let _ = writeln!(text, "\nwhat this record cannot tell, and what would:");
        for advice in &diagnosis.advice {
            let _ = writeln!(text, "- {advice}");
        }
    }
    text
}

/// The verdict, in a sentence.
fn headline(diagnosed: &Diagnosed) -> String {
    let diagnosis = &diagnosed.diagnosis;
    if diagnosed.is_unread() && diagnosed.seems_wrong() {
        return "undecided: what could not be read may be all that is wrong".to_owned();
    }
    let undecided = diagnosis.undecided_between();
    if let [first, others @ ..] = undecided.as_slice()
        && !others.is_empty()
    {
        let others: Vec<&str> = others.iter().map(|other| other.name()).collect();
        return format!(
            "something is wrong, and this record cannot tell {first} and {} apart",
            others.join(" and ")
        );
    }
    let named: Vec<&Suspect> = diagnosis.all_named().collect();
    match named.as_slice() {
        [] if diagnosed.is_wrong() => {
            "something is wrong, and this record does not tell what".to_owned()
        }
        [] if diagnosis.messages == 0 => {
            "nothing to diagnose: it holds no message about a buffer".to_owned()
        }
        [] if diagnosed.says_nothing() => {
            "nothing wrong found in what there is: the record is not whole".to_owned()
        }
        [] => "nothing wrong found: every message fits the ones before it".to_owned(),
        [first, others @ ..] => named_in_words(first, others),
    }
}

/// The causes that are named, most likely first. What is not certain beside a certain cause is said
/// to be probable.
fn named_in_words(first: &Suspect, others: &[&Suspect]) -> String {
    let mut words = format!("{} {}", certainty(first.score), first.cause);
    for other in others {
        let probably = match first.score >= CONFIDENT && other.score < CONFIDENT {
            true => "probably ",
            false => "",
        };
        let _ = write!(words, ", and {probably}{}", other.cause);
    }
    words
}

fn certainty(score: f64) -> &'static str {
    if score >= CONFIDENT {
        "the cause is"
    } else {
        "the cause is probably"
    }
}

fn cause(text: &mut String, suspect: &Suspect, diagnosed: &Diagnosed) {
    let word = &diagnosed.seen.position_word;
    let weak = suspect.score < PROBABLE;
    let _ = writeln!(
        text,
        "\n{}{} (score {:.2}): {}",
        if weak { "perhaps " } else { "" },
        suspect.cause,
        suspect.score,
        suspect.says
    );
    let shown = if weak { SHOWN_OF_WEAK } else { SHOWN };
    for exhibit in suspect.exhibits.iter().take(shown) {
        let _ = writeln!(text, "  {}", place(exhibit, word));
    }
    let pieces = suspect.count.max(suspect.exhibits.len() as u64);
    let more = pieces.saturating_sub(shown as u64);
    if more > 0 {
        let _ = writeln!(text, "  and {} more", grouped(more));
    }
    if suspect.cause == Cause::RealLeak {
        places(text, &diagnosed.places, word);
    }
}

/// A piece of evidence, in a line.
fn place(exhibit: &Exhibit, word: &str) -> String {
    let sighting = &exhibit.sighting;
    let positions: Vec<String> = sighting.positions.iter().map(|at| grouped(*at)).collect();
    let mut text = match positions.len() {
        1 => format!("{word} {}", positions[0]),
        _ => format!("{} {}", plural_word(word), positions.join(", ")),
    };
    if let Some(device) = sighting.device {
        let _ = write!(text, ", device {device}");
    }
    if let Some(address) = sighting.address {
        let _ = write!(text, " {address:#x}");
    }
    let _ = write!(text, ": {}", exhibit.words());
    if let (Some(number), None) = (sighting.number, sighting.address) {
        let _ = write!(text, " ({number})");
    }
    text
}

fn places(text: &mut String, places: &[LeakPlace], word: &str) {
    let frames: Vec<Vec<&str>> = places
        .iter()
        .take(SHOWN_PLACES)
        .map(|place| place.frames.iter().map(String::as_str).collect())
        .collect();
    let telling = telling_frames::choose(&frames, SHOWN_FRAMES);
    for (place, telling) in places.iter().zip(telling) {
        let _ = writeln!(
            text,
            "  {} of {} from here never released, {}; the first at {word} {}, device {} {:#x}",
            grouped(place.buffers),
            plural(place.allocations, "buffer"),
            plural(place.bytes, "byte"),
            grouped(place.position),
            place.device,
            place.address,
        );
        for frame in &telling.frames {
            let _ = writeln!(text, "      {frame}");
        }
    }
    if places.len() > SHOWN_PLACES {
        let more = (places.len() - SHOWN_PLACES) as u64;
        let _ = writeln!(
            text,
            "  and {} more places; --format json lists them",
            grouped(more)
        );
    }
}

fn many(count: u64, word: &str) -> String {
    match (count, word) {
        (1, _) => format!("1 {word}"),
        _ => format!("{} {}", grouped(count), plural_word(word)),
    }
}

fn plural_word(word: &str) -> String {
    match word.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{word}s"),
    }
}

pub(super) fn json_of(diagnosed: &Diagnosed) -> Value {
    let (seen, diagnosis) = (&diagnosed.seen, &diagnosed.diagnosis);
    let causes: Vec<Value> = diagnosis.causes.iter().map(cause_json).collect();
    let places: Vec<Value> = diagnosed
        .places
        .iter()
        .map(|place| {
            json!({
                "buffers": place.buffers, "bytes": place.bytes, "allocations": place.allocations,
                "position": place.position, "device": place.device, "address": place.address, "stack": place.frames,
            })
        })
        .collect();
    json!({
        "causes": causes,
        "undecided_between": diagnosis.undecided_between(),
        "trouble": diagnosis.trouble,
        "position": seen.position_word,
        "unrecognised": seen.unrecognised,
        "live_at_end": diagnosis.live,
        "complete": seen.complete,
        "generations": diagnosis.generations,
        "live_by_stack": places,
        "notes": diagnosis.notes,
        "record_to_tell": diagnosis.advice,
    })
}

fn cause_json(suspect: &Suspect) -> Value {
    let evidence: Vec<u64> = suspect
        .exhibits
        .iter()
        .flat_map(|exhibit| exhibit.sighting.positions.iter().copied())
        .collect();
    let exhibits: Vec<Value> = suspect
        .exhibits
        .iter()
        .map(|exhibit| {
            json!({
                "positions": exhibit.sighting.positions.as_slice(),
                "device": exhibit.sighting.device,
                "address": exhibit.sighting.address,
                "says": exhibit.words(),
            })
        })
        .collect();
    json!({
        "cause": suspect.cause,
        "score": (suspect.score * 1000.0).round() / 1000.0,
        "confident": suspect.score >= CONFIDENT,
        "evidence": evidence,
        "count": suspect.count,
        "says": suspect.says,
        "exhibits": exhibits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspect(cause: Cause, score: f64) -> Suspect {
        Suspect {
            cause,
            score,
            count: 9,
            says: String::new(),
            exhibits: Vec::new(),
        }
    }

    #[test]
    fn a_cause_that_is_not_certain_is_said_to_be_probable() {
        let certain = suspect(Cause::MeshRelease, 0.97);
        let also = suspect(Cause::Loss, 0.95);
        let probable = suspect(Cause::DoubleRelease, 0.68);
        assert_eq!(
            named_in_words(&certain, &[&also, &probable]),
            "the cause is mesh-release, and loss, and probably double-release"
        );
        assert_eq!(named_in_words(&certain, &[]), "the cause is mesh-release");
        assert_eq!(
            named_in_words(&probable, &[]),
            "the cause is probably double-release"
        );
    }
}
