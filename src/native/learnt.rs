//! What earlier executions of a program have shown: which objects threads share, where, and which
//! accesses came in which order.
//!
//! Everything has a number, in order of first appearance: so what is drawn by number does not
//! depend on where the program was loaded.

use heisenbed_runtime::protocol::MAX_THREADS;
use rustc_hash::FxHashMap;

use super::aims::{CodeSite, RunAim};
use super::execution::VisibleAction;
use super::plan::RunPlan;

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(crate) struct Learnt {
    pub(super) sites: Vec<SharedSite>,
    pub(super) objects: Vec<SharedObject>,
    pub(super) races: Vec<Race>,
    /// Aims of executions that showed something new.
    pub(super) fruitful: Vec<Vec<RunAim>>,
    /// By thread: who makes it.
    pub(super) creators: Vec<u32>,
    /// By thread: the choices that it had, in all executions.
    choices: Vec<u64>,
    /// How many executions there were.
    executions: u64,
    /// The most choices of an execution.
    pub(super) most_choices: u64,
    site_numbers: FxHashMap<CodeSite, usize>,
    objects_at: FxHashMap<u64, Vec<u64>>,
    object_numbers: FxHashMap<u64, usize>,
    race_numbers: FxHashMap<(usize, usize), usize>,
}

/// A place where threads act.
#[derive(Clone, Debug)]
pub(super) struct SharedSite {
    pub(super) site: CodeSite,
    /// How often it was passed in one execution, at most.
    pub(super) passed: u32,
    /// Threads share what it is about, and it can wait there.
    pub(super) shared: bool,
    /// How often somebody was held there.
    pub(super) tried: u32,
}

/// What threads act on.
#[derive(Clone, Debug)]
pub(super) struct SharedObject {
    pub(super) address: u64,
    /// By thread: how often, in all executions.
    counts: Vec<u64>,
    pub(super) shared: bool,
}

/// Two sites at which different threads act on one object, the first before the other.
#[derive(Clone, Debug)]
pub(super) struct Race {
    pub(super) first: usize,
    pub(super) then: usize,
    /// How often the order was to be turned round, and how often it was.
    pub(super) tried: u32,
    pub(super) turned: u32,
}

/// More events of an execution are not looked at.
pub(super) const MOST_EVENTS: usize = 1 << 14;
/// A place that has more objects than this is one place for all of them.
const OBJECTS_OF_A_SITE: usize = 8;
const MOST_SITES: usize = 1 << 14;
const MOST_OBJECTS: usize = 1 << 14;
const MOST_RACES: usize = 1 << 15;
const MOST_FRUITFUL: usize = 64;

/// Who acted last on an object, in one execution.
#[derive(Default)]
struct LastActions {
    /// The last that changed it, and those since that did not.
    write: Option<Last>,
    reads: Vec<Last>,
}

#[derive(Clone)]
struct Last {
    at: usize,
    thread: u32,
    site: usize,
    locks: Vec<u64>,
}

impl Learnt {
    /// Learns from an execution.
    pub(super) fn digest(&mut self, plan: &RunPlan, events: &[VisibleAction]) {
        let mut digest = Digest::default();
        self.most_choices = self.most_choices.max(events.len() as u64);
        for (at, event) in events.iter().enumerate() {
            self.event(&mut digest, at, event);
        }
        self.keep_counts(&digest);
        if digest.new_race && !plan.aims.is_empty() {
            if self.fruitful.len() >= MOST_FRUITFUL {
                self.fruitful.remove(0);
            }
            self.fruitful.push(plan.aims.clone());
        }
        if let Some(aim) = plan.aims.first()
            && let Some(until) = aim.until
        {
            self.judge(&digest, aim.hold, until);
        }
    }

    /// Whether the other order of a race was seen, too.
    pub(super) fn is_seen_both_ways(&self, race: usize) -> bool {
        let race = &self.races[race];
        self.race_numbers.contains_key(&(race.then, race.first))
    }

