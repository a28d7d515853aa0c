//! The defect zoo: defects from real reports, planted one at a time, to measure whether the testbed
//! finds them.
//!
//! A [`Defect`] is data (`defects.toml`): a scenario with a discipline and at most one
//! [planted](crate::planted) mistake, the kinds of divergence that it must show, and a *twin*, the
//! same scenario without the defect, which must stay silent. [`trial`] looks for a defect with one
//! engine; [`bench`](mod@bench) measures all of them; [`canaries`] are the few that any longer
//! campaign must find, or it is blind.
//!
//! Not for regressions of heisenbed itself: those are reproducers in `corpus/`. Names are stable:
//! they are in results that are kept.

pub(crate) mod bench;
mod fuzz;
pub(crate) mod results;
pub mod trial;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::lifecycle::Discipline;
use crate::oracle::{Kind, Report, Verdict};
use crate::scenario::{Scenario, ScenarioError, ScenarioFile, toml_file};

pub use trial::Engine;

/// A defect of the zoo.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Defect {
    /// Its name.
    pub name: String,
    /// The report that it is from.
    pub origin: String,
    /// A run that shows it has a divergence of at least one of these kinds.
    pub expected: Vec<Kind>,
    /// Kinds that may come with them.
    #[serde(default)]
    pub also: Vec<Kind>,
    scenario: toml::Table,
    steps: Option<Steps>,
    #[serde(default)]
    twin: toml::Table,
    twin_steps: Option<Steps>,
}

/// The two programs of a discipline that has no file of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Steps {
    allocate: Vec<String>,
    deallocate: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    cells: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    programs: BTreeMap<String, Vec<String>>,
}

/// Which form of a scenario: as it is, for real threads, or small enough for every schedule to
/// matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScenarioSize {
    /// As it is.
    Full,
    /// Condensed, unless it is a script.
    Small,
}

/// A defect that a campaign must find, or it is blind.
#[derive(Clone, Debug)]
pub struct CanaryDefect {
    /// Which.
    pub defect: &'static Defect,
    /// The scenario that shows it, in the form that the engine runs.
    pub scenario: Scenario,
    /// Who must find it.
    pub engine: Engine,
    /// Within so many schedules (of stress: runs).
    pub schedules: u64,
}

/// Every defect, in the order of the file.
pub fn defects() -> &'static [Defect] {
    #[derive(Deserialize)]
    struct File {
        defect: Vec<Defect>,
    }
    static ALL: OnceLock<Vec<Defect>> = OnceLock::new();
    ALL.get_or_init(|| {
        let file: File =
            toml::from_str(include_str!("defects.toml")).expect("the embedded zoo is tested");
        file.defect
    })
}

/// Protocols from public reports of races between allocation and tracking, each broken as it was
/// reported, with its repair for a twin: ledgers, counters, locks of other sorts. How soon each
/// engine finds them is not measured.
pub fn protocols() -> &'static [Defect] {
    #[derive(Deserialize)]
    struct File {
        protocol: Vec<Defect>,
    }
    static ALL: OnceLock<Vec<Defect>> = OnceLock::new();
    ALL.get_or_init(|| {
        let file: File = toml::from_str(include_str!("protocols.toml"))
            .expect("the embedded protocols are tested");
        file.protocol
    })
}

/// The defect of that name.
pub(crate) fn find(name: &str) -> Option<&'static Defect> {
    let mut all = defects().iter().chain(protocols());
    all.find(|defect| defect.name == name)
}

/// What [`find`] could not, in words that help.
pub(crate) fn unknown(name: &str) -> String {
    let known: Vec<&str> = defects()
        .iter()
        .chain(protocols())
        .map(|defect| defect.name.as_str())
        .collect();
    format!(
        "{name}: no such defect (see `heisenbed zoo`; there are {})",
        known.join(", ")
    )
}

/// Defects that must be found in every night, one of each sort: a race at the release and one at
/// the publication, a double release, a deadlock, a wrong message, a wrong server. Budgets are at
/// least 20 times what the worst of 30 seeds took when the table in `docs/effectiveness.md` was
/// made.
pub fn canaries() -> Vec<CanaryDefect> {
    const CHOSEN: [(&str, Engine, u64); 7] = [
        ("free-first-gap", Engine::Random, 2_000),
        ("narrow-lock", Engine::Pct, 5_000),
        ("double-release", Engine::Urw, 2_000),
        ("inverted-lock-order", Engine::Random, 2_000),
        ("stamp-outside-the-lock", Engine::Exhaustive, 100_000),
        ("free-to-device-0", Engine::Random, 100),
        ("free-first-gap", Engine::StressPerturbed, 20),
    ];
    CHOSEN
        .into_iter()
        .map(|(name, engine, schedules)| {
            let defect = find(name).expect("canaries are in the zoo");
            CanaryDefect {
                defect,
                scenario: engine
                    .scenario(defect, true, 0)
                    .expect("every defect of the zoo resolves"),
                engine,
                schedules,
            }
        })
        .collect()
}

