//! What `stress` advises to do next, from what it saw: nothing that was done already, and nothing
//! that cannot help.

use super::StressArgs;
use crate::cli::verdict::VerdictSummary;
use crate::oracle::{Kind, Verdict};
use crate::scenario::{Connections, Scenario};

/// The advice, after a blank line; empty where there is none.
pub(super) fn of(args: &StressArgs, scenario: &Scenario, summary: &VerdictSummary) -> String {
    let lines = match summary.verdict {
        Verdict::Diverged => after_divergence(args, scenario, summary),
        Verdict::Clean | Verdict::Proved => vec![
            "To see a race, try:\n  heisenbed stress --discipline lifecycle-narrow --order free-first --perturb \
             --threads 2 --ops 2000"
                .to_owned(),
        ],
        Verdict::Inconclusive => Vec::new(),
    };
    lines
        .iter()
        .map(|line| format!("\n{line}"))
        .collect::<String>()
        + if lines.is_empty() { "" } else { "\n" }
}

fn after_divergence(
    args: &StressArgs,
    scenario: &Scenario,
    summary: &VerdictSummary,
) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(remedy(args, scenario, summary).map(str::to_owned));
    lines.push(match args.record.as_deref() {
        Some("none") => {
            "Keep the evidence: the same with --record race.hb, then heisenbed check race.hb"
                .to_owned()
        }
        Some(path) => format!("The smallest case of it: heisenbed shrink {path} -o race.toml"),
        None => "Keep the evidence: the same with --record race.hb, then heisenbed check race.hb"
            .to_owned(),
    });
    lines
}

/// What could help. A lock orders messages; it brings back none that is lost, mends no frame that
/// is torn, and no mistake of the server.
fn remedy(
    args: &StressArgs,
    scenario: &Scenario,
    summary: &VerdictSummary,
) -> Option<&'static str> {
    let shows = |kind| summary.divergences.contains_key(&kind);
    if args.scenario.defect.is_some() && !args.scenario.twin {
        return Some("The defect is there on purpose: the same with --twin is without it");
    }
    if scenario.planted.is_some() {
        return None;
    }
    if shows(Kind::LostMessage) {
        return Some(
            "Messages were lost, which no lock scope mends. Try: the same with --transport blocking",
        );
    }
    if shows(Kind::TornFrame) {
        return Some(
            "Frames were torn by threads that write at the same time. Try: the same with --transport split=1,shared",
        );
    }
    if scenario.transport.connections != Connections::Shared {
        return Some(
            "Messages of several connections overtake each other whatever is locked. Try: the same with --transport shared",
        );
    }
    if shows(Kind::Misattributed) {
        // How a server elsewhere understands messages is not ours to choose.
        return args.known_semantics(scenario).map(|_| {
            "The server took a message for one about another buffer. Try: the same with --semantics typed"
        });
    }
    (scenario.discipline.name != "claimed-wide")
        .then_some("Does another lock scope fix it? Try: the same with --discipline claimed-wide")
}
