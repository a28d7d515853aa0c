//! The server's journal: everything that can change the table goes to a file before any answer that
//! shows it leaves.
//!
//! What holds:
//! - A query's answer leaves when all that it shows is with the kernel: a server that is killed and
//!   started again shows at least that, and nothing that no client sent. (The kernel's memory
//!   survives the process, not a power failure.)
//! - What no query asked about is in the file at most [`FLUSH_AFTER`] later.
//! - A journal that can't be written any more ends there, and the server goes on without: a gap in
//!   it would invent live buffers.
//! - A file that was cut short is continued behind its last whole block. One that is damaged inside
//!   is refused, and so is one of other semantics or limits.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};

use super::listener::{ClientId, Observer};
use crate::registry::{Limits, Registry, Semantics};
use crate::trace::file::{Header, JournalHeader, TraceError, TraceFile};
use crate::trace::journal::{JournalReader, JournalRecord, JournalWriter};
use crate::tracking::Message;
use crate::tracking::entry::Entry;

/// What was taken in is in the file so long after at the latest.
pub(crate) const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// Writes what it observes.
#[derive(Debug)]
pub struct ServerJournal {
    path: PathBuf,
    writer: Option<JournalWriter>,
    started: Instant,
    last_flush: Instant,
    /// Whether the time is to be written before the next record.
    time_is_old: bool,
    error: Option<String>,
}

/// A journal to go on with, and the table that it holds.
#[derive(Debug)]
pub struct Restored {
    /// Where the server goes on writing.
    pub journal: ServerJournal,
    /// What was live.
    pub registry: Registry,
    /// How many messages brought that about; 0: the journal is new.
    pub messages: u64,
    /// What was behind the last whole block, if anything: it was cut off.
    pub cut: Option<String>,
}

/// Why a journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// It is no trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// It is another kind of trace.
    #[error("{path}: it is {what}, not a server's journal; give another file to --record")]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It is damaged inside.
    #[error(
        "{what}, and there is more behind it: the table can't be restored; move {path} away to begin with nothing live"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        what: String,
    },
    /// It was written by a server that understood messages otherwise.
    #[error(
        "{path}: it was written with {theirs}, and this server has {ours}; start it as before, or give another file to --record"
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// What its server had.
        theirs: String,
        /// What this one has.
        ours: String,
    },
    /// Another server writes to it.
    #[error("{path}: another server records here")]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

impl ServerJournal {
    /// Begins the journal at `path`, or reads what is there and goes on with it.
    pub fn open(
        path: &Path,
        semantics: Semantics,
        limits: Limits,
    ) -> Result<Restored, JournalError> {
        let failed = |source: io::Error| JournalError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            JournalError::InUse {
                path: path.to_owned(),
            }
        })?;
        let mut registry = Registry::new(semantics, limits);
        if file.metadata().map_err(failed)?.len() == 0 {
            let header = JournalHeader {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                semantics,
                limits,
                started_unix_ns: SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| since.as_nanos() as u64),
            };
            let writer = JournalWriter::create(file, header).map_err(failed)?;
            return Ok(Restored {
                journal: ServerJournal::new(path, writer),
                registry,
                messages: 0,
                cut: None,
            });
        }
        let copy = file.try_clone().map_err(failed)?;
        let trace = TraceFile::from_file(copy, path)?;
        let messages = restore(&trace, path, &mut registry)?;
        let cut = trace.damage().map(ToOwned::to_owned);
        let writer = JournalWriter::resume(file, &trace).map_err(failed)?;
        Ok(Restored {
            journal: ServerJournal::new(path, writer),
            registry,
            messages,
            cut,
        })
    }

    fn new(path: &Path, writer: JournalWriter) -> ServerJournal {
        let now = Instant::now();
        ServerJournal {
            path: path.to_owned(),
            writer: Some(writer),
            started: now,
            last_flush: now,
            time_is_old: true,
            error: None,
        }
    }

    /// Writes the end; returns why the journal ended early, if it did.
    pub(crate) fn end(mut self) -> Option<String> {
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.end()
        {
            self.fail(&error);
        }
        self.error
    }

    #[inline]
    fn write(&mut self, write: impl FnOnce(&mut JournalWriter) -> io::Result<()>) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let mut written = Ok(());
        if self.time_is_old {
            self.time_is_old = false;
            let at_ns = self.started.elapsed().as_nanos() as u64;
            written = writer.record(&JournalRecord::Time(at_ns));
        }
        if let Err(error) = written.and_then(|()| write(writer)) {
            self.fail(&error);
        }
    }

    fn flush(&mut self) {
        self.last_flush = Instant::now();
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.flush()
        {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.writer = None;
        let text = format!("{}: {error}", self.path.display());
        crate::say!("warning: the journal ends here, serving goes on: {text}");
        self.error = Some(text);
    }
}

