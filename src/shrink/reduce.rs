//! Leaving out: the fewest operations of a case of which some schedule still shows the kind.
//!
//! A long case is first cut down by delta debugging (Zeller and Hildebrandt 2002). Of a short one
//! every selection is tried, the smallest first: then the result is the smallest that there is,
//! provided that each search of a smaller one came to its end.

use crate::engine::controlled::exhaustive::{Goal, SearchEnd, SearchOptions, search};
use crate::engine::controlled::observe::ObservedRun;
use crate::oracle::Kind;

use super::ShrinkError;
use super::case::ShrinkCase;

/// Of so many operations every selection is tried.
const MAX_SELECTED: usize = 10;

/// A search for whether a short case shows the kind ends after this many states.
const MAX_STATES: u64 = 300_000;

/// What is left.
#[derive(Clone, Debug)]
pub(super) struct Reduced {
    /// The case.
    pub(crate) case: ShrinkCase,
    /// A run of it that shows the kind.
    pub(crate) example: Box<ObservedRun>,
    /// Whether every selection of fewer operations was searched to its end.
    pub(crate) fewest_ops: bool,
}

/// Reduces `case`, of which some schedule should show `kind`; whether one does is searched up to
/// `max_states` states.
pub(super) fn reduce(
    case: ShrinkCase,
    kind: Kind,
    max_states: u64,
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<Reduced, ShrinkError> {
    let mut reducer = Reducer {
        kind,
        can_be_done: case.can_be_done(),
        max_states,
        keep_going,
    };
    let not_reproduced = ShrinkError::NotReproduced {
        kind,
        ops: case.count(),
    };
    let Answer::Shows(example) = reducer.ask(&case)? else {
        return Err(not_reproduced);
    };
    // Plainer first: every later search is the shorter for it.
    let (case, example) = reducer.simplify(case, example)?;
    log::debug!("{case} show {kind}: leaving out halves, quarters and so on");
    let (mut case, mut example) = reducer.halve(case, example)?;
    reducer.max_states = MAX_STATES;
    (case, example) = reducer.simplify(case, example)?;
    log::debug!("{case} are left: trying every selection");
    loop {
        let (selected, found, fewest_ops) = reducer.select(case, example)?;
        (case, example) = reducer.merge_threads(selected.clone(), found)?;
        (case, example) = reducer.simplify(case, example)?;
        log::debug!("{case} are left, made plainer and merged");
        // What was proved of the selection holds for the result only where that is still the same.
        if case == selected {
            return Ok(Reduced {
                case,
                example,
                fewest_ops,
            });
        }
    }
}

struct Reducer<'a> {
    kind: Kind,
    /// Whether the operations can be done in some order, and so must those of each smaller case.
    can_be_done: bool,
    max_states: u64,
    keep_going: &'a mut dyn FnMut() -> bool,
}

/// Whether a case shows the kind.
enum Answer {
    Shows(Box<ObservedRun>),
    /// No schedule does.
    Never,
    /// The search was given up.
    Unknown,
}

impl Reducer<'_> {
    fn ask(&mut self, case: &ShrinkCase) -> Result<Answer, ShrinkError> {
        if !(self.keep_going)() {
            return Err(ShrinkError::Interrupted);
        }
        if case.count() == 0 || (self.can_be_done && !case.can_be_done()) {
            return Ok(Answer::Never);
        }
        let Some(setup) = case.setup().ok() else {
            return Ok(Answer::Unknown);
        };
        let options = SearchOptions {
            goal: Goal::Kind(self.kind),
            max_states: self.max_states,
            ..SearchOptions::default()
        };
        let found = search(&setup, &options, &mut |_| (self.keep_going)());
        if !(self.keep_going)() {
            return Err(ShrinkError::Interrupted);
        }
        Ok(match (found.example, found.ended) {
            (Some(example), _) => Answer::Shows(example),
            (None, SearchEnd::Exhausted) => Answer::Never,
            (None, _) => Answer::Unknown,
        })
    }

    /// Leaves out halves, quarters and so on, until no single operation can be.
    fn halve(
        &mut self,
        mut case: ShrinkCase,
        mut example: Box<ObservedRun>,
    ) -> Result<(ShrinkCase, Box<ObservedRun>), ShrinkError> {
        let mut length = case.count().div_ceil(2);
        while case.count() > MAX_SELECTED && length > 0 {
            let mut from = 0;
            let mut shorter = false;
            while from < case.count() {
                let without = case.keeping(|at| at < from || at >= from + length);
                if without.count() < case.count()
                    && let Answer::Shows(found) = self.ask(&without)?
                {
                    (case, example, shorter) = (without, found, true);
                } else {
                    from += length;
                }
            }
            if !shorter || length > 1 {
                length /= 2;
            }
        }
        Ok((case, example))
    }

    /// Tries every selection of operations, the smallest first, and of equal ones that with the
    /// fewest threads.
    fn select(
        &mut self,
        case: ShrinkCase,
        example: Box<ObservedRun>,
    ) -> Result<(ShrinkCase, Box<ObservedRun>, bool), ShrinkError> {
        let count = case.count();
        if count > MAX_SELECTED {
            return Ok((case, example, false));
        }
        let mut selections: Vec<(usize, usize, ShrinkCase)> = (1u32..1 << count)
            .map(|mask| case.keeping(|at| mask >> at & 1 == 1))
            .map(|case| (case.count(), case.threads(), case))
            .filter(|(ops, ..)| *ops > 0 && *ops < count)
            .collect();
        selections.sort_by_key(|(ops, threads, _)| (*ops, *threads));
        let mut proved = true;
        for (.., selection) in selections {
            match self.ask(&selection)? {
                Answer::Shows(found) => return Ok((selection, found, proved)),
                Answer::Never => {}
                Answer::Unknown => proved = false,
            }
        }
        Ok((case, example, proved))
    }

    /// Gives the operations of one thread to another.
    fn merge_threads(
        &mut self,
        mut case: ShrinkCase,
        mut example: Box<ObservedRun>,
    ) -> Result<(ShrinkCase, Box<ObservedRun>), ShrinkError> {
        if case.is_staged() {
            return Ok((case, example));
        }
        'again: loop {
            for thread in 0..case.threads() {
                for other in (0..case.threads()).filter(|other| *other != thread) {
                    for after in [true, false] {
                        let merged = case.merged(thread, other, after);
                        if let Answer::Shows(found) = self.ask(&merged)? {
                            (case, example) = (merged, found);
                            continue 'again;
                        }
                    }
                }
            }
            return Ok((case, example));
        }
    }

    fn simplify(
        &mut self,
        mut case: ShrinkCase,
        mut example: Box<ObservedRun>,
    ) -> Result<(ShrinkCase, Box<ObservedRun>), ShrinkError> {
        'again: loop {
            for plainer in case.plainer() {
                if let Answer::Shows(found) = self.ask(&plainer)? {
                    (case, example) = (plainer, found);
                    continue 'again;
                }
            }
            return Ok((case, example));
        }
    }
}
