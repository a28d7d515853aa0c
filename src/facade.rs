//! The facade: what most programs want of heisenbed, in a few functions over plain data.
//!
//! [`scenario`] and [`small_scenario`] make a [`Scenario`] of text. [`explore`] searches its
//! schedules: a proof, or a race with the smallest run that shows it. [`stress`] plays it on real
//! threads and a real socket, records the run and checks it; [`check`] does that again for a trace
//! in a file, [`smallest`] makes it small, and [`timeline`] draws what is left. [`each_line`] reads
//! the log of a tracking server, and a [`Diagnoser`] says what its messages show.
//!
//! ```
//! use heisenbed::facade::{Schedules, Verdict, explore, small_scenario, timeline};
//!
//! // Two threads that allocate and release two buffers each, under a lock around messages only.
//! let scenario = small_scenario("name = 'mine'\norder = 'free-first'", Some("lifecycle-narrow"))?;
//! let found = explore(&scenario, Schedules::default())?;
//! assert_eq!(found.verdict, Verdict::Diverged);
//!
//! let smallest = found.smallest.expect("a race in so few operations is minimised");
//! assert_eq!(smallest.size.to_string(), "2 threads, 3 operations (no fewer can), 1 device, \
//!     1 preemption (no fewer can); replays 20 of 20");
//! assert!(timeline(&smallest).contains("t0 is preempted here"));
//! # Ok::<(), heisenbed::facade::FacadeError>(())
//! ```
//!
//! Nothing is printed, and nothing ends the process. What goes on inside is logged through the
//! crate `log`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use thiserror::Error;

use crate::engine::controlled::exhaustive::{self, SearchOptions};
use crate::engine::controlled::machine::{Setup, SetupError};
use crate::engine::controlled::sample::{self, SamplePlan};
use crate::engine::threads::{CheckedRunError, RunConfig, recorded_and_checked, recorded_in};
use crate::lifecycle::{DisciplineError, builtin as disciplines};
use crate::numbers::plural;
use crate::oracle::{CheckError, check_trace};
use crate::scenario::{ScenarioError, ScenarioFile, builtin as scenarios};
use crate::shrink::{ShrinkError, shrink_example, shrink_trace};
use crate::trace::file::TraceError;

