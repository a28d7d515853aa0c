//! Minimisation: from anything that diverged to the smallest run that shows the same kind of
//! divergence.
//!
//! `slice` cuts the operations that an address had to do with out of a trace of any length.
//! `reduce` leaves out operations and threads, and simplifies what is left, as long as *some*
//! schedule still shows the kind: whether one does is searched exhaustively. At last the schedule
//! with the fewest preemptions is looked for, from none upwards. So the result is not only small:
//! each smaller one was searched and does not show it, and [`Shrunk`] says where that is proved.

mod case;
mod reduce;
mod slice;

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::corpus::{Expected, Reproducer};
use crate::engine::controlled::exhaustive::{Goal, SearchEnd, SearchOptions, search};
use crate::engine::controlled::machine::{Setup, SetupError};
use crate::engine::controlled::observe::ObservedRun;
use crate::engine::controlled::schedule::Schedule;
use crate::numbers::plural;
use crate::oracle::{CheckError, Kind, Verdict};
use crate::scenario::op::Op;
use crate::scenario::{Scenario, ScenarioError};
use crate::trace::file::TraceFile;

use case::ShrinkCase;

/// Replays of a reproducer that is about to be written.
const REPLAYS: u32 = 20;

/// States after which the search of a slice is given up, one round after the other.
const PATIENCE_STATES: [u64; 3] = [1_000, 20_000, 300_000];

/// Searches for the schedule with the fewest preemptions end after this many states.
const MAX_STATES: u64 = 1_000_000;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The reproducer.
    pub reproducer: Reproducer,
    /// Its run.
    pub observed: ObservedRun,
    /// What was run.
    pub setup: Arc<Setup>,
    /// How small it is, and what of that is proved.
    pub size: ShrunkSize,
}

/// How small a reproducer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShrunkSize {
    /// The kind of divergence that was kept.
    pub kind: Kind,
    /// Threads.
    pub threads: u16,
    /// Operations.
    pub ops: u64,
    /// Devices that are used.
    pub devices: u16,
    /// Preemptions.
    pub preemptions: u64,
    /// Whether every selection of fewer operations was searched, and shows none of the kind.
    pub fewest_ops: bool,
    /// Whether all schedules with fewer preemptions were searched, and show none of the kind.
    pub fewest_preemptions: bool,
    /// Replays that came out the same.
    pub replayed: u32,
    /// Replays.
    pub replays: u32,
}

