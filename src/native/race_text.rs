//! A data race as people read it: who did what where, and what would order it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::execution::{Execution, VisibleAction};
use super::races::{AccusedRace, DataRace, RaceTally, RacingAccess};
use super::symbols::{Place, Symbols};

/// A race in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RaceText {
    /// The variable, where the symbol table knows it.
    pub(crate) variable: Option<String>,
    /// Both accesses, the one that was made first first.
    pub(crate) accesses: [AccessText; 2],
}

/// An access in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessText {
    /// `read`, `write`, `atomic-load`, `atomic-store`, `atomic-update`.
    pub(crate) action: &'static str,
    /// Who made it.
    pub(crate) thread: u32,
    /// Where.
    pub(crate) place: Place,
    /// How many bytes.
    pub(crate) size: u32,
    /// They are a part of a larger access.
    pub(crate) is_part: bool,
}

impl RaceText {
    /// Of a race of a program with these symbols.
    pub(crate) fn new(race: &DataRace, symbols: &Symbols) -> RaceText {
        let access = |access: &RacingAccess| AccessText {
            action: access.action(),
            thread: access.thread,
            place: symbols.place(access.pc.saturating_sub(1)),
            size: access.size,
            is_part: access.is_part,
        };
        RaceText {
            variable: symbols.variable(race.address),
            accesses: [access(&race.first), access(&race.second)],
        }
    }

    /// In one line.
    pub(crate) fn summary(&self) -> String {
        let [first, second] = &self.accesses;
        let what = self.variable.as_deref().unwrap_or("memory without a name");
        format!(
            "thread {} {} {what} at {}, thread {} {} it at {}, and nothing orders them",
            first.thread,
            verb(first.action),
            first.place,
            second.thread,
            verb(second.action),
            second.place,
        )
    }

    /// Both places, in alphabetical order: what makes two races the same.
    pub(crate) fn places(&self) -> [String; 2] {
        let mut places = self.accesses.each_ref().map(|at| at.place.to_string());
        places.sort();
        places
    }
}

impl AccessText {
    fn bytes(&self) -> String {
        let bytes = match self.size {
            1 => "1 byte".to_owned(),
            size => format!("{size} bytes"),
        };
        match self.is_part {
            true => format!("{bytes} of a larger access"),
            false => bytes,
        }
    }
}

fn verb(action: &str) -> &'static str {
    match action {
        "read" => "reads",
        "write" => "writes",
        "atomic-load" => "atomically loads",
        "atomic-store" => "atomically stores",
        "atomic-update" => "atomically updates",
        _ => "touches",
    }
}

/// Puts the race that is an execution's failure into words.
pub(crate) fn name(execution: &mut Execution, symbols: &Symbols) {
    let Some(accused) = &mut execution.race else {
        return;
    };
    accused.text = Some(RaceText::new(&accused.race, symbols));
    let summary = accused.failure().summary;
    if let Some(failure) = &mut execution.failure {
        failure.summary = summary;
    }
}

/// The distinct races of a search, by their places in the source.
#[derive(Clone, Debug, Default)]
pub(crate) struct RaceList {
    /// In the order in which they showed, with the schedule in which they did.
    pub(crate) races: Vec<(RaceText, u64)>,
    /// Others that are not kept.
    pub(crate) more: u64,
}

/// The most that are shown and kept.
const MAX_RACES: usize = 64;

impl RaceList {
    /// Of a search of a program with these symbols.
    pub(crate) fn new(tally: &RaceTally, symbols: &Symbols) -> RaceList {
        let mut list = RaceList {
            races: Vec::new(),
            more: tally.more,
        };
        let mut known = BTreeSet::new();
        for found in &tally.found {
            let text = RaceText::new(&found.race, symbols);
            if !known.insert(text.places()) {
                continue;
            }
            if list.races.len() < MAX_RACES {
                list.races.push((text, found.schedule));
            } else {
                list.more += 1;
            }
        }
        list
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.races.len() as u64 + self.more
    }
}

/// What is told of the race of an execution whose events have stacks.
pub(super) struct RaceStory<'a> {
    pub(super) execution: &'a Execution,
    pub(super) events: &'a [VisibleAction],
    pub(super) symbols: &'a Symbols,
    /// Of objects.
    pub(super) names: &'a BTreeMap<u32, String>,
}

/// Frames of a stack that are shown.
const MAX_SHOWN: usize = 8;

