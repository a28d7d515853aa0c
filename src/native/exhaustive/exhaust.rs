//! All schedules of a program that differ, run one after another, and what follows from it.

use std::time::Instant;

use super::super::launcher::{LaunchError, Launcher};
use super::super::search::{Search, SearchPlan};
use super::step::ScheduleEnd;
use super::{BoundedSearch, Explorer, ProgramRuns};
use crate::numbers::{grouped, plural};
use crate::oracle::Verdict;

/// What is to be run.
#[derive(Clone, Debug)]
pub(crate) struct ExhaustivePlan {
    /// The most schedules, and how long.
    pub(crate) search: SearchPlan,
    /// Only schedules with at most so many preemptions.
    pub(crate) preemptions: Option<u32>,
    /// Memory of which nothing is seen is taken to be shared under locks only.
    pub(crate) assume_locked: bool,
}

/// How a search for all schedules went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exhausted {
    /// Schedules that were run.
    pub(crate) runs: u64,
    /// Of these, to their end: no two come to the same. Not counted with a bound on preemptions.
    pub(crate) traces: u64,
    /// Of these, given up, for they come to the same as others.
    pub(crate) given_up: u64,
    /// Of these, nothing is known.
    pub(crate) useless: u64,
    /// All were run.
    pub(crate) complete: bool,
    /// About how many there are.
    pub(crate) estimate: f64,
    /// The bound on preemptions.
    pub(crate) preemptions: Option<u32>,
    /// What stands against a proof.
    pub(crate) limits: Vec<String>,
    /// A file whose loads and stores are not seen.
    pub(crate) unseen: Option<String>,
    /// That file's memory was taken to be shared under locks only.
    pub(crate) assumed_locked: bool,
    /// Then every order of the visible actions was run, too, or begun to be.
    pub(crate) orders: Option<u64>,
}

/// One way through the schedules, or the other.
#[derive(Debug)]
enum Way {
    Traces(Box<Explorer>),
    Bounded(Box<BoundedSearch>),
}

/// Runs schedules until all were run, one fails, or `keep_going`, which is told how far it is, says
/// no.
pub(crate) fn exhaust(
    launcher: &mut Launcher,
    plan: &ExhaustivePlan,
    mut keep_going: impl FnMut(&Search) -> bool,
) -> Result<Search, LaunchError> {
    let started = Instant::now();
    let mut found = Search::default();
    let mut told = Exhausted {
        preemptions: plan.preemptions,
        assumed_locked: plan.assume_locked,
        ..Exhausted::default()
    };
    let mut program = ProgramRuns::new(launcher, &plan.search.plan);
    let mut way = match plan.preemptions {
        // Whether memory is seen is known after a schedule.
        Some(most) => {
            let mut probe = Explorer::new(false);
            probe.next(&mut program)?;
            let sees = program.unseen_file().is_none();
            Way::Bounded(Box::new(BoundedSearch::new(most, sees)))
        }
        None => Way::Traces(Box::new(Explorer::new(false))),
    };
    let (mut before, mut blind) = (0, false);
    loop {
        found.elapsed = started.elapsed();
        told.runs = before + way.runs();
        told.estimate = before as f64 + way.estimate();
        found.exhausted = Some(told.clone());
        let in_time = plan
            .search
            .duration
            .is_none_or(|limit| started.elapsed() < limit);
        let room = told.runs < plan.search.schedules;
        if !in_time || !room || !keep_going(&found) {
            break;
        }
        let Some(end) = way.next(&mut program)? else {
            told.complete |= !blind && told.useless == 0;
            told.unseen = program.unseen_file();
            let more = told.unseen.is_some() && told.preemptions.is_none() && !told.assumed_locked;
            if blind || !more || found.failures > 0 {
                found.complete = true;
                break;
            }
            // What is not seen may be shared: then every order may make a difference.
            (blind, before) = (true, told.runs);
            way = Way::Traces(Box::new(Explorer::new(true)));
            continue;
        };
        if way.strayed() {
            program.note_strayed();
        }
        let Some((mut run, execution, _)) = program.last.take() else {
            continue;
        };
        if end == ScheduleEnd::Asleep {
            told.given_up += 1;
            found.steps += execution.step_count;
            continue;
        }
        // Among those that count.
        run.index = found.schedules + found.unusable;
        told.useless += u64::from(end == ScheduleEnd::Useless);
        told.traces += u64::from(!blind && end == ScheduleEnd::Whole);
        let failed = found.add(&run, execution);
        if (failed && !plan.search.keep_going) || (way.strayed() && found.unusable > 2) {
            break;
        }
        if blind {
            told.orders = Some(told.runs + 1 - before);
        }
    }
    told.runs = before + way.runs();
    told.estimate = before as f64 + way.estimate();
    told.unseen = program.unseen_file();
    told.limits = program.limits.into_iter().collect();
    found.elapsed = started.elapsed();
    found.exhausted = Some(told);
    Ok(found)
}