/// Why nothing came of it.
#[derive(Debug, Error)]
pub enum ShrinkError {
    /// The trace cannot be read as a run.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// Its scenario is wrong.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// It cannot be run under control.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// There is nothing to show.
    #[error("nothing diverged: there is nothing to shrink")]
    Clean,
    /// There is nothing of that kind to show.
    #[error("no {0} is among the first divergences of the trace")]
    NoSuchKind(Kind),
    /// What was cut out of the trace does not show it.
    #[error(
        "no schedule of the {ops} operations around the first {kind} shows it again (each was searched up to {MAX_STATES} states): \
         it needs more of the run than its address had to do with"
    )]
    NotReproduced {
        /// The kind.
        kind: Kind,
        /// Operations of the largest slice.
        ops: usize,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Shrinks the first divergence of `trace`, or the first of `kind`. `keep_going` is asked from time
/// to time.
pub fn shrink_trace(
    trace: &TraceFile,
    kind: Option<Kind>,
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<Shrunk, ShrinkError> {
    let (cases, kind, ops) = slice::slices(trace, kind, keep_going)?;
    log::info!(
        "{} of up to {} around the first {kind}",
        plural(cases.len() as u64, "slice"),
        plural(ops as u64, "operation")
    );
    // Of several slices one may show it at once and another only after a long search: all are
    // searched a little before any is at length.
    for max_states in PATIENCE_STATES {
        for (number, case) in (1..).zip(&cases) {
            log::debug!(
                "slice {number} of {}: {case}, searched up to {max_states} states",
                cases.len()
            );
            match reduce::reduce(case.clone(), kind, max_states, keep_going) {
                Err(ShrinkError::NotReproduced { .. }) => {}
                other => return finish(other?, kind, keep_going),
            }
        }
    }
    Err(ShrinkError::NotReproduced { kind, ops })
}

/// Shrinks `ops` of `scenario`, of which some schedule shows `kind`.
pub fn shrink_ops(
    scenario: &Scenario,
    ops: &[Box<[Op]>],
    kind: Kind,
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<Shrunk, ShrinkError> {
    let ops = ops.iter().map(|ops| ops.to_vec()).collect();
    let [.., most] = PATIENCE_STATES;
    let case = ShrinkCase::new(scenario, ops);
    log::info!("{case}, of which some schedule shows {kind}");
    let reduced = reduce::reduce(case, kind, most, keep_going)?;
    finish(reduced, kind, keep_going)
}

/// The smallest run that shows the kind of the first divergence of `example`, a run of `setup`.
pub(crate) fn shrink_example(
    setup: &Setup,
    example: &ObservedRun,
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<Shrunk, ShrinkError> {
    let first = example.report.first.ok_or(ShrinkError::Clean)?;
    shrink_ops(&setup.scenario, setup.ops(), first.kind, keep_going)
}

/// The run of `setup` that shows the first divergence of `example` with the fewest preemptions, as
/// far as that can be searched.
pub(crate) fn with_fewest_preemptions(
    setup: &Arc<Setup>,
    example: Box<ObservedRun>,
    keep_going: &mut dyn FnMut() -> bool,
) -> Box<ObservedRun> {
    match example.report.first {
        Some(first) => fewest_preemptions(setup, example, first.kind, keep_going).0,
        None => example,
    }
}

/// As [`with_fewest_preemptions`]; and whether all schedules with fewer were searched.
fn fewest_preemptions(
    setup: &Arc<Setup>,
    example: Box<ObservedRun>,
    kind: Kind,
    keep_going: &mut dyn FnMut() -> bool,
) -> (Box<ObservedRun>, bool) {
    let mut proved = true;
    for bound in 0..example.preemptions.len() as u32 {
        let options = SearchOptions {
            preemptions: Some(bound),
            goal: Goal::Kind(kind),
            max_states: MAX_STATES,
            ..SearchOptions::default()
        };
        let found = search(setup, &options, &mut |_| keep_going());
        match found.example {
            Some(better) => return (better, proved),
            None => proved &= found.ended == SearchEnd::Exhausted,
        }
        log::debug!(
            "no schedule with {} shows it ({:?})",
            plural(bound.into(), "preemption"),
            found.ended
        );
    }
    (example, proved)
}

fn finish(
    reduced: reduce::Reduced,
    kind: Kind,
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<Shrunk, ShrinkError> {
    let setup = reduced.case.setup()?;
    let (observed, fewest_preemptions) =
        fewest_preemptions(&setup, reduced.example, kind, keep_going);
    let scenario = &setup.scenario;
    let schedule = Schedule::of(&observed.picks, scenario.threads);
    let mut reproducer = Reproducer::new(
        scenario,
        Some(schedule),
        Expected {
            verdict: Verdict::Diverged,
            divergences: observed.report.divergences.clone(),
        },
    );
    let same = |_: &u32| reproducer.run().is_ok_and(|rerun| rerun.mismatch.is_none());
    let size = ShrunkSize {
        kind,
        threads: scenario.threads,
        ops: reduced.case.count() as u64,
        devices: reduced.case.devices(),
        preemptions: observed.preemptions.len() as u64,
        fewest_ops: reduced.fewest_ops,
        fewest_preemptions,
        replayed: (0..REPLAYS).filter(same).count() as u32,
        replays: REPLAYS,
    };
    reproducer.provenance.minimal = size.to_string();
    log::info!("{kind} in {size}");
    Ok(Shrunk {
        reproducer,
        observed: *observed,
        setup,
        size,
    })
}

impl fmt::Display for ShrunkSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proved = |proved: bool| {
            if proved {
                "no fewer can"
            } else {
                "fewer were not ruled out"
            }
        };
        write!(
            f,
            "{}, {} ({}), {}, {} ({}); replays {} of {}",
            plural(self.threads.into(), "thread"),
            plural(self.ops, "operation"),
            proved(self.fewest_ops),
            plural(self.devices.into(), "device"),
            plural(self.preemptions, "preemption"),
            proved(self.fewest_preemptions),
            self.replayed,
            self.replays,
        )
    }
}
