//! What a case works with: connections, messages at addresses of its own, and totals as they
//! changed since it began.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::Trouble;
use super::session::Session;
use crate::device::Memory;
use crate::numbers::signed;
use crate::tracking::entry::Class;
use crate::tracking::message::Extension;
use crate::tracking::wire::Response;
use crate::tracking::{Layout, Message, MessageKind};

/// The C++ buffer type of plain buffers.
pub(super) const DRAM: u8 = 0;

/// What all cases of a suite share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'a> {
    pub(crate) path: &'a Path,
    /// The layout that the cases are run in, where they do not choose.
    pub(crate) layout: Layout,
    /// The device that buffers are sent of.
    pub(crate) device: i32,
    /// How long an answer may take.
    pub(crate) patience: Duration,
    /// How long to wait for a sweep of dead clients.
    pub(crate) sweep: Duration,
    /// A program that [relays](super::relay()); see [`super::suite::SuiteOptions::helper`].
    pub(crate) helper: Option<&'a Path>,
}

/// One case's means.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    pub(crate) site: Site<'a>,
    /// The next address that no case has used.
    next_address: &'a mut u64,
    /// What the device showed before the case.
    base: Response,
    /// What was allocated and not released: what a failed case leaves.
    owed: BTreeMap<Owed, i64>,
}

/// What a release must name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Owed {
    layout: Layout,
    class: Class,
    pid: i32,
    buffer_type: u8,
    address: u64,
}

impl<'a> Bench<'a> {
    /// Sees what the device shows now.
    pub(crate) fn new(site: Site<'a>, next_address: &'a mut u64) -> Result<Bench<'a>, Trouble> {
        let mut bench = Bench {
            site,
            next_address,
            base: Response::default(),
            owed: BTreeMap::new(),
        };
        bench.rebase(site.layout)?;
        Ok(bench)
    }

    /// Sees what the device shows now to a client of `layout`.
    pub(crate) fn rebase(&mut self, layout: Layout) -> Result<(), Trouble> {
        let mut session = self.connect(layout, own_pid())?;
        let greeted = session.greet(self.site.device);
        self.base = greeted.map_err(|error| failed("QUERY", &error))?;
        Ok(())
    }

    /// A connection of this process whose layout the server knows.
    pub(crate) fn open(&self) -> Result<Session, Trouble> {
        self.open_as(self.site.layout, own_pid())
    }

    /// As [`Bench::open`], in another layout and another process's name.
    pub(crate) fn open_as(&self, layout: Layout, pid: i32) -> Result<Session, Trouble> {
        let mut session = self.connect(layout, pid)?;
        let greeted = session.greet(self.site.device);
        greeted.map_err(|error| failed("QUERY", &error))?;
        Ok(session)
    }

    /// A connection over which nothing has gone.
    pub(crate) fn connect(&self, layout: Layout, pid: i32) -> Result<Session, Trouble> {
        Session::open(self.site.path, layout, pid, self.site.patience)
            .map_err(|error| failed("connect", &error))
    }

    /// An address that was never used.
    pub(crate) fn address(&mut self) -> u64 {
        let address = *self.next_address;
        *self.next_address += 1 << 12;
        address
    }

    /// ALLOC of a buffer of DRAM.
    pub(crate) fn alloc(&self, session: &Session, address: u64, size_bytes: u64) -> Message {
        self.message(session, MessageKind::Alloc, address, size_bytes, DRAM)
    }

    /// FREE of a buffer of DRAM, as real clients send it: without a size.
    pub(crate) fn free(&self, session: &Session, address: u64) -> Message {
        self.message(session, MessageKind::Free, address, 0, DRAM)
    }

    /// A message of `session` about a buffer. The extended layout names the memory in a FREE too,
    /// the others do not.
    pub(crate) fn message(
        &self,
        session: &Session,
        kind: MessageKind,
        address: u64,
        size_bytes: u64,
        buffer_type: u8,
    ) -> Message {
        let releases = kind == MessageKind::Free;
        Message {
            kind,
            device: self.site.device,
            size_bytes,
            buffer_type: if releases { 0 } else { buffer_type },
            pid: session.pid,
            address,
            timestamp_ns: u64::from(!releases),
            extension: (session.layout == Layout::Extended).then_some(Extension {
                memory: Memory::from_buffer_type(buffer_type).unwrap_or(Memory::Dram),
                sequence: 0,
                generation: 0,
                thread: 0,
            }),
        }
    }

    /// Notes messages that will be sent, by whatever means, so that what they leave can be
    /// released.
    pub(crate) fn owe(&mut self, layout: Layout, messages: &[Message]) {
        for message in messages {
            let Some((class, opens)) = message.kind.role() else {
                continue;
            };
            let memory = message.extension.map(|extension| extension.memory);
            let owed = Owed {
                layout,
                class,
                pid: message.pid,
                buffer_type: memory.map_or(DRAM, Memory::buffer_type),
                address: message.address,
            };
            *self.owed.entry(owed).or_default() += if opens { 1 } else { -1 };
        }
    }

    /// The bytes of messages that will be sent.
    pub(crate) fn bytes(&mut self, session: &Session, messages: &[Message]) -> Vec<u8> {
        self.owe(session.layout, messages);
        session.encode(messages)
    }

    /// Sends messages in one write.
    pub(crate) fn send(
        &mut self,
        session: &mut Session,
        messages: &[Message],
    ) -> Result<(), Trouble> {
        let bytes = self.bytes(session, messages);
        write(session, &bytes)
    }

    /// How the totals of the device have changed since the case began. Everything that `session`
    /// sent before counts.
    pub(crate) fn change(&self, session: &mut Session) -> Result<Change, Trouble> {
        let now = session.query(self.site.device);
        let now = now.map_err(|error| failed("QUERY", &error))?;
        Ok(Change::between(&self.base, &now))
    }

    /// Asserts how the totals have changed.
    pub(crate) fn expect(
        &self,
        session: &mut Session,
        when: &str,
        expected: Change,
    ) -> Result<(), Trouble> {
        let seen = self.change(session)?;
        if seen == expected {
            return Ok(());
        }
        Err(Trouble::Failed(format!(
            "after {when}: {seen} (expected: {expected})"
        )))
    }

    /// Whether a change of DRAM is as large as a total can show.
    pub(crate) fn is_largest(&self, change: Change) -> bool {
        i128::from(self.base.dram_bytes) + change.dram == i128::from(u64::MAX)
    }

    /// Releases what is left, as far as the server lets it.
    pub(crate) fn release(&mut self) {
        let mut open: Option<(Layout, i32, Session)> = None;
        let mut unanswered = Vec::new();
        for (owed, count) in std::mem::take(&mut self.owed) {
            let Some(count) = usize::try_from(count).ok().filter(|count| *count > 0) else {
                continue;
            };
            // What is not answered in its own layout may have been counted all the same.
            let layout = match unanswered.contains(&owed.layout) {
                true => self.site.layout,
                false => owed.layout,
            };
            let known = open.take_if(|(open, pid, _)| (*open, *pid) == (layout, owed.pid));
            let session = match known {
                Some((.., session)) => Ok(session),
                None => self.open_as(layout, owed.pid).or_else(|_| {
                    unanswered.push(layout);
                    self.open_as(self.site.layout, owed.pid)
                }),
            };
            // The server may be gone: then nothing is left in it.
            let Ok(mut session) = session else {
                return;
            };
            let kind = owed.class.closing();
            let message = self.message(&session, kind, owed.address, 0, owed.buffer_type);
            let bytes = session.encode(&vec![message; count]);
            let _ = session.write(&bytes);
            if session.query(self.site.device).is_ok() {
                open = Some((session.layout, owed.pid, session));
            }
        }
        // Where a server counts references, an entry that a shared key hides may still be there:
        // nothing can be done about it.
    }
}

