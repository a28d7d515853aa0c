//! What `run` says of a search: its verdict, in words and as JSON.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::ci::{self, CiCase};
use super::super::exit::ExitStatus;
use super::super::outcome::{CommandOutcome, Context, Format};
use super::surveyed::Surveyed;
use super::target::{PreparedTarget, smallest};
use super::{Failed, ProgramRunArgs, exhaustive, race_report, tracking};
use crate::native::execution::Failure;
use crate::native::plan::RunStrategy;
use crate::native::race_text::RaceList;
use crate::native::{RunPlan, Search, Symbols, UserProgram, failure_line};
use crate::numbers::{grouped, plural};
use crate::oracle::Verdict;
use crate::scenario::op::Op;

/// What is said of a search.
pub(super) struct RunReport<'a> {
    pub(super) args: &'a ProgramRunArgs,
    pub(super) program: &'a UserProgram,
    pub(super) found: &'a Search,
    pub(super) races: &'a RaceList,
    pub(super) failed: Option<&'a Failed>,
    pub(super) reproducer: Option<&'a Path>,
    pub(super) symbols: &'a Symbols,
    pub(super) target: Option<&'a PreparedTarget>,
    /// Why each schedule had a process of its own, where that was not meant to be.
    pub(super) not_anew: Option<String>,
    pub(super) seed: u64,
    pub(super) strategy: RunStrategy,
    pub(super) elapsed: Duration,
    pub(super) interrupted: bool,
}

