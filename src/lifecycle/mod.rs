//! The lifecycle language: disciplines as programs of micro-steps.
//!
//! A discipline is data, readable next to the C++ it stands for: two lists of micro-steps, `allocate`
//! and `deallocate`. This room parses, transforms, lints and ships them; it does not run them.

use std::fmt;

/// A lock that a micro-step names. Which mutex it is may depend on the device of the buffer at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lock {
    /// `tracker`: one mutex for the process, around sends.
    Tracker,
    /// `lifecycle`: one mutex a device.
    Lifecycle,
    /// `lifecycle[N]`: a fixed table of N mutexes indexed by device id; a device id of N or more is out of its bounds.
    LifecycleTable(u16),
    /// `global`: one mutex for the process, around whole lifecycles.
    Global,
    /// `allocator`: the device's allocator mutex, which `alloc` and `free` otherwise take for themselves.
    Allocator,
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lock::Tracker => f.write_str("tracker"),
            Lock::Lifecycle => f.write_str("lifecycle"),
            Lock::LifecycleTable(n) => write!(f, "lifecycle[{n}]"),
            Lock::Global => f.write_str("global"),
            Lock::Allocator => f.write_str("allocator"),
        }
    }
}

/// Which message a `send` micro-step sends. For a circular buffer, ALLOC and FREE go out as their CB_ forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SendKind {
    /// `send ALLOC`
    Alloc,
    /// `send FREE`
    Free,
    /// `send CB_ALLOC`
    CbAlloc,
    /// `send CB_FREE`
    CbFree,
}

/// One visible action of a discipline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MicroStep {
    /// `lock M`
    Lock(Lock),
    /// `unlock M`
    Unlock(Lock),
    /// `alloc`: the allocator hands out an address.
    Alloc,
    /// `free`: the allocator takes the address back.
    Free,
    /// `send KIND`
    Send(SendKind),
    /// `publish`: the handle becomes visible to other threads.
    Publish,
    /// `check-live`: return unless the buffer is live; a plain read.
    CheckLive,
    /// `claim`: compare-and-swap live → dying; return if lost.
    Claim,
    /// `mark-live`
    MarkLive,
    /// `mark-dead`
    MarkDead,
    /// `stamp`: take the device's next sequence number for the coming message.
    Stamp,
    /// `debug-log`: write the debug log block when enabled.
    DebugLog,
}
