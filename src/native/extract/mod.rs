//! What a program's code does to allocate and to release, as a discipline: `heisenbed extract`, and
//! whether executions are runs of a given one: `run --conforms`.
//!
//! [`record`] runs schedules and reads their [`operation`]s. All of them together say which words
//! are a buffer's [`status`] and what its [`locks`] are; then each operation is told in [`steps`]
//! of the language. [`written`] puts those that agree into a discipline, with the place in the code
//! behind each step; [`conform`] holds each against a discipline that is given.
//!
//! What holds: nothing is guessed without a word. An action that others could see and that the
//! language has no step for is told as a note or as a problem, and with a problem there is no
//! verdict. Two operations that do different things are a difference, and both are shown.

pub(crate) mod conform;
pub(crate) mod locks;
mod operation;
mod places;
mod record;
mod status;
pub(crate) mod steps;
mod unmarked;
pub(crate) mod written;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use self::locks::{LockRole, Locks};
use self::operation::{Operation, What};
use self::places::Places;
pub(crate) use self::record::{RecordPlan, Recorded};
use self::status::StatusUse;
use self::steps::{ToldOperation, ToldStep};
use super::symbols::Symbols;
use crate::lifecycle::{BufferPath, MicroStep, ProgramKind};
use crate::numbers::plural;

/// What all operations of the recorded executions come to.
pub(crate) struct Reading<'a> {
    pub(crate) recorded: &'a Recorded,
    places: Places<'a>,
    pub(crate) locks: Locks,
    status: StatusUse,
    /// Those that allocate or release what is tracked, by the number of their operation.
    pub(crate) told: BTreeMap<usize, ToldOperation>,
    /// What is to be said of all of it.
    pub(crate) notes: Vec<String>,
}

