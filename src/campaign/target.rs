//! Targets: where a campaign looks. Each is a cell of the matrix: a discipline under its switches,
//! with a workload and a server.
//!
//! The usual ones are those that the matrix proves correct in their smallest form, so that whatever
//! diverges in a larger one is news. A user's own discipline is looked at wherever he asks.

use serde::{Deserialize, Serialize};

use crate::lifecycle::{self, Discipline, Order, Publication};
use crate::registry::Semantics;
use crate::scenario::{Scenario, ScenarioError, ScenarioFile};

use super::CampaignError;

/// The workloads that differ in what a discipline has to cope with.
pub(crate) const WORKLOADS: [&str; 9] = [
    "own-buffers",
    "handoff",
    "shared-free",
    "mesh",
    "circular",
    "preallocated",
    "device-close",
    "real-leak",
    "many-devices",
];

/// Where to look, as a user asks for it; what is empty is as usual.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Disciplines, built-in or files.
    pub(crate) disciplines: Vec<String>,
    /// Orders of release.
    pub(crate) orders: Vec<Order>,
    /// Publications.
    pub(crate) publications: Vec<Publication>,
    /// Scenarios whose workload it is, built-in or files.
    pub(crate) workloads: Vec<String>,
    /// How the server understands messages.
    pub(crate) semantics: Vec<Semantics>,
}

/// One place to look.
#[derive(Clone, Debug)]
pub(crate) struct CampaignTarget {
    discipline: Discipline,
    order: Order,
    publish: Publication,
    workload: ScenarioFile,
    semantics: Semantics,
}

/// A target's name, as in `lifecycle-wide free-first early handoff typed`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TargetName(pub(crate) String);

type Switches = (Order, Publication);

/// Where each built-in discipline is correct: under these switches (none: under all), with all
/// workloads but these.
const CORRECT: [(&str, Option<Switches>, &[&str]); 10] = [
    ("views-first", None, &[]),
    ("claimed-wide", None, &["mesh"]),
    ("lifecycle-wide", None, &["shared-free", "mesh"]),
    ("global-wide", None, &["shared-free", "mesh"]),
    ("in-allocator", None, &["shared-free"]),
    ("sequenced", None, &["shared-free"]),
    (
        "lifecycle-array8",
        None,
        &["shared-free", "mesh", "many-devices"],
    ),
    ("unlocked", WITHOUT_LOCKS, &["shared-free", "mesh"]),
    ("tracker-mutex", WITHOUT_LOCKS, &["shared-free", "mesh"]),
    ("lifecycle-narrow", WITHOUT_LOCKS, &["shared-free", "mesh"]),
];

/// Where no lock is needed, and one that covers too little does no harm.
const WITHOUT_LOCKS: Option<Switches> = Some((Order::TrackFirst, Publication::Late));

const ORDERS: [Order; 2] = [Order::TrackFirst, Order::FreeFirst];
const PUBLICATIONS: [Publication; 2] = [Publication::Late, Publication::Early];
const SERVERS: [Semantics; 2] = [Semantics::Typed, Semantics::Refcount];

/// The targets that were asked for. Disciplines that are named are looked at everywhere, as written
/// where no switch is asked for.
pub(crate) fn targets(asked: &Asked) -> Result<Vec<CampaignTarget>, CampaignError> {
    let mut targets = Vec::new();
    let workloads: Vec<String> = if asked.workloads.is_empty() {
        WORKLOADS.map(str::to_owned).to_vec()
    } else {
        asked.workloads.clone()
    };
    let usual = CORRECT.map(|(name, ..)| name.to_owned()).to_vec();
    let is_usual = asked.disciplines.is_empty();
    for name in if is_usual { &usual } else { &asked.disciplines } {
        let discipline =
            lifecycle::load(name).map_err(|error| ScenarioError::Discipline(Box::new(error)))?;
        let written = (discipline.order(), discipline.publication());
        let (switches, but) = match CORRECT.iter().find(|(known, ..)| is_usual && known == name) {
            Some((_, Some(only), but)) => (vec![*only], *but),
            Some((_, None, but)) => (pairs(&ORDERS, &PUBLICATIONS), *but),
            None => {
                let orders = or(&asked.orders, &[written.0]);
                (
                    pairs(&orders, &or(&asked.publications, &[written.1])),
                    &[][..],
                )
            }
        };
        let servers = match discipline.semantics {
            Some(own) => vec![own],
            None => or(&asked.semantics, &SERVERS),
        };
        for workload in workloads
            .iter()
            .filter(|workload| !but.contains(&workload.as_str()))
        {
            let file = ScenarioFile::load(workload)?;
            for (semantics, (order, publish)) in pairs(&servers, &switches) {
                let wanted = |asked: &[_], order| asked.is_empty() || asked.contains(&order);
                if !wanted(&asked.orders, order)
                    || !(asked.publications.is_empty() || asked.publications.contains(&publish))
                {
                    continue;
                }
                let target = CampaignTarget {
                    discipline: discipline.clone(),
                    order,
                    publish,
                    workload: file.clone(),
                    semantics,
                };
                // What cannot be run is refused now, not in the middle of the night.
                target.small(2, 4, 0)?;
                target.whole(2, 4, 0)?;
                targets.push(target);
            }
        }
    }
    if targets.is_empty() {
        return Err(CampaignError::Nothing(
            "no discipline is known to be correct under these switches; name those to look at with --discipline"
                .to_owned(),
        ));
    }
    Ok(targets)
}

