//! One client of the listener: its socket, its decoder, and what it has not read yet.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::listener::ClientId;
use super::processes::Owner;
use crate::tracking::codec::FrameDecoder;
use crate::tracking::entry::Entry;
use crate::tracking::table::{self, TableFrame};

/// How many table entries are encoded at a time while the client reads a table.
const TABLE_PAGE_ENTRIES: usize = 1024;

pub(super) struct ServedClient {
    pub(super) fd: OwnedFd,
    pub(super) id: ClientId,
    pub(super) decoder: FrameDecoder,
    pub(super) output: Output,
    pub(super) last_read: Instant,
    /// The client has sent its last byte, and stays for its answers only.
    pub(super) at_end: bool,
    /// Whether the event loop waits for the socket to become writable.
    pub(super) awaits_writable: bool,
    /// Whether the event loop has it in its list of undecided clients.
    pub(super) listed_undecided: bool,
    /// Whether it was told how its messages are read.
    pub(super) told_layout: bool,
    /// The process it is of, where that is watched.
    pub(super) owner: Option<Owner>,
    pub(super) account: ClientAccount,
}

/// What a client's messages say of it.
#[derive(Default)]
pub(super) struct ClientAccount {
    /// Its process in the registry; 0: nobody's.
    pub(super) owner: u16,
    /// Whether it has sent a message.
    pub(super) has_spoken: bool,
    /// Whether it may hold a buffer.
    pub(super) opened: bool,
    /// Buffers that it opened, less those that it closed.
    pub(super) buffers: u64,
    /// Whether it was logged that it has as many as it may.
    pub(super) told_limit: bool,
}

impl ClientAccount {
    /// It opened a buffer.
    #[inline]
    pub(super) fn open(&mut self) {
        self.opened = true;
        self.buffers += 1;
    }
}

/// Whether a client can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Keep,
    Close,
}

/// Answers that the client's socket didn't take yet.
#[derive(Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    sent: usize,
    table: Option<(Vec<Entry>, usize)>,
}

impl Output {
    /// Queues one frame.
    pub(super) fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
    }

    /// Whether there is anything to send.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting_bytes() == 0 && self.table.is_none()
    }

    /// Whether a table is on its way; there is one at a time.
    pub(super) fn has_table(&self) -> bool {
        self.table.is_some()
    }

    /// Queues a table, to be encoded page by page as the client reads.
    pub(super) fn push_table(&mut self, entries: Vec<Entry>) {
        self.table = Some((entries, 0));
    }

    /// Queued bytes; of a table only the current page.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Sends as much as the socket takes without waiting.
    pub(super) fn send_to(&mut self, fd: &OwnedFd) -> Fate {
        loop {
            if self.waiting_bytes() == 0 {
                self.bytes.clear();
                self.sent = 0;
                self.next_page();
                if self.bytes.is_empty() {
                    return Fate::Keep;
                }
            }
            match rustix::net::send(
                fd,
                &self.bytes[self.sent..],
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            ) {
                Ok(sent) => self.sent += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Fate::Keep,
                Err(_) => return Fate::Close,
            }
        }
    }

    /// Takes at most `most` bytes off the front, in whole frames of `frame_bytes`.
    pub(super) fn take(&mut self, most: usize, frame_bytes: usize) -> Vec<u8> {
        if self.waiting_bytes() == 0 {
            self.bytes.clear();
            self.sent = 0;
            self.next_page();
        }
        let frame_bytes = frame_bytes.max(1);
        let count = self.waiting_bytes().min(most) / frame_bytes * frame_bytes;
        let taken = self.bytes[self.sent..self.sent + count].to_vec();
        self.sent += count;
        taken
    }

    fn next_page(&mut self) {
        let Some((entries, next)) = &mut self.table else {
            return;
        };
        let page = &entries[*next..entries.len().min(*next + TABLE_PAGE_ENTRIES)];
        for entry in page {
            self.bytes
                .extend_from_slice(&table::encode(&TableFrame::Entry(*entry)));
        }
        *next += page.len();
        if *next == entries.len() {
            self.bytes
                .extend_from_slice(&table::encode(&TableFrame::End(entries.len() as u64)));
            self.table = None;
        }
    }
}
