//! Whether operations are runs of a discipline's programs: step by step, with the locks that are
//! meant found out as they are met.

use std::collections::BTreeMap;

use super::locks::LockRole;
use super::steps::{ToldOperation, ToldStep};
use super::{Reading, is_mark, may_return};
use crate::lifecycle::{BufferPath, Discipline, Lock, MicroStep, ProgramKind};

/// What was checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conformity {
    /// Operations that were held against their program.
    pub(crate) checked: u64,
    /// Where the code does something else, each difference once.
    pub(crate) departures: Vec<Departure>,
    /// Steps of the discipline that cannot be seen, or operations that it says nothing of.
    pub(crate) unchecked: Vec<String>,
    /// Programs of the discipline of which nothing was executed.
    pub(crate) unseen: Vec<String>,
}

/// Where the code does something else than the discipline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Departure {
    /// On which path.
    pub(crate) path: BufferPath,
    /// In which program.
    pub(crate) program: ProgramKind,
    /// The step, from 1; one more than there are: after the last.
    pub(crate) step: usize,
    /// The line of the step in the file; 0: none.
    pub(crate) line: u32,
    /// What the discipline has there; none: it has ended.
    pub(crate) expected: Option<MicroStep>,
    /// What the code does there; none: the operation ends.
    pub(crate) found: Option<String>,
    /// Where it does so; where it ended, of the last thing that it did.
    pub(crate) place: String,
    /// What else is to be said.
    pub(crate) why: Option<String>,
    /// In which schedule that was first.
    pub(crate) schedule: u64,
    /// In how many operations.
    pub(crate) operations: u64,
}

/// Holds them all against `discipline`.
pub(crate) fn check(reading: &Reading<'_>, discipline: &Discipline) -> Conformity {
    let mut check = Check {
        reading,
        discipline,
        names: Vec::new(),
        logs: reading.told.values().any(|told| {
            let log = ToldStep::Step(MicroStep::DebugLog);
            told.steps.iter().any(|one| one.step == log)
        }),
        found: Conformity::default(),
    };
    for (at, told) in &reading.told {
        check.operation(*at, told);
    }
    check.note_unseen();
    check.found
}

struct Check<'a> {
    reading: &'a Reading<'a>,
    discipline: &'a Discipline,
    /// Which family is which lock of the discipline.
    names: Vec<(usize, Lock)>,
    /// Whether the code writes its debug log at all.
    logs: bool,
    found: Conformity,
}

/// A step of the discipline's, with its number.
type Expected = (usize, MicroStep);

