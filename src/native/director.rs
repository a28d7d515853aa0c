//! What each schedule of a search is to do: draws plans, and learns from what came of them.
//!
//! Plans are drawn in the order of their numbers, a few at a time (an *epoch*): what the executions
//! of an epoch show is known in the next. So it does not matter who runs them, or when.

use heisenbed_sampling::Stream;

use super::aims::{MAX_RUN_AIMS, RunAim};
use super::execution::VisibleAction;
use super::learnt::Learnt;
use super::plan::{RunPlan, RunStrategy};
use super::situations::Situations;
use super::steps::Steps;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Director {
    base: RunPlan,
    first: u64,
    learnt: Learnt,
    /// Those of the block of schedules that is drawn.
    situations: Situations,
    block: u64,
    /// Schedules of a search that is taken up again: the blocks of these are learnt anew.
    resumed: Vec<u64>,
}

/// Of [`Stream::of`]: what is drawn here is no part of what the runtime draws.
const PURPOSE: u64 = 2;

/// Of [`Stream::of`]: what is kept of a schedule.
const KEEPING: u64 = 3;

/// The strategies that take turns, after the first schedule.
const TURNS: [RunStrategy; 8] = [
    RunStrategy::Surw,
    RunStrategy::Rff,
    RunStrategy::Surw,
    RunStrategy::Rff,
    RunStrategy::Few,
    RunStrategy::Surw,
    RunStrategy::Rff,
    RunStrategy::Pos,
];

/// So many schedules take those turns. What they do not find is no easy one: from there on every
/// second goes back to a rare situation.
const EASY: u64 = 256;

const LATE_TURNS: [RunStrategy; 8] = [
    RunStrategy::Surw,
    RunStrategy::Rare,
    RunStrategy::Rff,
    RunStrategy::Rare,
    RunStrategy::Few,
    RunStrategy::Rare,
    RunStrategy::Pos,
    RunStrategy::Rare,
];

/// After so many schedules the situations are forgotten: a search that is taken up again must learn
/// no more than these anew, and one that has come to nothing new begins elsewhere.
const BLOCK: u64 = 1 << 16;

/// Executions of one epoch, at most: more would learn later.
const LONGEST_EPOCH: u64 = 32;

/// After so many schedules only some are looked at.
const LOOKED_AT: u64 = 1_024;

impl Director {
    /// Plans like `base`, from schedule `first` on.
    pub(crate) fn new(base: RunPlan, first: u64) -> Director {
        Director {
            base,
            first,
            learnt: Learnt::default(),
            situations: Situations::default(),
            block: 0,
            resumed: Vec::new(),
        }
    }

    /// Schedules are run again only to learn from them, but for these and what comes after the
    /// last.
    pub(crate) fn resume_at(&mut self, schedules: Vec<u64>) {
        self.resumed = schedules;
    }

    /// How many schedules the epoch has that begins after `done` of them: they all know the same.
    pub(crate) fn epoch(done: u64) -> u64 {
        (done / 4).next_power_of_two().clamp(1, LONGEST_EPOCH)
    }

    /// Whether what the schedule of `plan` did is to be learnt from.
    pub(crate) fn learns(&self, plan: &RunPlan) -> bool {
        let learning = matches!(
            self.base.strategy,
            RunStrategy::Surw
                | RunStrategy::Rff
                | RunStrategy::Few
                | RunStrategy::Rare
                | RunStrategy::Mix
                | RunStrategy::Pct { .. }
        );
        learning && (self.is_looked_at(plan) || self.comes_to_situations(plan))
    }

    fn is_looked_at(&self, plan: &RunPlan) -> bool {
        let drawn = plan.index - self.first;
        drawn < LOOKED_AT || drawn % 256 < 2
    }

    fn comes_to_situations(&self, plan: &RunPlan) -> bool {
        let block = self.block_of(plan.index);
        let is_past = |at: &u64| block < self.block_of(*at);
        plan.strategy == RunStrategy::Rare
            && (self.resumed.iter().any(|at| self.block_of(*at) == block)
                || !self.resumed.iter().any(is_past))
    }

    fn block_of(&self, index: u64) -> u64 {
        index.saturating_sub(self.first) / BLOCK
    }