pub use crate::diagnosis::{Cause, Circumstances, Diagnoser, Diagnosis, Suspect};
pub use crate::engine::controlled::sample::Strategy;
pub use crate::engine::threads::CheckedRun;
pub use crate::lifecycle::Discipline;
pub use crate::observe::{ObserveError, Seen, each_line};
pub use crate::oracle::{Divergence, Kind, Report, Verdict};
pub use crate::report::Timeline;
pub use crate::scenario::Scenario;
pub use crate::shrink::{Shrunk, ShrunkSize};
pub use crate::trace::file::TraceFile;
pub use crate::trace::observation::{Observation, Observed};

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum FacadeError {
    /// The scenario is wrong.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The discipline is wrong.
    #[error(transparent)]
    Discipline(#[from] DisciplineError),
    /// The scenario cannot be run under control.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// There are too many schedules to search them all.
    #[error(
        "{0} operations are too many to search every schedule of: take a small scenario, or draw \
         schedules"
    )]
    TooManyOps(usize),
    /// The run on threads has no verdict.
    #[error(transparent)]
    Run(#[from] CheckedRunError),
    /// The file is no trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The trace cannot be checked.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The trace cannot be made smaller.
    #[error(transparent)]
    Shrink(#[from] ShrinkError),
}

/// The scenario in `text`, which is TOML or the name of a built-in one. Only `name` is required;
/// see `heisenbed scenarios` for the rest. `discipline` replaces the one that it names: again TOML,
/// or the name of a built-in one.
///
/// This is for [`stress`]: where the text says nothing there are 4 threads of 32,000 operations.
///
/// ```
/// use heisenbed::facade::scenario;
///
/// let text = "name = 'mine'\nthreads = 3\nops = 500\nworkload = { mesh-percent = 10 }";
/// assert_eq!(scenario(text, None)?.discipline.name, "lifecycle-wide");
///
/// let claimed = scenario("shared-free", Some("claimed-wide"))?;
/// assert_eq!(claimed.discipline.name, "claimed-wide");
///
/// let error = scenario("name = 'mine'\nthreads = 'many'", None).expect_err("no number");
/// assert!(error.to_string().contains("threads = 'many'"));
/// # Ok::<(), heisenbed::facade::FacadeError>(())
/// ```
pub fn scenario(text: &str, discipline: Option<&str>) -> Result<Scenario, FacadeError> {
    resolved(scenario_file(text)?, discipline)
}

/// As [`scenario`], but small enough for every schedule of it to matter: 2 threads of 4 operations
/// each (up to 8, where what the text names needs them), and a workload in which addresses are used
/// again at once. Memories, sizes and up to 4 devices that the text names are kept. The fields
/// `threads` and `ops` of what it returns may be changed; a scenario that is a script stays as it
/// is.
///
/// ```
/// use heisenbed::facade::{Schedules, Verdict, explore, small_scenario};
///
/// let mut scenario = small_scenario("handoff", Some("claimed-wide"))?;
/// assert_eq!((scenario.threads, scenario.ops), (2, 4));
/// (scenario.threads, scenario.ops) = (3, 2);
/// assert_eq!(explore(&scenario, Schedules::default())?.verdict, Verdict::Proved);
/// # Ok::<(), heisenbed::facade::FacadeError>(())
/// ```
pub fn small_scenario(text: &str, discipline: Option<&str>) -> Result<Scenario, FacadeError> {
    resolved(scenario_file(text)?.condensed(None, None), discipline)
}

fn scenario_file(text: &str) -> Result<ScenarioFile, ScenarioError> {
    match scenarios::text(text) {
        Some(builtin) => ScenarioFile::from_toml(text, builtin),
        None => ScenarioFile::from_toml("the scenario", text),
    }
}

fn resolved(file: ScenarioFile, discipline: Option<&str>) -> Result<Scenario, FacadeError> {
    const FILE: &str = "the discipline";
    Ok(match discipline {
        None => file.resolve()?,
        Some(text) => match disciplines::get(text) {
            Some(builtin) => file.resolve_under(builtin)?,
            None => file.resolve_under(&Discipline::from_toml(FILE, text)?.accepted(FILE)?)?,
        },
    })
}

/// Which schedules to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedules {
    /// Every one: finds a divergence, or proves that there is none.
    Every {
        /// Give up after so many states; each takes about 32 bytes.
        max_states: u64,
    },
    /// So many, drawn with the scenario's seed: finds a divergence, or proves nothing.
    Drawn {
        /// By what.
        strategy: Strategy,
        /// How many.
        schedules: u64,
    },
}

impl Default for Schedules {
    fn default() -> Schedules {
        Schedules::Every {
            max_states: 10_000_000,
        }
    }
}

/// What [`explore`] found.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// How it ended.
    pub verdict: Verdict,
    /// Why it is inconclusive.
    pub note: Option<String>,
    /// How often each kind of divergence showed.
    pub divergences: BTreeMap<Kind, u64>,
    /// Distinct states that were visited, where every schedule was searched.
    pub states: Option<u64>,
    /// Schedules that were drawn.
    pub schedules: Option<u64>,
    /// Micro-steps that were taken.
    pub steps: u64,
    /// The smallest run that shows what diverged, where it could be made small.
    pub smallest: Option<Box<Shrunk>>,
}

