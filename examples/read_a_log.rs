//! Reads the log of a tracking server: which messages it tells of, and what they say went wrong.
//!
//!     cargo run --example read_a_log -- server.log

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;

use heisenbed::facade::{Circumstances, Diagnoser, ObserveError, Observed, each_line};

/// A log that a reference server wrote.
pub const SAMPLE: &str = "corpus/imports/01_basic.log";

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).unwrap_or(SAMPLE.to_owned());
    print!("{}", answer(BufReader::new(File::open(path)?))?);
    Ok(())
}

/// What `log` says.
pub fn answer(log: impl BufRead) -> Result<String, ObserveError> {
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let mut diagnoser = Diagnoser::default();
    let seen = each_line(log, &mut |observation| {
        if let Observed::Message { message, .. } = &observation.what {
            *kinds.entry(message.kind.name()).or_default() += 1;
        }
        diagnoser.observe(&observation);
        ControlFlow::Continue(())
    })?;
    let diagnosis = diagnoser.finish(Circumstances {
        complete: seen.complete,
        begins_in_the_middle: seen.begins_in_the_middle,
        ..Circumstances::default()
    });
    let mut text = format!(
        "{} lines, {} of them not understood\n",
        seen.positions, seen.unrecognised
    );
    for (kind, count) in kinds {
        text += &format!("  {count:4} {kind}\n");
    }
    for suspect in &diagnosis.causes {
        let (cause, score) = (suspect.cause, suspect.score);
        text += &format!("{cause} (score {score:.2}): {}\n", suspect.says);
    }
    Ok(text)
}
