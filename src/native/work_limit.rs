//! When work on a failure ends that was found, however far it is: a schedule that takes its time is
//! ended, too, and says nothing then.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// See the [module](self). By default it never ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkLimit {
    until: Option<Instant>,
    interrupt: Option<Arc<AtomicBool>>,
}

/// Why work on a failure ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkCut {
    /// Its time was up.
    Time,
    /// Somebody asked to stop.
    Interrupted,
    /// It took as many schedules as it may.
    Schedules,
    /// Too many of the schedules that it tried hang.
    Hung,
    /// Run again it did not come to the same.
    Differs,
}

impl WorkLimit {
    /// Work until then, or until `interrupt` is set.
    pub(crate) fn new(until: Option<Instant>, interrupt: Option<&Arc<AtomicBool>>) -> WorkLimit {
        WorkLimit {
            until,
            interrupt: interrupt.cloned(),
        }
    }

    /// Why it is over, if it is.
    pub(crate) fn cut(&self) -> Option<WorkCut> {
        let interrupt = self.interrupt.as_ref();
        if interrupt.is_some_and(|interrupt| interrupt.load(Ordering::Relaxed)) {
            return Some(WorkCut::Interrupted);
        }
        let is_up = self.until.is_some_and(|until| Instant::now() >= until);
        is_up.then_some(WorkCut::Time)
    }

    /// Whether it may come while a schedule runs.
    pub(super) fn is_any(&self) -> bool {
        self.until.is_some() || self.interrupt.is_some()
    }
}

impl fmt::Display for WorkCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WorkCut::Time => "the time was up",
            WorkCut::Interrupted => "interrupted",
            WorkCut::Schedules => "it took as many schedules as it may",
            WorkCut::Hung => "too many of the schedules that were tried hang",
            WorkCut::Differs => "run again it did not come to the same",
        })
    }
}