fn or<T: Clone>(asked: &[T], usual: &[T]) -> Vec<T> {
    if asked.is_empty() { usual } else { asked }.to_vec()
}

/// Every choice of one of `a` with one of `b`.
pub(crate) fn pairs<A: Clone, B: Clone>(a: &[A], b: &[B]) -> Vec<(A, B)> {
    a.iter()
        .flat_map(|a| b.iter().map(move |b| (a.clone(), b.clone())))
        .collect()
}

impl CampaignTarget {
    /// Its name.
    pub(crate) fn name(&self) -> TargetName {
        TargetName(format!(
            "{} {} {} {} {}",
            self.discipline.name, self.order, self.publish, self.workload.name, self.semantics
        ))
    }

    /// What decides how it comes out, as text.
    pub(crate) fn content(&self) -> String {
        let scenario = self.whole(2, 4, 0).expect("checked when it was made");
        toml::to_string(&scenario).expect("a scenario has string keys")
    }

    /// The workload condensed to a size where every schedule matters.
    pub(crate) fn small(
        &self,
        threads: u16,
        ops: u64,
        seed: u64,
    ) -> Result<Scenario, ScenarioError> {
        self.under(
            self.workload.clone().condensed(Some(threads), Some(ops)),
            seed,
        )
    }

    /// The workload as it is, for real threads.
    pub(crate) fn whole(
        &self,
        threads: u16,
        ops: u64,
        seed: u64,
    ) -> Result<Scenario, ScenarioError> {
        let mut file = self.workload.clone();
        (file.threads, file.ops) = (threads, ops);
        self.under(file, seed)
    }

    fn under(&self, mut file: ScenarioFile, seed: u64) -> Result<Scenario, ScenarioError> {
        file.seed = seed;
        file.semantics = Some(self.semantics);
        // The target's own takes its place: a file may change in the night.
        "unlocked".clone_into(&mut file.discipline);
        let mut scenario = file.resolve()?;
        scenario.discipline = self.discipline.with(self.order, self.publish);
        (scenario.order, scenario.publish) = (self.order, self.publish);
        scenario.check()?;
        Ok(scenario)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::controlled::exhaustive::{SearchOptions, search};
    use crate::engine::controlled::machine::Setup;
    use crate::oracle::Verdict;

    #[test]
    #[ignore = "searches 400 cells, 12 s: cargo nextest run --lib every_usual_target_is_proved --run-ignored all"]
    fn every_usual_target_is_proved() {
        for target in targets(&Asked::default()).expect("the usual ones") {
            let scenario = target.small(2, 4, 0).expect("checked");
            let setup = Setup::new(scenario, 0).expect("small");
            let found = search(&setup, &SearchOptions::default(), &mut |_| true);
            assert_eq!(
                found.verdict(None).0,
                Verdict::Proved,
                "{:?}",
                target.name()
            );
        }
    }

    #[test]
    fn a_discipline_that_is_named_is_looked_at_everywhere_as_it_is_written() {
        let asked = Asked {
            disciplines: vec!["lifecycle-narrow".to_owned()],
            ..Asked::default()
        };
        let names: Vec<String> = targets(&asked)
            .expect("built in")
            .iter()
            .map(|target| target.name().0)
            .collect();
        assert_eq!(names.len(), WORKLOADS.len() * SERVERS.len());
        assert!(
            names
                .iter()
                .all(|name| name.starts_with("lifecycle-narrow track-first late "))
        );
    }

    #[test]
    fn switches_narrow_the_usual_targets() {
        let asked = Asked {
            orders: vec![Order::FreeFirst],
            ..Asked::default()
        };
        let targets = targets(&asked).expect("some are correct so");
        assert!(
            targets
                .iter()
                .all(|target| target.name().0.contains(" free-first "))
        );
    }
}
