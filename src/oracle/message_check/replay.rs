//! The replay behind the message-only check.

use rustc_hash::FxHashMap;

use super::freed::RecentlyFreed;
use super::{
    FirstFinding, LiveKey, MAX_LIVE_LISTED, MessageFinding, MessageNote, MessageReport, Noted,
    take_finding,
};
use crate::import::server_log::{LogEvent, LogRecord, OtherKind, Swept, to_message};
use crate::oracle::first_few::FirstFew;
use crate::trace::observation::RefsLeft;

type Key = (i32, u64);

/// Checks a stream of log records; see the module above for what it finds.
#[derive(Default)]
pub(crate) struct MessageCheck {
    report: MessageReport,
    live: FxHashMap<Key, Entry>,
    freed: RecentlyFreed<Key>,
    /// The server has shown that it counts references.
    counts_refs: bool,
    /// The server has announced that it takes over this size for the coming ALLOC of this key.
    announced: Option<(Key, u64)>,
    /// The last sweep: the process, and how many keys the replay had for it.
    sweep: Option<(i32, u64)>,
}

/// A live key.
struct Entry {
    origin: u64,
    owner: i32,
    refs: u64,
    /// What the server keeps, as far as the log shows it.
    kept: Metadata,
    /// What the last ALLOC said.
    last: Metadata,
    /// A difference between the two was reported since the last ALLOC.
    stale: bool,
}

/// Packed: an entry has two, and there may be millions of entries.
#[derive(Clone, Copy, Default)]
#[repr(C, packed)]
struct Metadata {
    size_bytes: u64,
    has_size: bool,
    buffer_type: Option<u8>,
}

impl Metadata {
    fn size_bytes(self) -> Option<u64> {
        self.has_size.then_some(self.size_bytes)
    }

    fn has_size_bytes(&mut self, size_bytes: u64) {
        self.size_bytes = size_bytes;
        self.has_size = true;
    }
}

/// An accepted ALLOC.
struct Alloc {
    key: Key,
    pid: i32,
    size_bytes: u64,
    buffer_type: u8,
}

impl Alloc {
    fn metadata(&self) -> Metadata {
        Metadata {
            size_bytes: self.size_bytes,
            has_size: true,
            buffer_type: Some(self.buffer_type),
        }
    }
}

impl MessageCheck {
    /// Takes the next record of the log.
    pub(crate) fn observe(&mut self, record: &LogRecord) {
        let line = record.line;
        self.report.lines += 1;
        self.report.messages += u64::from(to_message(record).is_some());
        self.report.of_buffers += u64::from(matches!(
            record.what,
            LogEvent::Allocated { .. }
                | LogEvent::Freed { .. }
                | LogEvent::UnknownFree { .. }
                | LogEvent::UnknownFreeBare { .. }
                | LogEvent::AlreadyFreed { .. }
        ));
        match record.what {
            LogEvent::Allocated {
                pid,
                size_bytes,
                buffer_type,
                device,
                address,
                ref_count,
            } => {
                let alloc = Alloc {
                    key: (device, address),
                    pid,
                    size_bytes,
                    buffer_type,
                };
                self.counts_refs |= ref_count.is_some();
                match ref_count {
                    Some(refs) if refs >= 2 => self.shared_alloc(line, &alloc, refs),
                    _ => self.new_alloc(line, &alloc),
                }
            }
            LogEvent::Freed {
                pid,
                address,
                device,
                size_bytes,
                left,
            } => {
                self.counts_refs |= left != RefsLeft::Unstated;
                self.freed(line, (device, address), pid, size_bytes, left);
            }
            LogEvent::UnknownFree {
                address, device, ..
            } => {
                self.refused_free(line, (device, address), None);
            }
            LogEvent::UnknownFreeBare { address } => {
                self.find(MessageFinding::UnknownFree, None, address, line);
            }
            LogEvent::AlreadyFreed {
                address,
                device,
                allocs,
                ..
            } => {
                self.refused_free(line, (device, address), Some(allocs));
            }
            LogEvent::ReusedDifferentSize {
                new_bytes,
                address,
                device,
                ..
            } => {
                self.announced = Some(((device, address), new_bytes));
            }
            LogEvent::InvalidBufferType { .. }
            | LogEvent::InvalidDevice { .. }
            | LogEvent::InvalidSize { .. }
            | LogEvent::Refused { .. } => self.note(MessageNote::Rejected, line),
            LogEvent::Meter { wrapped: true, .. } => self.note(MessageNote::WrappedTotal, line),
            LogEvent::UnknownMessageType(_) => self.report.unknown_messages += 1,
            LogEvent::DeadProcess { pid } => self.sweep(pid),
            LogEvent::Removed {
                count,
                what: Swept::Buffers,
                pid,
            } => self.swept(line, count, pid),
            LogEvent::Remaining {
                device: Some(device),
                address,
                pid,
                ref_count,
                ..
            } => {
                self.listed(line, (device, address), pid, ref_count);
            }
            LogEvent::RemainingTotal(count) | LogEvent::ActiveAllocations(count) => {
                if count != self.live.len() as u64 {
                    self.note(MessageNote::LiveCountDisagreement, line);
                }
            }
            LogEvent::KnownOther(OtherKind::Started) => self.restart(line),
            LogEvent::Meter { .. }
            | LogEvent::Removed { .. }
            | LogEvent::Remaining { .. }
            | LogEvent::KnownOther(_)
            | LogEvent::Unrecognised(_) => {}
        }
    }

