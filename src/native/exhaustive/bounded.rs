//! All schedules with at most so many preemptions.
//!
//! Each is run, without a reduction that the bound would spoil: a schedule that comes to the same
//! as another may have fewer preemptions than it. One thing is left out: a thread is taken off only
//! before a step that touches what others touch, too. Before another it might as well take that
//! step first, which changes nothing, and the preemption comes one step later. What is shared is
//! learnt; whenever something new turns out to be, the search begins anew.

use std::collections::BTreeMap;

use super::estimate::estimate;
use super::step::{
    Explorable, ExploredRun, ExploredStep, ScheduleEnd, Threads, TouchKind, Touched, each, only,
};

/// A search: see the [module](self).
#[derive(Debug)]
pub(crate) struct BoundedSearch {
    most: u32,
    /// What threads touch is known; if not, all of it may be shared.
    sees: bool,
    steps: Vec<ExploredStep>,
    nodes: Vec<BoundedNode>,
    shared: SharedPlaces,
    begun: bool,
    /// Schedules that were run.
    pub(crate) runs: u64,
    /// The same, since it last began anew.
    pass: u64,
    /// Steps could not be taken, or were others, when they were to be repeated.
    pub(crate) strayed: bool,
}

#[derive(Clone, Debug)]
struct BoundedNode {
    left: Threads,
    done: u32,
}

impl BoundedSearch {
    /// A search for schedules with at most `most` preemptions. `sees`: what threads touch is known.
    pub(crate) fn new(most: u32, sees: bool) -> BoundedSearch {
        BoundedSearch {
            most,
            sees,
            steps: Vec::new(),
            nodes: Vec::new(),
            shared: SharedPlaces::default(),
            begun: false,
            runs: 0,
            pass: 0,
            strayed: false,
        }
    }

    /// Runs the next schedule, and says how it ended; none if there is no other.
    pub(crate) fn next<E: Explorable>(
        &mut self,
        program: &mut E,
    ) -> Result<Option<ScheduleEnd>, E::Error> {
        let Some(prefix) = self.choose() else {
            return Ok(None);
        };
        let run = program.run(&prefix, 0)?;
        self.runs += 1;
        self.pass += 1;
        let end = run.end;
        self.take_in(prefix.len(), run);
        Ok(Some(end))
    }

    /// How many schedules there are, as far as can be told.
    pub(crate) fn estimate(&self) -> f64 {
        let choices = self.nodes.iter();
        let these = estimate(
            self.pass,
            choices.map(|node| (node.done, node.left.count_ones())),
        );
        these + (self.runs - self.pass) as f64
    }

    fn choose(&mut self) -> Option<Vec<u32>> {
        if !self.begun {
            self.begun = true;
            return Some(Vec::new());
        }
        let deepest = self.nodes.iter().rposition(|node| node.left != 0)?;
        self.nodes.truncate(deepest + 1);
        self.steps.truncate(deepest);
        let node = self.nodes.last_mut()?;
        let thread = each(node.left).next()?;
        node.left &= !only(thread);
        node.done += 1;
        let mut prefix: Vec<u32> = self.steps.iter().map(|step| step.thread).collect();
        prefix.push(thread);
        Some(prefix)
    }

    fn take_in(&mut self, prefix: usize, run: ExploredRun) {
        // Nothing is known of it, and whoever searches says so.
        if run.end == ScheduleEnd::Useless {
            return;
        }
        let same = |(was, is): (&ExploredStep, &ExploredStep)| was.is_same(is);
        if run.steps.len() < prefix || !self.steps.iter().zip(&run.steps).all(same) {
            self.strayed = true;
            return;
        }
        if self.shared.learn(run.steps.iter().chain(&run.pending)) {
            self.steps.clear();
            self.nodes.clear();
            self.begun = false;
            self.pass = 0;
            return;
        }
        self.steps = run.steps;
        let (mut spent, mut before) = (0, 0);
        let mut left = Vec::with_capacity(self.steps.len());
        for (at, step) in self.steps.iter().enumerate() {
            left.push(self.others(at, before, spent, &run.pending));
            spent += u32::from(step.costs && step.thread != before);
            before = step.thread;
        }
        let known = self.nodes.len();
        let new = left.into_iter().skip(known);
        self.nodes
            .extend(new.map(|left| BoundedNode { left, done: 1 }));
    }

    /// Who else may go on at a step, within the bound.
    fn others(&self, at: usize, before: u32, spent: u32, pending: &[ExploredStep]) -> Threads {
        let step = &self.steps[at];
        let others = step.able & !only(step.thread);
        if !step.costs {
            return others;
        }
        let next = self.steps[at..]
            .iter()
            .chain(pending)
            .find(|next| next.thread == before);
        let matters = !self.sees || next.is_none_or(|next| self.shared.has(next));
        if spent < self.most && matters {
            others
        } else {
            others & only(before)
        }
    }
}

/// Places that several threads touch, one of them writing.
#[derive(Debug, Default)]
struct SharedPlaces(BTreeMap<u64, PlaceUse>);

#[derive(Debug)]
struct PlaceUse {
    thread: u32,
    written: bool,
    several: bool,
}

/// What is larger is taken for shared.
const MAX_GRANULES: u64 = 64;

impl SharedPlaces {
    /// Whether something turned out to be shared that was not known to be.
    fn learn<'a>(&mut self, steps: impl Iterator<Item = &'a ExploredStep>) -> bool {
        let mut grown = false;
        for step in steps {
            let touches = [Some(step.touched), step.extra];
            for touched in touches.into_iter().flatten() {
                for (granule, written) in granules(&touched) {
                    let place = self.0.entry(granule).or_insert(PlaceUse {
                        thread: step.thread,
                        written: false,
                        several: false,
                    });
                    let was = place.written && place.several;
                    place.written |= written;
                    place.several |= place.thread != step.thread;
                    grown |= !was && place.written && place.several;
                }
            }
        }
        grown
    }

    fn has(&self, step: &ExploredStep) -> bool {
        let touched = &step.touched;
        let place = |(granule, _): (u64, bool)| {
            self.0
                .get(&granule)
                .is_some_and(|place| place.written && place.several)
        };
        step.ends
            || touched.how == TouchKind::All
            || touched.advances
            || u64::from(touched.size) > MAX_GRANULES * 8
            || granules(touched).any(place)
            || step.extra.is_some()
    }
}

/// The words of memory that are touched, and whether they are written.
fn granules(touched: &Touched) -> impl Iterator<Item = (u64, bool)> + use<> {
    let (address, size) = touched.place();
    let written = touched.how == TouchKind::Write;
    let nothing = matches!(touched.how, TouchKind::Nothing | TouchKind::All);
    let last = address.saturating_add(u64::from(size.max(1)) - 1) >> 3;
    let words = (address >> 3..=last).take(MAX_GRANULES as usize);
    let second = Some(touched.with >> 3).filter(|_| touched.with != 0);
    words
        .filter(move |_| !nothing)
        .map(move |granule| (granule, written))
        .chain(second.map(|granule| (granule, true)))
}
