//! Time that a thread has had on a processor: on a machine where nobody else wants it the same as
//! the time that passed, and on a busy one all that can be compared.

use std::time::Instant;

/// Measures the calling thread.
pub struct ThreadClock {
    started: Instant,
    before: Option<f64>,
}

impl ThreadClock {
    /// From now on.
    pub fn start() -> ThreadClock {
        ThreadClock {
            started: Instant::now(),
            before: on_processor(),
        }
    }

    /// Seconds since the start; where the system does not tell a thread's own, those that passed.
    pub fn seconds(&self) -> f64 {
        match (self.before, on_processor()) {
            (Some(before), Some(now)) => now - before,
            _ => self.started.elapsed().as_secs_f64(),
        }
    }
}

/// The first figure of `schedstat`: nanoseconds on a processor.
fn on_processor() -> Option<f64> {
    // The figure is brought up to date when the thread is scheduled.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}
