//! Where an action was done, as people name it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use crate::lifecycle::{BufferPath, ProgramKind};
use crate::native::race_text::is_of_the_archive;
use crate::native::symbols::{Place, Symbols, Variable};

/// One of a discipline's programs.
pub(super) type ProgramKey = (BufferPath, ProgramKind);

/// Places of a program, looked up once each.
pub(super) struct Places<'a> {
    symbols: &'a Symbols,
    places: RefCell<HashMap<u64, Vec<Place>>>,
    variables: RefCell<HashMap<u64, Option<Variable>>>,
    /// What each program does at a place, over all sites.
    done_at: RefCell<HashMap<(ProgramKey, String), BTreeSet<String>>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(symbols: &'a Symbols) -> Places<'a> {
        Places {
            symbols,
            places: RefCell::default(),
            variables: RefCell::default(),
            done_at: RefCell::default(),
        }
    }

    pub(super) fn variable(&self, address: u64) -> Option<Variable> {
        let mut known = self.variables.borrow_mut();
        let found = known
            .entry(address)
            .or_insert_with(|| self.symbols.variable_at(address));
        found.clone()
    }

    /// The program's own places of a stack, innermost first.
    fn of(&self, site: &[u64]) -> Vec<Place> {
        let mut known = self.places.borrow_mut();
        let mut all = Vec::new();
        for pc in site {
            let found = known.entry(*pc).or_insert_with(|| {
                let mut found = self.symbols.places(*pc);
                found.retain(is_own);
                found
            });
            all.extend(found.iter().cloned());
        }
        all
    }

    /// The innermost.
    pub(super) fn inner(&self, site: &[u64]) -> String {
        let own = self.of(site);
        own.first().map_or_else(String::new, Place::to_string)
    }

    /// Says what a program does there, before places are asked for.
    pub(super) fn note(&self, program: ProgramKey, site: &[u64], step: &str) {
        let mut done_at = self.done_at.borrow_mut();
        for place in self.of(site) {
            let steps = done_at.entry((program, place.to_string())).or_default();
            steps.insert(step.to_owned());
        }
    }

    /// The outermost place at which the program does nothing else: a lock guard's own line is that
    /// of all locks, and the line that calls for the whole operation is that of all steps.
    pub(super) fn telling(&self, program: ProgramKey, site: &[u64]) -> String {
        let own = self.of(site);
        let done_at = self.done_at.borrow();
        let is_telling = |place: &&Place| {
            let steps = done_at.get(&(program, place.to_string()));
            steps.is_some_and(|steps| steps.len() == 1)
        };
        let found = own.iter().rfind(is_telling).or(own.first());
        found.map_or_else(String::new, Place::to_string)
    }
}

fn is_own(place: &Place) -> bool {
    let function = place.function.as_deref().unwrap_or_default();
    place.is_own && !function.starts_with("hb_") && !is_of_the_archive(place)
}
