//! Operations of programs that do not mark them: what the allocator and the messages say tells them
//! from each other.
//!
//! An operation is what one thread does from the first to the last of an allocation's address and
//! message, or a release's, with the locks that are held around any of it. It is over when each
//! address that it began with has both, or when something of another kind comes. What an operation
//! does before and after, and one that does nothing, is not seen: status, publication, an early
//! return.

use std::collections::BTreeMap;

use super::operation::{Act, Operation, What};
use crate::lifecycle::ProgramKind;
use crate::tracking::MessageKind;

/// All actions of one thread, in order.
pub(super) type ThreadActs = Vec<Act>;

/// Cuts a thread's actions into operations.
pub(super) fn cut(execution: u64, acts: &ThreadActs) -> Vec<Operation> {
    let cores = cores(acts);
    let sections = sections(acts);
    let extents: Vec<(usize, usize)> = cores
        .iter()
        .enumerate()
        .map(|(number, core)| {
            // Never into a neighbour's.
            let after = number
                .checked_sub(1)
                .map_or(0, |before| cores[before].last + 1);
            let before = cores.get(number + 1).map_or(acts.len(), |next| next.first);
            extent(core, &sections, after..before)
        })
        .collect();
    let operations = cores.iter().zip(extents).map(|(core, (from, to))| {
        let held = sections
            .iter()
            .filter(|section| section.from < from && section.to > to);
        let held: Vec<usize> = held.map(|section| section.from).collect();
        let as_held = |at: &usize, what| Act {
            what,
            ..acts[*at].clone()
        };
        let first = held.iter().map(|at| as_held(at, What::Held));
        let inside = acts[from..=to].iter().filter(|act| {
            // Only some of these are seen outside of marked operations.
            !matches!(act.what, What::Load | What::Store | What::Update)
        });
        let last = held.iter().rev().map(|at| as_held(at, What::Unlock));
        Operation {
            execution,
            kind: core.kind,
            buffer: core.buffer,
            acts: first.chain(inside.cloned()).chain(last).collect(),
        }
    });
    operations.collect()
}

/// From the first to the last that says what an operation does.
struct Core {
    kind: ProgramKind,
    /// Stands for the handle, which nobody tells.
    buffer: u64,
    first: usize,
    last: usize,
    /// Of each device and address: whether the allocator and a message named it.
    named: BTreeMap<(u32, u64), [bool; 2]>,
}

impl Core {
    fn is_whole(&self) -> bool {
        self.named.values().all(|named| *named == [true, true])
    }
}

/// What an action says: the kind, the device, and whether it is a message.
fn says(what: What) -> Option<(ProgramKind, u32, bool)> {
    let of = |opens: bool| match opens {
        true => ProgramKind::Allocate,
        false => ProgramKind::Deallocate,
    };
    match what {
        What::Alloc { device } => Some((ProgramKind::Allocate, device, false)),
        What::Free { device } => Some((ProgramKind::Deallocate, device, false)),
        What::Send { kind, device } => {
            let opens = matches!(kind, MessageKind::Alloc | MessageKind::CbAlloc);
            Some((of(opens), device, true))
        }
        _ => None,
    }
}

fn cores(acts: &ThreadActs) -> Vec<Core> {
    let mut cores: Vec<Core> = Vec::new();
    for (at, act) in acts.iter().enumerate() {
        let Some((kind, device, is_message)) = says(act.what) else {
            continue;
        };
        let place = (device, act.address);
        let goes_on = cores.last().is_some_and(|core| {
            let named = core.named.get(&place);
            let again = named.is_some_and(|named| named[usize::from(is_message)]);
            core.kind == kind && !core.is_whole() && !again
        });
        if !goes_on {
            cores.push(Core {
                kind,
                buffer: act.address | u64::from(device) << 48,
                first: at,
                last: at,
                named: BTreeMap::new(),
            });
        }
        if let Some(core) = cores.last_mut() {
            core.last = at;
            core.named.entry(place).or_default()[usize::from(is_message)] = true;
        }
    }
    cores
}

struct LockSection {
    from: usize,
    to: usize,
}

fn sections(acts: &ThreadActs) -> Vec<LockSection> {
    let mut open: Vec<(u64, usize)> = Vec::new();
    let mut sections = Vec::new();
    for (at, act) in acts.iter().enumerate() {
        match act.what {
            What::Lock => open.push((act.address, at)),
            What::Unlock => {
                let found = open.iter().rposition(|(lock, _)| *lock == act.address);
                if let Some(found) = found {
                    let (_, from) = open.remove(found);
                    sections.push(LockSection { from, to: at });
                }
            }
            _ => {}
        }
    }
    sections
}

/// With the locks around it, as far as they are held around it alone.
fn extent(core: &Core, sections: &[LockSection], room: std::ops::Range<usize>) -> (usize, usize) {
    let (mut from, mut to) = (core.first, core.last);
    loop {
        let before = (from, to);
        for section in sections {
            let touches = section.from <= to && section.to >= from;
            if touches && section.from >= room.start && section.to < room.end {
                from = from.min(section.from);
                to = to.max(section.to);
            }
        }
        if (from, to) == before {
            return before;
        }
    }
}
