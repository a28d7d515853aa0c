//! All schedules that differ: dynamic partial order reduction with source sets and sleep sets.
//!
//! Two schedules are the same if one comes from the other by exchanging neighbours that do not
//! conflict. Of each such class (a *trace*) one schedule is run to its end. After Abdulla, Aronis,
//! Jonsson, Sagonas: Source Sets: A Foundation for Optimal Dynamic Partial Order Reduction, 2017
//! (algorithm 1). What differs:
//!
//! - A step that had to wait (for a lock, a semaphore, a thread's end) could have come before the
//!   one that made it wait, though other steps must come between the two: their order. There the
//!   way to it is what happens before it in its own thread. Such a step waits for one thing, and
//!   who changes that conflicts with it: so if it could not go on before the other, it could not
//!   have come first.
//! - What a thread was about to do when the program ended counts as a step after the last.
//! - Nothing is run up front: a schedule that turns out to come to the same as another is given up
//!   where all who can go on are asleep. It counts, but not as a trace.

use super::estimate::estimate;
use super::order::{Ordered, StepRace};
use super::step::{Explorable, ExploredRun, ExploredStep, ScheduleEnd, Threads, each, only};

/// A search: see the [module](self).
#[derive(Debug)]
pub(crate) struct Explorer {
    ordered: Ordered,
    blind: bool,
    nodes: Vec<Node>,
    begun: bool,
    /// Schedules that were run.
    pub(crate) runs: u64,
    /// Of these, to their end: no two come to the same.
    pub(crate) traces: u64,
    /// Of these, given up.
    pub(crate) given_up: u64,
    /// Steps could not be taken, or were others, when they were to be repeated.
    pub(crate) strayed: bool,
}

/// Before a step.
#[derive(Clone, Debug)]
struct Node {
    able: Threads,
    asleep: Threads,
    held: Threads,
    /// Who goes on from here in some schedule.
    chosen: Threads,
    /// Who did, the one of the current schedule included.
    done: Threads,
}

impl Node {
    fn left(&self) -> Threads {
        self.chosen & self.able & !self.done & !self.asleep
    }
}

impl Explorer {
    /// A search that has not begun. `blind`: nothing is known of what steps touch.
    pub(crate) fn new(blind: bool) -> Explorer {
        Explorer {
            ordered: Ordered::new(blind),
            blind,
            nodes: Vec::new(),
            begun: false,
            runs: 0,
            traces: 0,
            given_up: 0,
            strayed: false,
        }
    }

    /// Runs the next schedule, and says how it ended; none if there is no other.
    pub(crate) fn next<E: Explorable>(
        &mut self,
        program: &mut E,
    ) -> Result<Option<ScheduleEnd>, E::Error> {
        let Some((prefix, asleep)) = self.choose() else {
            return Ok(None);
        };
        let run = program.run(&prefix, asleep)?;
        self.runs += 1;
        match run.end {
            ScheduleEnd::Whole => self.traces += 1,
            ScheduleEnd::Asleep => self.given_up += 1,
            ScheduleEnd::Useless => {}
        }
        let end = run.end;
        self.take_in(prefix.len(), run);
        Ok(Some(end))
    }

    /// How many schedules there are, as far as can be told: exact when the last was run.
    pub(crate) fn estimate(&self) -> f64 {
        let choices = self.nodes.iter();
        estimate(
            self.runs,
            choices.map(|node| (node.done.count_ones(), node.left().count_ones())),
        )
    }

    fn choose(&mut self) -> Option<(Vec<u32>, Threads)> {
        if !self.begun {
            self.begun = true;
            return Some((Vec::new(), 0));
        }
        let deepest = self.nodes.iter().rposition(|node| node.left() != 0)?;
        self.nodes.truncate(deepest + 1);
        self.ordered.truncate(deepest);
        let node = self.nodes.last_mut()?;
        let thread = each(node.left()).next()?;
        let asleep = match self.blind {
            true => 0,
            false => node.asleep | node.done,
        };
        node.done |= only(thread);
        let mut prefix: Vec<u32> = self
            .ordered
            .steps()
            .iter()
            .map(|step| step.thread)
            .collect();
        prefix.push(thread);
        Some((prefix, asleep))
    }

    fn take_in(&mut self, prefix: usize, run: ExploredRun) {
        // Nothing is known of it, and whoever searches says so.
        if run.end == ScheduleEnd::Useless {
            return;
        }
        let known = self.ordered.steps().len();
        let same = |(was, is): (&ExploredStep, &ExploredStep)| was.is_same(is);
        if run.steps.len() < prefix || !self.ordered.steps().iter().zip(&run.steps).all(same) {
            self.strayed = true;
            return;
        }
        for (at, step) in run.steps.into_iter().enumerate().skip(known) {
            if at >= self.nodes.len() {
                self.nodes.push(Node {
                    able: step.able,
                    asleep: step.asleep,
                    held: step.held,
                    chosen: only(step.thread),
                    done: only(step.thread),
                });
            }
            let races = self.ordered.push(step);
            for race in &races {
                self.reverse(race);
            }
        }
        // What waits when a schedule is given up may wait for ever in all that come to the same.
        if run.end == ScheduleEnd::Whole && run.pending.iter().any(|pending| !pending.blocks) {
            self.ordered.last_ends();
        }
        for pending in &run.pending {
            let (races, _) = self.ordered.races_with(pending);
            for race in &races {
                self.reverse(race);
            }
        }
    }

    /// Sees to it that the second step of a race comes first in some schedule.
    fn reverse(&mut self, race: &StepRace) {
        let initials = self.ordered.initials(race);
        let node = &mut self.nodes[race.first];
        if initials & (node.chosen | node.asleep) != 0 {
            return;
        }
        let possible = initials & node.able;
        if possible & only(race.thread) != 0 {
            node.chosen |= only(race.thread);
        } else if let Some(thread) = each(possible).next() {
            node.chosen |= only(thread);
        } else if initials & node.held != 0 || initials.count_ones() > 1 {
            node.chosen |= node.able;
        }
    }
}
