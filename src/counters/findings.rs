//! What in a region of counters cannot be, or says of a process that is gone.

use std::collections::BTreeMap;

use super::{COUNTERS, Region};

/// A counter that says more than this has gone below nothing: no device has a sixteenth of 2⁶⁴
/// bytes.
const IMPOSSIBLE_BYTES: u64 = 1 << 60;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FindingKind {
    /// A counter is not the sum of what it counts.
    DriftedTotal,
    /// A counter went below nothing.
    Underflow,
    /// Two slots are of one process, or of one chip.
    SlotConflict,
    /// A slot is of a process that is gone, or of none, and has bytes.
    DeadProcess,
    /// It is said not to be whole.
    NotReady,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Of which kind.
    pub(crate) kind: FindingKind,
    /// In a sentence.
    pub(crate) says: String,
    /// Whether one reading shows it: the rest may be a process in the midst of an update.
    pub(crate) is_certain: bool,
}

/// What is wrong in `region`, where `is_alive` says of a process whether it runs.
pub(crate) fn findings(region: &Region, is_alive: &dyn Fn(i32) -> bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |kind, is_certain, says: String| {
        found.push(Finding {
            kind,
            says,
            is_certain,
        });
    };
    if region.ready == Some(false) {
        let says = "it does not say that it is ready: its creator is at it, or ended in between";
        add(FindingKind::NotReady, false, says.to_owned());
    }
    for (who, bytes) in counters_of(region) {
        for (counter, bytes) in COUNTERS.iter().zip(bytes) {
            if *bytes >= IMPOSSIBLE_BYTES {
                let below = bytes.wrapping_neg();
                let says = match *bytes > u64::MAX - IMPOSSIBLE_BYTES {
                    true => format!("{who}: {counter} is {below} bytes below nothing"),
                    false => format!("{who}: {counter} says {bytes} bytes, which no device has"),
                };
                add(FindingKind::Underflow, true, says);
            }
        }
    }
    conflicts(region, &mut add);
    for process in &region.processes {
        let bytes: u64 = process
            .bytes
            .iter()
            .fold(0, |sum, bytes| sum.saturating_add(*bytes));
        let slot = process.slot;
        match process.pid {
            0 => add(
                FindingKind::DeadProcess,
                false,
                format!("slot {slot} is of no process and has {bytes} bytes"),
            ),
            pid if pid > 0 && !is_alive(pid) => add(
                FindingKind::DeadProcess,
                true,
                format!(
                    "process {pid} ({}, slot {slot}) is gone and has {bytes} bytes, which stay until \
                     somebody takes them away",
                    process.name
                ),
            ),
            _ => {}
        }
    }
    sums(region, &mut add);
    found
}

/// Slots that are claimed twice.
fn conflicts(region: &Region, add: &mut impl FnMut(FindingKind, bool, String)) {
    let mut twice = |what: &str, slots: Vec<(i64, usize)>| {
        let mut by_owner: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (owner, slot) in slots {
            by_owner.entry(owner).or_default().push(slot);
        }
        for (owner, slots) in by_owner.iter().filter(|(_, slots)| slots.len() > 1) {
            let slots: Vec<String> = slots.iter().map(ToString::to_string).collect();
            add(
                FindingKind::SlotConflict,
                true,
                format!("{what} {owner} has several slots: {}", slots.join(", ")),
            );
        }
    };
    let processes = region.processes.iter().filter(|slot| slot.pid > 0);
    twice(
        "process",
        processes.map(|slot| (slot.pid.into(), slot.slot)).collect(),
    );
    let chips = region.chips.iter();
    twice(
        "chip",
        chips.map(|slot| (slot.chip.into(), slot.slot)).collect(),
    );
}

/// Totals beside the sums of what they count.
fn sums(region: &Region, add: &mut impl FnMut(FindingKind, bool, String)) {
    let mut compare = |what: &str, parts: Vec<&Vec<u64>>| {
        if parts.is_empty() {
            return;
        }
        for (index, counter) in COUNTERS.iter().enumerate().take(region.totals.len()) {
            let sum: u128 = parts.iter().map(|part| u128::from(part[index])).sum();
            let total = region.totals[index];
            if sum != u128::from(total) {
                add(
                    FindingKind::DriftedTotal,
                    false,
                    format!("the total of {counter} is {total} bytes, {what} have {sum}"),
                );
            }
        }
    };
    let chips = region.chips.iter().map(|slot| &slot.bytes);
    compare("its chips", chips.collect());
    // Where processes are not counted their table is empty, or holds who is attached and no bytes.
    let counts = |slot: &&super::ProcessCounters| slot.bytes.iter().any(|bytes| *bytes > 0);
    if region.processes.iter().any(|slot| counts(&slot)) {
        let processes = region.processes.iter().map(|slot| &slot.bytes);
        compare("its processes", processes.collect());
    }
}

/// Each set of counters, with whose it is.
fn counters_of(region: &Region) -> Vec<(String, &Vec<u64>)> {
    let totals = std::iter::once(("the total".to_owned(), &region.totals));
    let chips = region
        .chips
        .iter()
        .map(|slot| (format!("chip {}", slot.chip), &slot.bytes));
    let processes = region
        .processes
        .iter()
        .map(|slot| (format!("process {}", slot.pid), &slot.bytes));
    totals.chain(chips).chain(processes).collect()
}
