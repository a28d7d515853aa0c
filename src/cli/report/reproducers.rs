//! Reproducers as parts of a page: run again, and shown with the preemption that decides.

use std::path::Path;

use super::traces::of_walk;
use super::{name_of, word};
use crate::cli::verdict::headline_with;
use crate::corpus::{Reproducer, Rerun};
use crate::engine::controlled::machine::RunEnd;
use crate::engine::controlled::observe::ObservedRun;
use crate::numbers::{grouped, plural};
use crate::oracle::Verdict;
use crate::report::Timeline;
use crate::report::page::picture::PagePart;
use crate::report::page::run::RunWalk;
use crate::trace::file::{AtRest, End};

/// Of longer runs the text is not shown beside the pictures.
const MOST_DRAWN: usize = 2_000;

/// The part of the reproducer at `path`.
pub(super) fn part(path: &Path) -> Result<PagePart, String> {
    let reproducer = Reproducer::load(path).map_err(|error| error.to_string())?;
    let rerun = (reproducer.run()).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut part = match &rerun.observed {
        Some(observed) => of_observed(&rerun, observed),
        None => PagePart::default(),
    };
    let scenario = &rerun.setup.scenario;
    part.name = name_of(path);
    part.what = headline_with(scenario, &format!("{} server", scenario.semantics));
    part.verdict = rerun.came_out.verdict.to_string();
    if rerun.came_out.verdict == Verdict::Proved {
        part.sentence = "No schedule diverges: every one was searched.".to_owned();
    }
    if let Some(states) = rerun.states {
        part.facts.push(("states", grouped(states)));
    }
    if let Some(mismatch) = &rerun.mismatch {
        part.notes
            .push(format!("It did not come out as it says: {mismatch}."));
    }
    if !reproducer.about.is_empty() {
        part.facts.insert(0, ("about", reproducer.about.clone()));
    }
    if let Some(schedule) = &reproducer.schedule {
        part.facts.push(("schedule", schedule.to_string()));
    }
    let file = word(path);
    part.commands = vec![
        format!("heisenbed replay {file}"),
        format!("heisenbed replay {file} --adapt --discipline my-fix.toml"),
        format!("heisenbed corpus add {file} --about \"what it shows\""),
    ];
    Ok(part)
}

fn of_observed(rerun: &Rerun, observed: &ObservedRun) -> PagePart {
    let scenario = &rerun.setup.scenario;
    let deciding = observed.deciding();
    let preempted: Vec<usize> = (observed.preemptions.iter())
        .map(|step| observed.first_event[*step])
        .collect();
    let count = observed.events.len() as u64;
    let mut walk = RunWalk::new(scenario, true, count, &preempted, deciding);
    for event in &observed.events {
        walk.observe(event);
    }
    let completed = observed.end == RunEnd::Completed;
    // The table at rest is what the walk's own registry has: both took the same messages.
    let end = End {
        completed,
        server: AtRest::Unknown,
        ..End::default()
    };
    let mut walked = walk.finish(Some(&end), None);
    // What the engine's own check said stands: it has seen the server's table.
    walked.report = observed.report.clone();
    let mut part = of_walk(walked);
    part.facts.extend([
        ("steps", grouped(observed.picks.len() as u64)),
        (
            "preemptions",
            plural(observed.preemptions.len() as u64, "preemption"),
        ),
    ]);
    if observed.events.len() <= MOST_DRAWN {
        let timeline = Timeline::of(scenario, observed);
        part.text = Some(timeline.render());
        part.explanation = Some(timeline.explanation());
    }
    part
}
