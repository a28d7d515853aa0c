//! Operations: what a thread of a workload does, one allocate or release at a time.
//!
//! An operation names a *slot*, a place that holds one buffer handle at a time. A slot lives
//! through *epochs*: the k-th allocate into it opens epoch k, and the epoch ends when the number of
//! releases its allocate promised have been done. A release waits until the handle of its epoch is
//! visible; an allocate waits until the epoch before has ended. Operations so depend on each other
//! through data alone, and a workload that can be done in some sequential order can never block for
//! good.

use std::fmt;
use std::str::FromStr;

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::device::{BufferKind, DeviceId, Memory};
use crate::lifecycle::Name;

/// A mesh buffer has at most this many parts (devices).
pub(crate) const MAX_PARTS: u8 = 8;

/// Index of a slot in its scenario, over all threads.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Arbitrary,
)]
#[serde(transparent)]
pub struct SlotId(pub u32);

impl SlotId {
    /// As an index into a table of slots.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an allocate asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Arbitrary)]
pub struct Request {
    /// Owned, pre-allocated, circular or mesh.
    pub kind: BufferKind,
    /// The device; of a mesh buffer, that of its first part.
    pub device: DeviceId,
    /// How many parts it has: 1, or for a mesh buffer up to [`MAX_PARTS`], part k on device `device
    /// + k` modulo the number of devices.
    pub parts: u8,
    /// The address space.
    pub memory: Memory,
    /// Size of each part.
    pub size_bytes: u64,
    /// How many release operations this buffer's epoch will see; the slot is free again after the
    /// last.
    pub releases: u8,
}

/// One operation of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Arbitrary)]
pub enum Op {
    /// Allocate a buffer into a slot.
    Allocate {
        /// Where its handle goes.
        slot: SlotId,
        /// Which epoch of the slot this opens, from 1.
        epoch: u32,
        /// What is asked for.
        request: Request,
    },
    /// Release the buffer of a slot.
    Release {
        /// Where its handle is.
        slot: SlotId,
        /// The epoch whose handle is meant.
        epoch: u32,
    },
    /// Wait until every other thread has ended.
    AwaitOthers,
    /// Close a device: release every buffer that is live on it.
    Close {
        /// The device to close.
        device: DeviceId,
    },
    /// An exception: the thread ends here and cleans nothing up.
    Throw,
    /// Run a program of the discipline's own.
    #[arbitrary(skip)]
    Run {
        /// Which.
        program: Name,
        /// With which buffer at hand, if any: the slot and its epoch.
        on: Option<(SlotId, u32)>,
    },
    /// The system ends a process, wherever its threads are, and takes its buffers back. In
    /// controlled runs, and in runs by real processes.
    #[arbitrary(skip)]
    Kill {
        /// Which, from 0.
        process: u16,
    },
}

impl Op {
    /// Whether it counts as an operation (`--ops`): an allocate, a release, or a program run.
    pub(crate) fn counts(&self) -> bool {
        matches!(
            self,
            Op::Allocate { .. } | Op::Release { .. } | Op::Run { .. }
        )
    }
}

/// The text form, as in reproducers: `allocate s0#1 4096 l1 d0`, `allocate s2#1 64 dram d0 mesh*2`,
/// `allocate s1#1 64 l1 d0 releases=2`, `release s0#1`, `await-others`, `close d0`, `throw`,
/// `run attach`, `run read s0#1`, `kill p1`.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Allocate {
                slot,
                epoch,
                request,
            } => {
                write!(
                    f,
                    "allocate s{}#{epoch} {} {} d{}",
                    slot.0,
                    request.size_bytes,
                    request.memory.name(),
                    request.device
                )?;
                match request.kind {
                    BufferKind::Owned => {}
                    BufferKind::Preallocated => f.write_str(" preallocated")?,
                    BufferKind::Circular => f.write_str(" circular")?,
                    BufferKind::Mesh => write!(f, " mesh*{}", request.parts)?,
                }
                if request.releases != 1 {
                    write!(f, " releases={}", request.releases)?;
                }
                Ok(())
            }
            Op::Release { slot, epoch } => write!(f, "release s{}#{epoch}", slot.0),
            Op::AwaitOthers => f.write_str("await-others"),
            Op::Close { device } => write!(f, "close d{device}"),
            Op::Throw => f.write_str("throw"),
            Op::Run { program, on: None } => write!(f, "run {program}"),
            Op::Run {
                program,
                on: Some((slot, epoch)),
            } => write!(f, "run {program} s{}#{epoch}", slot.0),
            // Processes are numbered from 1, as in cells.
            Op::Kill { process } => write!(f, "kill p{}", process + 1),
        }
    }
}

/// Why a text is no operation.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "`{text}` is no operation: {why} (forms: `allocate s0#1 4096 l1 d0`, `release s0#1`, `await-others`, `close d0`, `throw`, `run NAME`, `run NAME s0#1`, `kill p1`)"
)]
pub struct OpError {
    text: String,
    why: String,
}

