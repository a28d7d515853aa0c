//! The check of what an allocator recorded of itself: the runtime's debug log, RMM's log, a PyTorch
//! snapshot.
//!
//! It replays the records per address and finds those that contradict each other. There is no
//! server in them. Where the source holds the allocator's own table ([`TableComparison`]), what the
//! records have live at their end is held against it; else there is no truth beside them, and
//! nothing is ever clean. There is no cause in them: diagnosis ranks suspects.
//!
//! What holds:
//! - An address space is a device and a buffer type of a process, where processes are told: one
//!   address may be live in each.
//! - A release yields at most one of `unknown-free` and `double-free`: the latter when the records
//!   show the address given back before, with no allocation since. In a source that begins in the
//!   middle, the first release of an address that was never seen is no finding: it is noted as
//!   allocated earlier.
//! - An allocation of a live address is `duplicate-alloc`. So is one of other bytes of a live
//!   buffer where the source's sizes are of consecutive bytes that one buffer has (module
//!   `ranges`); where they may be, that is noted. Where records name the object that holds a
//!   buffer, both lives are kept, and each ends with its own release only: blocks that are written
//!   late do not turn into leaks. Else the new life replaces the old one.
//! - A release with another size than its allocation's is `stale-metadata`.
//! - The peak is by the order of the records. In a source that begins in the middle it is the least
//!   that it can have been: with what was allocated before, until its release, with what the table
//!   has from before, without what is live by a lost release only, and no less than the table has.
//! - Memory is bounded by the buffers that are live at once, plus the
//!   [`FREED_WINDOW`](super::message_check::FREED_WINDOW) last addresses given back.

mod lives;
mod ranges;
mod table;

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use self::lives::{LiveAtEnd, RecordedLife, by_bytes};
use self::ranges::LiveRanges;
pub(crate) use self::table::{BufferSum, TableComparison};
use self::table::{OpenLife, TablePeak, TableWatch};
use super::message_check::{FirstFinding, MessageFinding, Noted, RecentlyFreed, take_finding};
use crate::import::allocation::{AllocationEvent, AllocationRecord, Buffer};
use crate::import::live_table::LiveTable;
use crate::trace::file::ImportFormat;

/// How many live buffers [`AllocationReport::live`] lists at most.
pub(crate) const MAX_LIVE_LISTED: usize = 1000;
/// Lives of one address that are kept at once; more can only be damage.
const MAX_LIVES: usize = 16;
/// Threads and devices that are counted; more can only be damage.
pub(crate) const MAX_COUNTED: usize = 1 << 16;

/// Something that a reader of the report should know, but that is no divergence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AllocationNote {
    /// A release of a buffer that was allocated before the records begin.
    AllocatedEarlier,
    /// A buffer's object ended, and no release followed.
    HolderEnded,
    /// A release was requested and not completed.
    ReleasePending,
    /// An allocation of bytes that a live buffer has, if sizes are of consecutive bytes.
    Overlapping,
    /// A time before that of the record above it, in a log of which nobody knows who sorts it.
    TimeGoesBack,
}

impl AllocationNote {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            AllocationNote::AllocatedEarlier => "allocated-earlier",
            AllocationNote::HolderEnded => "holder-ended",
            AllocationNote::ReleasePending => "release-pending",
            AllocationNote::Overlapping => "overlapping",
            AllocationNote::TimeGoesBack => "time-goes-back",
        }
    }

    /// One sentence for a newcomer.
    pub(crate) fn explain(self) -> &'static str {
        match self {
            AllocationNote::AllocatedEarlier => "released, and allocated before the records begin",
            AllocationNote::HolderEnded => "the buffer's object ended, and no release followed",
            AllocationNote::ReleasePending => "its release was requested, and not completed",
            AllocationNote::Overlapping => {
                "allocated inside of a live buffer, if a size is that of consecutive bytes"
            }
            AllocationNote::TimeGoesBack => {
                "its time is before that of the record above; taken is the order in the file"
            }
        }
    }
}

/// A buffer that is live at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LiveRecord {
    /// What its allocation said.
    pub(crate) buffer: Buffer,
    /// Where; 0 where no record says so, but the allocator's own table.
    pub(crate) position: u64,
    /// The thread that allocated it, where the source knows.
    pub(crate) thread: Option<u64>,
}

