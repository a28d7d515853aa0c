//! Doing a unit: from its number to its record.
//!
//! But for runs on real threads and fuzz targets, a record depends on the campaign's parameters and
//! the unit's number alone; what else it holds is when it was done, and a cause where no lower unit
//! of this shard has a finding that looks alike.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::corpus::Reproducer;
use crate::engine::controlled::behaviour::distinguish;
use crate::engine::controlled::exhaustive::{self, Part, SearchEnd, SearchOptions, search_part};
use crate::engine::controlled::machine::Setup;
use crate::engine::controlled::observe::ObservedRun;
use crate::engine::controlled::sample::{self, Strategy, sample};
use crate::engine::threads::{CheckedRun, RunConfig, recorded_and_checked};
use crate::oracle::{Kind, Verdict};
use crate::scenario::Scenario;
use crate::shrink::{ShrinkError, Shrunk, shrink_ops, shrink_trace};

use super::cause::{cause, known, of_crash, signature, unminimised};
use super::fuzz::{Built, Crash, as_reproducer};
use super::plan::{CampaignPlan, LEVELS, UnitKind, Work};
use super::record::{CauseRecord, SearchedPartRecord, UnitFinding, UnitRecord};
use super::target::TargetName;
use super::{CampaignError, Parameters};

/// Steps after which a schedule is cut short.
pub(crate) const MAX_STEPS: u64 = 1_000_000;

/// Schedules of a unit that are told apart.
const TOLD_APART: u64 = 128;

/// Where a shard's findings come together.
#[derive(Debug)]
pub(crate) struct Worker<'a> {
    plan: &'a CampaignPlan,
    folder: &'a Path,
    interrupt: &'a AtomicBool,
    /// The lowest unit with a cause for each look.
    lowest: Mutex<BTreeMap<String, u64>>,
    known: OnceLock<BTreeMap<String, String>>,
}

/// What a unit came to.
type Done = Result<Option<UnitRecord>, CampaignError>;

