//! The reproducer: one small run, complete in itself, as TOML.
//!
//! ```toml
//! schedule = "t0*12 t1*9 t0*4"
//!
//! [expect]
//! verdict = "diverged"
//! divergences = { duplicate-alloc = 1 }
//!
//! [threads]
//! t0 = ["allocate s0#1 4096 l1 d0", "release s0#1"]
//! t1 = ["allocate s1#1 4096 l1 d0"]
//!
//! [scenario]
//! …
//! ```
//!
//! With a schedule, exactly that schedule must be possible to its last step and come out as
//! expected. Without one, the whole space is searched, and `proved`, or the kinds that it shows, is
//! what must come out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::device::{Policy, Profile};
use crate::engine::controlled::exhaustive::{self, Goal, SearchOptions};
use crate::engine::controlled::machine::{RunEnd, Setup, SetupError};
use crate::engine::controlled::observe::{ObservedRun, observe};
use crate::engine::controlled::schedule::Schedule;
use crate::engine::controlled::schedulers::{RandomWalk, Replay};
use crate::lifecycle::{Discipline, Order, Publication};
use crate::oracle::{Kind, Verdict};
use crate::planted::Planted;
use crate::registry::Semantics;
use crate::scenario::workload::Workload;
use crate::scenario::{
    DebugLog, Scenario, ScenarioError, ServerPace, TomlFileError, Transport, toml_file,
};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Reproducer {
    /// What it shows, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Who takes each step; without it every schedule is searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// What must come out.
    pub expect: Expected,
    /// Where it comes from.
    #[serde(default)]
    pub provenance: Provenance,
    /// The operations of each thread, by its name: `t0`, `t1`…
    threads: BTreeMap<String, Vec<String>>,
    scenario: CompactScenario,
}

/// What must come out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expected {
    /// How it ends.
    pub verdict: Verdict,
    /// How many divergences of each kind; of a search the kinds only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub divergences: BTreeMap<Kind, u64>,
}

/// Where a reproducer comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Provenance {
    /// The trace, scenario or report.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) from: String,
    /// How far it was minimised, and whether that is proved.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) minimal: String,
    /// The version of heisenbed that made it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) version: String,
}

/// A scenario without what a reproducer says elsewhere, and without what is as usual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CompactScenario {
    name: String,
    devices: u16,
    profile: Profile,
    allocator: Policy,
    semantics: Semantics,
    #[serde(default, skip_serializing_if = "is_default")]
    transport: Transport,
    #[serde(default, skip_serializing_if = "is_default")]
    server: ServerPace,
    #[serde(default, skip_serializing_if = "is_default")]
    debug_log: DebugLog,
    order: Order,
    publish: Publication,
    discipline: Discipline,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    planted: Option<Planted>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    processes: u16,
}

fn one() -> u16 {
    1
}

fn is_one(number: &u16) -> bool {
    *number == 1
}

/// Why a reproducer cannot be run.
#[derive(Debug, Error)]
pub enum ReproducerError {
    /// The file cannot be read, or does not parse.
    #[error(transparent)]
    File(#[from] TomlFileError),
    /// Its threads are not t0, t1 and so on.
    #[error("`{name}` is no thread: threads are t0, t1 and so on, without a gap")]
    Thread {
        /// The name.
        name: String,
    },
    /// Its keys say one order or publication, its steps are written in another.
    #[error(
        "scenario: `order = \"{order}\"` and `publish = \"{publish}\"` contradict the steps of its \
         discipline: write the steps so, or the keys as the steps are"
    )]
    Contradiction {
        /// The order that the key says.
        order: Order,
        /// The publication that the key says.
        publish: Publication,
    },
    /// Its scenario is wrong.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// It cannot be run under control.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// What came of a reproducer.
#[derive(Clone, Debug)]
pub struct Rerun {
    /// The scenario that was run.
    pub setup: Arc<Setup>,
    /// How it ended, and the divergences: what the reproducer should expect.
    pub came_out: Expected,
    /// The schedule that was run, or an example that the search found.
    pub observed: Option<ObservedRun>,
    /// States, where all schedules were searched.
    pub states: Option<u64>,
    /// What is not as expected.
    pub mismatch: Option<Mismatch>,
}

/// What is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Mismatch {
    /// The schedule cannot be followed.
    #[error("the schedule cannot be followed beyond step {followed} of {steps}")]
    Schedule {
        /// Steps that were taken.
        followed: u64,
        /// Steps of the schedule.
        steps: u64,
    },
    /// Threads are left when the schedule is at its end.
    #[error("the schedule is at its end after {steps} steps, and not every thread is")]
    TooShort {
        /// Steps of the schedule.
        steps: u64,
    },
    /// Another verdict, or other divergences.
    #[error("expected {}, and {} came out", words(.expected), words(.came_out))]
    Verdict {
        /// What should have.
        expected: Expected,
        /// What did.
        came_out: Expected,
    },
}

/// The most states that a reproducer without schedule may take to search.
const MAX_STATES: u64 = 20_000_000;

