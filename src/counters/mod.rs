//! Counters in shared memory: what a region says of one device, and what in it cannot be.
//!
//! The runtime under study keeps a file under `/dev/shm` for each chip, in which every process adds
//! what it allocates and subtracts what it releases: totals, the same for each chip behind a
//! gateway, and for each process. Nothing here knows of files: bytes come in, a [`Region`] comes
//! out.
//!
//! | version | counters | an unused chip's slot | beside it |
//! |---|---|---|---|
//! | 1 | DRAM, L1, L1_SMALL, TRACE, CB, KERNEL; without KERNEL in a file of 8,640 bytes | 0, though 0 is a chip | |
//! | 2 | as 1, by the file's size | 2³² - 1 | |
//! | 3 | DRAM, L1, L1_SMALL, TRACE, CB | 2³² - 1 | |
//! | 4 | as 3 | 2³² - 1 | whether it is ready; a process that is being released has the pid -1 |
//!
//! Others are refused: what their words mean is not known. A region changes while it is read: what
//! is wrong in one reading may be on its way.

mod findings;

use thiserror::Error;

pub(crate) use findings::{Finding, FindingKind, findings};

/// The counters of a region, in their order.
pub(crate) const COUNTERS: [&str; 6] = ["dram", "l1", "l1-small", "trace", "cb", "kernel"];

const HEADER_BYTES: usize = 48;
const CHIPS: usize = 16;
const PROCESSES: usize = 64;
const NAME_BYTES: usize = 64;
/// A region with a counter for kernels has so many bytes at least.
const BYTES_WITH_KERNEL: usize =
    HEADER_BYTES + 8 * 6 + CHIPS * (8 + 8 * 6) + PROCESSES * (80 + 8 * 6);
/// What a region says that is ready, from version 4 on.
const READY: u32 = 0x5245_4459;
const NO_CHIP: u32 = u32::MAX;

/// Why bytes are no region.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum RegionError {
    /// It ends too early.
    #[error(
        "{found} bytes are too few for a region of counters of version {version}: it has {expected}"
    )]
    TooShort {
        /// Its version.
        version: u32,
        /// Bytes that there are.
        found: usize,
        /// Bytes that there must be.
        expected: usize,
    },
    /// Nobody has written it yet.
    #[error("version 0: nobody has written this region yet, or its writer is about to")]
    Unwritten,
    /// It is of a version that is not known.
    #[error(
        "version {0} of the counters' region is not known (1 to 4 are); it is not a region of counters, or a newer one"
    )]
    UnknownVersion(u32),
}

/// What a region says at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    /// The version of its layout.
    pub(crate) version: u32,
    /// Whether its writer says that all of it is written; `None`: versions that do not say.
    pub(crate) ready: Option<bool>,
    /// Processes that it says are in its table.
    pub(crate) active_processes: u32,
    /// When it was last changed, in ns since 1970.
    pub(crate) updated_ns: u64,
    /// Processes that it says are attached.
    pub(crate) references: u32,
    /// The chip's own number.
    pub(crate) chip: u64,
    /// The device's number in the runtime.
    pub(crate) device: u32,
    /// Bytes by counter, of all chips and processes.
    pub(crate) totals: Vec<u64>,
    /// Of each chip.
    pub(crate) chips: Vec<ChipCounters>,
    /// Of each process, where processes are counted.
    pub(crate) processes: Vec<ProcessCounters>,
}

/// A slot of a chip behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChipCounters {
    /// The slot.
    pub(crate) slot: usize,
    /// The chip's number in the runtime.
    pub(crate) chip: u32,
    /// Whether it is reached through the gateway.
    pub(crate) is_remote: bool,
    /// Bytes by counter.
    pub(crate) bytes: Vec<u64>,
}

/// A slot of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessCounters {
    /// The slot.
    pub(crate) slot: usize,
    /// Its process; -1: it is being released.
    pub(crate) pid: i32,
    /// The process's name, as it gave it.
    pub(crate) name: String,
    /// When it was last changed, in ns since 1970.
    pub(crate) updated_ns: u64,
    /// Bytes by counter.
    pub(crate) bytes: Vec<u64>,
}

impl Region {
    /// Reads a region, little-endian, as the runtime maps it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Region, RegionError> {
        let word = |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
        let version = word(0).map_or(0, u32::from_le_bytes);
        let counters = match version {
            0 if bytes.len() >= 4 => return Err(RegionError::Unwritten),
            1 | 2 if bytes.len() >= BYTES_WITH_KERNEL => 6,
            0..=4 => 5,
            _ => return Err(RegionError::UnknownVersion(version)),
        };
        let slots = HEADER_BYTES + 8 * counters + CHIPS * (8 + 8 * counters);
        let end = slots + PROCESSES * (16 + NAME_BYTES + 8 * counters);
        let expected = end + if version >= 4 { 4 } else { 0 };
        if bytes.len() < expected {
            return Err(RegionError::TooShort {
                version,
                found: bytes.len(),
                expected,
            });
        }
        let mut reader = Reader { bytes, at: 4 };
        let active_processes = reader.u32();
        let updated_ns = reader.u64();
        let references = reader.u32();
        reader.at += 4 + 8;
        let chip = reader.u64();
        let device = reader.u32();
        reader.at += 4;
        let totals = reader.u64s(counters);
        let chips = (0..CHIPS).map(|slot| ChipCounters {
            slot,
            chip: reader.u32(),
            is_remote: reader.u32() != 0,
            bytes: reader.u64s(counters),
        });
        let chips: Vec<ChipCounters> = chips.collect();
        let processes = (0..PROCESSES).map(|slot| reader.process(slot, counters));
        let processes: Vec<ProcessCounters> = processes.collect();
        Ok(Region {
            version,
            ready: (version >= 4).then(|| reader.u32() == READY),
            active_processes,
            updated_ns,
            references,
            chip,
            device,
            totals,
            chips: chips
                .into_iter()
                .filter(|slot| is_chip(slot, version))
                .collect(),
            processes: processes.into_iter().filter(is_process).collect(),
        })
    }
}

/// Whether the slot is in use. Of version 1, 0 is an unused slot and the first chip.
fn is_chip(slot: &ChipCounters, version: u32) -> bool {
    match version {
        1 => slot.chip != 0 || slot.is_remote || slot.bytes.iter().any(|bytes| *bytes > 0),
        _ => slot.chip != NO_CHIP,
    }
}

/// Whether the slot is in use, or something was left in it.
fn is_process(slot: &ProcessCounters) -> bool {
    slot.pid != 0 || slot.bytes.iter().any(|bytes| *bytes > 0)
}

/// Takes words; that there are enough was checked.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let word = self.bytes[self.at..].first_chunk().copied();
        self.at += N;
        word.unwrap_or([0; N])
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn u64s(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.u64()).collect()
    }

    fn process(&mut self, slot: usize, counters: usize) -> ProcessCounters {
        let pid = self.u32() as i32;
        self.at += 4;
        let bytes = self.u64s(counters);
        let updated_ns = self.u64();
        let name: [u8; NAME_BYTES] = self.take();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        ProcessCounters {
            slot,
            pid,
            name: String::from_utf8_lossy(name).into_owned(),
            updated_ns,
            bytes,
        }
    }
}

#[cfg(test)]
mod tests;