impl Check<'_> {
    fn operation(&mut self, at: usize, told: &ToldOperation) {
        let Some(program) = self.discipline.program_on(told.path, told.kind) else {
            let path = told.path.prefix().trim_end();
            let words =
                format!("the discipline has no [{path}] path: its operations were not checked");
            if !self.found.unchecked.contains(&words) {
                self.found.unchecked.push(words);
            }
            return;
        };
        self.found.checked += 1;
        let expected = self.visible(told.path, program.steps());
        let told = &self.with_marks_that_matter(told);
        let departed = self.departs(told, &expected);
        let Some((number, position, why)) = departed else {
            return;
        };
        let one = told.steps.get(position);
        let last = told.steps[..position.min(told.steps.len())].iter();
        let acts = one
            .into_iter()
            .chain(last.rev())
            .filter_map(|told| told.act);
        let place = acts.map(|act| self.reading.place(at, act)).next();
        let step = number.unwrap_or(program.steps().len());
        self.add(Departure {
            path: told.path,
            program: told.kind,
            step: step + 1,
            line: program.line(step),
            expected: program.steps().get(step).copied(),
            found: one.map(|one| self.in_words(one.step)),
            place: place.unwrap_or_default(),
            why: why.or_else(|| told.problem.clone()),
            schedule: self.reading.recorded.schedule_of(at),
            operations: 1,
        });
    }

    /// A lock by its own name: it is not yet said which of the discipline's it is.
    fn in_words(&self, step: ToldStep) -> String {
        let takes = matches!(step, ToldStep::Lock(_) | ToldStep::Step(MicroStep::Lock(_)));
        match self.family(step) {
            Some(family) if takes => ToldStep::Lock(family).text(&self.reading.locks),
            Some(family) => ToldStep::Unlock(family).text(&self.reading.locks),
            None => step.text(&self.reading.locks),
        }
    }

    fn add(&mut self, departure: Departure) {
        let same = |other: &&mut Departure| {
            let counted = (other.schedule, other.operations);
            **other
                == Departure {
                    schedule: counted.0,
                    operations: counted.1,
                    ..departure.clone()
                }
        };
        match self.found.departures.iter_mut().find(same) {
            Some(other) => other.operations += 1,
            None => self.found.departures.push(departure),
        }
    }

    /// Whether it can be told which word is a buffer's status.
    fn has_status(&self, path: BufferPath) -> bool {
        self.reading.looks_at_status(path) || self.reading.writes_status(path)
    }

    /// A word that is written and that nobody looks at is a status only where one is expected.
    fn with_marks_that_matter(&self, told: &ToldOperation) -> ToldOperation {
        let mut kept = told.clone();
        let programs = self.discipline.programs();
        let expected = programs
            .filter(|(path, _, _)| *path == told.path)
            .flat_map(|(_, _, program)| program.steps())
            .any(|step| is_mark(ToldStep::Step(*step)) || may_return(ToldStep::Step(*step)));
        if !expected && !self.reading.looks_at_status(told.path) {
            kept.steps.retain(|one| !is_mark(one.step));
        }
        kept
    }

    /// The steps that can be seen: without those of a status where loads and stores are not, a
    /// debug log that is not written, and the allocator's own lock around its own step alone.
    fn visible(&self, path: BufferPath, steps: &[MicroStep]) -> Vec<Expected> {
        let mut visible: Vec<Expected> = Vec::new();
        let all: Vec<Expected> = steps.iter().copied().enumerate().collect();
        let own = |at: usize| {
            let around = steps.get(at..at + 3);
            matches!(
                around,
                Some([
                    MicroStep::Lock(Lock::Allocator),
                    MicroStep::Alloc | MicroStep::Free,
                    MicroStep::Unlock(Lock::Allocator),
                ])
            )
        };
        for (at, step) in all {
            let is_own_lock = own(at) || at >= 2 && own(at - 2);
            let is_seen = match step {
                MicroStep::CheckLive
                | MicroStep::CheckLiveUnguarded
                | MicroStep::Claim
                | MicroStep::MarkLive
                | MicroStep::MarkDead => self.has_status(path),
                MicroStep::DebugLog => self.logs,
                MicroStep::Stamp => false,
                _ => !is_own_lock,
            };
            if is_seen {
                visible.push((at, step));
            }
        }
        visible
    }

    /// Where it departs: the number of the step, the position in the operation, and a reason.
    fn departs(
        &mut self,
        told: &ToldOperation,
        expected: &[Expected],
    ) -> Option<(Option<usize>, usize, Option<String>)> {
        let mut may_end = false;
        for (at, one) in told.steps.iter().enumerate() {
            let Some((number, wanted)) = expected.get(at) else {
                return Some((None, at, None));
            };
            if let Err(why) = self.agrees(one.step, *wanted) {
                // An early return gives back what is held, and that is all.
                let rest = &told.steps[at..];
                let gives_back = rest.iter().all(|told| {
                    let step = told.step;
                    matches!(
                        step,
                        ToldStep::Unlock(_) | ToldStep::Step(MicroStep::Unlock(_))
                    )
                });
                if told.returned && may_end && gives_back {
                    return None;
                }
                return Some((Some(*number), at, why));
            }
            let unlocks = matches!(one.step, ToldStep::Step(MicroStep::Unlock(_)));
            may_end = may_return(one.step) || may_end && unlocks;
        }
        match expected.get(told.steps.len()) {
            None => None,
            Some(_) if told.returned && (may_end || !self.has_status(told.path)) => None,
            Some((number, _)) => Some((Some(*number), told.steps.len(), None)),
        }
    }

    fn agrees(&mut self, step: ToldStep, wanted: MicroStep) -> Result<(), Option<String>> {
        let is_lock = |step| match step {
            ToldStep::Lock(_) | ToldStep::Step(MicroStep::Lock(_)) => Some(true),
            ToldStep::Unlock(_) | ToldStep::Step(MicroStep::Unlock(_)) => Some(false),
            ToldStep::Step(_) => None,
        };
        let (wanted_lock, takes) = match wanted {
            MicroStep::Lock(lock) => (lock, true),
            MicroStep::Unlock(lock) => (lock, false),
            // The two differ in what a return does with locks, which is looked at there.
            MicroStep::CheckLiveUnguarded => {
                let same = step == ToldStep::Step(MicroStep::CheckLive);
                return if same { Ok(()) } else { Err(None) };
            }
            _ if step == ToldStep::Step(wanted) => return Ok(()),
            _ => return Err(None),
        };
        if is_lock(step) != Some(takes) {
            return Err(None);
        }
        let Some(family) = self.family(step) else {
            return Err(None);
        };
        let met = self.names.iter();
        let met = met
            .clone()
            .find(|(one, lock)| *one == family || *lock == wanted_lock);
        match met {
            Some((one, lock)) if *one == family && *lock == wanted_lock => Ok(()),
            Some((one, lock)) => Err(Some(format!(
                "`{lock}` is {} elsewhere",
                self.reading.locks.families[*one].name
            ))),
            None => {
                let known = &self.reading.locks.families[family];
                if !known.can_be(wanted_lock) {
                    return Err(Some(format!(
                        "{} is {}, which `{wanted_lock}` is not",
                        known.name,
                        known.scope_in_words()
                    )));
                }
                self.names.push((family, wanted_lock));
                Ok(())
            }
        }
    }

    fn family(&self, step: ToldStep) -> Option<usize> {
        if let ToldStep::Lock(family) | ToldStep::Unlock(family) = step {
            return Some(family);
        }
        let named = LockRole::Named(step.lock()?);
        let mut families = self.reading.locks.families.iter();
        families.position(|family| family.role == named)
    }

    fn is_executed(&self, path: BufferPath) -> bool {
        let mut told = self.reading.told.values();
        told.any(|told| told.path == path)
    }

    fn note_unseen(&mut self) {
        let mut unseen: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (path, _, program) in self.discipline.programs() {
            for step in program.steps() {
                let why = match step {
                    MicroStep::CheckLive
                    | MicroStep::CheckLiveUnguarded
                    | MicroStep::Claim
                    | MicroStep::MarkLive
                    | MicroStep::MarkDead
                        if !self.has_status(path) && self.is_executed(path) =>
                    {
                        if self.reading.accesses_seen() {
                            "no word of a buffer was seen that a release looks at and writes"
                        } else if self.reading.recorded.inferred {
                            "operations are not marked (hb_op_begin, hb_op_end)"
                        } else {
                            "loads and stores are not seen (build the program by `heisenbed c++`)"
                        }
                    }
                    MicroStep::Stamp => "the number of a message is taken unseen",
                    _ => continue,
                };
                let steps = unseen.entry(why).or_default();
                let text = step.to_string();
                if !steps.contains(&text) {
                    steps.push(text);
                }
            }
        }
        let unseen = unseen
            .into_iter()
            .map(|(why, steps)| format!("{} was not checked: {why}", steps.join(", ")));
        self.found.unchecked.extend(unseen);
        for (path, kind, _) in self.discipline.programs() {
            let any = self
                .reading
                .told
                .values()
                .any(|told| (told.path, told.kind) == (path, kind) && !told.returned);
            if !any {
                let words = format!("no {}{kind} of a buffer was seen", path.prefix());
                self.found.unseen.push(words);
            }
        }
    }
}
