//! Verdict tables and campaigns as parts of a page, with the runs that they name as parts of their
//! own, which open from their cells.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{json_file, name_of, reproducers, traces, word};
use crate::cli::outcome::Context;
use crate::numbers::{grouped, plural};
use crate::report::page::picture::{
    CampaignShown, CanaryRow, CauseRow, MatrixCell, MatrixRow, MatrixShown, NightRow, PagePart,
};

/// Runs that are shown beside a table.
const MOST_RUNS: usize = 250;

/// Causes whose command is shown.
const MOST_COMMANDS: usize = 5;

/// The parts of runs that are named, each once.
struct NamedRuns<'a> {
    /// Beside which file they are looked for.
    beside: &'a Path,
    context: &'a Context,
    first: usize,
    parts: Vec<PagePart>,
    opened: BTreeMap<PathBuf, Option<usize>>,
    /// What cannot be shown.
    missing: Vec<String>,
    /// For how many there is no room.
    beyond: u64,
}

impl<'a> NamedRuns<'a> {
    /// The first of them has number `first` on the page.
    fn new(beside: &'a Path, first: usize, context: &'a Context) -> NamedRuns<'a> {
        NamedRuns {
            beside,
            context,
            first,
            parts: Vec::new(),
            opened: BTreeMap::new(),
            missing: Vec::new(),
            beyond: 0,
        }
    }

    /// The number of the part of the run that is named so.
    fn open(&mut self, name: &str) -> Option<usize> {
        let named = PathBuf::from(name);
        let path = [named.clone(), self.beside.join(&named)]
            .into_iter()
            .find(|path| path.is_file());
        let Some(path) = path else {
            self.missing.push(format!("{name}: it is not there"));
            return None;
        };
        if let Some(known) = self.opened.get(&path) {
            return *known;
        }
        if self.parts.len() == MOST_RUNS {
            self.beyond += 1;
            return None;
        }
        let part = match path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            true => reproducers::part(&path),
            false => traces::part(&path, &path, self.context),
        };
        let number = match part {
            Ok(part) => {
                self.parts.push(PagePart {
                    is_hidden: true,
                    ..part
                });
                Some(self.first + self.parts.len() - 1)
            }
            Err(why) => {
                self.missing.push(why);
                None
            }
        };
        self.opened.insert(path, number);
        number
    }

    /// What is said of those that cannot be shown.
    fn notes(&self) -> Vec<String> {
        const SHOWN: usize = 5;
        let mut notes: Vec<String> = self.missing.iter().take(SHOWN).cloned().collect();
        if self.missing.len() > SHOWN {
            let more = (self.missing.len() - SHOWN) as u64;
            notes.push(format!(
                "and {} more runs that cannot be shown",
                grouped(more)
            ));
        }
        if self.beyond > 0 {
            notes.push(format!(
                "for {} there is no room on one page: `heisenbed report` shows each by itself",
                plural(self.beyond, "more run")
            ));
        }
        notes
    }
}