impl<'a> Worker<'a> {
    /// For the units of `plan`, with what was found before; traces that must be kept go to
    /// `folder`.
    pub(crate) fn new(
        plan: &'a CampaignPlan,
        folder: &'a Path,
        interrupt: &'a AtomicBool,
        lowest: BTreeMap<String, u64>,
    ) -> Worker<'a> {
        Worker {
            plan,
            folder,
            interrupt,
            lowest: Mutex::new(lowest),
            known: OnceLock::new(),
        }
    }

    /// What decides the work.
    pub(crate) fn parameters(&self) -> &Parameters {
        &self.plan.parameters
    }

    /// Does unit `number`. `None`: somebody asked to stop, and it is not done.
    pub(crate) fn work(&self, number: u64) -> Done {
        match self.plan.parameters.work(number) {
            Work::Corpus(index) => self.rerun(number, index),
            Work::Stress {
                target,
                threads,
                ops,
                perturb,
            } => self.stress(number, target, (threads, ops), perturb),
            Work::Explore {
                target,
                threads,
                ops,
                strategy,
                schedules,
            } => self.explore(number, target, (threads, ops), strategy, schedules),
            Work::Search {
                target,
                level,
                part,
                max_states,
            } => self.search(number, target, level, part, max_states),
            Work::Fuzz { target, executions } => self.fuzz(number, target, executions),
            Work::Run { program, ordinal } => Ok(self.run(number, program, ordinal)),
        }
    }

    /// The record of unit `number`, in which heisenbed itself panicked and said so: a defect of
    /// ours, and no reason to end the night.
    pub(crate) fn panicked(&self, number: u64, said: &(dyn Any + Send)) -> UnitRecord {
        let parameters = self.parameters();
        let (sort, name) = match parameters.work(number) {
            Work::Corpus(index) => (
                UnitKind::Corpus,
                TargetName(parameters.corpus[index].clone()),
            ),
            Work::Stress { target, .. } => (UnitKind::Stress, parameters.targets[target].clone()),
            Work::Explore { target, .. } => (UnitKind::Explore, parameters.targets[target].clone()),
            Work::Search { target, .. } => (UnitKind::Search, parameters.targets[target].clone()),
            Work::Fuzz { target, .. } => (UnitKind::Fuzz, fuzz_target(&parameters.fuzz[target])),
            Work::Run { program, .. } => (UnitKind::Run, run_target(&parameters.programs[program])),
        };
        let text = said.downcast_ref::<String>().map(String::as_str);
        let text = text.or(said.downcast_ref::<&str>().copied());
        let mut record = UnitRecord::new(number, sort, name);
        record.panicked = true;
        record.problem = Some(text.unwrap_or("it did not say why").to_owned());
        record
    }

    fn keep_going(&self) -> bool {
        !self.interrupt.load(Ordering::Relaxed)
    }

    fn record(&self, number: u64, sort: UnitKind, target: usize) -> UnitRecord {
        UnitRecord::new(number, sort, self.plan.parameters.targets[target].clone())
    }

    fn rerun(&self, number: u64, index: usize) -> Done {
        let (path, text) = &self.plan.corpus[index];
        let mut record = UnitRecord::new(number, UnitKind::Corpus, TargetName(path.clone()));
        let rerun = Reproducer::from_toml(text, path).and_then(|reproducer| reproducer.run());
        match rerun {
            Err(error) => record.problem = Some(error.to_string()),
            Ok(rerun) => {
                record.problem = rerun.mismatch.map(|mismatch| mismatch.to_string());
                record.states = rerun.states.unwrap_or(0);
                if let Some(observed) = rerun.observed {
                    record.schedules = 1;
                    record.steps = observed.picks.len() as u64;
                    record.messages = observed.report.messages;
                }
            }
        }
        Ok(Some(record))
    }

    fn explore(
        &self,
        number: u64,
        target: usize,
        (threads, ops): (u16, u64),
        strategy: Strategy,
        schedules: u64,
    ) -> Done {
        let seed = self.plan.parameters.unit_seed(number);
        let setup = Setup::new(self.plan.targets[target].small(threads, ops, seed)?, 0)?;
        let plan = sample::SamplePlan {
            strategy,
            seed,
            schedules,
            until: None,
            workers: 1,
            max_steps: MAX_STEPS,
        };
        let sampled = sample(&setup, &plan, &|_| self.keep_going());
        if !sampled.complete {
            return Ok(None);
        }
        let mut record = self.record(number, UnitKind::Explore, target);
        record.schedules = sampled.schedules;
        record.steps = sampled.steps;
        record.messages = sampled.messages;
        if sampled.inconclusive > 0 {
            record.problem = Some(match (&sampled.why, sampled.messages) {
                (Some(why), 0) => why.clone(),
                _ => format!(
                    "{} schedules did not come to their end",
                    sampled.inconclusive
                ),
            });
        }
        let distinct = distinguish(&setup, strategy, seed, schedules.min(TOLD_APART), MAX_STEPS);
        record.observations = distinct.observations;
        record.behaviours = distinct.distinct;
        record.singletons = distinct.singletons;
        if let Some((_, first)) = sampled.first {
            let Some(finding) = self.finding(number, &setup, &first, sampled.diverged)? else {
                return Ok(None);
            };
            record.finding = Some(finding);
        }
        Ok(Some(record))
    }

    fn search(
        &self,
        number: u64,
        target: usize,
        level: usize,
        part: Part,
        max_states: u64,
    ) -> Done {
        let (threads, ops, _) = LEVELS[level];
        // The same space for every part of it.
        let seed = self.plan.parameters.seed;
        let setup = Setup::new(self.plan.targets[target].small(threads, ops, seed)?, 0)?;
        let options = SearchOptions {
            max_states,
            ..SearchOptions::default()
        };
        let exhaustive::SearchedPart { found, .. } =
            search_part(&setup, &options, part, &mut |_| self.keep_going());
        if found.ended == SearchEnd::Abandoned && !self.keep_going() {
            return Ok(None);
        }
        let mut record = self.record(number, UnitKind::Search, target);
        record.states = found.states;
        record.steps = found.steps;
        let (verdict, note) = found.verdict(None);
        record.searched = Some(SearchedPartRecord {
            level,
            part: part.index,
            of: part.of,
            exhausted: verdict == Verdict::Proved,
        });
        if found.ended == SearchEnd::Exhausted {
            record.problem = note;
        }
        if let Some(example) = &found.example {
            let Some(finding) = self.finding(number, &setup, example, 1)? else {
                return Ok(None);
            };
            record.finding = Some(finding);
        }
        Ok(Some(record))
    }

    fn stress(
        &self,
        number: u64,
        target: usize,
        (threads, ops): (u16, u64),
        perturb: bool,
    ) -> Done {
        let seed = self.plan.parameters.unit_seed(number);
        let mut scenario = self.plan.targets[target].whole(threads, ops, seed)?;
        scenario.perturb = perturb;
        let CheckedRun { report, trace, .. } = play_on_threads(&scenario, 0, self.interrupt)?;
        let trace = trace.expect("it was recorded");
        if !self.keep_going() {
            return Ok(None);
        }
        let mut record = self.record(number, UnitKind::Stress, target);
        record.schedules = 1;
        record.steps = report.events;
        record.messages = report.messages;
        record.problem.clone_from(&report.note);
        let Some(first) = report.first else {
            return Ok(Some(record));
        };
        let looks = format!("{} on threads, {}", record.target.0, first.kind);
        let mut finding = UnitFinding {
            looks,
            diverged: 1,
            cause: None,
        };
        if self.is_lowest(&finding.looks, number) {
            let cause = match shrink_trace(&trace, Some(first.kind), &mut || self.keep_going()) {
                Ok(shrunk) => self.of_shrunk(number, &shrunk, first.kind),
                Err(ShrinkError::Interrupted) => return Ok(None),
                Err(why) => {
                    let deciding = "on real threads, not minimised".to_owned();
                    let mut cause = cause(&scenario, first.kind, deciding, why.to_string());
                    let kept = format!("traces/unit-{number}.hb");
                    let path = self.folder.join(&kept);
                    trace.copy_to(&path).map_err(CampaignError::io(&path))?;
                    cause.trace = Some(kept);
                    cause
                }
            };
            finding.cause = Some(Box::new(cause));
        }
        record.finding = Some(finding);
        Ok(Some(record))
    }

    fn fuzz(&self, number: u64, target: usize, executions: u64) -> Done {
        let parameters = self.parameters();
        let name = &parameters.fuzz[target];
        let built = self.plan.fuzz.as_ref();
        let built = built.expect("a plan with fuzz targets knows where they are built");
        let kept = self.kept(name);
        let seed = parameters.unit_seed(number);
        let Some(ran) = built.run(name, seed, executions, &kept, self.interrupt)? else {
            return Ok(None);
        };
        let mut record = UnitRecord::new(number, UnitKind::Fuzz, fuzz_target(name));
        record.executions = ran.executions;
        record.edges = ran.edges;
        record.problem = ran.problem;
        if let Some(crash) = ran.crash {
            record.finding = Some(self.crashed(number, built, name, &crash)?);
        }
        Ok(Some(record))
    }

    /// Draws schedules of a program of the user's own.
    fn run(&self, number: u64, program: usize, ordinal: u64) -> Option<UnitRecord> {
        let program = &self.plan.programs[program];
        let seed = self.parameters().unit_seed(number);
        let is_lowest = |looks: &str| self.is_lowest(looks, number);
        let unit = program.run(ordinal, seed, is_lowest, self.interrupt)?;
        let mut record = UnitRecord::new(number, UnitKind::Run, run_target(&program.name));
        record.schedules = unit.found.schedules;
        record.steps = unit.found.steps;
        record.problem = unit.problem;
        record.finding = unit.looks.map(|looks| UnitFinding {
            looks,
            diverged: unit.found.failures,
            cause: unit.cause.map(Box::new),
        });
        Some(record)
    }

    /// Where inputs of a fuzz target are kept.
    fn kept(&self, target: &str) -> PathBuf {
        self.folder.join("fuzz").join(target)
    }

    /// What a fuzz target's failure shows: a divergence as any other where the input is a
    /// reproducer of one.
    fn crashed(
        &self,
        number: u64,
        built: &Built,
        target: &str,
        crash: &Crash,
    ) -> Result<UnitFinding, CampaignError> {
        if let Some((setup, observed)) = diverged_again(target, crash)
            && let Some(finding) = self.finding(number, &setup, &observed, 1)?
        {
            return Ok(finding);
        }
        let mut finding = UnitFinding {
            looks: format!("fuzz {target}: {}", crash.looks()),
            diverged: 1,
            cause: None,
        };
        if self.is_lowest(&finding.looks, number) {
            let meanwhile = self.kept(target).join(format!("fails-{number}"));
            let smallest = built.minimise(target, crash, &meanwhile, self.interrupt)?;
            finding.cause = Some(Box::new(of_crash(target, &smallest)));
        }
        Ok(finding)
    }

    /// What `example` of unit `number` shows; `None`: somebody asked to stop.
    fn finding(
        &self,
        number: u64,
        setup: &Arc<Setup>,
        example: &ObservedRun,
        diverged: u64,
    ) -> Result<Option<UnitFinding>, CampaignError> {
        let scenario = &setup.scenario;
        let (kind, deciding) =
            signature(scenario, example).expect("a run that diverged has a first divergence");
        let looks = format!(
            "{} {} {} {} {}: {kind}, {deciding}",
            scenario.discipline.name,
            scenario.order,
            scenario.publish,
            scenario.name,
            scenario.semantics
        );
        let mut finding = UnitFinding {
            looks,
            diverged,
            cause: None,
        };
        if self.is_lowest(&finding.looks, number) {
            let cause = match shrink_ops(scenario, setup.ops(), kind, &mut || self.keep_going()) {
                Ok(shrunk) => self.of_shrunk(number, &shrunk, kind),
                Err(ShrinkError::Interrupted) => return Ok(None),
                Err(why) => {
                    let mut reproducer = unminimised(scenario, setup.ops(), example);
                    reproducer.provenance.minimal = why.to_string();
                    let mut cause = cause(scenario, kind, deciding, why.to_string());
                    self.place(number, &mut cause, reproducer);
                    cause
                }
            };
            finding.cause = Some(Box::new(cause));
        }
        Ok(Some(finding))
    }

    /// The cause that the smallest run shows; `kind` was kept while it was made.
    fn of_shrunk(&self, number: u64, shrunk: &Shrunk, kind: Kind) -> CauseRecord {
        let scenario = &shrunk.setup.scenario;
        let (kind, deciding) = signature(scenario, &shrunk.observed)
            .unwrap_or_else(|| (kind, "no preemption".to_owned()));
        let mut cause = cause(scenario, kind, deciding, shrunk.size.to_string());
        self.place(number, &mut cause, shrunk.reproducer.clone());
        cause
    }

    /// Says where the cause was found, and where it is known from.
    fn place(&self, number: u64, cause: &mut CauseRecord, mut reproducer: Reproducer) {
        reproducer.rename("minimised");
        reproducer.about = format!("{}: {}", cause.kind, cause.deciding);
        reproducer.provenance.from = format!(
            "unit {number} of a campaign of seed {}",
            self.plan.parameters.seed
        );
        cause.reproducer = Some(reproducer.to_toml());
        let known = self.known.get_or_init(|| known(&self.plan.corpus));
        cause.known = known.get(&cause.id).cloned();
    }

    /// Whether no lower unit has a finding that looks so; from now on this one has.
    fn is_lowest(&self, looks: &str, number: u64) -> bool {
        let mut lowest = self
            .lowest
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        match lowest.get(looks) {
            Some(lower) if *lower <= number => false,
            _ => {
                lowest.insert(looks.to_owned(), number);
                true
            }
        }
    }
}

