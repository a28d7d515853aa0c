//! Canaries: planted defects that every run of a campaign must find again, from nothing, within a
//! budget.
//!
//! A campaign that finds nothing says something only if it would have found something. Each engine
//! has canaries of its own, for each can go blind by itself. Of a planted defect the scenario is
//! known, and nothing else: schedules are drawn or searched as in any unit.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::corpus::Reproducer;
use crate::engine::controlled::exhaustive::{Goal, SearchOptions, search};
use crate::engine::controlled::machine::Setup;
use crate::engine::controlled::sample::{SamplePlan, Strategy, sample};
use crate::lifecycle::{Order, Publication};
use crate::oracle::Kind;
use crate::scenario::{Scenario, ScenarioFile};

use super::program_canary::ProgramCanary;
use super::record::CanaryRecord;
use super::work::{MAX_STEPS, play_on_threads};
use super::{CampaignError, Shard};

/// A planted defect, and who must find it.
#[derive(Clone, Debug)]
pub(crate) struct Canary {
    /// Its name.
    pub(crate) name: String,
    planted: Planted,
}

#[derive(Clone, Debug)]
enum Planted {
    Scenario(Box<PlantedScenario>),
    Program(ProgramCanary),
}

#[derive(Clone, Debug)]
struct PlantedScenario {
    engine: Engine,
    scenario: Scenario,
    /// Any of these must show; none: any kind.
    kinds: Vec<Kind>,
}

#[derive(Clone, Copy, Debug)]
enum Engine {
    Draw(Strategy),
    Search,
    Threads,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Engine::Draw(Strategy::Random) => "random",
            Engine::Draw(Strategy::Pct { .. }) => "pct",
            Engine::Draw(Strategy::Urw) => "urw",
            Engine::Search => "search",
            Engine::Threads => "threads",
        }
    }
}

macro_rules! planted {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../corpus/reproducers/defects/", $name, ".toml")))),*]
    };
}

/// The planted defects of the corpus: only what they plant is taken from there, not the schedule
/// that shows it.
const PLANTED: [(&str, &str); 17] = planted![
    "a-connection-a-thread",
    "alloc-never-sent",
    "alloc-sent-twice",
    "counting-server-keeps-the-old-size",
    "dontwait-loss",
    "double-release",
    "early-return-keeps-the-lock",
    "free-never-sent",
    "free-sent-twice",
    "inverted-lock-order",
    "key-without-memory-type",
    "lock-of-the-wrong-device",
    "lock-table-of-8",
    "server-stops-reading",
    "split-frames",
    "stamp-outside-the-lock",
    "unsynchronised-lazy-connect",
];

/// A protocol that is known to be broken, in a workload that nobody minimised.
type Broken = (Engine, &'static str, &'static str, Order, Publication);

const BROKEN: [Broken; 7] = [
    (
        Engine::Draw(Strategy::Random),
        "own-buffers",
        "lifecycle-narrow",
        Order::FreeFirst,
        Publication::Late,
    ),
    (
        Engine::Draw(Strategy::Pct { depth: 2 }),
        "own-buffers",
        "tracker-mutex",
        Order::FreeFirst,
        Publication::Late,
    ),
    (
        Engine::Draw(Strategy::Urw),
        "handoff",
        "unlocked",
        Order::TrackFirst,
        Publication::Early,
    ),
    (
        Engine::Search,
        "shared-free",
        "lifecycle-wide",
        Order::TrackFirst,
        Publication::Late,
    ),
    (
        Engine::Search,
        "mesh",
        "lifecycle-narrow",
        Order::FreeFirst,
        Publication::Early,
    ),
    (
        Engine::Threads,
        "own-buffers",
        "lifecycle-narrow",
        Order::FreeFirst,
        Publication::Late,
    ),
    (
        Engine::Threads,
        "own-buffers",
        "unlocked",
        Order::FreeFirst,
        Publication::Late,
    ),
];

/// Of a canary on real threads: threads, operations of each, and the most runs.
const ON_THREADS: (u16, u64, u64) = (2, 600, 20);

/// Every canary that ships with heisenbed, and those in `more`, which are reproducers: where each
/// is, and its text.
pub(crate) fn canaries(more: &[(String, String)]) -> Result<Vec<Canary>, CampaignError> {
    let mut all = Vec::new();
    let planted = PLANTED.map(|(name, text)| (name.to_owned(), text));
    let more = more
        .iter()
        .map(|(path, text)| (path.clone(), text.as_str()));
    for (name, text) in planted.into_iter().chain(more) {
        let reproducer = Reproducer::from_toml(text, &name)?;
        let planted = Planted::Scenario(Box::new(PlantedScenario {
            engine: Engine::Draw(Strategy::Random),
            scenario: reproducer.scenario()?,
            kinds: reproducer.expect.divergences.into_keys().collect(),
        }));
        all.push(Canary { name, planted });
    }
    for (engine, workload, discipline, order, publish) in BROKEN {
        let mut file = ScenarioFile::load(workload)?;
        discipline.clone_into(&mut file.discipline);
        (file.order, file.publish) = (Some(order), Some(publish));
        let file = match engine {
            Engine::Threads => {
                (file.threads, file.ops) = (ON_THREADS.0, ON_THREADS.1);
                file.perturb = true;
                file
            }
            _ => file.condensed(None, None),
        };
        all.push(Canary {
            name: format!(
                "{discipline} {order} {publish} {workload} by {}",
                engine.name()
            ),
            planted: Planted::Scenario(Box::new(PlantedScenario {
                engine,
                scenario: file.resolve()?,
                kinds: Vec::new(),
            })),
        });
    }
    Ok(all)
}