impl RaceStory<'_> {
    /// Both accesses, with stacks and locks, and what would order them.
    pub(super) fn write(&self, text: &mut String, accused: &AccusedRace) {
        let race = RaceText::new(&accused.race, self.symbols);
        let what = race.variable.as_deref().unwrap_or("memory without a name");
        let _ = writeln!(text, "\nData race on {what}:");
        let mut held = [Vec::new(), Vec::new()];
        for (number, access) in race.accesses.iter().enumerate() {
            let event = self.execution.seen_races().watched[number];
            let _ = writeln!(
                text,
                "  thread {} {} {}, {}",
                access.thread,
                verb(access.action),
                access.bytes(),
                access.place
            );
            self.write_stack(text, event, access);
            held[number] = self.held(access.thread, event);
            if !held[number].is_empty() {
                let _ = writeln!(text, "      holding {}", held[number].join(", "));
            }
        }
        let _ = writeln!(text, "\n{}", advice(&accused.race, &held));
    }

    /// Who called the function of the access.
    fn write_stack(&self, text: &mut String, event: Option<usize>, access: &AccessText) {
        let stack = event.and_then(|event| self.events.get(event));
        let Some(stack) = stack.map(|event| &event.stack) else {
            return;
        };
        let places: Vec<Place> = stack.iter().map(|pc| self.symbols.place(*pc)).collect();
        let last = places.iter().rposition(|place| place.is_own);
        let callers = places[..last.map_or(0, |last| last + 1)]
            .iter()
            .filter(|place| place.line.is_some() && !is_of_the_archive(place))
            .skip_while(|place| **place == access.place)
            .take(MAX_SHOWN);
        for caller in callers {
            let _ = writeln!(text, "      called by {caller}");
        }
    }

    /// The locks that a thread holds when it comes to this event.
    fn held(&self, thread: u32, event: Option<usize>) -> Vec<String> {
        let mut held: Vec<u32> = Vec::new();
        let before = event.and_then(|event| self.events.get(..event));
        for event in before.unwrap_or_default() {
            let Some(object) = event.object.filter(|_| event.thread == thread) else {
                continue;
            };
            match event.action() {
                "lock" | "try-lock" | "read-lock" | "write-lock" | "spin-lock"
                    if event.value == 0 =>
                {
                    held.push(object);
                }
                "unlock" | "rw-unlock" | "spin-unlock" => {
                    if let Some(at) = held.iter().rposition(|one| *one == object) {
                        held.remove(at);
                    }
                }
                _ => {}
            }
        }
        let mut names: Vec<String> = Vec::new();
        for object in held {
            let name = self.names.get(&object).cloned();
            let name = name.unwrap_or_else(|| format!("lock {object}"));
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// Whether it is what stands between the program and the runtime.
pub(super) fn is_of_the_archive(place: &Place) -> bool {
    let function = place.function.as_deref().unwrap_or_default();
    place.line.is_none() && (function.starts_with("__tsan_") || function.starts_with("__wrap_"))
}

/// What would order them.
fn advice(race: &DataRace, held: &[Vec<String>; 2]) -> String {
    let (first, second) = (race.first.thread, race.second.thread);
    let [one, other] = held;
    if race.first.is_atomic() != race.second.is_atomic() {
        return "One of them is atomic, the other is not. Make both atomic, or order them: by a \
                lock that both hold, or by what one thread releases after its access and the \
                other acquires before its own."
            .to_owned();
    }
    match (one.is_empty(), other.is_empty()) {
        (false, false) => {
            let common: Vec<&str> = one
                .iter()
                .filter(|name| other.contains(name))
                .map(String::as_str)
                .collect();
            match common.is_empty() {
                true => format!(
                    "Both hold locks, but not the same one: {} and {}. One lock that both hold \
                     would order them.",
                    one.join(", "),
                    other.join(", ")
                ),
                // Readers of a read-write lock, or one that was given up in between.
                false => format!(
                    "Both hold {}, but not so that one keeps the other out: a read lock lets \
                     others in. Where one writes, it must hold it for writing.",
                    common.join(", ")
                ),
            }
        }
        (true, true) => format!(
            "Nothing orders them: no lock is held by both, and nothing that thread {first} \
             releases after its access (an unlock, a release store, a post, its end) is acquired \
             by thread {second} before its own. One of the two would order them; where only the \
             value matters, make it atomic."
        ),
        (true, false) => only_one_holds(second, first, other),
        (false, true) => only_one_holds(first, second, one),
    }
}

fn only_one_holds(holder: u32, other: u32, locks: &[String]) -> String {
    let locks = locks.join(", ");
    format!(
        "Thread {holder} holds {locks}, thread {other} holds nothing: held by both, it would \
         order them."
    )
}