impl Defect {
    /// The scenario that shows it.
    pub(crate) fn scenario(
        &self,
        size: ScenarioSize,
        seed: u64,
    ) -> Result<Scenario, ScenarioError> {
        self.resolve(self.file(true, size, seed)?, self.steps_of(true))
    }

    /// The same scenario without it.
    pub(crate) fn twin(&self, size: ScenarioSize, seed: u64) -> Result<Scenario, ScenarioError> {
        self.resolve(self.file(false, size, seed)?, self.steps_of(false))
    }

    fn steps_of(&self, defective: bool) -> Option<&Steps> {
        let twin = self.twin_steps.as_ref().filter(|_| !defective);
        twin.or(self.steps.as_ref())
    }

    /// Its scenario or its twin's as a file, to be changed before it is resolved by
    /// [`Defect::complete`].
    pub(crate) fn file(
        &self,
        defective: bool,
        size: ScenarioSize,
        seed: u64,
    ) -> Result<ScenarioFile, ScenarioError> {
        let mut table = self.scenario.clone();
        if !defective {
            table.remove("planted");
            overlay(&mut table, &self.twin);
        }
        let (name, about) = if defective {
            (self.name.clone(), self.origin.clone())
        } else {
            (
                format!("{}-twin", self.name),
                format!("Without the defect: {}", self.origin),
            )
        };
        table.insert("name".to_owned(), name.clone().into());
        table.insert("about".to_owned(), about.into());
        let mut file: ScenarioFile = table
            .try_into()
            .map_err(|source| toml_file::wrong(&name, source))?;
        file.seed = seed;
        Ok(match size {
            ScenarioSize::Full => file,
            ScenarioSize::Small => file.condensed(None, None),
        })
    }

    /// A scenario of [`Defect::file`], with its discipline.
    pub(crate) fn complete(
        &self,
        file: ScenarioFile,
        defective: bool,
        discipline_changed: bool,
    ) -> Result<Scenario, ScenarioError> {
        let steps = self.steps_of(defective);
        self.resolve(file, steps.filter(|_| !discipline_changed))
    }

    /// What is different about its twin, in a line.
    pub fn twin_words(&self) -> String {
        let mut words: Vec<String> = self
            .twin
            .iter()
            .map(|(k, v)| format!("{k} = {v}"))
            .collect();
        if self.scenario.contains_key("planted") {
            words.push("nothing planted".to_owned());
        }
        if self.twin_steps.is_some() {
            words.push("other steps".to_owned());
        }
        words.join(", ")
    }

    /// Whether the report shows the defect.
    pub fn shows_in(&self, report: &Report) -> bool {
        report.verdict == Verdict::Diverged
            && self.expected.iter().any(|kind| report.count(*kind) > 0)
    }

    /// Kinds in the report that the defect does not explain.
    pub fn unexplained(&self, report: &Report) -> Vec<Kind> {
        let explained = |kind: &Kind| self.expected.contains(kind) || self.also.contains(kind);
        let kinds = report.divergences.keys().copied();
        kinds.filter(|kind| !explained(kind)).collect()
    }

    fn resolve(
        &self,
        file: ScenarioFile,
        steps: Option<&Steps>,
    ) -> Result<Scenario, ScenarioError> {
        let Some(steps) = steps else {
            return file.resolve();
        };
        #[derive(Serialize)]
        struct Written<'a> {
            name: &'a str,
            origin: &'a str,
            #[serde(flatten)]
            steps: &'a Steps,
        }
        let written = Written {
            name: &file.name,
            origin: &self.origin,
            steps,
        };
        let text = toml::to_string(&written).expect("strings, and lists and tables of strings");
        let written = Discipline::from_toml(&self.name, &text)
            .and_then(|discipline| discipline.accepted(&self.name))
            .map_err(Box::new)?;
        file.resolve_under(&written)
    }
}

/// Lays `over` over `table`: what is a table in both is merged, anything else replaced.
fn overlay(table: &mut toml::Table, over: &toml::Table) {
    for (key, value) in over {
        match (table.get_mut(key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => overlay(below, above),
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
}