/// Those of run units: they are looked for where such units come.
pub(crate) fn program_canaries() -> impl Iterator<Item = Canary> {
    ProgramCanary::all().map(|canary| Canary {
        name: canary.name(),
        planted: Planted::Program(canary),
    })
}

impl Canary {
    /// What decides whether it is found, as text.
    pub(crate) fn content(&self) -> String {
        match &self.planted {
            Planted::Scenario(planted) => planted.content(),
            Planted::Program(canary) => canary.name(),
        }
    }

    fn engine(&self) -> &'static str {
        match &self.planted {
            Planted::Scenario(planted) => planted.engine.name(),
            Planted::Program(_) => "run",
        }
    }

    /// Looks for it in `budget` schedules, with `seed`. `None`: somebody asked to stop.
    pub(crate) fn look(
        &self,
        seed: u64,
        budget: u64,
        shard: Shard,
        interrupt: &AtomicBool,
    ) -> Result<Option<CanaryRecord>, CampaignError> {
        let keep_going = || !interrupt.load(std::sync::atomic::Ordering::Relaxed);
        let (found, tries) = match &self.planted {
            Planted::Scenario(planted) => planted.look(seed, budget, interrupt)?,
            Planted::Program(canary) => canary.look(seed, budget, &keep_going),
        };
        Ok((found || keep_going()).then(|| CanaryRecord {
            shard,
            canary: self.name.clone(),
            engine: self.engine().to_owned(),
            found,
            tries,
        }))
    }
}

impl PlantedScenario {
    fn content(&self) -> String {
        format!(
            "{:?} {:?} {}",
            self.engine,
            self.kinds,
            toml::to_string(&self.scenario).expect("a scenario has string keys")
        )
    }

    /// Whether it showed, and in how many tries.
    fn look(
        &self,
        seed: u64,
        budget: u64,
        interrupt: &AtomicBool,
    ) -> Result<(bool, u64), CampaignError> {
        let keep_going = || !interrupt.load(std::sync::atomic::Ordering::Relaxed);
        let mut scenario = self.scenario.clone();
        scenario.seed = seed;
        Ok(match self.engine {
            Engine::Threads => {
                let (mut found, mut runs) = (false, 0);
                while !found && runs < budget.min(ON_THREADS.2) && keep_going() {
                    let played = play_on_threads(&scenario, runs, interrupt)?;
                    found = self.shows(played.report.divergences.keys());
                    runs += 1;
                }
                (found, runs)
            }
            Engine::Search => {
                let setup = Setup::new(scenario, 0)?;
                let options = SearchOptions {
                    goal: match self.kinds[..] {
                        [] => Goal::First,
                        _ => Goal::AllKinds,
                    },
                    max_states: budget,
                    ..SearchOptions::default()
                };
                if budget == 0 {
                    (false, 0)
                } else {
                    let found = search(&setup, &options, &mut |_| keep_going());
                    (self.shows(found.divergences.keys()), found.states)
                }
            }
            Engine::Draw(strategy) => self.draw(
                &Setup::new(scenario, 0)?,
                strategy,
                seed,
                budget,
                &keep_going,
            ),
        })
    }

    /// Draws until it shows, a few schedules at a time.
    fn draw(
        &self,
        setup: &Arc<Setup>,
        strategy: Strategy,
        seed: u64,
        budget: u64,
        keep_going: &(dyn Fn() -> bool + Sync),
    ) -> (bool, u64) {
        let (mut tries, mut batch) = (0, 64);
        while tries < budget && keep_going() {
            let plan = SamplePlan {
                strategy,
                seed: seed.wrapping_add(tries),
                schedules: batch.min(budget - tries),
                until: None,
                workers: 1,
                max_steps: MAX_STEPS,
            };
            let sampled = sample(setup, &plan, &|_| keep_going());
            tries += sampled.schedules;
            if self.shows(sampled.divergences.keys()) {
                return (true, tries);
            }
            batch *= 4;
        }
        (false, tries)
    }

    fn shows<'a>(&self, mut kinds: impl Iterator<Item = &'a Kind>) -> bool {
        kinds.any(|kind| self.kinds.is_empty() || self.kinds.contains(kind))
    }
}
