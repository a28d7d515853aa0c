//! An operation as steps of the language.

use std::collections::{BTreeMap, BTreeSet};

use super::locks::{LockRole, Locks};
use super::operation::{Operation, What};
use crate::lifecycle::{BufferPath, Lock, MicroStep, ProgramKind, SendKind};
use crate::tracking::MessageKind;

/// A step, and the action that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) step: ToldStep,
    /// The number of the action; none: it is implied.
    pub(super) act: Option<usize>,
}

/// A step of the language, or of a lock that the language has no name for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ToldStep {
    /// A step, with locks named.
    Step(MicroStep),
    /// Takes the lock of this family.
    Lock(usize),
    /// Gives it back.
    Unlock(usize),
}

/// What an operation comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToldOperation {
    pub(crate) kind: ProgramKind,
    pub(crate) path: BufferPath,
    /// It found the buffer dead, or lost the claim, and did nothing.
    pub(crate) returned: bool,
    pub(crate) is_circular: bool,
    pub(crate) steps: Vec<Told>,
    /// What the language cannot say of it.
    pub(crate) problem: Option<String>,
}

/// For a circular buffer the plain message is meant.
pub(super) fn send_kind(kind: MessageKind) -> SendKind {
    match kind {
        MessageKind::Free | MessageKind::CbFree => SendKind::Free,
        _ => SendKind::Alloc,
    }
}

/// A step with the device that it is on, if one is named.
#[derive(Clone, Debug)]
struct Placed {
    step: ToldStep,
    act: usize,
    device: Option<u32>,
}

/// Operation number `at`, as steps. `path` is that of the buffer's allocation, where it is known.
pub(super) fn tell(
    at: usize,
    operation: &Operation,
    meanings: &BTreeMap<usize, MicroStep>,
    locks: &Locks,
    path: Option<BufferPath>,
) -> ToldOperation {
    let devices = operation.devices();
    let own = match devices.len() > 1 {
        true => BufferPath::Mesh,
        false => BufferPath::Plain,
    };
    let returned = operation.kind == ProgramKind::Deallocate && devices.is_empty();
    let path = match returned {
        true => path.unwrap_or(own),
        false => own,
    };
    let mut problem = problem(at, operation, locks);
    let placed = placed(at, operation, meanings, locks);
    let mut steps = match path {
        BufferPath::Mesh if !returned => {
            let folded = folded(&placed, &devices);
            if folded.is_none() {
                problem.get_or_insert_with(|| {
                    "it does not do the same on each device, one after the other".to_owned()
                });
            }
            folded.unwrap_or_else(|| unfolded(&placed))
        }
        _ => unfolded(&placed),
    };
    let is_publish = |told: &Told| told.step == ToldStep::Step(MicroStep::Publish);
    if operation.kind == ProgramKind::Allocate && !steps.iter().any(is_publish) {
        // The handle is the caller's when the operation has ended.
        steps.push(Told {
            step: ToldStep::Step(MicroStep::Publish),
            act: None,
        });
    }
    ToldOperation {
        kind: operation.kind,
        path,
        returned,
        is_circular: operation.acts.iter().any(|act| {
            let circular = [MessageKind::CbAlloc, MessageKind::CbFree];
            matches!(act.what, What::Send { kind, .. } if circular.contains(&kind))
        }),
        steps,
        problem,
    }
}

fn unfolded(placed: &[Placed]) -> Vec<Told> {
    let told = placed.iter().map(|placed| Told {
        step: placed.step,
        act: Some(placed.act),
    });
    told.collect()
}

/// What it does that no program of the language does.
fn problem(at: usize, operation: &Operation, locks: &Locks) -> Option<String> {
    let of_truth: BTreeSet<u32> = operation
        .acts
        .iter()
        .filter(|act| matches!(act.what, What::Alloc { .. } | What::Free { .. }))
        .filter_map(|act| act.what.device())
        .collect();
    let elsewhere = operation.devices().into_iter().find(|device| {
        // A message about a device on which nothing was allocated or released.
        !of_truth.is_empty() && !of_truth.contains(device)
    });
    if let Some(device) = elsewhere {
        return Some(format!(
            "it sends a message about device {device}, on which it has no address"
        ));
    }
    let backwards = operation.acts.iter().any(|act| match act.what {
        What::Alloc { .. } => operation.kind == ProgramKind::Deallocate,
        What::Free { .. } => operation.kind == ProgramKind::Allocate,
        What::Send { kind, .. } => kind.opens() == (operation.kind == ProgramKind::Deallocate),
        _ => false,
    });
    if backwards {
        return Some(match operation.kind {
            ProgramKind::Allocate => "an allocation releases something".to_owned(),
            ProgramKind::Deallocate => "a release allocates something".to_owned(),
        });
    }
    let open = locks.sections[at].iter().find(|section| {
        section.to.is_none() && locks.families[section.family].role != LockRole::Idle
    });
    open.map(|section| {
        format!(
            "it ends with {} locked",
            locks.families[section.family].name
        )
    })
}