impl FromStr for Op {
    type Err = OpError;

    fn from_str(text: &str) -> Result<Op, OpError> {
        let fail = |why: &str| OpError {
            text: text.to_owned(),
            why: why.to_owned(),
        };
        let mut words = text.split_whitespace();
        let op = match words.next() {
            Some("allocate") => {
                let (slot, epoch) = parse_slot(words.next())
                    .ok_or_else(|| fail("the slot must be s<slot>#<epoch>"))?;
                let size_bytes = words
                    .next()
                    .and_then(|w| w.parse().ok())
                    .ok_or_else(|| fail("a size in bytes must follow the slot"))?;
                let memory = words.next().and_then(Memory::from_name).ok_or_else(|| {
                    fail("a memory must follow the size: dram, l1, l1-small or trace")
                })?;
                let device = parse_device(words.next())
                    .ok_or_else(|| fail("a device d<n> must follow the memory"))?;
                let mut request = Request {
                    kind: BufferKind::Owned,
                    device,
                    parts: 1,
                    memory,
                    size_bytes,
                    releases: 1,
                };
                for word in words.by_ref() {
                    apply_option(&mut request, word)
                        .ok_or_else(|| fail(&format!("`{word}` is no option")))?;
                }
                Op::Allocate {
                    slot,
                    epoch,
                    request,
                }
            }
            Some("release") => {
                let (slot, epoch) = parse_slot(words.next())
                    .ok_or_else(|| fail("the slot must be s<slot>#<epoch>"))?;
                Op::Release { slot, epoch }
            }
            Some("await-others") => Op::AwaitOthers,
            Some("close") => {
                let device =
                    parse_device(words.next()).ok_or_else(|| fail("a device d<n> must follow"))?;
                Op::Close { device }
            }
            Some("throw") => Op::Throw,
            Some("run") => {
                let program = words.next().and_then(|word| word.parse().ok());
                let program = program.ok_or_else(|| fail("the name of a program must follow"))?;
                let on = match words.next() {
                    None => None,
                    Some(word) => Some(
                        parse_slot(Some(word))
                            .ok_or_else(|| fail("the slot must be s<slot>#<epoch>"))?,
                    ),
                };
                Op::Run { program, on }
            }
            Some("kill") => {
                let number = words.next().and_then(|word| word.strip_prefix('p'));
                let number: Option<u16> = number.and_then(|number| number.parse().ok());
                let process = number.and_then(|number| number.checked_sub(1));
                Op::Kill {
                    process: process.ok_or_else(|| fail("a process p<n>, from 1, must follow"))?,
                }
            }
            _ => return Err(fail("unknown verb")),
        };
        match words.next() {
            Some(word) => Err(fail(&format!("`{word}` is one word too many"))),
            None => Ok(op),
        }
    }
}

fn apply_option(request: &mut Request, word: &str) -> Option<()> {
    if let Some(parts) = word.strip_prefix("mesh*") {
        request.kind = BufferKind::Mesh;
        request.parts = parts.parse().ok().filter(|n| (1..=MAX_PARTS).contains(n))?;
    } else if let Some(releases) = word.strip_prefix("releases=") {
        request.releases = releases.parse().ok().filter(|n| *n <= MAX_RELEASES)?;
    } else {
        request.kind = match word {
            "preallocated" => BufferKind::Preallocated,
            "circular" => BufferKind::Circular,
            _ => return None,
        };
    }
    Some(())
}

/// A buffer is released at most this often.
pub(crate) const MAX_RELEASES: u8 = 7;

fn parse_slot(word: Option<&str>) -> Option<(SlotId, u32)> {
    let (slot, epoch) = word?.strip_prefix('s')?.split_once('#')?;
    Some((
        SlotId(slot.parse().ok()?),
        epoch.parse().ok().filter(|e| *e > 0)?,
    ))
}

fn parse_device(word: Option<&str>) -> Option<DeviceId> {
    Some(DeviceId(word?.strip_prefix('d')?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_forms_are_read_back_as_written() {
        for text in [
            "allocate s0#1 4096 l1 d0",
            "allocate s12#3 131072 dram d31 mesh*8",
            "allocate s1#1 64 l1-small d2 circular releases=2",
            "allocate s1#1 64 trace d2 preallocated releases=0",
            "release s0#1",
            "await-others",
            "close d3",
            "throw",
        ] {
            assert_eq!(text.parse::<Op>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn a_wrong_text_says_what_was_expected() {
        let error = "allocate s0 4096 l1 d0"
            .parse::<Op>()
            .expect_err("no epoch");
        assert!(error.to_string().contains("s<slot>#<epoch>"), "{error}");
        assert!(
            "release s0#1 now"
                .parse::<Op>()
                .expect_err("extra word")
                .to_string()
                .contains("too many")
        );
    }

    proptest! {
        #[test]
        fn any_text_is_an_operation_or_an_error(text in ".{0,60}") {
            let _ = text.parse::<Op>();
        }
    }
}