    fn event(&mut self, digest: &mut Digest, at: usize, event: &VisibleAction) {
        let thread = event.thread as usize;
        // The program may have written anything there.
        let made = event.value as usize;
        if thread >= MAX_THREADS || (event.action() == "create" && made >= MAX_THREADS) {
            return;
        }
        bump(&mut digest.choices, thread);
        match event.action() {
            "create" => {
                grow(&mut digest.made_at, made);
                digest.made_at[made] = at;
                grow(&mut self.creators, made);
                self.creators[made] = event.thread;
                grow(&mut digest.makers, made);
                digest.makers[made] = event.thread;
            }
            "start" | "end" | "join" | "detach" | "cancel" | "yield" | "sleep" | "fence"
            | "kill" | "handler" | "pause" => return,
            _ => {}
        }
        if event.address == 0 {
            return;
        }
        let Some(site) = self.site(event) else {
            return;
        };
        bump(&mut digest.passed, site);
        digest.first_at.entry(site).or_insert((at, event.thread));
        let key = event.address;
        if let Some(object) = self.object(key) {
            digest.touch(object, thread);
            let shared = self.objects[object].shared;
            self.objects[object].shared = shared || digest.is_shared(object);
            let shared = self.objects[object].shared;
            self.sites[site].shared |= shared || event.action() == "create";
        }
        self.order(digest, at, event, site, key);
        digest.follow_locks(event);
    }

    /// Which orders of two threads' actions on an object this one makes.
    fn order(
        &mut self,
        digest: &mut Digest,
        at: usize,
        event: &VisibleAction,
        site: usize,
        key: u64,
    ) {
        // What was done already is no more to be ordered: only what is about to be done.
        if matches!(
            event.action(),
            "unlock" | "rw-unlock" | "spin-unlock" | "create" | "wake" | "barrier-leave"
        ) {
            return;
        }
        let locks = digest.locks(event.thread).to_vec();
        let last = digest.last.entry(key).or_default();
        let mut before: Vec<Last> = Vec::new();
        before.extend(last.write.clone());
        let own = Last {
            at,
            thread: event.thread,
            site,
            locks,
        };
        if event.is_read() {
            if last.reads.len() < 4 {
                last.reads.push(own.clone());
            }
        } else {
            before.append(&mut last.reads);
            last.write = Some(own.clone());
        }
        for earlier in before {
            if earlier.thread != own.thread && digest.may_turn(&earlier, &own) {
                digest.new_race |= self.race(earlier.site, site);
            }
        }
    }

    /// Whether it was not known.
    fn race(&mut self, first: usize, then: usize) -> bool {
        if self.race_numbers.contains_key(&(first, then)) || self.races.len() >= MOST_RACES {
            return false;
        }
        self.race_numbers.insert((first, then), self.races.len());
        self.races.push(Race {
            first,
            then,
            tried: 0,
            turned: 0,
        });
        true
    }

    /// Whether the order that a plan aimed at came about.
    fn judge(&mut self, digest: &Digest, hold: CodeSite, until: CodeSite) {
        let numbers = (self.site_numbers.get(&hold), self.site_numbers.get(&until));
        let (Some(first), Some(then)) = numbers else {
            return;
        };
        let Some(race) = self.race_numbers.get(&(*first, *then)) else {
            return;
        };
        let first_at = |site| digest.first_at.get(site).map(|(at, _)| *at);
        let turned = match (first_at(first), first_at(then)) {
            (Some(held), Some(passed)) => passed <= held,
            (None, Some(_)) => true,
            _ => false,
        };
        self.races[*race].turned += u32::from(turned);
    }

    fn site(&mut self, event: &VisibleAction) -> Option<usize> {
        let objects = self.objects_at.entry(event.pc).or_default();
        if objects.len() <= OBJECTS_OF_A_SITE && !objects.contains(&event.address) {
            objects.push(event.address);
        }
        let object = if objects.len() > OBJECTS_OF_A_SITE {
            0
        } else {
            event.address
        };
        let site = CodeSite {
            pc: event.pc,
            object,
        };
        if let Some(number) = self.site_numbers.get(&site) {
            return Some(*number);
        }
        if self.sites.len() >= MOST_SITES {
            return None;
        }
        let number = self.sites.len();
        self.site_numbers.insert(site, number);
        self.sites.push(SharedSite {
            site,
            passed: 0,
            shared: false,
            tried: 0,
        });
        Some(number)
    }