impl RunReport<'_> {
    fn verdict(&self) -> (Verdict, Option<String>) {
        let found = self.found;
        if found.failures > 0 {
            return (Verdict::Diverged, None);
        }
        if let (false, Some(exhausted)) = (self.interrupted, &found.exhausted) {
            let (verdict, note) = exhausted.verdict();
            // All schedules prove nothing of what was not looked at in them.
            return match self.not_looked_at() {
                Some(why) if verdict == Verdict::Proved => (Verdict::Inconclusive, Some(why)),
                _ => (verdict, note),
            };
        }
        let note = if self.interrupted {
            Some("interrupted".to_owned())
        } else if found.schedules == 0 {
            let why = found.unusable_why.clone();
            Some(why.unwrap_or_else(|| "the time was up before the first schedule".to_owned()))
        } else if !found.complete {
            Some("the time was up".to_owned())
        } else if found.unusable > 0 {
            let why = found.unusable_why.as_deref().unwrap_or_default();
            Some(format!(
                "{} came to no end of their own: {why}",
                plural(found.unusable, "schedule")
            ))
        } else {
            let surveyed = self.target.and_then(|target| target.surveyed.as_ref());
            let unconfirmed = surveyed.and_then(|surveyed| surveyed.unconfirmed.clone());
            unconfirmed.or_else(|| self.not_looked_at())
        };
        let verdict = if note.is_some() {
            Verdict::Inconclusive
        } else {
            Verdict::Clean
        };
        (verdict, note)
    }

    /// What schedules in which nothing failed do not say, for less was looked at than was asked
    /// for.
    fn not_looked_at(&self) -> Option<String> {
        let found = self.found;
        let tracked = found.tracked.as_ref();
        tracked
            .and_then(|tally| tracking::note(tally, found.schedules))
            .or_else(|| {
                found.races.gave_up.map(|why| {
                    format!(
                        "data races were not looked for to the end: {why}; --data-races ignore \
                         leaves them out"
                    )
                })
            })
            .or_else(|| {
                (found.threads < 2 && found.refused > 0).then(|| {
                    "the system would not make a thread (pthread_create failed): there was \
                     nothing to schedule"
                        .to_owned()
                })
            })
    }

    /// In words or as JSON.
    pub(super) fn outcome(&self, context: &Context) -> CommandOutcome {
        let (verdict, note) = self.verdict();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        match context.format {
            Format::Json => {
                let _ = writeln!(stdout, "{}", self.json(verdict, note.as_deref()));
            }
            // What the program printed is all that stdout is to have.
            Format::Human if self.args.pass_through || !self.strategy.is_controlled() => {
                if !context.quiet || verdict != Verdict::Clean {
                    stderr = self.text(verdict, note.as_deref());
                }
            }
            Format::Human => stdout = self.text(verdict, note.as_deref()),
        }
        for warning in self.warnings() {
            let _ = writeln!(stderr, "note: {warning}");
        }
        if let Some(path) = &self.args.save
            && self.reproducer.is_none()
        {
            let path = path.display();
            let why = match self.found.failures {
                0 => "nothing failed",
                _ => "what failed did not come to the same when it was run again",
            };
            let _ = writeln!(stderr, "note: {why}, so {path} was not written");
        }
        let exit_code = self.exit_code(verdict);
        context.case(self.case(exit_code, &self.text(verdict, note.as_deref())));
        CommandOutcome {
            stdout,
            stderr,
            exit_code,
        }
    }

    /// What CI pages show of it, at the line of the program where it failed.
    fn case(&self, exit_code: u8, why: &str) -> CiCase {
        let words = self.args.program.iter().map(|word| word.to_string_lossy());
        let mut name = words.collect::<Vec<_>>().join(" ");
        if let Some(target) = &self.args.target.target {
            name = format!("--target {}", target.display());
        }
        let case = CiCase::of_status(name, exit_code, why);
        let failed = self.found.failed.as_ref().map(|(_, execution)| execution);
        let line = failed.and_then(|execution| failure_line(execution, self.symbols));
        let passed = || self.failed.and_then(|failed| failed.line.clone());
        match line.or_else(passed) {
            Some((file, line)) => case.at(&ci::in_repository(&file), Some(line.into())),
            None => case,
        }
    }

    /// 0 also where a weak check was all that was asked for, and found nothing.
    fn exit_code(&self, verdict: Verdict) -> u8 {
        let found = self.found;
        let tracked = found.tracked.as_ref();
        let weak_only = verdict == Verdict::Inconclusive
            && !self.interrupted
            && found.complete
            && found.unusable == 0
            && tracked.is_some_and(|tally| tally.incomplete == 0 && tally.weak > 0);
        match weak_only {
            true => ExitStatus::Holds.code(),
            false => ExitStatus::of(verdict).code(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.program.warnings.clone();
        warnings.extend(self.not_anew.clone());
        let found = self.found;
        if self.strategy.is_controlled() && found.schedules > 0 && found.threads < 2 {
            warnings.push("it had one thread only: there was nothing to schedule".to_owned());
        }
        let unseen = found.accesses == 0 && found.exhausted.is_none();
        if self.target.is_some() && self.strategy.is_controlled() && unseen {
            warnings.push(
                "what the target loads and stores was not seen, and no thread was stopped between \
                 such: for that, build it by `heisenbed cc` or `heisenbed c++`"
                    .to_owned(),
            );
        }
        if found.refused > 0 {
            warnings.push(format!(
                "the system would not make {} (pthread_create failed): what they would have done \
                 was not looked at",
                plural(found.refused, "thread")
            ));
        }
        if self.strategy.is_controlled() && found.handlers {
            warnings.push(
                "it handles signals: those that its threads send each other come as the schedule \
                 says, but others when they come"
                    .to_owned(),
            );
        }
        if found.children > 0 {
            warnings.push(format!(
                "it started processes ({}): they were not controlled",
                grouped(found.children)
            ));
        }
        if found.swept > 0 {
            warnings.push(format!(
                "it left processes behind ({}): they were ended",
                grouped(found.swept)
            ));
        }
        if let Some(why) = found.races.gave_up.filter(|_| found.failures > 0) {
            warnings.push(format!("data races were not looked for to the end: {why}"));
        }
        if let Some(tally) = found.tracked.as_ref().filter(|_| found.failures > 0)
            && let Some(note) = tracking::note(tally, found.schedules)
        {
            warnings.push(note);
        }
        if found.outside > 0 {
            warnings.push(format!(
                "{} left to the system (waiting for processes or signals): what came between \
                 is not part of the schedule",
                match found.outside {
                    1 => "1 call was".to_owned(),
                    more => format!("{} were", plural(more, "call")),
                }
            ));
        }
        warnings
    }

    fn json(&self, verdict: Verdict, note: Option<&str>) -> serde_json::Value {
        let found = self.found;
        let failure = found
            .failed
            .as_ref()
            .and_then(|(_, execution)| execution.failure.as_ref());
        let shown = self.failed.map(|failed| &failed.shown);
        let mut value = json!({
            "verdict": verdict,
            "note": note,
            "program": self.program.path,
            "strategy": self.strategy.name(),
            "schedules": found.schedules,
            "failures": found.failures,
            "unusable": found.unusable,
            "steps": found.steps,
            "threads": found.threads,
            "failure": failure.map(|failure| json!({
                "kind": failure.kind,
                "summary": failure.summary,
                "thread": failure.thread,
                "schedule": found.failed.as_ref().map(|(plan, _)| plan.index),
                "strategy": found.failed.as_ref().map(|(plan, _)| plan.strategy.name()),
            })),
            "data_races": race_report::json(self.races),
            "distinct_data_races": self.races.count(),
            "preemptions": shown.map(|shown| shown.preempted.len()),
            "repeats": self.failed.map(|failed| failed.repeats),
            "accesses": found.accesses,
            "refused_threads": found.refused,
            "children": found.children,
            "outside": found.outside,
            "elapsed_s": self.elapsed.as_secs_f64(),
            "seed": self.seed,
            "reproducer": self.reproducer,
            "exhaustive": found.exhausted.as_ref().map(exhaustive::json),
            "minimum": self.failed.and_then(|failed| failed.minimum.as_ref()).map(exhaustive::minimum_json),
        });
        if let (Some(object), Some(target)) = (value.as_object_mut(), self.target) {
            object.insert("target".to_owned(), target.json());
            let ops = self.failed.and_then(|failed| failed.setup.as_ref());
            let ops = ops.map(|setup| {
                let texts = |ops: &Vec<Op>| ops.iter().map(Op::to_string).collect::<Vec<_>>();
                setup.ops.iter().map(texts).collect::<Vec<_>>()
            });
            object.insert("smallest".to_owned(), json!(ops));
        }
        let tracked = found.tracked.as_ref().map(tracking::json);
        if let (Some(object), Some(Value::Object(more))) = (value.as_object_mut(), tracked) {
            object.extend(more);
        }
        value
    }

    fn text(&self, verdict: Verdict, note: Option<&str>) -> String {
        let found = self.found;
        let mut text = self
            .target
            .map_or_else(String::new, PreparedTarget::headline);
        let rate = found.schedules as f64 / found.elapsed.as_secs_f64().max(1e-6);
        // A program that was drawn for one thread or two is no schedule of the workload.
        let surveyed = self.target.and_then(|target| target.surveyed.as_ref());
        let place = surveyed.and_then(Surveyed::place);
        let of_survey = found.failed.as_ref().filter(|_| place.is_some());
        let steps_of_survey = of_survey.map_or(0, |(_, execution)| execution.step_count);
        let drawn = format!(
            "{} {} (seed {}), {}, at most {} of {}, in {:.1} s ({} a second)",
            plural(
                found
                    .schedules
                    .saturating_sub(u64::from(of_survey.is_some())),
                "schedule"
            ),
            match self.strategy {
                RunStrategy::Exhaustive => "run one after another".to_owned(),
                strategy => format!("drawn by {}", strategy.name()),
            },
            self.seed,
            plural(found.steps.saturating_sub(steps_of_survey), "step"),
            plural(found.longest, "step"),
            plural(found.threads.into(), "thread"),
            found.elapsed.as_secs_f64(),
            grouped(rate as u64),
        );
        match (verdict, &found.failed) {
            (Verdict::Diverged, Some((plan, execution))) => {
                let failure = self.made_small().or(execution.failure.as_ref());
                let (kind, summary) = failure.map_or(("failure", ""), |failure| {
                    (failure.kind.name(), failure.summary.as_str())
                });
                let _ = writeln!(text, "{kind}: {summary}");
                let _ = match place {
                    Some(place) => {
                        writeln!(text, "  {place}; before, nothing failed in {drawn}")
                    }
                    None => writeln!(
                        text,
                        "  in schedule {}{}; {} failed of {drawn}",
                        plan.index,
                        self.made_by(plan),
                        found.failures
                    ),
                };
            }
            (Verdict::Proved, _) => text.push_str(&exhaustive::proved(found, &drawn)),
            (Verdict::Inconclusive, _) => {
                let _ = writeln!(text, "inconclusive: {}", note.unwrap_or_default());
                let _ = writeln!(text, "  nothing failed in {drawn}");
            }
            _ => {
                let _ = writeln!(text, "clean: nothing failed in {drawn}");
            }
        }
        if let Some(tally) = &found.tracked {
            text.push_str(&tracking::text(tally));
        }
        if let Some(failed) = self.failed {
            self.write_failed(&mut text, failed);
        }
        let shown = self.failed.and_then(|failed| failed.shown.race.as_ref());
        race_report::write_others(&mut text, self.races, shown);
        text
    }

    /// The failure of a target as what is left of its operations shows it: that is what follows.
    fn made_small(&self) -> Option<&Failure> {
        let failed = self.failed.filter(|failed| failed.setup.is_some())?;
        failed.shown.failure.as_ref()
    }

    /// Where strategies take turns: whose turn it was.
    fn made_by(&self, plan: &RunPlan) -> String {
        if plan.strategy.name() == self.strategy.name() {
            String::new()
        } else {
            format!(" by {}", plan.strategy.name())
        }
    }

    fn write_failed(&self, text: &mut String, failed: &Failed) {
        text.push_str(&smallest(failed));
        let (before, after) = (
            failed.minimised.preemptions_before,
            failed.shown.preempted.len(),
        );
        if before > after {
            let how_small = match failed.minimised.cut {
                None => "no single one of them can be left out".to_owned(),
                Some(cut) => format!("not all was tried: {cut}"),
            };
            let _ = writeln!(
                text,
                "  shrunk from {} to {after} ({} tried); {how_small}",
                plural(before as u64, "preemption"),
                plural(failed.minimised.tried, "schedule")
            );
        } else if let Some(cut) = failed.minimised.cut {
            let _ = writeln!(text, "  not shrunk: {cut}");
        }
        if let Some(minimum) = &failed.minimum {
            text.push_str(&exhaustive::minimum(minimum, after as u64));
        }
        if !failed.repeats {
            let _ = writeln!(
                text,
                "  run again it did not come to the same: something in it is not controlled"
            );
        }
        text.push_str(&failed.story);
        for (name, said) in [
            ("stdout", &failed.shown.stdout),
            ("stderr", &failed.shown.stderr),
        ] {
            let lines: Vec<&str> = said.lines().collect();
            if lines.is_empty() {
                continue;
            }
            let _ = writeln!(text, "\nThe end of its {name}:");
            for line in &lines[lines.len().saturating_sub(8)..] {
                let _ = writeln!(text, "  {line}");
            }
        }
        if let Some(path) = self.reproducer {
            let path = path.display();
            let _ = writeln!(text, "\nTo see it again: heisenbed replay {path}");
        }
    }
}