impl Way {
    fn next(&mut self, program: &mut ProgramRuns<'_>) -> Result<Option<ScheduleEnd>, LaunchError> {
        match self {
            Way::Traces(explorer) => explorer.next(program),
            Way::Bounded(search) => search.next(program),
        }
    }

    fn runs(&self) -> u64 {
        match self {
            Way::Traces(explorer) => explorer.runs,
            Way::Bounded(search) => search.runs,
        }
    }

    fn estimate(&self) -> f64 {
        match self {
            Way::Traces(explorer) => explorer.estimate(),
            Way::Bounded(search) => search.estimate(),
        }
    }

    fn strayed(&self) -> bool {
        match self {
            Way::Traces(explorer) => explorer.strayed,
            Way::Bounded(search) => search.strayed,
        }
    }
}

impl Exhausted {
    /// About how many schedules are left.
    pub(crate) fn left(&self) -> f64 {
        if self.complete && self.unseen.is_none() {
            return 0.0;
        }
        (self.estimate - self.runs as f64).max(0.0)
    }

    /// What follows where nothing failed, and why where it is no proof.
    pub(crate) fn verdict(&self) -> (Verdict, Option<String>) {
        if !self.complete {
            let mut why = match self.useless {
                0 => format!(
                    "not all schedules were run: about {} are left",
                    about(self.left().max(1.0))
                ),
                useless => format!("nothing is known of {}", plural(useless, "schedule")),
            };
            for limit in &self.limits {
                why.push_str("; ");
                why.push_str(limit);
            }
            return (Verdict::Inconclusive, Some(why));
        }
        let all = match self.preemptions {
            Some(most) => format!(
                "every schedule with at most {} was run, and none failed",
                plural(most.into(), "preemption")
            ),
            None => format!("{}, and none failed", self.all()),
        };
        if let Some(limit) = self.limits.first() {
            let rest = self.limits.len() - 1;
            let more = if rest > 0 {
                format!(" (and {rest} more)")
            } else {
                String::new()
            };
            let why = format!("{all}; that is no proof: {limit}{more}");
            return (Verdict::Inconclusive, Some(why));
        }
        if let Some(file) = self.unseen.as_ref().filter(|_| !self.assumed_locked) {
            let orders = match self.orders {
                Some(_) if self.estimate <= self.runs as f64 => {
                    "every order of its visible actions was run, too".to_owned()
                }
                _ => format!(
                    "of the orders of its visible actions about {} were not run",
                    about(self.left().max(1.0))
                ),
            };
            let why = format!(
                "{all}, if threads share memory only under locks; {orders}. That is no proof: \
                 what {file} loads and stores is not seen. Build it by `heisenbed cc`, or say \
                 --assume-locked"
            );
            return (Verdict::Inconclusive, Some(why));
        }
        if self.preemptions.is_some() {
            return (
                Verdict::Inconclusive,
                Some(format!("{all}; others were not")),
            );
        }
        (Verdict::Proved, None)
    }

    /// In words: these are all.
    pub(crate) fn all(&self) -> String {
        let same = match self.given_up {
            0 => String::new(),
            given_up => format!(
                " ({} more were begun that come to the same)",
                grouped(given_up)
            ),
        };
        match self.traces {
            1 => format!("1 schedule is all that differs{same}"),
            traces => format!("{} schedules are all that differ{same}", grouped(traces)),
        }
    }
}

/// A number of which only the size is known.
pub(crate) fn about(number: f64) -> String {
    if number < 1e15 {
        grouped(number.round() as u64)
    } else {
        format!("{number:.0e}")
    }
}