    fn object(&mut self, address: u64) -> Option<usize> {
        if let Some(number) = self.object_numbers.get(&address) {
            return Some(*number);
        }
        if self.objects.len() >= MOST_OBJECTS {
            return None;
        }
        let number = self.objects.len();
        self.object_numbers.insert(address, number);
        self.objects.push(SharedObject {
            address,
            counts: Vec::new(),
            shared: false,
        });
        Some(number)
    }

    /// By thread: about how many choices it has.
    pub(super) fn usual_choices(&self) -> Vec<u32> {
        self.usual(&self.choices)
    }

    /// By thread: about how often it acts on an object.
    pub(super) fn usual_counts(&self, object: &SharedObject) -> Vec<u32> {
        self.usual(&object.counts)
    }

    /// The mean, rounded up: who is ever there counts.
    fn usual(&self, counts: &[u64]) -> Vec<u32> {
        let mean = |count: &u64| count.div_ceil(self.executions.max(1));
        counts
            .iter()
            .map(|count| u32::try_from(mean(count)).unwrap_or(u32::MAX))
            .collect()
    }

    fn keep_counts(&mut self, digest: &Digest) {
        self.executions += 1;
        add(&mut self.choices, &digest.choices);
        for (record, passed) in self.sites.iter_mut().zip(&digest.passed) {
            record.passed = record.passed.max(*passed);
        }
        for (object, counts) in &digest.touched {
            add(&mut self.objects[*object].counts, counts);
        }
    }
}

/// What is known of one execution while it is looked at.
#[derive(Default)]
struct Digest {
    choices: Vec<u32>,
    passed: Vec<u32>,
    /// By thread: the event that made it, and its maker.
    made_at: Vec<usize>,
    makers: Vec<u32>,
    touched: FxHashMap<usize, Vec<u32>>,
    first_at: FxHashMap<usize, (usize, u32)>,
    last: FxHashMap<u64, LastActions>,
    held: Vec<Vec<u64>>,
    new_race: bool,
}

impl Digest {
    fn touch(&mut self, object: usize, thread: usize) {
        bump(self.touched.entry(object).or_default(), thread);
    }

    fn is_shared(&self, object: usize) -> bool {
        let counts = self.touched.get(&object);
        counts.is_some_and(|counts| counts.iter().filter(|count| **count > 0).count() > 1)
    }

    fn locks(&self, thread: u32) -> &[u64] {
        self.held.get(thread as usize).map_or(&[], Vec::as_slice)
    }

    fn follow_locks(&mut self, event: &VisibleAction) {
        let thread = event.thread as usize;
        grow(&mut self.held, thread);
        let held = &mut self.held[thread];
        match event.action() {
            "lock" | "spin-lock" | "write-lock" => held.push(event.address),
            "try-lock" if event.value == 0 => held.push(event.address),
            "unlock" | "spin-unlock" | "rw-unlock" => {
                if let Some(at) = held.iter().rposition(|lock| *lock == event.address) {
                    held.remove(at);
                }
            }
            _ => {}
        }
    }

    /// Whether the second could have come first: nothing that both hold and no making of threads
    /// orders them.
    fn may_turn(&self, first: &Last, then: &Last) -> bool {
        if first.locks.iter().any(|lock| then.locks.contains(lock)) {
            return false;
        }
        let mut thread = then.thread;
        // No longer chain of makers than there are threads.
        for _ in 0..self.makers.len() {
            let Some(made_at) = self.made_at.get(thread as usize) else {
                break;
            };
            let maker = self.makers[thread as usize];
            if maker == first.thread && *made_at > first.at {
                return false;
            }
            if maker == thread {
                break;
            }
            thread = maker;
        }
        true
    }
}

fn grow<T: Default + Clone>(all: &mut Vec<T>, at: usize) {
    if all.len() <= at {
        all.resize(at + 1, T::default());
    }
}

fn bump(counts: &mut Vec<u32>, at: usize) {
    grow(counts, at);
    counts[at] = counts[at].saturating_add(1);
}

fn add(sums: &mut Vec<u64>, more: &[u32]) {
    if sums.len() < more.len() {
        sums.resize(more.len(), 0);
    }
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += u64::from(*more);
    }
}
