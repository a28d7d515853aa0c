//! When a process is ended: at a moment that is drawn among the steps of one of its threads, so
//! that each is as likely whatever the machine's speed.
//!
//! In half of the runs the thread stops there until its process is ended; in the other half it goes
//! on, and is ended wherever it has come to by then.

use crate::scenario::Scenario;
use crate::scenario::random::{Purpose, Random};

use super::shared::{Commons, Of};

/// Beside the program's own steps: an operation's beginning, its end, and what a step is made of.
const STEPS_BESIDE: u64 = 3;

/// The moment at which one process is ended.
#[derive(Clone, Copy, Debug)]
struct KillMoment {
    process: u16,
    thread: u16,
    /// After so many events of the thread.
    after: u64,
}

/// The moments of a run.
#[derive(Debug)]
pub(super) struct Moments(Vec<KillMoment>);

impl Moments {
    /// Draws when each of `victims` is ended, and sets gates.
    pub(super) fn draw(
        scenario: &Scenario,
        run: u64,
        victims: &[u16],
        shared: &Commons,
    ) -> Moments {
        let processes = scenario.processes();
        let longest = (scenario.discipline.every_program())
            .map(|program| program.steps().len() as u64)
            .max()
            .unwrap_or(0);
        let draw = |process: &u16| {
            let own = u64::from(scenario.threads) + u64::from(*process);
            let mut random = Random::new(scenario.seed, run, Purpose::Perturbation, own);
            let threads: Vec<u16> = (*process..scenario.threads)
                .step_by(usize::from(processes))
                .collect();
            let thread = threads[random.below(threads.len() as u64) as usize];
            let ops = scenario.ops_of(thread, run).count() as u64;
            let after = random.below(ops * (longest + STEPS_BESIDE) + 1);
            if random.below(2) == 0 {
                shared.set(thread, Of::Gate, after + 1);
            }
            KillMoment {
                process: *process,
                thread,
                after,
            }
        };
        Moments(victims.iter().map(draw).collect())
    }

    /// Whether it is time to end `process`: its thread is where it was to be, or at its end.
    pub(super) fn has_come(&self, process: u16, shared: &Commons) -> bool {
        let moment = self.0.iter().find(|moment| moment.process == process);
        moment.is_none_or(|moment| {
            shared.region.appended(moment.thread) >= moment.after
                || shared.load(moment.thread, Of::Finished) != 0
        })
    }

    /// Lets everybody go on; whether anybody was held.
    pub(super) fn open_gates(&self, shared: &Commons) -> bool {
        let mut held = false;
        for moment in &self.0 {
            held |= shared.load(moment.thread, Of::Gate) != 0;
            shared.set(moment.thread, Of::Gate, 0);
        }
        held
    }
}