/// Buffers that are live at the end and come from one place in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LiveGroup {
    /// The first of them.
    pub(crate) first: LiveRecord,
    /// How many there are.
    pub(crate) buffers: u64,
    /// Their sizes together.
    pub(crate) bytes: u128,
}

/// The outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AllocationReport {
    /// Records read.
    pub(crate) records: u64,
    /// Allocations among them.
    pub(crate) allocations: u64,
    /// Releases among them; one that is requested and completed counts once.
    pub(crate) releases: u64,
    /// Failed allocations among them.
    pub(crate) failed: u64,
    /// How many threads they name.
    pub(crate) threads: u64,
    /// How many devices they name.
    pub(crate) devices: u64,
    /// Findings by kind.
    pub(crate) findings: BTreeMap<MessageFinding, u64>,
    /// The first finding.
    pub(crate) first: Option<FirstFinding>,
    /// The first of them, as many as a report lists.
    pub(crate) listed: Vec<FirstFinding>,
    /// What else is worth knowing.
    pub(crate) notes: BTreeMap<AllocationNote, Noted>,
    /// The most bytes that were live at once, or at least that many.
    pub(crate) peak_bytes: u128,
    /// Buffers that were allocated before the records are in the peak.
    pub(crate) peak_is_least: bool,
    /// How many buffers are live at the end.
    pub(crate) live_total: u64,
    /// Their sizes together.
    pub(crate) live_bytes: u128,
    /// The first [`MAX_LIVE_LISTED`] of them, by position.
    pub(crate) live: Vec<LiveRecord>,
    /// All of them by device, type and call stack; most bytes first.
    pub(crate) groups: Vec<LiveGroup>,
    /// The records against the allocator's own table, where the source has it. What is live at the
    /// end is then what the table has in use.
    pub(crate) table: Option<TableComparison>,
}

type Key = (u32, i32, u8, u64);

/// Checks a stream of records; see the [module](self) for what it finds.
#[derive(Default)]
pub(crate) struct AllocationCheck {
    begins_in_the_middle: bool,
    report: AllocationReport,
    /// Boxed: a table of entries of this size is up to twice as large as what is in it.
    live: FxHashMap<Key, Box<SmallVec<[RecordedLife; 1]>>>,
    freed: RecentlyFreed<(Key, Option<u64>)>,
    threads: FxHashSet<u64>,
    devices: FxHashSet<i32>,
    /// Bytes that are live, less those that were so before the first record and are released.
    bytes: i128,
    /// The most of that.
    most_bytes: i128,
    /// Bytes that were live before the first record and are released.
    earlier_bytes: i128,
    table: Option<TableWatch>,
    /// None: sizes say nothing of the addresses after the first.
    ranges: Option<LiveRanges>,
    /// Whether no two buffers may have the same bytes.
    overlaps_are_wrong: bool,
    /// The time of the record before; none where times need not be in order.
    last_ns: Option<u64>,
}

impl AllocationCheck {
    /// Of what is recorded in `format`.
    pub(crate) fn of(format: ImportFormat) -> AllocationCheck {
        AllocationCheck {
            ranges: format.may_size_be_a_range().then(LiveRanges::default),
            overlaps_are_wrong: format.is_size_a_range(),
            last_ns: format.is_of_unknown_order().then_some(0),
            ..AllocationCheck::new(format.begins_in_the_middle())
        }
    }

    /// `begins_in_the_middle`: records may be about buffers that were allocated before the first.
    pub(crate) fn new(begins_in_the_middle: bool) -> AllocationCheck {
        AllocationCheck {
            begins_in_the_middle,
            ..AllocationCheck::default()
        }
    }

    /// Before the first record: what the allocator's own table has in use after the last.
    pub(crate) fn compare_with(&mut self, table: &LiveTable) {
        self.table = Some(TableWatch::new(table));
    }

    /// How many findings are listed so far.
    pub(crate) fn findings(&self) -> usize {
        self.report.listed.len()
    }