/// The parts of what `matrix --format json` printed; `None` where it is something else.
pub(super) fn matrix(
    path: &Path,
    start: &[u8],
    first: usize,
    context: &Context,
) -> Result<Option<Vec<PagePart>>, String> {
    let begins = start.iter().find(|byte| !byte.is_ascii_whitespace());
    if begins != Some(&b'{') {
        return Ok(None);
    }
    let Ok(value) = json_file(path) else {
        return Ok(None);
    };
    let Some(cells) = value["cells"].as_array() else {
        return Ok(None);
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut runs = NamedRuns::new(folder, first + 1, context);
    let mut columns: Vec<String> = Vec::new();
    let mut rows: Vec<(String, BTreeMap<usize, MatrixCell>)> = Vec::new();
    for cell in cells {
        let text = |key: &str| cell[key].as_str().unwrap_or("?").to_owned();
        let name = format!(
            "{} · {} {} · {} server{}",
            text("discipline"),
            text("order"),
            text("publish"),
            text("semantics"),
            match cell["what_if"].as_bool() {
                Some(true) => " (what if)",
                _ => "",
            }
        );
        let workload = text("workload");
        let column = match columns.iter().position(|column| *column == workload) {
            Some(column) => column,
            None => {
                columns.push(workload);
                columns.len() - 1
            }
        };
        let opens = cell["reproducer"].as_str().and_then(|name| runs.open(name));
        let shown = MatrixCell {
            verdict: text("verdict"),
            says: cell_words(cell),
            opens,
        };
        match rows.iter_mut().find(|(row, _)| *row == name) {
            Some((_, cells)) => {
                cells.insert(column, shown);
            }
            None => rows.push((name, BTreeMap::from([(column, shown)]))),
        }
    }
    let counted = |verdict: &str| {
        let with = cells.iter().filter(|cell| cell["verdict"] == verdict);
        grouped(with.count() as u64)
    };
    let verdict = value["verdict"]
        .as_str()
        .unwrap_or("inconclusive")
        .to_owned();
    let part = PagePart {
        name: name_of(path),
        what: "a verdict table".to_owned(),
        sentence: format!(
            "{} cells: {} proved, {} diverged, {} not decided.",
            grouped(cells.len() as u64),
            counted("proved"),
            counted("diverged"),
            counted("inconclusive"),
        ),
        verdict,
        notes: runs.notes(),
        facts: vec![("cells", grouped(cells.len() as u64))],
        commands: vec![matrix_command(cells, path)],
        matrix: Some(MatrixShown {
            rows: rows
                .into_iter()
                .map(|(name, mut cells)| MatrixRow {
                    name,
                    cells: (0..columns.len()).map(|at| cells.remove(&at)).collect(),
                })
                .collect(),
            columns,
            answers: answers(&value),
        }),
        ..PagePart::default()
    };
    Ok(Some(std::iter::once(part).chain(runs.parts).collect()))
}

/// The command that asks for these cells again. Sizes that were asked for are in no cell.
fn matrix_command(cells: &[Value], path: &Path) -> String {
    let mut command = "heisenbed matrix".to_owned();
    for key in ["discipline", "workload", "semantics"] {
        let mut values: Vec<&str> = Vec::new();
        for value in cells.iter().filter_map(|cell| cell[key].as_str()) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        if !values.is_empty() {
            command.push_str(&format!(" --{key} {}", word(Path::new(&values.join(",")))));
        }
    }
    format!("{command} --format json --save runs > {}", word(path))
}

fn cell_words(cell: &Value) -> String {
    let verdict = cell["verdict"].as_str().unwrap_or("?");
    let mut words = verdict.to_owned();
    for (kind, count) in cell["divergences"].as_object().into_iter().flatten() {
        words.push_str(&format!(", {count} {kind}"));
    }
    if let Some(states) = cell["states"].as_u64() {
        words.push_str(&format!(", {} states", grouped(states)));
    }
    if let Some(note) = cell["note"].as_str() {
        words.push_str(&format!("; {note}"));
    }
    words
}

/// What becomes of each discipline, in sentences, and what else is said of all.
fn answers(value: &Value) -> Vec<String> {
    let standing = |one: &Value| {
        let name = one["discipline"].as_str().unwrap_or("?");
        let number = |key: &str| grouped(one[key].as_u64().unwrap_or(0));
        let names = |key: &str| {
            let listed = one[key].as_array().into_iter().flatten();
            let listed: Vec<&str> = listed.filter_map(Value::as_str).collect();
            match listed.is_empty() {
                true => String::new(),
                false => format!(": {}", listed.join(", ")),
            }
        };
        let diverging = names("diverging");
        let (cells, diverged) = (number("cells"), number("diverged"));
        match one["works"].as_str() {
            Some("everywhere") => format!("{name} works in every cell that was judged ({cells})."),
            Some("where-released-once") => format!(
                "{name} works in every cell but where two threads release one buffer: {diverged} \
                 of {cells} diverge{diverging}."
            ),
            Some("undecided") => format!(
                "{name} is undecided: {} of {cells} cells are not decided{}; {diverged} diverge\
                 {diverging}.",
                number("undecided"),
                names("open"),
            ),
            Some("no") => format!(
                "{name} does not work: {diverged} of {cells} cells diverge, {} are not decided\
                 {diverging}.",
                number("undecided"),
            ),
            _ => format!("What {name} comes to is not said in a form that is known here."),
        }
    };
    let standings = value["answer"].as_array().into_iter().flatten();
    let notes = value["notes"].as_array().into_iter().flatten();
    let notes = notes.filter_map(Value::as_str).map(str::to_owned);
    standings.map(standing).chain(notes).collect()
}

/// The parts of a campaign's folder.
pub(super) fn campaign(
    folder: &Path,
    first: usize,
    context: &Context,
) -> Result<Vec<PagePart>, String> {
    let path = folder.join("summary.json");
    if !path.is_file() {
        return Err(format!(
            "{}: it is a folder, and no campaign's: it has no summary.json",
            folder.display()
        ));
    }
    let value = json_file(&path)?;
    let Some(causes) = value["causes"].as_array() else {
        return Err(format!(
            "{}: it is no summary of a campaign",
            path.display()
        ));
    };
    // What was asked for is not in the summary; what was found runs again.
    let commands = causes
        .iter()
        .filter_map(|cause| cause["reproducer"].as_str())
        .take(MOST_COMMANDS)
        .map(|name| format!("heisenbed replay {}", word(&folder.join(name))))
        .collect();
    let mut runs = NamedRuns::new(folder, first + 1, context);
    let text = |of: &Value, key: &str| of[key].as_str().unwrap_or("").to_owned();
    let number = |of: &Value, key: &str| of[key].as_u64().unwrap_or(0);
    let causes: Vec<CauseRow> = causes
        .iter()
        .map(|cause| CauseRow {
            kind: text(cause, "kind"),
            discipline: text(cause, "discipline"),
            deciding: text(cause, "deciding"),
            size: text(cause, "size"),
            diverged: number(cause, "diverged"),
            known: cause["known"].as_str().map(str::to_owned),
            opens: cause["reproducer"]
                .as_str()
                .and_then(|name| runs.open(name)),
        })
        .collect();
    let canaries = (value["canaries"].as_array().into_iter().flatten())
        .map(|canary| CanaryRow {
            name: text(canary, "canary"),
            engine: text(canary, "engine"),
            found: canary["found"].as_bool().unwrap_or(false),
            tries: number(canary, "tries"),
        })
        .collect();
    let verdict = text(&value, "verdict");
    let blind = value["blind"].as_bool().unwrap_or(false);
    let sentence = match (verdict.as_str(), blind) {
        ("diverged", _) => format!(
            "{} found.",
            plural(number(&value, "new_causes"), "new cause")
        ),
        (_, true) => "A planted defect was not found again: silence says nothing.".to_owned(),
        ("clean", _) => "Nothing new was found, and every planted defect was.".to_owned(),
        _ => match value["inconclusive"].as_str() {
            Some(why) => format!("Nothing new was found, which says nothing: {why}."),
            None => "Nothing new was found, which says nothing.".to_owned(),
        },
    };
    let mut notes = runs.notes();
    for (target, why) in value["regressions"].as_object().into_iter().flatten() {
        notes.push(format!(
            "regression: {target}: {}",
            why.as_str().unwrap_or("?")
        ));
    }
    let part = PagePart {
        name: name_of(folder),
        what: "a campaign".to_owned(),
        verdict,
        sentence,
        notes,
        facts: vec![
            ("seed", number(&value, "seed").to_string()),
            ("schedules", grouped(number(&value, "schedules"))),
            ("states", grouped(number(&value, "states"))),
            ("behaviours", grouped(number(&value, "behaviours"))),
            ("made by", format!("heisenbed {}", text(&value, "version"))),
        ],
        commands,
        campaign: Some(CampaignShown {
            nights: nights(folder)?,
            causes,
            canaries,
        }),
        ..PagePart::default()
    };
    Ok(std::iter::once(part).chain(runs.parts).collect())
}

/// The nights of a folder's history, where it has one.
fn nights(folder: &Path) -> Result<Vec<NightRow>, String> {
    let path = folder.join("history.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(Vec::new());
    };
    let night = |(number, line): (usize, &str)| -> Result<NightRow, String> {
        let value: Value = serde_json::from_str(line)
            .map_err(|error| format!("{}:{}: {error}", path.display(), number + 1))?;
        let count = |key: &str| value[key].as_u64().unwrap_or(0);
        Ok(NightRow {
            name: value["night"].as_str().unwrap_or("?").to_owned(),
            schedules: count("schedules"),
            causes: count("causes"),
            new_causes: count("new_causes"),
            chance_of_news: value["chance_of_news"].as_f64(),
            blind: value["blind"].as_bool().unwrap_or(false),
            complete: value["complete"].as_bool().unwrap_or(false),
        })
    };
    text.lines().enumerate().map(night).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_works_is_said_to_work_and_what_does_not_is_not() {
        let said = |works: &str, diverged: u64, diverging: &[&str]| {
            let answer = json!({ "discipline": "x", "works": works, "cells": 18,
                "diverged": diverged, "undecided": 0, "diverging": diverging, "open": [] });
            answers(&json!({ "answer": [answer] })).concat()
        };
        assert_eq!(
            said("everywhere", 0, &[]),
            "x works in every cell that was judged (18)."
        );
        assert_eq!(
            said("where-released-once", 2, &["shared-free"]),
            "x works in every cell but where two threads release one buffer: 2 of 18 diverge: \
             shared-free."
        );
        let refuted = said("no", 3, &["mesh"]);
        assert!(refuted.starts_with("x does not work: 3 of 18 cells diverge"));
        let unknown = said("perhaps", 0, &[]);
        assert!(!unknown.contains("works"), "{unknown}");
    }

    #[test]
    fn the_command_of_a_table_asks_for_its_cells() {
        let of = |name: &str| json!({ "discipline": "a", "workload": name, "semantics": "typed" });
        let cells = [of("mesh"), of("handoff"), of("mesh")];
        assert_eq!(
            matrix_command(&cells, Path::new("m.json")),
            "heisenbed matrix --discipline a --workload mesh,handoff --semantics typed --format \
             json --save runs > m.json"
        );
    }
}