/// Runs `scenario` under control, on one thread, and looks for a schedule after which the server's
/// picture is not what the allocators did.
///
/// ```
/// use heisenbed::facade::{Schedules, Strategy, Verdict, explore, small_scenario};
///
/// let scenario = small_scenario("own-buffers", Some("lifecycle-wide"))?;
/// let proof = explore(&scenario, Schedules::default())?;
/// assert_eq!(proof.verdict, Verdict::Proved);
///
/// let schedules = Schedules::Drawn { strategy: Strategy::Pct { depth: 3 }, schedules: 1000 };
/// assert_eq!(explore(&scenario, schedules)?.verdict, Verdict::Clean);
/// # Ok::<(), heisenbed::facade::FacadeError>(())
/// ```
pub fn explore(scenario: &Scenario, schedules: Schedules) -> Result<Exploration, FacadeError> {
    scenario.check()?;
    let setup = Setup::new(scenario.clone(), 0)?;
    let (mut exploration, example) = match schedules {
        Schedules::Every { max_states } => {
            let ops = setup.ops().iter().flatten().count();
            if ops > exhaustive::MAX_SEARCHED_OPS {
                return Err(FacadeError::TooManyOps(ops));
            }
            let options = SearchOptions {
                max_states,
                ..SearchOptions::default()
            };
            let found = exhaustive::search(&setup, &options, &mut |_| true);
            let (verdict, note) = found.verdict(None);
            let exploration = Exploration {
                verdict,
                note,
                divergences: found.divergences,
                states: Some(found.states),
                schedules: None,
                steps: found.steps,
                smallest: None,
            };
            (exploration, found.example)
        }
        Schedules::Drawn {
            strategy,
            schedules,
        } => {
            let plan = SamplePlan {
                strategy,
                seed: scenario.seed,
                schedules,
                until: None,
                workers: 1,
                max_steps: sample::MAX_STEPS,
            };
            let sampled = sample::sample(&setup, &plan, &|_| true);
            let cut = plural(sampled.inconclusive, "schedule");
            let exploration = Exploration {
                verdict: sampled.verdict(),
                note: (sampled.inconclusive > 0).then(|| format!("{cut} did not come to an end")),
                divergences: sampled.divergences,
                states: None,
                schedules: Some(sampled.schedules),
                steps: sampled.steps,
                smallest: None,
            };
            (exploration, sampled.first.map(|(_, first)| first))
        }
    };
    if let Some(example) = example {
        let shrunk = shrink_example(&setup, &example, &mut || true);
        exploration.smallest = shrunk.ok().map(Box::new);
    }
    Ok(exploration)
}

/// Plays run `run` of `scenario` on real threads, against a server of this process behind a real
/// Unix socket, records it and checks the trace. Each run of a scenario has other random choices.
/// The trace is kept in the file `record`, or else for as long as what is returned.
///
/// ```
/// use heisenbed::facade::{Verdict, scenario, stress};
///
/// let scenario = scenario("name = 'mine'\nthreads = 2\nops = 200", None)?;
/// let run = stress(&scenario, 0, None)?;
/// assert_eq!((run.report.verdict, run.report.messages), (Verdict::Clean, 400));
/// # Ok::<(), heisenbed::facade::FacadeError>(())
/// ```
pub fn stress(
    scenario: &Scenario,
    run: u64,
    record: Option<&Path>,
) -> Result<CheckedRun, FacadeError> {
    scenario.check()?;
    // Runs end by themselves, also where threads wait for each other for good.
    let interrupt = AtomicBool::new(false);
    let config = RunConfig::new(scenario, run, &interrupt);
    Ok(match record {
        Some(path) => recorded_in(path, config, |_| ())?,
        None => recorded_and_checked(config, |_| ())?,
    })
}

/// Checks the trace in the file at `path`, which [`stress`] or `heisenbed stress --record`
/// recorded. A damaged one is checked as far as it can be read, and what is said of it then is
/// inconclusive unless it diverged.
///
/// ```
/// use heisenbed::facade::{check, scenario, stress};
///
/// let folder = tempfile::tempdir().expect("a temporary folder");
/// let path = folder.path().join("run.hb");
/// let scenario = scenario("name = 'mine'\nthreads = 2\nops = 200", None)?;
/// let recorded = stress(&scenario, 0, Some(&path))?;
/// assert_eq!(check(&path)?.events, recorded.report.events);
/// # Ok::<(), heisenbed::facade::FacadeError>(())
/// ```
pub fn check(path: &Path) -> Result<Report, FacadeError> {
    Ok(check_trace(&TraceFile::open(path)?, |_| ())?)
}

/// The smallest run that shows the first divergence of a recorded run.
///
/// ```
/// use heisenbed::facade::{FacadeError, scenario, smallest, stress};
///
/// let scenario = scenario("name = 'mine'\nthreads = 2\nops = 200", None)?;
/// let trace = stress(&scenario, 0, None)?.trace.expect("it was recorded");
/// let nothing = smallest(&trace).expect_err("it was clean");
/// assert_eq!(nothing.to_string(), "nothing diverged: there is nothing to shrink");
/// # Ok::<(), FacadeError>(())
/// ```
pub fn smallest(trace: &TraceFile) -> Result<Shrunk, FacadeError> {
    Ok(shrink_trace(trace, None, &mut || true)?)
}

/// A minimised run as text: a column a thread, time downwards, the preemption that decides, and
/// what went wrong in words. The module's example has one.
pub fn timeline(shrunk: &Shrunk) -> String {
    Timeline::of(&shrunk.setup.scenario, &shrunk.observed).render()
}