/// This process, as messages name it.
pub(super) fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

/// Another process that lives.
pub(super) fn other_pid() -> i32 {
    rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get())
}

/// Writes bytes in one piece.
pub(super) fn write(session: &mut Session, bytes: &[u8]) -> Result<(), Trouble> {
    session
        .write(bytes)
        .map_err(|error| failed("the server does not take what is sent", &error))
}

/// The server failed in `what`.
pub(super) fn failed(what: &str, error: &io::Error) -> Trouble {
    Trouble::Failed(format!("{what}: {error}"))
}

/// How a device's totals changed, in bytes. A total that wrapped shows as a change of some 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(crate) dram: i128,
    pub(crate) l1: i128,
    pub(crate) l1_small: i128,
    pub(crate) trace: i128,
    pub(crate) cb: i128,
    pub(crate) kernel: i128,
}

impl Change {
    /// DRAM only.
    pub(crate) fn dram(bytes: u64) -> Change {
        Change {
            dram: i128::from(bytes),
            ..Change::default()
        }
    }

    fn between(before: &Response, after: &Response) -> Change {
        let by =
            |figure: fn(&Response) -> u64| i128::from(figure(after)) - i128::from(figure(before));
        Change {
            dram: by(|r| r.dram_bytes),
            l1: by(|r| r.l1_bytes),
            l1_small: by(|r| r.l1_small_bytes),
            trace: by(|r| r.trace_bytes),
            cb: by(|r| r.cb_bytes),
            kernel: by(|r| r.kernel_bytes),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = [
            ("DRAM", self.dram),
            ("L1", self.l1),
            ("L1_SMALL", self.l1_small),
            ("TRACE", self.trace),
            ("CB", self.cb),
            ("kernels", self.kernel),
        ];
        let mut separator = "";
        for (name, change) in figures.into_iter().filter(|(_, change)| *change != 0) {
            write!(f, "{separator}{name} {} B", signed(change))?;
            separator = ", ";
        }
        if separator.is_empty() {
            f.write_str("totals as before")?;
        }
        Ok(())
    }
}
