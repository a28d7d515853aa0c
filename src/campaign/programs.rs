//! Run units: programs of the user's own, under the schedulers of `heisenbed run`.
//!
//! A file lists them:
//!
//! ```toml
//! [[program]]
//! path = "build/queue_test"     # relative to the file
//! args = ["--rounds", "2"]      # none
//! name = "queue"                # else the file's name
//! strategies = ["mix", "pct"]   # else mix
//! schedules = 5000              # of a unit; else 1000
//! timeout_s = 10                # of a schedule
//! data_races = "first"          # or "ignore"; else "last"
//! ```
//!
//! A unit draws schedules of one program by one strategy, from a seed of its own, up to the first
//! failure. Where nothing else failed, the first data race is the failure, as in `heisenbed run`.

use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::native::findings::signature;
use crate::native::launcher::{LaunchOptions, ProgramOutput};
use crate::native::minimise::minimise;
use crate::native::plan::RunStrategy;
use crate::native::race_text;
use crate::native::races::DataRaces;
use crate::native::{
    Execution, Fleet, LaunchError, RunPlan, RunReproducer, Search, SearchPlan, Symbols,
    UserProgram, WorkLimit,
};
use crate::numbers::plural;
use crate::scenario::toml_file;

use super::CampaignError;
use super::record::CauseRecord;

/// How long a failing schedule is made smaller: the night is for other causes, too.
const MINIMISE: Duration = Duration::from_secs(120);

