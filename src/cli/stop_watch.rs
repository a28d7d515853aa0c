//! A flag that is set when the user interrupts or a time is up, for work that looks at one flag
//! only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::outcome::Context;

/// How often it looks.
const TICK: Duration = Duration::from_millis(5);

/// Watches until it is dropped.
pub(super) struct StopWatch {
    over: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl StopWatch {
    /// Watches for an interrupt and for `deadline`. Without a deadline it is the interrupt's own
    /// flag.
    pub(super) fn new(context: &Context, deadline: Option<Instant>) -> StopWatch {
        let ended = Arc::new(AtomicBool::new(false));
        let Some(deadline) = deadline else {
            let over = Arc::clone(&context.interrupt);
            return StopWatch { over, ended };
        };
        let over = Arc::new(AtomicBool::new(false));
        let watch = StopWatch {
            over: Arc::clone(&over),
            ended: Arc::clone(&ended),
        };
        let interrupt = Arc::clone(&context.interrupt);
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || interrupt.load(Ordering::Relaxed) {
                    over.store(true, Ordering::Relaxed);
                    return;
                }
                std::thread::sleep(left.min(TICK));
            }
        });
        watch
    }

    /// Set when it is over.
    pub(super) fn flag(&self) -> &AtomicBool {
        &self.over
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

impl Drop for StopWatch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}
