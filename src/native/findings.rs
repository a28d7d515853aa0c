//! What tells one failure of a program from another: its kind, and the places of the code where
//! it shows. Which schedule showed it, and which numbers the threads had, makes no other one of it.

use std::collections::BTreeSet;

use super::execution::{Execution, Failure, VisibleAction};
use super::race_text::RaceText;
use super::symbols::{Place, Symbols};

/// The kind of a failure, and where it shows, in words that are the same in every run.
pub(crate) fn signature(execution: &Execution, symbols: &Symbols) -> Option<(String, String)> {
    let failure = execution.failure.as_ref()?;
    // A race is known by both its places; which thread came first makes no other one.
    let race = execution.race.as_ref();
    let race = race.map(|accused| RaceText::new(&accused.race, symbols).places());
    let places = match race {
        Some([one, other]) => format!("at {one} and {other}"),
        None => places(failure, symbols),
    };
    Some((failure.kind.name().to_owned(), places))
}

/// The line of the program's own code where a failure shows, where it is known.
pub(crate) fn failure_line(execution: &Execution, symbols: &Symbols) -> Option<CodeLine> {
    let failure = execution.failure.as_ref()?;
    let stack = failure.stack.iter().copied();
    let waits = failure.waits.iter();
    let waits = waits.flat_map(|wait| wait.stack.iter().copied().chain([wait.pc]));
    // An address on a stack is behind its call.
    let pcs = stack.chain(waits.map(|pc| pc.saturating_sub(1)));
    let mut own = pcs.map(|pc| symbols.place(pc)).filter(|place| place.is_own);
    own.find_map(|place| Some((place.path?, place.line?.1)))
}

/// A file of the user's code, and the line in it.
pub(crate) type CodeLine = (String, u32);

/// The line that a run passed last, in the failing thread where that is known: for failures that
/// have no place of their own. `module` is the file whose code counts; `None`: the program itself.
pub(crate) fn last_line(
    (execution, events): (&Execution, &[VisibleAction]),
    symbols: &Symbols,
    module: Option<&str>,
) -> Option<CodeLine> {
    let thread = execution.failure.as_ref()?.thread;
    let passed = events.iter().rev();
    let passed = passed.filter(|event| thread.is_none_or(|thread| event.thread == thread));
    let pcs = passed.flat_map(|event| {
        let stack = event.stack.iter().copied();
        stack.chain([event.pc.saturating_sub(1)])
    });
    let of_module = |place: &Place| match module {
        Some(module) => {
            let rest = place.module.strip_prefix(module);
            // What a header of the system has put in is no line of the user's.
            let is_header = |path: &String| path.starts_with("/usr");
            rest.is_some_and(|rest| rest.starts_with('+'))
                && !place.path.as_ref().is_some_and(is_header)
        }
        None => place.is_own,
    };
    let mut places = pcs.flat_map(|pc| symbols.places(pc)).filter(of_module);
    places.find_map(|place| Some((place.path?, place.line?.1)))
}

fn places(failure: &Failure, symbols: &Symbols) -> String {
    let own = failure.stack.iter().map(|pc| symbols.place(*pc));
    if let Some(place) = own.into_iter().find(|place| place.is_own) {
        return format!("at {place}");
    }
    if !failure.waits.is_empty() {
        // Threads of one kind that wait at one place are one finding, however many they are.
        let waits: BTreeSet<String> = failure
            .waits
            .iter()
            .filter(|wait| wait.action() != "none")
            .map(|wait| {
                let place: Place = symbols.place(wait.pc.saturating_sub(1));
                format!("{} at {place}", wait.action())
            })
            .collect();
        let waits: Vec<String> = waits.into_iter().collect();
        return waits.join(", ");
    }
    failure.summary.clone()
}