/// A program, and how its schedules are drawn.
#[derive(Clone, Debug)]
pub(crate) struct CampaignProgram {
    /// What it is called.
    pub(crate) name: String,
    program: UserProgram,
    strategies: Vec<RunStrategy>,
    schedules: u64,
    timeout: Duration,
    races: DataRaces,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramsFile {
    program: Vec<ProgramRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramRow {
    path: String,
    #[serde(default)]
    args: Vec<String>,
    name: Option<String>,
    #[serde(default)]
    strategies: Vec<String>,
    schedules: Option<u64>,
    timeout_s: Option<u64>,
    #[serde(default)]
    data_races: DataRaces,
}

/// What a unit came to.
#[derive(Debug)]
pub(crate) struct RanUnit {
    /// Schedules and steps.
    pub(crate) found: Search,
    /// What the failure looks like, if there is one.
    pub(crate) looks: Option<String>,
    /// Its cause, if it was asked for.
    pub(crate) cause: Option<CauseRecord>,
    /// It says nothing, or not all that it should.
    pub(crate) problem: Option<String>,
}

const SCHEDULES: u64 = 1_000;
const TIMEOUT: Duration = Duration::from_secs(10);

/// The programs that the file at `path` lists.
pub(crate) fn read(path: &Path) -> Result<Vec<CampaignProgram>, CampaignError> {
    let file = path.display().to_string();
    let wrong = |problem: String| CampaignError::File {
        path: file.clone(),
        problem,
    };
    let rows: ProgramsFile = toml_file::parse(&file, &toml_file::read(path)?)?;
    let mut all: Vec<CampaignProgram> = Vec::new();
    for row in rows.program {
        let program = row.resolve(path).map_err(&wrong)?;
        if all.iter().any(|other| other.name == program.name) {
            return Err(wrong(format!(
                "two programs are called `{}`; give one a `name`",
                program.name
            )));
        }
        all.push(program);
    }
    if all.is_empty() {
        return Err(wrong("it lists no [[program]]".to_owned()));
    }
    Ok(all)
}

impl ProgramRow {
    fn resolve(self, file: &Path) -> Result<CampaignProgram, String> {
        let folder = file.parent().unwrap_or(Path::new("."));
        // One without a slash is looked for in PATH, as a shell does.
        let path = if self.path.contains('/') {
            folder.join(&self.path).into_os_string()
        } else {
            OsString::from(&self.path)
        };
        let args: Vec<OsString> = self.args.iter().map(OsString::from).collect();
        let program = UserProgram::find(&path, &args).map_err(|error| error.to_string())?;
        let strategies = self.strategies.iter().map(|name| {
            RunStrategy::named(name)
                .filter(|strategy| strategy.is_controlled())
                .ok_or_else(|| {
                    format!("`{name}` is no strategy: mix, rff, few, surw, pos, pct or random")
                })
        });
        let mut strategies = strategies.collect::<Result<Vec<_>, _>>()?;
        if strategies.is_empty() {
            strategies.push(RunStrategy::Mix);
        }
        let own = program.path.file_name().unwrap_or_default();
        let schedules = self.schedules.unwrap_or(SCHEDULES);
        if schedules == 0 {
            return Err("schedules = 0: a unit has at least one".to_owned());
        }
        Ok(CampaignProgram {
            name: self
                .name
                .unwrap_or_else(|| own.to_string_lossy().into_owned()),
            program,
            strategies,
            schedules,
            timeout: self.timeout_s.map_or(TIMEOUT, Duration::from_secs),
            races: self.data_races,
        })
    }
}

impl CampaignProgram {
    /// What decides its units, as text.
    pub(crate) fn content(&self) -> String {
        let CampaignProgram {
            program,
            strategies,
            schedules,
            timeout,
            races,
            ..
        } = self;
        format!(
            "{:?} {} {strategies:?} {schedules} {timeout:?} {races:?}",
            program.args, program.build_id
        )
    }

    /// Does the unit that is number `ordinal` of this program's. `wants_cause` is told what a
    /// failure looks like. `None`: somebody asked to stop.
    pub(crate) fn run(
        &self,
        ordinal: u64,
        seed: u64,
        wants_cause: impl Fn(&str) -> bool,
        interrupt: &AtomicBool,
    ) -> Option<RanUnit> {
        let unit = self.try_run(ordinal, seed, wants_cause, interrupt);
        let stopped = interrupt.load(Ordering::Relaxed);
        match unit {
            _ if stopped => None,
            Ok(unit) => Some(unit),
            Err(error) => Some(RanUnit {
                found: Search::default(),
                looks: None,
                cause: None,
                problem: Some(error.to_string()),
            }),
        }
    }

    fn try_run(
        &self,
        ordinal: u64,
        seed: u64,
        wants_cause: impl Fn(&str) -> bool,
        interrupt: &AtomicBool,
    ) -> Result<RanUnit, LaunchError> {
        let keep_going = || !interrupt.load(Ordering::Relaxed);
        let options = LaunchOptions {
            timeout: self.timeout,
            output: ProgramOutput::Kept,
        };
        let mut fleet = Fleet::start(&self.program, options, 1)?;
        let strategy = self.strategies[(ordinal % self.strategies.len() as u64) as usize];
        let search = SearchPlan {
            plan: RunPlan {
                races: self.races.plan(),
                ..RunPlan::new(strategy, seed, 0)
            },
            schedules: self.schedules,
            first: 0,
            duration: None,
            keep_going: false,
        };
        let mut found = Search::run(&mut fleet, &search, None, |_| keep_going())?;
        let unusable = (found.unusable > 0).then(|| {
            let why = found.unusable_why.clone().unwrap_or_default();
            format!(
                "{} came to no end of their own: {why}",
                plural(found.unusable, "schedule")
            )
        });
        // Without a failure that hides a race that was not looked for.
        let gave_up = found.races.gave_up.filter(|_| found.failures == 0);
        let problem = unusable.or(gave_up.map(|why| format!("data races: {why}")));
        let symbols = Symbols::new(fleet.one()?.maps());
        found.accuse_races(&symbols);
        let mut unit = RanUnit {
            looks: None,
            cause: None,
            problem,
            found: Search::default(),
        };
        if let Some((plan, execution)) = found.failed.take() {
            let launcher = fleet.one()?;
            let (kind, places) = signature(&execution, &symbols).unwrap_or_default();
            let looks = format!("run {}: {kind}, {places}", self.name);
            if wants_cause(&looks) {
                let limit = WorkLimit::new(Some(Instant::now() + MINIMISE), None);
                let mut small = launcher.within(&limit, |launcher| {
                    minimise(launcher, &plan, &execution, |_| keep_going())
                })?;
                race_text::name(&mut small.execution, &symbols);
                unit.cause = Some(self.cause(&kind, places, &small.plan, &small.execution));
            }
            unit.looks = Some(looks);
        }
        unit.found = found;
        Ok(unit)
    }

    fn cause(
        &self,
        kind: &str,
        places: String,
        plan: &RunPlan,
        execution: &Execution,
    ) -> CauseRecord {
        let text = format!("run\n{}\n{kind}\n{places}\n", self.name);
        let failure = execution.failure.as_ref();
        let reproducer = failure.and_then(|failure| {
            RunReproducer::new(&self.program, plan, execution, failure)
                .to_text()
                .ok()
        });
        CauseRecord {
            id: format!("{:016x}", xxh3_64(text.as_bytes())),
            kind: kind.to_owned(),
            discipline: format!("run {}", self.name),
            deciding: places,
            size: plural(execution.preempted.len() as u64, "preemption"),
            known: None,
            reproducer,
            trace: None,
            input: None,
        }
    }
}
