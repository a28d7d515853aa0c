//! The summary for people: a page for CI, and a few lines for a terminal.

use std::fmt::Write as _;

use crate::numbers::{grouped, plural};
use crate::oracle::Verdict;

use super::history::PastRun;
use super::plan::UnitKind;
use super::summary::{CampaignSummary, MergedCause};

/// The page.
pub(crate) fn page(summary: &CampaignSummary, nights: &[PastRun]) -> String {
    let mut text = String::new();
    let mark = match summary.verdict {
        Verdict::Diverged => "✗",
        Verdict::Inconclusive => "?",
        Verdict::Clean | Verdict::Proved => "✓",
    };
    let _ = writeln!(
        text,
        "# {mark} heisenbed campaign: {}\n",
        summary.sentence()
    );
    let _ = writeln!(
        text,
        "Seed {}, {}, heisenbed {}.\n",
        summary.seed,
        shards(summary),
        summary.version
    );
    causes(&mut text, summary);
    regressions(&mut text, summary);
    canaries(&mut text, summary);
    text.push_str("## Work\n\n| what | count |\n|---|---:|\n");
    for (what, count) in work(summary) {
        let _ = writeln!(text, "| {what} | {count} |");
    }
    text.push('\n');
    fuzzed(&mut text, summary);
    trend(&mut text, nights);
    text
}

/// The lines for a terminal.
pub(crate) fn text(summary: &CampaignSummary, nights: &[PastRun]) -> String {
    let mut text = format!("{}\n\n", summary.sentence());
    for cause in &summary.causes {
        let _ = writeln!(text, "{}", line_of(cause));
    }
    for (path, problem) in &summary.regressions {
        let _ = writeln!(text, "regression: {}: {problem}", path.0);
    }
    for canary in summary
        .canaries
        .iter()
        .filter(|canary| !canary.not_found_by.is_empty())
    {
        let _ = writeln!(
            text,
            "canary not found: {} in {} tries",
            canary.canary, canary.tries
        );
    }
    for (what, count) in work(summary) {
        let _ = writeln!(text, "  {what:32} {count:>16}");
    }
    if let [.., last, _] = nights {
        let _ = writeln!(
            text,
            "the night before (seed {}): {} schedules, {} states, {} chance of an unseen behaviour, {} new causes",
            last.seed,
            grouped(last.schedules),
            grouped(last.states),
            chance(last.chance_of_news),
            last.new_causes
        );
    }
    text
}

fn line_of(cause: &MergedCause) -> String {
    let new = match &cause.known {
        Some(path) => format!("known from {path}"),
        None => "NEW".to_owned(),
    };
    format!(
        "{new}: {} under {}\n  {}\n  {}\n  in {}, first in unit {}{}",
        cause.kind,
        cause.discipline,
        cause.deciding,
        cause.size,
        plural(cause.units, "unit"),
        cause.unit,
        cause
            .reproducer
            .as_ref()
            .map_or(String::new(), |file| format!(": {file}"))
    )
}

fn shards(summary: &CampaignSummary) -> String {
    match (summary.shard, summary.shards) {
        (Some(_), 1) => "one machine".to_owned(),
        (Some(shard), _) => format!("shard {shard}"),
        (None, of) => format!(
            "{} of {of} shards merged",
            of as usize - summary.missing.len()
        ),
    }
}

fn causes(text: &mut String, summary: &CampaignSummary) {
    for (title, new) in [("New divergences", true), ("Known divergences", false)] {
        let causes: Vec<&MergedCause> = summary
            .causes
            .iter()
            .filter(|cause| cause.known.is_none() == new)
            .collect();
        if causes.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "## {title}\n\n| kind | discipline | what decides | size | found in | reproducer |\n|---|---|---|---|---:|---|"
        );
        for cause in causes {
            let file = cause.known.as_ref().or(cause.reproducer.as_ref());
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                cell(&cause.kind),
                cell(&cause.discipline),
                cell(&cause.deciding),
                cell(&cause.size),
                plural(cause.units, "unit"),
                file.map_or(String::new(), |file| format!("`{}`", cell(file)))
            );
        }
        if new {
            text.push_str("\nSee one: `heisenbed replay FILE`. Keep it: `heisenbed corpus add FILE`; from then on it is known, and a regression test.\n");
            if summary.units.contains_key(&UnitKind::Run) {
                text.push_str("The corpus does not take those of run units: keep them beside your tests; `heisenbed replay FILE` exits with 0 as long as the program fails so.\n");
            }
            if summary.has_crashes() {
                text.push_str("An input of a fuzz target, in crashes/: `heisenbed fuzz decode TARGET FILE`; a copy in corpus/fuzz/TARGET/ is a regression test.\n");
            }
        }
        text.push('\n');
    }
}