    /// The outcome, at the end of the log.
    pub(crate) fn finish(mut self) -> MessageReport {
        let mut live = FirstFew::new(MAX_LIVE_LISTED);
        for (&key, entry) in &self.live {
            live.add((entry.origin, key), entry.live_key(key));
        }
        self.report.live_at_end_total = self.live.len() as u64;
        self.report.live_at_end = live.in_order().collect();
        self.report
    }

    /// An ALLOC of a key that the server says was not live.
    fn new_alloc(&mut self, line: u64, alloc: &Alloc) {
        let (device, address) = alloc.key;
        self.freed.remove(alloc.key);
        let replaced = self.live.insert(alloc.key, Entry::new(line, alloc, 1));
        let Some(before) = replaced else { return };
        if self.counts_refs {
            // Such a server would have said so, had the key been live: the log lacks the end of its
            // life.
            self.note(MessageNote::RefCountDisagreement, line);
            return;
        }
        self.find(MessageFinding::DuplicateAlloc, Some(device), address, line);
        if differ(before.last.buffer_type, alloc.buffer_type) {
            self.find(MessageFinding::Misattributed, Some(device), address, line);
        }
    }

    /// An ALLOC of a key that the server says was live.
    fn shared_alloc(&mut self, line: u64, alloc: &Alloc, refs: u64) {
        let (device, address) = alloc.key;
        let takes_size = self.announced.take() == Some((alloc.key, alloc.size_bytes));
        self.freed.remove(alloc.key);
        self.find(MessageFinding::DuplicateAlloc, Some(device), address, line);
        let Some(entry) = self.live.get_mut(&alloc.key) else {
            let mut entry = Entry::new(line, alloc, refs);
            entry.kept = Metadata::default();
            self.live.insert(alloc.key, entry);
            self.note(MessageNote::LateAttach, line);
            return;
        };
        if takes_size {
            entry.kept.has_size_bytes(alloc.size_bytes);
        }
        let other_type = differ(entry.kept.buffer_type, alloc.buffer_type);
        let other_size = differ(entry.kept.size_bytes(), alloc.size_bytes);
        entry.stale = other_type || other_size || entry.owner != alloc.pid;
        let stale = entry.stale;
        let miscounted = entry.refs.checked_add(1) != Some(refs);
        entry.refs = refs;
        entry.last = alloc.metadata();
        if stale {
            self.find(MessageFinding::StaleMetadata, Some(device), address, line);
        }
        if other_type {
            self.find(MessageFinding::Misattributed, Some(device), address, line);
        }
        if miscounted {
            self.note(MessageNote::RefCountDisagreement, line);
        }
    }

