//! Canaries of run units: a program that comes with heisenbed, with planted defects that the
//! schedulers of `heisenbed run` must find again each night. It needs no compiler.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::native::execution::FailureKind;
use crate::native::launcher::{LaunchOptions, ProgramOutput};
use crate::native::plan::RunStrategy;
use crate::native::races::RacePlan;
use crate::native::{Fleet, RunPlan, Search, SearchPlan, UserProgram};

/// A defect of `runtime/canary/canary.c`, and who must find it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProgramCanary {
    /// Its name there.
    bug: &'static str,
    shows: FailureKind,
    strategy: RunStrategy,
}

/// Each by the strategy that needs no luck for it, and one by the simplest there is.
const PLANTED: [(&str, FailureKind, RunStrategy); 4] = [
    ("deadlock", FailureKind::DEADLOCK, RunStrategy::Mix),
    ("lost-update", FailureKind::Abort, RunStrategy::Mix),
    ("data-race", FailureKind::DataRace, RunStrategy::Mix),
    ("deadlock", FailureKind::DEADLOCK, RunStrategy::Random),
];

/// A schedule has a dozen steps.
const TIMEOUT: Duration = Duration::from_secs(60);

impl ProgramCanary {
    pub(super) fn all() -> impl Iterator<Item = ProgramCanary> {
        PLANTED
            .into_iter()
            .map(|(bug, shows, strategy)| ProgramCanary {
                bug,
                shows,
                strategy,
            })
    }

    pub(super) fn name(&self) -> String {
        format!(
            "program with a planted {} by {}",
            self.bug,
            self.strategy.name()
        )
    }

    /// Whether it shows in `budget` schedules, and in how many.
    pub(super) fn look(
        &self,
        seed: u64,
        budget: u64,
        keep_going: &dyn Fn() -> bool,
    ) -> (bool, u64) {
        match self.search(self.bug, seed, budget, keep_going) {
            Ok(found) => {
                let failure = found.failed.as_ref();
                let failure = failure.and_then(|(_, execution)| execution.failure.as_ref());
                let shows = failure.is_some_and(|failure| failure.kind == self.shows);
                (shows, found.schedules)
            }
            Err(error) => {
                log::warn!("canary {}: {error}", self.name());
                (false, 0)
            }
        }
    }

    fn search(
        &self,
        bug: &str,
        seed: u64,
        budget: u64,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Search, Box<dyn std::error::Error>> {
        if budget == 0 {
            return Ok(Search::default());
        }
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("heisenbed_canary");
        std::fs::write(&path, heisenbed_runtime::CANARY)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        let program = UserProgram::find(&path.into_os_string(), &[bug.into()])?;
        let options = LaunchOptions {
            timeout: TIMEOUT,
            output: ProgramOutput::Kept,
        };
        let mut fleet = Fleet::start(&program, options, 1)?;
        let search = SearchPlan {
            plan: RunPlan {
                races: RacePlan::FAIL,
                ..RunPlan::new(self.strategy, seed, 0)
            },
            schedules: budget,
            first: 0,
            duration: None,
            keep_going: false,
        };
        Ok(Search::run(&mut fleet, &search, None, |_| keep_going())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_every_seed_and_the_twin_is_silent() {
        for canary in ProgramCanary::all() {
            for seed in 0..5 {
                let (found, tries) = canary.look(seed, 500, &|| true);
                assert!(found, "{} seed {seed}: {tries}", canary.name());
            }
            let twin = canary.search("none", 1, 100, &|| true).unwrap();
            assert_eq!((twin.failures, twin.schedules), (0, 100));
            assert!(twin.races.found.is_empty());
        }
    }

    #[test]
    fn what_was_not_looked_for_was_not_found() {
        for canary in ProgramCanary::all() {
            assert_eq!(canary.look(1, 0, &|| true), (false, 0));
        }
    }
}
