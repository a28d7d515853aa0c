//! Which of a program's loads and stores are of a buffer's status, and what they mean.
//!
//! The status of a buffer is a word that a release looks at before it does anything, and that
//! allocation and release write. Which one that is follows from what was done: a release that finds
//! it dead does nothing more. Where several words fit, it is the one in the buffer itself; one that
//! the operations of all buffers touch is none.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::operation::{Act, Operation, What};
use crate::lifecycle::{MicroStep, ProgramKind};

/// A word within so many bytes of the handle is part of the buffer.
const NEAR_BYTES: u64 = 4096;

type Site = Rc<[u64]>;

/// What the accesses of operations mean.
#[derive(Debug, Default)]
pub(super) struct StatusUse {
    /// Of each operation, what its actions mean, where they are of the status.
    pub(super) steps: Vec<BTreeMap<usize, MicroStep>>,
    /// Of each release, the operation that allocated its buffer.
    pub(super) allocation_of: Vec<Option<usize>>,
    /// Places at which a release was seen to return.
    pub(super) returned_at: HashSet<Site>,
    /// Whether loads and stores were seen at all.
    pub(super) accesses_seen: bool,
}

/// Looks at all operations together.
pub(super) fn interpret(operations: &[Operation]) -> StatusUse {
    let mut status = StatusUse {
        steps: vec![BTreeMap::new(); operations.len()],
        allocation_of: allocations(operations),
        accesses_seen: operations
            .iter()
            .flat_map(|operation| &operation.acts)
            .any(|act| matches!(act.what, What::Load | What::Store | What::Update)),
        ..StatusUse::default()
    };
    let cells = cells(operations, &status.allocation_of);
    status.returned_at = cells.returned_at.clone();
    for (at, operation) in operations.iter().enumerate() {
        status.steps[at] = match (operation.kind, cells.of.get(&at)) {
            (ProgramKind::Deallocate, Some(cell)) => {
                release_steps(operation, *cell, &cells.returned_at)
            }
            (ProgramKind::Allocate, cell) => {
                allocate_steps(operation, cell.copied(), &cells.marks_live)
            }
            _ => BTreeMap::new(),
        };
    }
    status
}

/// Of each release, the operation that allocated its buffer: the last before it, or, where the
/// buffer was known early, the first that ended after it.
fn allocations(operations: &[Operation]) -> Vec<Option<usize>> {
    let mut by_buffer: HashMap<(u64, u64), Vec<usize>> = HashMap::new();
    for (at, operation) in operations.iter().enumerate() {
        if operation.kind == ProgramKind::Allocate && operation.buffer != 0 {
            let key = (operation.execution, operation.buffer);
            by_buffer.entry(key).or_default().push(at);
        }
    }
    let allocation = |(at, operation): (usize, &Operation)| {
        if operation.kind == ProgramKind::Allocate {
            return None;
        }
        let all = by_buffer.get(&(operation.execution, operation.buffer))?;
        let before = all.iter().rfind(|other| **other < at);
        before.or(all.first()).copied()
    };
    operations.iter().enumerate().map(allocation).collect()
}

/// The status words.
#[derive(Default)]
struct Cells {
    /// Of each operation, where it is known.
    of: HashMap<usize, u64>,
    returned_at: HashSet<Site>,
    /// Places at which an allocation writes it.
    marks_live: HashSet<Site>,
}

fn cells(operations: &[Operation], allocation_of: &[Option<usize>]) -> Cells {
    let mut cells = Cells::default();
    let touching = touching(operations);
    let releases = || {
        operations
            .iter()
            .enumerate()
            .filter(|(_, operation)| operation.kind == ProgramKind::Deallocate)
    };
    // Those that do nothing though their buffer is one that is tracked.
    let early = || {
        releases().filter(|(at, operation)| {
            let allocation = allocation_of[*at].map(|at| &operations[at]);
            let is_tracked = allocation.is_some_and(|one| first_decisive(one).is_some());
            first_decisive(operation).is_none() && is_tracked
        })
    };
    let early_looks = EarlyLooks {
        all: early()
            .flat_map(|(_, one)| looks(one).map(|act| act.site.clone()))
            .collect(),
        last: early()
            .filter_map(|(_, one)| looks(one).last().map(|act| act.site.clone()))
            .collect(),
    };
    let mut read_sites: HashSet<Site> = HashSet::new();
    for (at, operation) in releases() {
        let allocation = allocation_of[at].map(|at| &operations[at]);
        if let Some(look) = status_look(operation, allocation, &touching, &early_looks) {
            cells.of.insert(at, look.address);
            read_sites.insert(look.site.clone());
        }
    }
    // Without a look at it, it is a word of the buffer that both write.
    for (at, operation) in releases() {
        let allocation = allocation_of[at].map(|at| &operations[at]);
        if let (None, Some(cell)) = (cells.of.get(&at), written_by_both(operation, allocation)) {
            cells.of.insert(at, cell);
        }
    }
    for (at, operation) in early() {
        // The last look: what comes after it is the return.
        let look = looks(operation).filter(|act| read_sites.contains(&act.site));
        if let Some(look) = look.last() {
            cells.of.insert(at, look.address);
            let last = looks(operation).filter(|act| act.address == look.address);
            cells
                .returned_at
                .extend(last.last().map(|act| act.site.clone()));
        }
    }
    for (at, _) in releases() {
        if let (Some(cell), Some(allocation)) = (cells.of.get(&at).copied(), allocation_of[at]) {
            cells.of.insert(allocation, cell);
            let writes = writes(&operations[allocation]).filter(|act| act.address == cell);
            cells.marks_live.extend(writes.map(|act| act.site.clone()));
        }
    }
    cells
}