fn regressions(text: &mut String, summary: &CampaignSummary) {
    if summary.regressions.is_empty() {
        return;
    }
    text.push_str(
        "## Regressions\n\nReproducers of the corpus that did not come out as they say, and units in which heisenbed itself failed:\n\n",
    );
    for (path, problem) in &summary.regressions {
        let _ = writeln!(text, "- `{}`: {}", path.0, problem.replace('\n', " "));
    }
    text.push('\n');
}

fn canaries(text: &mut String, summary: &CampaignSummary) {
    let found = summary
        .canaries
        .iter()
        .filter(|canary| canary.found)
        .count();
    let _ = writeln!(
        text,
        "## Canaries\n\n{found} of {} planted defects were found again.\n",
        summary.canaries.len()
    );
    for canary in summary.canaries.iter().filter(|canary| !canary.found) {
        let shards: Vec<String> = canary
            .not_found_by
            .iter()
            .map(ToString::to_string)
            .collect();
        let why = if shards.is_empty() {
            "not looked for yet".to_owned()
        } else {
            format!(
                "NOT FOUND in {} tries by shard {}",
                canary.tries,
                shards.join(", ")
            )
        };
        let _ = writeln!(text, "- {}: {why}", canary.canary);
    }
    if found < summary.canaries.len() {
        text.push('\n');
    }
}

fn work(summary: &CampaignSummary) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    for (sort, count) in &summary.units {
        rows.push((format!("{sort} units"), grouped(*count)));
    }
    rows.push(("schedules".to_owned(), grouped(summary.schedules)));
    rows.push(("of them on real threads".to_owned(), grouped(summary.runs)));
    rows.push(("micro-steps".to_owned(), grouped(summary.steps)));
    rows.push(("messages".to_owned(), grouped(summary.messages)));
    rows.push(("states".to_owned(), grouped(summary.states)));
    let executions: u64 = summary.fuzz.values().map(|fuzzed| fuzzed.executions).sum();
    if executions > 0 {
        rows.push(("fuzz executions".to_owned(), grouped(executions)));
    }
    rows.push((
        "behaviours told apart".to_owned(),
        grouped(summary.behaviours),
    ));
    // How much there is left to see; most of it is no bug.
    rows.push((
        "next one behaves as none before".to_owned(),
        chance(summary.chance_of_news),
    ));
    for proved in &summary.proved {
        rows.push((
            format!("proved, {} threads × {} ops", proved.threads, proved.ops),
            format!("{} of {}", proved.targets, summary.targets),
        ));
    }
    if summary.inconclusive_units > 0 {
        let why = summary.inconclusive.as_deref().unwrap_or_default();
        rows.push((
            format!("units that say nothing ({})", cell(why)),
            grouped(summary.inconclusive_units),
        ));
    }
    rows.push((
        "hours of work".to_owned(),
        format!("{:.2}", summary.elapsed_s / 3600.0),
    ));
    rows
}

fn fuzzed(text: &mut String, summary: &CampaignSummary) {
    if summary.fuzz.is_empty() {
        return;
    }
    text.push_str("## Fuzz targets\n\n| target | executions | edges covered |\n|---|---:|---:|\n");
    for (target, fuzzed) in &summary.fuzz {
        let (executions, edges) = (grouped(fuzzed.executions), grouped(fuzzed.edges));
        let _ = writeln!(text, "| {target} | {executions} | {edges} |");
    }
    text.push('\n');
}

fn trend(text: &mut String, nights: &[PastRun]) {
    if nights.len() < 2 {
        return;
    }
    text.push_str("## Nights\n\n| seed | version | hours | schedules | states | behaviours | next one unseen | causes | new | |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|---|\n");
    for night in nights {
        let state = match (night.blind, night.complete) {
            (true, _) => "blind",
            (false, false) => "incomplete",
            (false, true) => "",
        };
        let _ = writeln!(
            text,
            "| {} | {} | {:.2} | {} | {} | {} | {} | {} | {} | {state} |",
            night.seed,
            night.version,
            night.elapsed_s / 3600.0,
            grouped(night.schedules),
            grouped(night.states),
            grouped(night.behaviours),
            chance(night.chance_of_news),
            night.causes,
            night.new_causes
        );
    }
    text.push('\n');
}

fn chance(chance: Option<f64>) -> String {
    chance.map_or("unknown".to_owned(), |chance| {
        format!("{:.2} %", chance * 100.0)
    })
}

/// Text as a table's cell holds it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