impl<'a> Reading<'a> {
    /// Reads them.
    pub(crate) fn new(recorded: &'a Recorded, symbols: &'a Symbols) -> Reading<'a> {
        let operations = &recorded.operations;
        let places = Places::new(symbols);
        let status = status::interpret(operations);
        let meanings = locks::meanings(operations, &status.steps);
        let locks = locks::find(operations, &meanings, &places);
        let mut reading = Reading {
            recorded,
            places,
            locks,
            status,
            told: BTreeMap::new(),
            notes: Vec::new(),
        };
        let untracked = reading.untracked();
        let paths = |at: usize| match operations[at].devices().len() {
            0 | 1 => BufferPath::Plain,
            _ => BufferPath::Mesh,
        };
        for (at, operation) in operations.iter().enumerate() {
            if untracked.contains(&at) {
                continue;
            }
            let path = reading.status.allocation_of[at].map(paths);
            let told = steps::tell(at, operation, &meanings[at], &reading.locks, path);
            reading.told.insert(at, told);
        }
        // Operations do the same at the same places, most of them.
        let mut noted = HashSet::new();
        for (at, told) in &reading.told {
            for one in &told.steps {
                if let Some(act) = one.act {
                    let site = &operations[*at].acts[act].site;
                    let program = (told.path, told.kind);
                    if noted.insert((program, one.step, site.clone())) {
                        let text = one.step.text(&reading.locks);
                        reading.places.note(program, site, &text);
                    }
                }
            }
        }
        reading.note_what_is_left_out(untracked.len());
        reading
    }

    /// Whether loads and stores were seen, without which a status is not.
    pub(crate) fn accesses_seen(&self) -> bool {
        self.status.accesses_seen
    }

    /// Whether operations on this path look at a status.
    pub(crate) fn looks_at_status(&self, path: BufferPath) -> bool {
        let mut of_path = self.told.values().filter(|told| told.path == path);
        of_path.any(|told| told.steps.iter().any(|one| may_return(one.step)))
    }

    /// Whether operations on this path write one.
    pub(crate) fn writes_status(&self, path: BufferPath) -> bool {
        let mut of_path = self.told.values().filter(|told| told.path == path);
        of_path.any(|told| told.steps.iter().any(|one| is_mark(one.step)))
    }

    /// Why what is seen is not all of it, whatever it says.
    pub(crate) fn doubt(&self) -> Option<&'static str> {
        match (self.recorded.inferred, self.status.accesses_seen) {
            (true, _) => Some(
                "operations are not marked (hb_op_begin and hb_op_end of heisenbed.h): where they \
                 begin and end follows from addresses and messages, and status, early publication \
                 and releases that do nothing are not seen",
            ),
            (false, false) => Some(
                "loads and stores are not seen, so that check-live, claim, mark-live and mark-dead \
                 are missing: build the program by `heisenbed c++`",
            ),
            (false, true) => None,
        }
    }

    /// Where a step was done.
    pub(crate) fn place(&self, operation: usize, act: usize) -> String {
        let site = &self.recorded.operations[operation].acts[act].site;
        match self.told.get(&operation) {
            Some(told) => self.places.telling((told.path, told.kind), site),
            None => self.places.inner(site),
        }
    }

    /// Whether a release was seen to return at this look at the status.
    pub(crate) fn returns_at(&self, operation: usize, act: usize) -> bool {
        let site = &self.recorded.operations[operation].acts[act].site;
        self.status.returned_at.contains(site)
    }

    /// Operations on buffers of which neither allocator nor server hears: those that own no memory,
    /// and those for which there was no room.
    fn untracked(&self) -> HashSet<usize> {
        let operations = &self.recorded.operations;
        let is_silent = |operation: &Operation| operation.devices().is_empty();
        let silent: HashSet<usize> = operations
            .iter()
            .enumerate()
            .filter(|(_, one)| one.kind == ProgramKind::Allocate && is_silent(one))
            .map(|(at, _)| at)
            .collect();
        let of_silent = |at: &usize| match self.status.allocation_of[*at] {
            Some(allocation) => silent.contains(&allocation),
            // A buffer that was allocated before anything was seen, and nothing is done to it.
            None => operations[*at].kind == ProgramKind::Deallocate,
        };
        let releases = (0..operations.len()).filter(|at| is_silent(&operations[*at]));
        let releases: Vec<usize> = releases.filter(of_silent).collect();
        silent.into_iter().chain(releases).collect()
    }

    fn note_what_is_left_out(&mut self, untracked: usize) {
        let recorded = self.recorded;
        if untracked > 0 {
            self.notes.push(format!(
                "{} of buffers that are neither allocated nor tracked (pre-allocated ones, or no \
                 room)",
                plural(untracked as u64, "operation")
            ));
        }
        if recorded.cut > 0 {
            self.notes.push(format!(
                "{} did not come to an end",
                plural(recorded.cut, "operation")
            ));
        }
        if recorded.outside > 0 && !recorded.inferred {
            self.notes.push(format!(
                "the allocator handed out or took back {} outside of marked operations",
                plural(recorded.outside, "place")
            ));
        }
        let others: BTreeSet<&str> = self
            .told
            .keys()
            .flat_map(|at| &recorded.operations[*at].acts)
            .filter_map(|act| match act.what {
                What::Other(name) => Some(name),
                _ => None,
            })
            .collect();
        if !others.is_empty() {
            let names: Vec<&str> = others.into_iter().collect();
            self.notes.push(format!(
                "actions that are no step of the language were left out: {}",
                names.join(", ")
            ));
        }
        if recorded
            .operations
            .iter()
            .flat_map(|one| &one.acts)
            .any(|act| act.what == What::Held)
        {
            self.notes.push(
                "a lock that is held when an operation begins is written as taken by it".to_owned(),
            );
        }
    }

    /// What is held against a program: its steps, where locks that have no name are themselves.
    pub(crate) fn unnamed(&self) -> Vec<String> {
        let unnamed = |family: &locks::LockFamily| match &family.role {
            LockRole::Unnamed(why) => Some(format!("{}: {why}", family.name)),
            _ => None,
        };
        self.locks.families.iter().filter_map(unnamed).collect()
    }
}

/// Whether it writes a status.
fn is_mark(step: ToldStep) -> bool {
    matches!(
        step,
        ToldStep::Step(MicroStep::MarkLive | MicroStep::MarkDead)
    )
}

/// Whether it ends a program early.
fn may_return(step: ToldStep) -> bool {
    matches!(
        step,
        ToldStep::Step(MicroStep::CheckLive | MicroStep::Claim | MicroStep::CheckLiveUnguarded)
    )
}