/// The steps in order, with locks that are steps.
fn placed(
    at: usize,
    operation: &Operation,
    meanings: &BTreeMap<usize, MicroStep>,
    locks: &Locks,
) -> Vec<Placed> {
    let mut all: BTreeMap<usize, Placed> = BTreeMap::new();
    for (act, step) in meanings {
        let placed = Placed {
            step: ToldStep::Step(*step),
            act: *act,
            device: operation.acts[*act].what.device(),
        };
        all.insert(*act, placed);
    }
    for section in &locks.sections[at] {
        let (take, give) = match locks.families[section.family].role {
            LockRole::Idle | LockRole::Allocators => continue,
            LockRole::Named(lock) => (
                ToldStep::Step(MicroStep::Lock(lock)),
                ToldStep::Step(MicroStep::Unlock(lock)),
            ),
            LockRole::Unnamed(_) => (
                ToldStep::Lock(section.family),
                ToldStep::Unlock(section.family),
            ),
        };
        let end = section.to.unwrap_or(operation.acts.len());
        let devices: BTreeSet<u32> = operation.acts[section.from..end]
            .iter()
            .filter_map(|act| act.what.device())
            .collect();
        let device = devices.first().copied().filter(|_| devices.len() == 1);
        for (act, step) in [(Some(section.from), take), (section.to, give)] {
            if let Some(act) = act {
                all.insert(act, Placed { step, act, device });
            }
        }
    }
    let mut placed: Vec<Placed> = all.into_values().collect();
    // A block of a debug log is several writes.
    placed.dedup_by(|next, before| {
        let log = ToldStep::Step(MicroStep::DebugLog);
        next.step == log && before.step == log
    });
    placed
}

/// With what is done on each device, one after the other, between `each device` and `end`. None:
/// something is left that is done on one of them only.
fn folded(placed: &[Placed], devices: &[u32]) -> Option<Vec<Told>> {
    let count = devices.len();
    let mut told = Vec::new();
    let mut at = 0;
    while at < placed.len() {
        let rest = &placed[at..];
        let length = (1..=rest.len() / count).find(|length| repeats(rest, *length, devices));
        let tell = |placed: &Placed| Told {
            step: placed.step,
            act: Some(placed.act),
        };
        let Some(length) = length else {
            if rest[0].device.is_some() {
                return None;
            }
            told.push(tell(&rest[0]));
            at += 1;
            continue;
        };
        let mark = |step| Told {
            step: ToldStep::Step(step),
            act: None,
        };
        told.push(mark(MicroStep::EachDevice));
        told.extend(rest[..length].iter().map(tell));
        told.push(mark(MicroStep::End));
        at += length * count;
    }
    Some(told)
}

/// Whether the first steps are a block of this length, once for each device.
fn repeats(placed: &[Placed], length: usize, devices: &[u32]) -> bool {
    let mut seen = BTreeSet::new();
    placed.chunks(length).take(devices.len()).all(|block| {
        let on: BTreeSet<u32> = block.iter().filter_map(|placed| placed.device).collect();
        let same = block
            .iter()
            .zip(placed)
            .all(|(one, first)| one.step == first.step);
        block.len() == length
            && same
            && on.len() == 1
            && on.iter().all(|device| seen.insert(*device))
    })
}

impl ToldStep {
    /// As text, with families by name.
    pub(crate) fn text(self, locks: &Locks) -> String {
        match self {
            ToldStep::Step(step) => step.to_string(),
            ToldStep::Lock(family) => format!("lock {}", locks.families[family].name),
            ToldStep::Unlock(family) => format!("unlock {}", locks.families[family].name),
        }
    }

    /// The lock that it is about.
    pub(super) fn lock(self) -> Option<Lock> {
        match self {
            ToldStep::Step(MicroStep::Lock(lock) | MicroStep::Unlock(lock)) => Some(lock),
            _ => None,
        }
    }
}