impl Observer for ServerJournal {
    fn on_accept(&mut self, client: ClientId) {
        self.write(|writer| writer.record(&JournalRecord::Opened(client.0)));
    }

    #[inline]
    fn on_received(&mut self, client: ClientId, message: &Message) {
        if message.kind.class().is_some() {
            self.write(|writer| writer.message(client.0, message));
        }
    }

    fn on_close(&mut self, client: ClientId) {
        self.write(|writer| writer.record(&JournalRecord::Closed(client.0)));
    }

    fn on_flush(&mut self) {
        self.write(|writer| writer.record(&JournalRecord::Flushed));
    }

    fn on_sweep(&mut self, pid: i32, removed: &[Entry]) {
        self.write(|writer| {
            writer.record(&JournalRecord::Swept(pid, removed.len() as u64))?;
            drop_references(writer, removed)
        });
    }

    fn on_loosened(&mut self, loosened: &[Entry]) {
        self.write(|writer| drop_references(writer, loosened));
    }

    fn before_answers(&mut self) {
        if self.has_unwritten() {
            self.flush();
        }
    }

    fn on_idle(&mut self) {
        self.time_is_old = true;
        if self.has_unwritten() && self.last_flush.elapsed() >= FLUSH_AFTER {
            self.flush();
        }
    }

    fn has_unwritten(&self) -> bool {
        self.writer
            .as_ref()
            .is_some_and(JournalWriter::has_unwritten)
    }
}

/// Writes a release of every reference of these entries.
fn drop_references(writer: &mut JournalWriter, entries: &[Entry]) -> io::Result<()> {
    for entry in entries {
        for _ in 0..entry.refcount {
            writer.record(&JournalRecord::Dropped(entry.release()))?;
        }
    }
    Ok(())
}

/// Plays a journal into an empty registry; returns the number of messages.
fn restore(trace: &TraceFile, path: &Path, registry: &mut Registry) -> Result<u64, JournalError> {
    let header = match trace.header() {
        Header::Journal(header) => header,
        other => {
            return Err(JournalError::NotAJournal {
                path: path.to_owned(),
                what: other.what(),
            });
        }
    };
    let other = |theirs: String, ours: String| JournalError::Other {
        path: path.to_owned(),
        theirs,
        ours,
    };
    let (semantics, limits) = (registry.semantics(), registry.limits());
    if header.semantics != semantics {
        return Err(other(
            format!("--semantics {}", header.semantics),
            format!("--semantics {semantics}"),
        ));
    }
    if Registry::new(semantics, header.limits).limits() != limits {
        return Err(other(
            format!("the limits {:?}", header.limits),
            format!("{limits:?}"),
        ));
    }
    let damaged = |what: String| JournalError::Damaged {
        path: path.to_owned(),
        what,
    };
    if !trace.can_be_continued() {
        let what = trace
            .damage()
            .unwrap_or("there is something behind its end");
        return Err(damaged(format!("{}: {what}", path.display())));
    }
    let mut messages = 0;
    let mut reader = JournalReader::new(trace);
    for record in reader.by_ref() {
        match record {
            JournalRecord::Message(_, message) => {
                messages += 1;
                registry.apply(&message, &mut |_, _| ());
            }
            JournalRecord::Flushed => {
                registry.flush(&mut |_, _| ());
            }
            JournalRecord::Dropped(release) => registry.apply(&release, &mut |_, _| ()),
            JournalRecord::Swept(..)
            | JournalRecord::Time(_)
            | JournalRecord::Opened(_)
            | JournalRecord::Closed(_)
            | JournalRecord::Resumed => {}
        }
    }
    match reader.damage_inside() {
        Some(what) => Err(damaged(what.to_owned())),
        None => Ok(messages),
    }
}
