//! The data races of a search, in JSON and beside the failure that is shown.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::native::race_text::{AccessText, RaceList};
use crate::native::races::AccusedRace;
use crate::numbers::plural;

/// Lines of others, beside what failed.
const MAX_LINES: usize = 8;

/// As the key `data_races`.
pub(super) fn json(races: &RaceList) -> Value {
    let races = races.races.iter().map(|(race, schedule)| {
        json!({
            "summary": race.summary(),
            "variable": race.variable,
            "schedule": schedule,
            "accesses": race.accesses.each_ref().map(access),
        })
    });
    Value::Array(races.collect())
}

fn access(access: &AccessText) -> Value {
    let line = access.place.line.as_ref();
    json!({
        "kind": access.action,
        "thread": access.thread,
        "size": access.size,
        "function": access.place.function,
        "file": line.map(|(file, _)| file),
        "line": line.map(|(_, line)| line),
    })
}

/// Those that are not the failure which is shown.
pub(super) fn write_others(text: &mut String, races: &RaceList, shown: Option<&AccusedRace>) {
    let shown = shown.and_then(|accused| Some(accused.text.as_ref()?.places()));
    let others: Vec<_> = races
        .races
        .iter()
        .filter(|(race, _)| Some(race.places()) != shown)
        .collect();
    let count = others.len() as u64 + races.more;
    if count == 0 {
        return;
    }
    let _ = writeln!(text, "\n{} besides:", plural(count, "data race"));
    for (race, schedule) in others.iter().take(MAX_LINES) {
        let _ = writeln!(text, "  {} (schedule {schedule})", race.summary());
    }
    if count > MAX_LINES as u64 {
        let left = count - MAX_LINES as u64;
        let _ = writeln!(text, "  and {left} more: --format json lists up to 64");
    }
}