    /// A FREE of a key that the server says was live.
    fn freed(&mut self, line: u64, key: Key, owner: i32, size_bytes: u64, left: RefsLeft) {
        let mut entry = match self.live.remove(&key) {
            Some(entry) => entry,
            None => {
                self.note(MessageNote::LateAttach, line);
                Entry::unseen(line, owner, left.refs().saturating_add(1))
            }
        };
        if differ(entry.last.size_bytes(), size_bytes) && !entry.stale {
            entry.stale = true;
            self.find(MessageFinding::StaleMetadata, Some(key.0), key.1, line);
        }
        // A server that does not count drops the key, whatever was sent before.
        if left != RefsLeft::Unstated && entry.refs.checked_sub(1) != Some(left.refs()) {
            self.note(MessageNote::RefCountDisagreement, line);
        }
        entry.kept.has_size_bytes(size_bytes);
        entry.refs = left.refs();
        if entry.refs == 0 {
            self.freed.insert(key, line);
        } else {
            self.freed.remove(key);
            self.live.insert(key, entry);
        }
    }

    /// A FREE of a key that the server says is not live; `allocs`: how many ALLOCs it saw, if it
    /// says.
    fn refused_free(&mut self, line: u64, key: Key, allocs: Option<u64>) {
        if self.live.remove(&key).is_some() {
            self.note(MessageNote::RefCountDisagreement, line);
        }
        let was_live = match allocs {
            Some(allocs) => allocs > 0,
            None => self.freed.contains(key),
        };
        self.find(MessageFinding::UnknownFree, Some(key.0), key.1, line);
        if was_live {
            self.note(MessageNote::FreedBefore, line);
        }
    }

    fn sweep(&mut self, pid: i32) {
        let before = self.live.len();
        self.live.retain(|_, entry| entry.owner != pid);
        let removed = (before - self.live.len()) as u64;
        self.report.swept += removed;
        self.sweep = Some((pid, removed));
    }

    fn swept(&mut self, line: u64, count: u64, pid: i32) {
        if self.sweep.take() != Some((pid, count)) {
            self.note(MessageNote::SweepDisagreement, line);
        }
    }

    /// The server lists a key as live.
    fn listed(&mut self, line: u64, key: Key, pid: i32, ref_count: Option<u64>) {
        match self.live.get_mut(&key) {
            None => {
                self.live
                    .insert(key, Entry::unseen(line, pid, ref_count.unwrap_or(1)));
                self.freed.remove(key);
                self.note(MessageNote::LateAttach, line);
            }
            Some(entry) => {
                let refs = ref_count.unwrap_or(entry.refs);
                if std::mem::replace(&mut entry.refs, refs) != refs {
                    self.note(MessageNote::RefCountDisagreement, line);
                }
            }
        }
    }

    fn restart(&mut self, line: u64) {
        if !self.live.is_empty() {
            self.note(MessageNote::RestartWithLive, line);
        }
        self.live.clear();
        self.freed.clear();
        self.counts_refs = false;
        self.announced = None;
        self.sweep = None;
    }

    fn find(&mut self, kind: MessageFinding, device: Option<i32>, address: u64, line: u64) {
        let finding = FirstFinding {
            kind,
            device,
            address,
            line,
        };
        let report = &mut self.report;
        let (first, listed) = (&mut report.first, &mut report.listed);
        take_finding(&mut report.findings, first, listed, finding);
    }

    fn note(&mut self, note: MessageNote, line: u64) {
        let noted = Noted {
            count: 0,
            first_line: line,
        };
        self.report.notes.entry(note).or_insert(noted).count += 1;
    }
}

impl Entry {
    fn new(line: u64, alloc: &Alloc, refs: u64) -> Entry {
        Entry {
            origin: line,
            owner: alloc.pid,
            refs,
            kept: alloc.metadata(),
            last: alloc.metadata(),
            stale: false,
        }
    }

    /// A key whose ALLOC the log does not show.
    fn unseen(line: u64, owner: i32, refs: u64) -> Entry {
        Entry {
            origin: line,
            owner,
            refs,
            kept: Metadata::default(),
            last: Metadata::default(),
            stale: false,
        }
    }

    fn live_key(&self, (device, address): Key) -> LiveKey {
        LiveKey {
            device,
            address,
            size_bytes: self.last.size_bytes(),
            buffer_type: self.last.buffer_type,
            pid: self.owner,
            ref_count: self.refs,
            line: self.origin,
        }
    }
}

impl RefsLeft {
    fn refs(self) -> u64 {
        match self {
            RefsLeft::Remaining(refs) => refs,
            RefsLeft::Final | RefsLeft::Unstated => 0,
        }
    }
}

/// Whether what is known differs from `other`.
fn differ<T: PartialEq>(known: Option<T>, other: T) -> bool {
    known.is_some_and(|known| known != other)
}