    /// The plan of schedule `index`. To be called in the order of the numbers.
    pub(crate) fn plan(&mut self, index: u64) -> RunPlan {
        let mut plan = RunPlan {
            index,
            ..self.base.clone()
        };
        let drawn = index - self.first;
        plan.strategy = match self.base.strategy {
            // The first shows what there is.
            RunStrategy::Pct { .. } if drawn == 0 => RunStrategy::First,
            RunStrategy::Surw
            | RunStrategy::Rff
            | RunStrategy::Few
            | RunStrategy::Rare
            | RunStrategy::Mix
                if drawn == 0 =>
            {
                RunStrategy::Pos
            }
            RunStrategy::Mix if drawn >= EASY => {
                LATE_TURNS[(drawn % LATE_TURNS.len() as u64) as usize]
            }
            RunStrategy::Mix => TURNS[((drawn - 1) % TURNS.len() as u64) as usize],
            strategy => strategy,
        };
        let mut stream = Stream::of(plan.seed, [index, PURPOSE, 0]);
        match plan.strategy {
            RunStrategy::Pct { .. } => plan.expected_steps = self.learnt.most_choices.max(1),
            RunStrategy::Surw => self.select(&mut plan, &mut stream),
            RunStrategy::Few => self.hold_few(&mut plan, &mut stream),
            RunStrategy::Rff => self.turn_round(&mut plan, &mut stream),
            RunStrategy::Rare => plan.steps = self.rare(index, &mut stream),
            _ => {}
        }
        plan
    }

    /// Learns from the execution of `plan`, which took these steps. To be called in the order of
    /// the numbers.
    pub(crate) fn learn(&mut self, plan: &RunPlan, steps: &Steps, events: &[VisibleAction]) {
        if self.is_looked_at(plan) {
            self.learnt.digest(plan, events);
        }
        let draws_rare = matches!(self.base.strategy, RunStrategy::Rare | RunStrategy::Mix);
        if draws_rare && self.block_of(plan.index) == self.block {
            let mut stream = Stream::of(plan.seed, [plan.index, KEEPING, 0]);
            self.situations
                .add(steps, plan.steps.count(), events, &mut stream);
        }
    }

    /// Steps to a situation that came about seldom.
    fn rare(&mut self, index: u64, stream: &mut Stream) -> Steps {
        if self.block_of(index) != self.block {
            self.block = self.block_of(index);
            self.situations = Situations::default();
        }
        self.situations.rare(stream)
    }

    /// Some objects, whose steps are put into an order that is as likely as any.
    fn select(&self, plan: &mut RunPlan, stream: &mut Stream) {
        let learnt = &self.learnt;
        let choices = learnt.usual_choices();
        let creator = |thread: usize| learnt.creators.get(thread).copied().unwrap_or(0);
        let shared: Vec<_> = learnt
            .objects
            .iter()
            .filter(|object| object.shared)
            .collect();
        let how = stream.below(8);
        let chosen: Vec<_> = match shared.len() as u64 {
            0 => Vec::new(),
            count if how < 4 => vec![shared[stream.below(count) as usize]],
            _ if how < 6 => shared
                .into_iter()
                .filter(|_| stream.below(2) == 0)
                .collect(),
            _ => Vec::new(),
        };
        let mut counts = vec![0u32; choices.len()];
        if chosen.is_empty() || chosen.len() > heisenbed_runtime::protocol::MAX_SELECTED {
            counts = choices;
        } else {
            for object in &chosen {
                for (count, own) in counts.iter_mut().zip(learnt.usual_counts(object)) {
                    *count = count.saturating_add(own);
                }
            }
            plan.selected = Some(chosen.iter().map(|object| object.address).collect());
        }
        plan.expected = counts
            .into_iter()
            .enumerate()
            .map(|(thread, count)| (count, creator(thread)))
            .collect();
    }

    /// Threads are held at a few places that they share, until nobody else can go on.
    fn hold_few(&mut self, plan: &mut RunPlan, stream: &mut Stream) {
        plan.runs_on = stream.below(4) > 0;
        let places: Vec<usize> = (0..self.learnt.sites.len())
            .filter(|site| self.learnt.sites[*site].shared)
            .collect();
        if places.is_empty() {
            return;
        }
        let sites = &mut self.learnt.sites;
        let first = least(&places, |site| sites[site].tried, stream);
        // Each place alone, and for everybody, before anything else is tried with it.
        let is_new = sites[first].tried == 0;
        sites[first].tried += 1;
        let count = if is_new { 1 } else { how_many(stream) };
        for number in 0..count {
            let site = if number == 0 {
                first
            } else {
                places[stream.below(places.len() as u64) as usize]
            };
            let record = &sites[site];
            let once = !is_new && stream.below(2) == 0;
            let skips = once && stream.below(2) == 0;
            plan.aims.push(RunAim {
                hold: record.site,
                until: None,
                once,
                skip: if skips {
                    stream.below(record.passed.into()) as u32
                } else {
                    0
                },
            });
        }
    }