    /// Takes the next record.
    pub(crate) fn observe(&mut self, record: &AllocationRecord) {
        self.report.records += 1;
        if let (Some(table), Some(buffer)) = (&mut self.table, record.buffer()) {
            table.mention(&buffer);
        }
        if let Some(thread) = record.thread.filter(|_| self.threads.len() < MAX_COUNTED) {
            self.threads.insert(thread);
        }
        let position = record.position;
        if let (Some(last_ns), Some(at_ns)) = (&mut self.last_ns, record.at_ns) {
            let goes_back = at_ns < *last_ns;
            *last_ns = at_ns;
            if goes_back {
                self.note(AllocationNote::TimeGoesBack, position);
            }
        }
        let device = match record.what {
            AllocationEvent::Allocated(buffer) => {
                self.allocated(LiveRecord {
                    buffer,
                    position,
                    thread: record.thread,
                });
                buffer.device
            }
            AllocationEvent::ReleaseRequested(buffer) => {
                self.requested(position, &buffer);
                buffer.device
            }
            AllocationEvent::Released(buffer) => {
                self.released(position, &buffer);
                buffer.device
            }
            AllocationEvent::HolderEnded(buffer) => {
                if let Some((index, _)) = self.find_life(&buffer)
                    && let Some(lives) = self.live.get_mut(&key(&buffer))
                {
                    lives[index].holder_ended_at = NonZeroU64::new(position);
                }
                buffer.device
            }
            AllocationEvent::Failed { device, .. } => {
                self.report.failed += 1;
                device
            }
        };
        if self.devices.len() < MAX_COUNTED {
            self.devices.insert(device);
        }
    }

    /// The outcome, at the end of the records.
    pub(crate) fn finish(mut self) -> AllocationReport {
        let mut live = LiveAtEnd::none();
        let mut open = Vec::new();
        for (key, lives) in std::mem::take(&mut self.live) {
            for life in *lives {
                let said = life.said(key);
                if self.table.is_some() {
                    open.push(OpenLife {
                        said,
                        requested: life.requested_at.is_some(),
                        seen: life.seen,
                    });
                }
                if let Some(position) = life.requested_at {
                    self.note_first(AllocationNote::ReleasePending, position.get());
                    continue;
                }
                if let Some(position) = life.holder_ended_at {
                    self.note_first(AllocationNote::HolderEnded, position.get());
                }
                if life.seen {
                    live.add(said);
                }
            }
        }
        let mut table_peak = TablePeak::default();
        if let Some(table) = self.table.take() {
            let (compared, in_use) = table.compare(open);
            table_peak = TablePeak::of(&compared);
            live = LiveAtEnd::none();
            in_use.into_iter().for_each(|said| live.add(said));
            self.report.table = Some(compared);
        }
        let peak = self.most_bytes + self.earlier_bytes + table_peak.change;
        let peak = u128::try_from(peak).unwrap_or(0);
        self.report.peak_bytes = peak.max(table_peak.at_end);
        self.report.peak_is_least = self.begins_in_the_middle
            && (self.report.table.is_none() || table_peak.is_least)
            || self.earlier_bytes > 0;
        self.report.live_total = live.total;
        self.report.groups = by_bytes(live.groups);
        let groups = self.report.groups.iter();
        self.report.live_bytes = groups.map(|group| group.bytes).sum();
        self.report.live = live.first.in_order().collect();
        self.report.threads = self.threads.len() as u64;
        self.report.devices = self.devices.len() as u64;
        self.report
    }

    fn allocated(&mut self, said: LiveRecord) {
        let (key, position) = (key(&said.buffer), said.position);
        let life = RecordedLife::new(&said, true);
        self.report.allocations += 1;
        self.freed.remove((key, said.buffer.holder));
        let lives = self.live.entry(key).or_default();
        let same = !lives.is_empty();
        let replaces = said.buffer.holder.is_none() || lives.len() >= MAX_LIVES;
        if same && replaces {
            let old = lives.remove(0);
            self.bytes -= i128::from(old.size_bytes);
            if let Some(ranges) = &mut self.ranges {
                ranges.released(key);
            }
        }
        lives.push(life);
        self.bytes += i128::from(life.size_bytes);
        self.most_bytes = self.most_bytes.max(self.bytes);
        let ranges = self.ranges.as_mut();
        let overlaps = ranges.is_some_and(|ranges| ranges.allocated(key, life.size_bytes));
        if same || overlaps && self.overlaps_are_wrong {
            self.find(MessageFinding::DuplicateAlloc, &said.buffer, position);
        } else if overlaps {
            self.note(AllocationNote::Overlapping, position);
        }
    }

