//! The night: workers that take the shard's units one after another until time or units are up, or
//! somebody stops them.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::numbers::plural;

use super::canary::Canary;
use super::folder::{Folder, Manifest};
use super::journal::CampaignJournal;
use super::plan::CampaignPlan;
use super::record::{Begun, CampaignRecord, CanaryRecord, ShardEnd, UnitRecord};
use super::summary::{CampaignSummary, write_all, write_reproducers};
use super::tally::UnitTally;
use super::work::Worker;
use super::{CampaignError, Shard};

/// How to spend a night.
#[derive(Clone, Debug)]
pub(crate) struct CampaignRun {
    /// Whose units.
    pub(crate) shard: Shard,
    /// No new unit after this long, nights before included that were cut short.
    pub(crate) duration: Option<Duration>,
    /// No unit from this number on.
    pub(crate) units: Option<u64>,
    /// Threads that work.
    pub(crate) workers: u16,
    /// Where nights are remembered; `None`: in the folder.
    pub(crate) history: Option<PathBuf>,
}

/// Spends a night in `folder`, or the rest of one that was cut short. `progress` is told of the
/// units that are done.
pub(crate) fn spend(
    plan: &CampaignPlan,
    canaries: &[Canary],
    run: &CampaignRun,
    folder: &Path,
    interrupt: &AtomicBool,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(CampaignSummary, String), CampaignError> {
    let folder = Folder::take(folder)?;
    let manifest = Manifest {
        parameters: plan.parameters.clone(),
        shard: Some(run.shard),
    };
    folder.claim(&manifest)?;
    let (mut tally, mut done, mut worked_s) = (UnitTally::default(), BTreeSet::new(), 0.0_f64);
    let mut journal = CampaignJournal::open(&folder.journal(), &mut |record| {
        match &record {
            CampaignRecord::Unit(unit) => {
                worked_s = worked_s.max(unit.at_s);
                if !done.insert(unit.unit) {
                    return;
                }
            }
            CampaignRecord::Ended(ended) => worked_s = worked_s.max(ended.elapsed_s),
            _ => {}
        }
        tally.add(&record);
    })?;
    let begun = CampaignRecord::Begun(Begun { shard: run.shard });
    if tally.shards.is_empty() {
        journal.append(&begun)?;
        tally.add(&begun);
    }
    let shift = Shift {
        worker: Worker::new(plan, folder.path(), interrupt, tally.lowest()),
        run,
        canaries,
        folder: &folder,
        interrupt,
        progress,
        began: Instant::now(),
        worked_s,
        failed: AtomicBool::new(false),
        desk: Mutex::new(Desk {
            next: u64::from(run.shard.number() - 1),
            done,
            journal,
            tally,
        }),
    };
    log::info!(
        "shard {} in {}: {}, {} done before in {:.1} s",
        run.shard,
        folder.path().display(),
        plural(run.workers.max(1).into(), "worker"),
        plural(shift.desk().done.len() as u64, "unit"),
        shift.worked_s
    );
    shift.look_for_canaries()?;
    let results: Vec<Result<(), CampaignError>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..run.workers.max(1))
            .map(|_| scope.spawn(|| shift.work()))
            .collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
            worker.join().expect("a worker does not panic")
        };
        workers.into_iter().map(join).collect()
    });
    let ended = ShardEnd {
        shard: run.shard,
        complete: !interrupt.load(Ordering::Relaxed) && results.iter().all(Result::is_ok),
        elapsed_s: shift.now_s(),
    };
    log::info!(
        "shard {} ended after {:.1} s, {}",
        ended.shard,
        ended.elapsed_s,
        if ended.complete {
            "complete"
        } else {
            "cut short"
        }
    );
    let mut desk = shift
        .desk
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let idle = desk.tally.shards.get(&run.shard).copied().flatten();
    // A night that was over before has nothing to add.
    if idle.is_none_or(|before| !before.complete || ended.elapsed_s - before.elapsed_s > 1.0) {
        desk.add(&CampaignRecord::Ended(ended))?;
    }
    let written = write_all(&folder, &manifest, &desk.tally, run.history.as_deref());
    // What was found is kept even where a worker could not go on.
    results.into_iter().collect::<Result<(), CampaignError>>()?;
    written
}

