//! The two switches that apply to any discipline: the order of release and tracking, and when the
//! handle is published.
//!
//! A switch moves one step, `free` or `publish`, and never adds, drops or changes one; locks stay
//! where they are, so a discipline whose locks are balanced stays so. A discipline that already is
//! in the asked form is left as it was written, and so is one without a message to order against.
//!
//! The *tracking section* is the longest run of lock, unlock, debug-log, stamp and send steps
//! around the send in which every lock that is taken is released: the send with the locks that were
//! taken for it alone.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::discipline::{Discipline, Program};
use super::step::{Lock, MicroStep, SendKind};

/// Which comes first when a buffer is released.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// FREE is sent, then the allocator takes the address back.
    TrackFirst,
    /// The allocator takes the address back, then FREE is sent.
    FreeFirst,
}

/// When other threads can see an allocated buffer's handle.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Publication {
    /// When allocate returns: after ALLOC was sent.
    Late,
    /// As soon as the address exists: before ALLOC was sent.
    Early,
}

/// A text names neither of a switch's positions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}`: expected {expected}")]
pub struct UnknownPosition {
    /// The text.
    pub(crate) found: String,
    /// The two positions.
    pub(crate) expected: &'static str,
}

impl Discipline {
    /// The discipline in the asked form. Applying it twice changes nothing more. One with branches
    /// or cells stands as it is written: a step that moves may come into another branch.
    pub fn with(&self, order: Order, publication: Publication) -> Discipline {
        let mut switched = self.clone();
        if self.shares() {
            return switched;
        }
        if self.order() != order {
            switched.deallocate = reordered(&self.deallocate, order);
        }
        if self.publication() != publication {
            switched.allocate = republished(&self.allocate, publication);
        }
        switched
    }

    /// The order of release; track-first when deallocate sends nothing or releases nothing.
    pub fn order(&self) -> Order {
        let send = self.deallocate.position(is_release_send);
        let free = self.deallocate.position(|step| step == MicroStep::Free);
        match (free, send) {
            (Some(free), Some(send)) if free < send => Order::FreeFirst,
            _ => Order::TrackFirst,
        }
    }

    /// When the handle is published; late when allocate sends nothing or publishes nothing.
    pub fn publication(&self) -> Publication {
        let send = self.allocate.position(is_announcement);
        let publish = self.allocate.position(|step| step == MicroStep::Publish);
        match (publish, send) {
            (Some(publish), Some(send)) if publish < send => Publication::Early,
            _ => Publication::Late,
        }
    }
}

/// `deallocate` with `free` on the other side of the tracking section; unchanged when it has no
/// `free` or no send.
fn reordered(deallocate: &Program, order: Order) -> Program {
    let (Some(free), Some(send)) = (
        deallocate.position(|step| step == MicroStep::Free),
        deallocate.position(is_release_send),
    ) else {
        return deallocate.clone();
    };
    let gap = match order {
        Order::FreeFirst => stamp_of(deallocate, send)
            .unwrap_or_else(|| tracking_section_start(deallocate, send, free)),
        Order::TrackFirst => tracking_section_end(deallocate, send, free + 1),
    };
    deallocate.moved(free, gap)
}

/// The stamp that the message at `send` carries, when nothing but tracking lies between them. The
/// stamp says where the release stands in the device's order, so that a release which moves to the
/// front joins it.
fn stamp_of(program: &Program, send: usize) -> Option<usize> {
    (0..send)
        .rev()
        .take_while(|at| is_tracking(program.steps()[*at]))
        .find(|at| program.steps()[*at] == MicroStep::Stamp)
}

/// The earliest start of a balanced run that holds `send` and ends at or before `end`.
fn tracking_section_start(program: &Program, send: usize, end: usize) -> usize {
    (0..=send)
        .find(|start| (send + 1..=end).any(|end| is_tracking_section(program, *start, end)))
        .unwrap_or(send)
}

/// The latest end of a balanced run that holds `send` and starts at or after `start`.
fn tracking_section_end(program: &Program, send: usize, start: usize) -> usize {
    (send + 1..=program.steps().len())
        .rev()
        .find(|end| (start..=send).any(|start| is_tracking_section(program, start, *end)))
        .unwrap_or(send + 1)
}

/// Whether the steps from `start` to before `end` are tracking only and release every lock that
/// they take, and no other.
fn is_tracking_section(program: &Program, start: usize, end: usize) -> bool {
    let mut held: Vec<Lock> = Vec::new();
    for step in program.steps()[start..end].iter().copied() {
        match step {
            MicroStep::Lock(lock) => held.push(lock),
            MicroStep::Unlock(lock) => match held.iter().position(|other| *other == lock) {
                Some(at) => {
                    held.swap_remove(at);
                }
                None => return false,
            },
            step if is_tracking(step) => {}
            _ => return false,
        }
    }
    held.is_empty()
}

/// `allocate` with `publish` moved; unchanged when it has no `publish`, no `alloc` or no send.
fn republished(allocate: &Program, publication: Publication) -> Program {
    let (Some(publish), Some(alloc), Some(send)) = (
        allocate.position(|step| step == MicroStep::Publish),
        allocate.position(|step| step == MicroStep::Alloc),
        allocate.position(is_announcement),
    ) else {
        return allocate.clone();
    };
    let gap = match publication {
        Publication::Late => allocate.steps().len(),
        Publication::Early => {
            let marked = allocate
                .position(|step| step == MicroStep::MarkLive)
                .filter(|mark| *mark < send);
            alloc.max(marked.unwrap_or(alloc)) + 1
        }
    };
    allocate.moved(publish, gap)
}

fn is_tracking(step: MicroStep) -> bool {
    matches!(
        step,
        MicroStep::Lock(_)
            | MicroStep::Unlock(_)
            | MicroStep::DebugLog
            | MicroStep::Stamp
            | MicroStep::Send(_)
    )
}

fn is_release_send(step: MicroStep) -> bool {
    matches!(step, MicroStep::Send(SendKind::Free | SendKind::CbFree))
}

fn is_announcement(step: MicroStep) -> bool {
    matches!(step, MicroStep::Send(kind) if kind.announces())
}

macro_rules! text_of_switch {
    ($switch:ty, $expected:literal) => {
        impl std::fmt::Display for $switch {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let value = self.to_possible_value().expect("no position is hidden");
                f.pad(value.get_name())
            }
        }

        impl std::str::FromStr for $switch {
            type Err = UnknownPosition;

            fn from_str(text: &str) -> Result<$switch, UnknownPosition> {
                let unknown = |_| UnknownPosition {
                    found: text.to_string(),
                    expected: $expected,
                };
                <$switch as ValueEnum>::from_str(text, false).map_err(unknown)
            }
        }
    };
}

text_of_switch!(Order, "track-first or free-first");
text_of_switch!(Publication, "late or early");