    fn requested(&mut self, position: u64, buffer: &Buffer) {
        let Some((index, life)) = self.find_life(buffer) else {
            self.refused(position, buffer);
            // So that its completion is no second finding.
            let said = LiveRecord {
                buffer: *buffer,
                position,
                thread: None,
            };
            let mut life = RecordedLife::new(&said, false);
            life.requested_at = NonZeroU64::new(position);
            self.live.entry(key(buffer)).or_default().push(life);
            return;
        };
        if life.requested_at.is_some() {
            self.find(MessageFinding::DoubleFree, buffer, position);
        } else if let Some(lives) = self.live.get_mut(&key(buffer)) {
            lives[index].requested_at = NonZeroU64::new(position);
            self.compare_sizes(&life, buffer, position);
        }
    }

    fn released(&mut self, position: u64, buffer: &Buffer) {
        self.report.releases += 1;
        let key = key(buffer);
        let Some((index, life)) = self.find_life(buffer) else {
            let is_earlier = self.refused(position, buffer);
            if is_earlier {
                self.released_earlier(size(buffer));
            }
            self.freed.insert((key, buffer.holder), position);
            return;
        };
        if let Some(lives) = self.live.get_mut(&key) {
            lives.remove(index);
            if lives.is_empty() {
                self.live.remove(&key);
                if let Some(ranges) = &mut self.ranges {
                    ranges.released(key);
                }
            }
            self.freed.insert((key, buffer.holder), position);
        }
        if life.seen {
            self.bytes -= i128::from(life.size_bytes);
        } else {
            self.released_earlier(life.size_bytes);
        }
        if life.requested_at.is_none() {
            self.compare_sizes(&life, buffer, position);
        }
    }

    /// A buffer that was live before the first record is live no more.
    fn released_earlier(&mut self, bytes: u64) {
        self.bytes -= i128::from(bytes);
        self.earlier_bytes += i128::from(bytes);
    }

    /// A release of what is not live; whether it was allocated before the records begin.
    fn refused(&mut self, position: u64, buffer: &Buffer) -> bool {
        if self.freed.contains((key(buffer), buffer.holder)) {
            self.find(MessageFinding::DoubleFree, buffer, position);
        } else if self.begins_in_the_middle {
            self.note(AllocationNote::AllocatedEarlier, position);
            return true;
        } else {
            self.find(MessageFinding::UnknownFree, buffer, position);
        }
        false
    }

    fn compare_sizes(&mut self, life: &RecordedLife, buffer: &Buffer, position: u64) {
        let sizes = life.size_bytes().zip(buffer.size_bytes);
        if life.seen && sizes.is_some_and(|(allocated, released)| allocated != released) {
            self.find(MessageFinding::StaleMetadata, buffer, position);
        }
    }

    /// The life that a later record is about: the one of its holder; where holders are not named,
    /// the oldest.
    fn find_life(&self, buffer: &Buffer) -> Option<(usize, RecordedLife)> {
        let lives = self.live.get(&key(buffer))?;
        let index = lives.iter().position(|life| {
            let holders = life.holder().zip(buffer.holder);
            holders.is_none_or(|(allocated, released)| allocated == released)
        })?;
        Some((index, lives[index]))
    }

    fn find(&mut self, kind: MessageFinding, buffer: &Buffer, position: u64) {
        let finding = FirstFinding {
            kind,
            device: Some(buffer.device),
            address: buffer.address,
            line: position,
        };
        let report = &mut self.report;
        let (first, listed) = (&mut report.first, &mut report.listed);
        take_finding(&mut report.findings, first, listed, finding);
    }

    fn note(&mut self, note: AllocationNote, position: u64) {
        let noted = Noted {
            count: 0,
            first_line: position,
        };
        self.report.notes.entry(note).or_insert(noted).count += 1;
    }

    /// As [`AllocationCheck::note`], for positions that come in no order.
    fn note_first(&mut self, note: AllocationNote, position: u64) {
        self.note(note, position);
        if let Some(noted) = self.report.notes.get_mut(&note) {
            noted.first_line = noted.first_line.min(position);
        }
    }
}

fn key(buffer: &Buffer) -> Key {
    let process = buffer.process.unwrap_or(0);
    (process, buffer.device, buffer.buffer_type, buffer.address)
}

fn size(buffer: &Buffer) -> u64 {
    buffer.size_bytes.unwrap_or(0)
}