impl Reproducer {
    /// Of one run: `schedule` shows what `expect` says.
    pub(crate) fn new(
        scenario: &Scenario,
        schedule: Option<Schedule>,
        expect: Expected,
    ) -> Reproducer {
        let script = scenario.workload.script.clone().unwrap_or_default();
        Reproducer {
            about: String::new(),
            schedule,
            expect,
            provenance: Provenance {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..Provenance::default()
            },
            threads: (0..)
                .map(|thread| format!("t{thread}"))
                .zip(script)
                .collect(),
            scenario: CompactScenario {
                name: scenario.name.clone(),
                devices: scenario.devices,
                profile: scenario.profile,
                allocator: scenario.allocator,
                semantics: scenario.semantics,
                transport: scenario.transport,
                server: scenario.server,
                debug_log: scenario.debug_log,
                order: scenario.order,
                publish: scenario.publish,
                discipline: scenario.discipline.clone(),
                planted: scenario.planted,
                processes: scenario.processes(),
            },
        }
    }

    /// Gives its scenario another name.
    pub(crate) fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.scenario.name);
    }

    /// Reads one.
    pub fn load(path: &Path) -> Result<Reproducer, ReproducerError> {
        let text = toml_file::read(path)?;
        Reproducer::from_toml(&text, &path.display().to_string())
    }

    /// Parses one; errors name `path`.
    pub fn from_toml(text: &str, path: &str) -> Result<Reproducer, ReproducerError> {
        Ok(toml_file::parse(path, text)?)
    }

    /// Its text.
    pub(crate) fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a reproducer has string keys and no unit values")
    }

    /// The scenario that it runs.
    pub(crate) fn scenario(&self) -> Result<Scenario, ReproducerError> {
        let threads = self.threads.len();
        let script = (0..threads)
            .map(|thread| self.threads.get(&format!("t{thread}")).cloned())
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| ReproducerError::Thread {
                name: self.stray_thread(),
            })?;
        let compact = self.scenario.clone();
        let (order, publish) = (compact.order, compact.publish);
        if compact.discipline.with(order, publish) != compact.discipline {
            return Err(ReproducerError::Contradiction { order, publish });
        }
        let scenario = Scenario {
            name: compact.name,
            about: self.about.clone(),
            seed: 0,
            threads: u16::try_from(threads).unwrap_or(u16::MAX),
            ops: 0,
            devices: compact.devices,
            profile: compact.profile,
            allocator: compact.allocator,
            order: compact.order,
            publish: compact.publish,
            semantics: compact.semantics,
            perturb: false,
            transport: compact.transport,
            server: compact.server,
            debug_log: compact.debug_log,
            discipline: compact.discipline,
            workload: Workload {
                processes: compact.processes,
                script: Some(script),
                ..Workload::default()
            },
            planted: compact.planted,
        };
        scenario.check()?;
        Ok(scenario)
    }

    fn stray_thread(&self) -> String {
        let known: Vec<String> = (0..self.threads.len()).map(|t| format!("t{t}")).collect();
        let stray = self.threads.keys().find(|name| !known.contains(name));
        stray.cloned().unwrap_or_default()
    }

    /// Runs it, and compares.
    pub fn run(&self) -> Result<Rerun, ReproducerError> {
        let setup = Setup::new(self.scenario()?, 0)?;
        Ok(match &self.schedule {
            Some(schedule) => self.follow(&setup, schedule),
            None => self.search(&setup),
        })
    }

    fn follow(&self, setup: &Arc<Setup>, schedule: &Schedule) -> Rerun {
        let picks = schedule.picks(setup.scenario.threads);
        let steps = picks.len() as u64;
        let replay: Replay<RandomWalk> = Replay::new(picks, None);
        let (observed, replay) = observe(setup, replay, 0, u64::MAX);
        let came_out = Expected {
            verdict: observed.report.verdict,
            divergences: observed.report.divergences.clone(),
        };
        let mismatch = if !replay.is_complete() {
            Some(Mismatch::Schedule {
                followed: replay.followed() as u64,
                steps,
            })
        } else if observed.end == RunEnd::CutShort {
            Some(Mismatch::TooShort { steps })
        } else {
            self.compare(&came_out)
        };
        Rerun {
            setup: Arc::clone(setup),
            came_out,
            observed: Some(observed),
            states: None,
            mismatch,
        }
    }

    fn search(&self, setup: &Arc<Setup>) -> Rerun {
        let options = SearchOptions {
            goal: Goal::AllKinds,
            max_states: MAX_STATES,
            ..SearchOptions::default()
        };
        let found = exhaustive::search(setup, &options, &mut |_| true);
        let came_out = Expected {
            verdict: found.verdict(None).0,
            // How many places of the space show a kind says nothing that must stay the same.
            divergences: found.divergences.keys().map(|kind| (*kind, 1)).collect(),
        };
        Rerun {
            setup: Arc::clone(setup),
            mismatch: self.compare(&came_out),
            came_out,
            observed: found.example.map(|example| *example),
            states: Some(found.states),
        }
    }

    fn compare(&self, came_out: &Expected) -> Option<Mismatch> {
        (self.expect != *came_out).then(|| Mismatch::Verdict {
            expected: self.expect.clone(),
            came_out: came_out.clone(),
        })
    }
}

fn words(expected: &Expected) -> String {
    let mut text = expected.verdict.to_string();
    for (kind, count) in &expected.divergences {
        text.push_str(&format!(", {count} {kind}"));
    }
    text
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