    /// Orders of two accesses are turned round: who comes to the first waits for the second.
    fn turn_round(&mut self, plan: &mut RunPlan, stream: &mut Stream) {
        plan.runs_on = stream.below(2) == 0;
        let races: Vec<usize> = (0..self.learnt.races.len()).collect();
        if races.is_empty() {
            return;
        }
        // What could not be turned round before is tried less often, and orders that were seen
        // both ways come after those that were not.
        let key = |race: usize| {
            let seen = u32::from(self.learnt.is_seen_both_ways(race));
            let race = &self.learnt.races[race];
            (race.tried + seen) * if race.turned < race.tried { 3 } else { 1 }
        };
        let first = least(&races, key, stream);
        // Each order alone, before anything else is tried with it.
        if self.learnt.races[first].tried == 0 {
            self.learnt.races[first].tried = 1;
            plan.aims.push(self.turned(first, false));
            return;
        }
        let fruitful = self.learnt.fruitful.len() as u64;
        let any = |stream: &mut Stream| races[stream.below(races.len() as u64) as usize];
        let count = if fruitful > 0 && stream.below(3) == 0 {
            let chosen = stream.below(fruitful) as usize;
            plan.aims.clone_from(&self.learnt.fruitful[chosen]);
            plan.aims.truncate(MAX_RUN_AIMS - 1);
            plan.aims.len() + 1
        } else {
            self.learnt.races[first].tried += 1;
            plan.aims.push(self.turned(first, stream.below(4) == 0));
            how_many(stream)
        };
        while plan.aims.len() < count {
            let race = any(stream);
            plan.aims.push(self.turned(race, stream.below(4) == 0));
        }
    }

    fn turned(&self, race: usize, once: bool) -> RunAim {
        let race = &self.learnt.races[race];
        let at = |site: usize| self.learnt.sites[site].site;
        RunAim {
            hold: at(race.first),
            until: Some(at(race.then)),
            // Of two threads at one place only one can wait for the other.
            once: race.first == race.then || once,
            skip: 0,
        }
    }
}

/// Few more often than many.
fn how_many(stream: &mut Stream) -> usize {
    match stream.below(10) {
        0..5 => 1,
        5..8 => 2,
        _ => 3,
    }
}

/// One of those with the least `key`, each as likely.
fn least(all: &[usize], key: impl Fn(usize) -> u32, stream: &mut Stream) -> usize {
    let lowest = all.iter().map(|one| key(*one)).min().unwrap_or(0);
    let among: Vec<usize> = all
        .iter()
        .copied()
        .filter(|one| key(*one) == lowest)
        .collect();
    among[stream.below(among.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program does: two threads that take steps as drawn, after those that they are to.
    fn execute(plan: &RunPlan) -> (Steps, Vec<VisibleAction>) {
        let mut stream = Stream::of(plan.seed, [plan.index, 0, 0]);
        let mut given = plan.steps.runs().iter();
        let mut steps = Steps::new();
        let mut events = Vec::new();
        let mut done = [0; 2];
        while done[0] + done[1] < 8 {
            let (thread, count) = given
                .next()
                .copied()
                .unwrap_or_else(|| (stream.below(2) as u32, 1));
            for _ in 0..count {
                let own = &mut done[thread as usize];
                *own += 1;
                events.push(VisibleAction {
                    kind: 0,
                    thread,
                    after_preemption: false,
                    object: None,
                    own_steps: 0,
                    pc: 0x1000 + *own * 0x10,
                    address: 0x8000,
                    value: 0,
                    stack: Vec::new(),
                });
            }
            steps.push(thread, count);
        }
        (steps, events)
    }

    /// Plans of the schedules up to `last`; those before `next` are learnt from only as far as must
    /// be.
    fn drawn(strategy: RunStrategy, resumed: &[u64], last: u64) -> (Vec<RunPlan>, u64) {
        let next = resumed.last().copied().unwrap_or(0);
        let mut director = Director::new(RunPlan::new(strategy, 7, 0), 0);
        director.resume_at(resumed.to_vec());
        let (mut plans, mut again) = (Vec::new(), 0);
        let mut index = 0;
        while index < last {
            let epoch: Vec<RunPlan> = (index..last.min(index + Director::epoch(index)))
                .map(|index| director.plan(index))
                .collect();
            index += epoch.len() as u64;
            for plan in epoch {
                if director.learns(&plan) {
                    again += u64::from(plan.index < next);
                    let (steps, events) = execute(&plan);
                    director.learn(&plan, &steps, &events);
                }
                plans.push(plan);
            }
        }
        (plans, again)
    }

    #[test]
    fn a_search_that_is_taken_up_draws_what_it_would_have_drawn() {
        let last = 2 * BLOCK + 500;
        for strategy in [RunStrategy::Rare, RunStrategy::Mix] {
            let (whole, _) = drawn(strategy, &[], last);
            let rare = whole.iter().filter(|plan| plan.steps.count() > 0).count();
            assert!(rare as u64 > BLOCK / 2, "{rare}");
            // With a failure in the block before.
            for (resumed, most) in [
                (vec![2 * BLOCK + 100], 3_000),
                (vec![BLOCK + 5, 2 * BLOCK + 100], BLOCK + 3_000),
            ] {
                let (plans, again) = drawn(strategy, &resumed, last);
                assert!(again < most, "{again} were run again");
                let first = (resumed[0] / BLOCK * BLOCK) as usize;
                assert!(plans[first..] == whole[first..], "{strategy:?}");
            }
        }
    }
}
