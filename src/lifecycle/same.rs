//! Whether two disciplines say the same but for names: their own, and those of locks that are of
//! one kind.
//!
//! `tracker` and `global` are both one mutex for the process: where one discipline has the first in
//! all places in which the other has the second, they say the same. So it is with `lifecycle` and
//! a table that has an entry for every device that can be; but not with a short table, which ends
//! somewhere. `allocator` is the one that `alloc` and `free` take for themselves, and no other is.

use std::fmt;

use super::discipline::{BufferPath, Discipline, ProgramKind};
use super::step::{Lock, MicroStep};

/// Where two disciplines say different things first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisciplineDifference {
    /// On which path.
    pub path: BufferPath,
    /// In which program.
    pub program: ProgramKind,
    /// The index of the step, from 0.
    pub step: usize,
    /// What the one has there; none: nothing more.
    pub one: Option<MicroStep>,
    /// What the other has there.
    pub other: Option<MicroStep>,
}

impl Discipline {
    /// Where `other` says something else first, but for names; none: nowhere.
    pub fn difference(&self, other: &Discipline) -> Option<DisciplineDifference> {
        let mut names = LockNames::default();
        for path in BufferPath::ALL {
            for program in ProgramKind::ALL {
                let steps = |discipline: &Discipline| {
                    let program = discipline.program_on(path, program);
                    program.map_or_else(Vec::new, |program| program.steps().to_vec())
                };
                let (mine, theirs) = (steps(self), steps(other));
                let first = (0..mine.len().max(theirs.len()))
                    .find(|at| !names.agree(mine.get(*at).copied(), theirs.get(*at).copied()));
                if let Some(step) = first {
                    return Some(DisciplineDifference {
                        path,
                        program,
                        step,
                        one: mine.get(step).copied(),
                        other: theirs.get(step).copied(),
                    });
                }
            }
        }
        None
    }
}

/// Which lock of one is which of the other, as far as that was met.
#[derive(Debug, Default)]
struct LockNames(Vec<(Lock, Lock)>);

impl LockNames {
    fn agree(&mut self, one: Option<MicroStep>, other: Option<MicroStep>) -> bool {
        match (one, other) {
            (Some(MicroStep::Lock(one)), Some(MicroStep::Lock(other)))
            | (Some(MicroStep::Unlock(one)), Some(MicroStep::Unlock(other))) => {
                self.pair(one, other)
            }
            _ => one == other,
        }
    }

    fn pair(&mut self, one: Lock, other: Lock) -> bool {
        let met = self
            .0
            .iter()
            .find(|(left, right)| *left == one || *right == other);
        match met {
            Some(pair) => *pair == (one, other),
            None => {
                self.0.push((one, other));
                is_of_one_kind(one, other)
            }
        }
    }
}

fn is_of_one_kind(one: Lock, other: Lock) -> bool {
    let is_of_process = |lock| matches!(lock, Lock::Tracker | Lock::Global);
    one == other || is_of_process(one) && is_of_process(other)
}

impl fmt::Display for DisciplineDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |step: Option<MicroStep>| match step {
            Some(step) => format!("`{step}`"),
            None => "nothing more".to_owned(),
        };
        write!(
            f,
            "{}{} step {}: {} in the one, {} in the other",
            self.path.prefix(),
            self.program,
            self.step + 1,
            words(self.one),
            words(self.other)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Order, Publication, builtin};
    use super::*;

    fn parsed(text: &str) -> Discipline {
        Discipline::from_toml("x.toml", text).expect("a discipline")
    }

    const WITH_TRACKER: &str = "name = 'a'\n\
        allocate = ['alloc', 'lock tracker', 'send ALLOC', 'unlock tracker', 'publish']\n\
        deallocate = ['lock tracker', 'send FREE', 'unlock tracker', 'free']";

    #[test]
    fn each_built_in_is_the_same_as_itself_alone() {
        for one in builtin::all() {
            for other in builtin::all() {
                let found = one.difference(other);
                assert_eq!(found.is_none(), one.name == other.name, "{found:?}");
            }
            let free_first = one.with(Order::FreeFirst, Publication::Late);
            assert!(one.difference(&free_first).is_some(), "{}", one.name);
        }
    }

    #[test]
    fn locks_of_one_kind_may_have_other_names_but_the_same_ones_everywhere() {
        let one = parsed(WITH_TRACKER);
        let renamed = parsed(&WITH_TRACKER.replace("tracker", "global"));
        assert_eq!(one.difference(&renamed), None);
        let mixed = WITH_TRACKER.replacen("tracker", "global", 2);
        let difference = one.difference(&parsed(&mixed)).expect("another lock");
        assert_eq!(
            difference.to_string(),
            "deallocate step 1: `lock tracker` in the one, `lock tracker` in the other"
        );
        let device = parsed(&WITH_TRACKER.replace("tracker", "lifecycle"));
        assert!(one.difference(&device).is_some());
    }
}