/// Where releases looked at something that did nothing then.
struct EarlyLooks {
    all: HashSet<Site>,
    /// The last look of each.
    last: HashSet<Site>,
}

/// Of each address in each execution, the buffers whose operations touch it.
fn touching(operations: &[Operation]) -> HashMap<(u64, u64), BTreeSet<u64>> {
    let mut touching: HashMap<_, BTreeSet<u64>> = HashMap::new();
    for operation in operations {
        for act in looks(operation).chain(writes(operation)) {
            let key = (operation.execution, act.address);
            touching.entry(key).or_default().insert(operation.buffer);
        }
    }
    touching
}

/// The look at the status in a release that goes on.
fn status_look<'a>(
    operation: &'a Operation,
    allocation: Option<&Operation>,
    touching: &HashMap<(u64, u64), BTreeSet<u64>>,
    early: &EarlyLooks,
) -> Option<&'a Act> {
    let decisive = first_decisive(operation)?;
    let mut seen = HashSet::new();
    let mut found: Vec<(&Act, bool)> = Vec::new();
    for act in &operation.acts[..decisive] {
        let is_look = matches!(act.what, What::Load | What::Update);
        if !matches!(act.what, What::Load | What::Store | What::Update)
            || !seen.insert(act.address)
            || !is_look
        {
            continue;
        }
        let is_written = writes(operation).any(|write| write.address == act.address);
        let is_live = allocation
            .is_none_or(|allocation| writes(allocation).any(|write| write.address == act.address));
        // What a release only reads may be anything, unless one was seen to end there.
        if is_live && (is_written || early.last.contains(&act.site)) {
            found.push((act, is_written));
        }
    }
    if found.iter().any(|(act, _)| early.all.contains(&act.site)) {
        found.retain(|(act, _)| early.all.contains(&act.site));
    }
    let buffers = |act: &Act| {
        let touched = touching.get(&(operation.execution, act.address));
        touched.map_or(0, BTreeSet::len)
    };
    let is_far = |act: &Act| act.address.abs_diff(operation.buffer) > NEAR_BYTES;
    found
        .into_iter()
        .filter(|(act, _)| !is_far(act) || buffers(act) <= 1)
        .min_by_key(|(act, is_written)| (is_far(act), !is_written, buffers(act)))
        .map(|(act, _)| act)
}

/// A word in the buffer that its allocation writes when there is an address, and its release, too.
fn written_by_both(operation: &Operation, allocation: Option<&Operation>) -> Option<u64> {
    first_decisive(operation)?;
    let acts = &allocation?.acts;
    let alloc = acts
        .iter()
        .position(|act| matches!(act.what, What::Alloc { .. }))?;
    let is_marked = |address: u64| {
        let mut after = acts[alloc..].iter();
        after.any(|act| act.address == address && act.what == What::Store)
    };
    writes(operation)
        .map(|act| act.address)
        .filter(|address| address.abs_diff(operation.buffer) <= NEAR_BYTES)
        .rfind(|address| is_marked(*address))
}

fn first_decisive(operation: &Operation) -> Option<usize> {
    let is_decisive = |act: &Act| act.what.device().is_some();
    operation.acts.iter().position(is_decisive)
}

fn looks(operation: &Operation) -> impl Iterator<Item = &Act> {
    let is_look = |act: &&Act| matches!(act.what, What::Load | What::Update);
    operation.acts.iter().filter(is_look)
}

fn writes(operation: &Operation) -> impl DoubleEndedIterator<Item = &Act> {
    let is_write = |act: &&Act| matches!(act.what, What::Store | What::Update);
    operation.acts.iter().filter(is_write)
}

fn release_steps(
    operation: &Operation,
    cell: u64,
    returned_at: &HashSet<Site>,
) -> BTreeMap<usize, MicroStep> {
    let decisive = first_decisive(operation).unwrap_or(operation.acts.len());
    let mut steps = BTreeMap::new();
    let (mut looked, mut claimed) = (false, None);
    for (at, act) in operation.acts.iter().enumerate() {
        if act.address != cell {
            continue;
        }
        let step = match act.what {
            What::Load if at < decisive && (!looked || returned_at.contains(&act.site)) => {
                MicroStep::CheckLive
            }
            // A weak exchange that failed without a reason is tried again.
            What::Update if claimed.as_ref() == Some(&act.site) => continue,
            What::Update if at < decisive && claimed.is_none() => {
                claimed = Some(act.site.clone());
                MicroStep::Claim
            }
            What::Update | What::Store => MicroStep::MarkDead,
            _ => continue,
        };
        looked = true;
        steps.insert(at, step);
    }
    steps
}

fn allocate_steps(
    operation: &Operation,
    cell: Option<u64>,
    marks_live: &HashSet<Site>,
) -> BTreeMap<usize, MicroStep> {
    let is_mark = |act: &Act| match cell {
        Some(cell) => act.address == cell,
        None => marks_live.contains(&act.site),
    };
    let marks = |from: usize| {
        let acts = operation.acts.iter().enumerate().skip(from);
        acts.filter(|(_, act)| matches!(act.what, What::Store | What::Update) && is_mark(act))
            .map(|(at, _)| (at, MicroStep::MarkLive))
    };
    // What was written before there was an address is how the word began.
    let alloc = operation
        .acts
        .iter()
        .position(|act| matches!(act.what, What::Alloc { .. }));
    let after: BTreeMap<usize, MicroStep> = marks(alloc.unwrap_or(0)).collect();
    match after.is_empty() {
        true => marks(0).next_back().into_iter().collect(),
        false => after,
    }
}