/// What the workers of a night share.
struct Shift<'a> {
    worker: Worker<'a>,
    run: &'a CampaignRun,
    canaries: &'a [Canary],
    folder: &'a Folder,
    interrupt: &'a AtomicBool,
    progress: &'a (dyn Fn(u64) + Sync),
    began: Instant,
    /// Seconds that were worked before.
    worked_s: f64,
    failed: AtomicBool,
    desk: Mutex<Desk>,
}

/// What one worker at a time has in hand.
struct Desk {
    next: u64,
    done: BTreeSet<u64>,
    journal: CampaignJournal,
    tally: UnitTally,
}

impl Desk {
    fn add(&mut self, record: &CampaignRecord) -> Result<(), CampaignError> {
        self.journal.append(record)?;
        self.tally.add(record);
        Ok(())
    }

    /// The next unit of the shard that is not done, below `end`.
    fn take(&mut self, shard: Shard, end: Option<u64>) -> Option<u64> {
        loop {
            let number = self.next;
            if end.is_some_and(|end| number >= end) {
                return None;
            }
            self.next += u64::from(shard.of());
            // What is below and done need not be remembered.
            if !self.done.remove(&number) {
                return Some(number);
            }
        }
    }
}

impl Shift<'_> {
    fn now_s(&self) -> f64 {
        let seconds = self.worked_s + self.began.elapsed().as_secs_f64();
        (seconds * 1000.0).round() / 1000.0
    }

    fn desk(&self) -> std::sync::MutexGuard<'_, Desk> {
        self.desk
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn is_over(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
            || self.failed.load(Ordering::Relaxed)
            || self
                .run
                .duration
                .is_some_and(|limit| self.now_s() >= limit.as_secs_f64())
    }

    /// Those that were not looked for yet, by this shard.
    fn look_for_canaries(&self) -> Result<(), CampaignError> {
        let parameters = self.worker.parameters();
        for canary in self.canaries {
            let key = (canary.name.clone(), self.run.shard);
            if self.desk().tally.canaries.contains_key(&key) {
                continue;
            }
            let (seed, budget) = (parameters.seed, parameters.canary_budget);
            log::debug!("canary {}: looking", canary.name);
            match canary.look(seed, budget, self.run.shard, self.interrupt)? {
                Some(record) => {
                    log_canary(&record);
                    self.desk().add(&CampaignRecord::Canary(record))?;
                }
                None => break,
            }
        }
        Ok(())
    }

    fn work(&self) -> Result<(), CampaignError> {
        let result = self.work_on();
        if result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        result
    }

    fn work_on(&self) -> Result<(), CampaignError> {
        while !self.is_over() {
            let taken = self.desk().take(self.run.shard, self.run.units);
            let Some(number) = taken else { break };
            log::debug!("unit {number} begins");
            // What is shared is behind locks that forgive, and is written in whole steps.
            let work = AssertUnwindSafe(|| self.worker.work(number));
            let mut record = match std::panic::catch_unwind(work) {
                Ok(Ok(Some(record))) => record,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(error),
                Err(said) => self.worker.panicked(number, &*said),
            };
            record.at_s = self.now_s();
            log_unit(&record);
            let has_cause = record
                .finding
                .as_ref()
                .is_some_and(|finding| finding.cause.is_some());
            let mut desk = self.desk();
            desk.add(&CampaignRecord::Unit(Box::new(record)))?;
            if has_cause {
                write_reproducers(self.folder, &desk.tally)?;
            }
            (self.progress)(desk.tally.units.values().sum());
        }
        Ok(())
    }
}

fn log_canary(record: &CanaryRecord) {
    let (name, tries) = (&record.canary, record.tries);
    if record.found {
        log::debug!("canary {name}: found in {tries} tries");
    } else {
        log::warn!("canary {name}: not found in {tries} tries");
    }
}

fn log_unit(record: &UnitRecord) {
    let UnitRecord {
        unit, sort, target, ..
    } = record;
    if record.panicked {
        log::error!("unit {unit} ({sort} of {}) made heisenbed panic", target.0);
    }
    match (&record.finding, &record.problem) {
        (Some(finding), _) => log::info!("unit {unit} ({sort} of {}): {}", target.0, finding.looks),
        (None, Some(problem)) => log::info!("unit {unit} ({sort} of {}): {problem}", target.0),
        (None, None) => log::debug!("unit {unit} ended ({sort} of {})", target.0),
    }
}