/// The run that a fuzz target's input stands for, if the target says that it diverged, and here it
/// does too.
fn diverged_again(target: &str, crash: &Crash) -> Option<(Arc<Setup>, ObservedRun)> {
    if crash.kind != "crash" || crash.says != "it diverged" {
        return None;
    }
    // It is what the target failed in: nothing is certain of it.
    let rerun = std::panic::catch_unwind(|| {
        let text = as_reproducer(target, &crash.input)?;
        Reproducer::from_toml(&text, target).ok()?.run().ok()
    });
    let rerun = rerun.ok().flatten()?;
    let observed = rerun.observed?;
    (observed.report.verdict == Verdict::Diverged).then_some((rerun.setup, observed))
}

fn run_target(name: &str) -> TargetName {
    TargetName(format!("run {name}"))
}

fn fuzz_target(name: &str) -> TargetName {
    TargetName(format!("fuzz {name}"))
}

/// Plays one run of `scenario` on real threads and checks it.
pub(crate) fn play_on_threads(
    scenario: &Scenario,
    run: u64,
    interrupt: &AtomicBool,
) -> Result<CheckedRun, CampaignError> {
    let config = RunConfig::new(scenario, run, interrupt);
    recorded_and_checked(config, |_| ()).map_err(|error| CampaignError::File {
        path: format!("a run of {} on threads", scenario.name),
        problem: error.to_string(),
    })
}
