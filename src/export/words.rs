//! The words of exports: the same as those that imports read, where there are such.

use std::borrow::Cow;

use crate::device::Memory;
use crate::import::allocation::AllocationEvent;
use crate::import::stacks::StackTable;
use crate::trace::event::{Event, FreeOutcome, ReceiveCode, SendOutcome};
use crate::trace::observation::{RefsLeft, ServerAnswer};
use crate::trace::shared_event::SharedEvent;

/// The name of a C++ buffer type, as `import csv` reads it.
pub(super) fn memory(buffer_type: u8) -> Cow<'static, str> {
    Cow::Borrowed(match buffer_type {
        0 => "dram",
        1 => "l1",
        2 => "system",
        3 => "l1_small",
        4 => "trace",
        other => return Cow::Owned(format!("memory-{other}")),
    })
}

/// The same, by the name that the input itself has for it where there is one.
pub(super) fn memory_of<'a>(buffer_type: u8, names: &'a StackTable) -> Cow<'a, str> {
    match names.memory_name(buffer_type) {
        Some(name) => Cow::Borrowed(name),
        None => memory(buffer_type),
    }
}

/// What happened, as `import csv` reads it.
pub(super) fn op(what: &AllocationEvent) -> &'static str {
    match what {
        AllocationEvent::Allocated(_) => "alloc",
        AllocationEvent::ReleaseRequested(_) => "release-requested",
        AllocationEvent::Released(_) => "free",
        AllocationEvent::HolderEnded(_) => "holder-ended",
        AllocationEvent::Failed { .. } => "fail",
    }
}

/// The same of a memory.
pub(super) fn of_memory(memory: Memory) -> &'static str {
    match memory {
        Memory::Dram => "dram",
        Memory::L1 => "l1",
        Memory::L1Small => "l1_small",
        Memory::Trace => "trace",
    }
}

/// What a step of a run is, in the words of disciplines where they have one.
pub(super) fn event(event: &Event) -> &'static str {
    match event {
        Event::Open { .. } => "open",
        Event::Part { .. } => "part",
        Event::CloseBuffer { .. } => "close-buffer",
        Event::Vacate { .. } => "vacate",
        Event::Lock { .. } => "lock",
        Event::Unlock { .. } => "unlock",
        Event::LockOutOfBounds { .. } => "lock-out-of-bounds",
        Event::Alloc { .. } => "alloc",
        Event::AllocFailed { .. } => "alloc-failed",
        Event::Free { .. } => "free",
        Event::Stamp { .. } => "stamp",
        Event::Check { .. } => "check-live",
        Event::Claim { .. } => "claim",
        Event::MarkLive { .. } => "mark-live",
        Event::MarkDead { .. } => "mark-dead",
        Event::Publish { .. } => "publish",
        Event::ConnRead { .. } => "conn-read",
        Event::Connect { .. } => "connect",
        Event::ConnStore { .. } => "conn-store",
        Event::Send { .. } => "send",
        Event::DebugLog => "debug-log",
        Event::BlockedOnLock { .. } => "blocked-on-lock",
        Event::BlockedOnOp { .. } => "blocked-on-op",
        Event::BlockedOnSend { .. } => "blocked-on-send",
        Event::Stopped => "stopped",
        Event::Finish => "finish",
        Event::Accept { .. } => "accept",
        Event::Receive { .. } => "receive",
        Event::Shared(shared) => shared_event(shared),
    }
}

fn shared_event(event: &SharedEvent) -> &'static str {
    match event {
        SharedEvent::Cell { .. } => "cell",
        SharedEvent::Ledger { .. } => "ledger",
        SharedEvent::Use { .. } => "use",
        SharedEvent::LockShared { .. } => "lock-shared",
        SharedEvent::UnlockShared { .. } => "unlock-shared",
        SharedEvent::TryFailed { .. } => "try-failed",
        SharedEvent::Wait { .. } => "wait",
        SharedEvent::Notify { .. } => "notify",
        SharedEvent::Kill { .. } => "kill",
        SharedEvent::Reclaim { .. } => "reclaim",
        SharedEvent::BlockedOnCell { .. } => "blocked-on-cell",
        SharedEvent::BlockedOnNotify { .. } => "blocked-on-notify",
        SharedEvent::OutOfRounds => "out-of-rounds",
    }
}

pub(super) fn free_outcome(outcome: FreeOutcome) -> &'static str {
    match outcome {
        FreeOutcome::Freed => "freed",
        FreeOutcome::NotAllocated => "not-allocated",
        FreeOutcome::FreedAnother => "freed-another",
    }
}

pub(super) fn send_outcome(outcome: SendOutcome) -> &'static str {
    match outcome {
        SendOutcome::Sent => "sent",
        SendOutcome::Dropped => "dropped",
        SendOutcome::Failed => "failed",
    }
}

pub(super) fn receive_code(code: ReceiveCode) -> &'static str {
    match code {
        ReceiveCode::Inserted => "inserted",
        ReceiveCode::Replaced => "replaced",
        ReceiveCode::Incremented => "incremented",
        ReceiveCode::Removed => "removed",
        ReceiveCode::Decremented => "decremented",
        ReceiveCode::UnknownFree => "unknown-free",
        ReceiveCode::Held => "held",
        ReceiveCode::Rejected => "rejected",
        ReceiveCode::Ignored => "ignored",
        ReceiveCode::Unknown => "unknown",
    }
}

/// What the server said, and the references that are there now where it said so.
pub(super) fn answer(answer: ServerAnswer) -> (&'static str, Option<u64>) {
    match answer {
        ServerAnswer::Inserted => ("inserted", None),
        ServerAnswer::RefCount(count) => ("incremented", Some(count)),
        ServerAnswer::Incremented => ("incremented", None),
        ServerAnswer::Replaced => ("replaced", None),
        ServerAnswer::Freed(RefsLeft::Final | RefsLeft::Unstated) => ("removed", None),
        ServerAnswer::Freed(RefsLeft::Remaining(count)) => ("decremented", Some(count)),
        ServerAnswer::Decremented => ("decremented", None),
        ServerAnswer::UnknownFree => ("unknown-free", None),
        ServerAnswer::AlreadyFreed => ("already-freed", None),
        ServerAnswer::Held => ("held", None),
        ServerAnswer::Rejected => ("rejected", None),
        ServerAnswer::Total(_) => ("counted", None),
    }
}
