//! Observations: what was seen of tracking messages, whoever saw them: a server's log, a capture of connections, a
//! server's journal, a recorded run.
//!
//! It is what the checks without truth, the diagnosis and `replay --to` read, so that each of them works on any trace.
//! An observation says where it stands in its source and no more than the source knows. It does not judge.
//!
//! [`each`] turns a trace into observations, whatever kind of trace it is.

mod run;
pub(crate) use run::RunMessages;
mod server_log;

use std::io;

use thiserror::Error;

use super::event::ReceiveCode;
use super::file::{Header, ImportFormat, TraceFile};
use super::import::accounting::Accounting;
use super::import::allocation;
use super::import::server_log::{RefsLeft, Said, ServerLogReader};
use super::text::TextReader;
use crate::tracking::Message;

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Where, from 1: the line of a text, the number of a record or of an event. What evidence refers to.
    pub position: u64,
    /// When, in ns since the source began, where it knows.
    pub at_ns: Option<u64>,
    /// On which connection, where the source knows; numbered from 0 in the order in which they were opened.
    pub conn: Option<u32>,
    /// What.
    pub what: Observed,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// A message from a client.
    Message {
        /// The message; what the source does not state is 0, and -1 for the device.
        message: Message,
        /// Whether the source states everything that a server uses of it.
        complete: bool,
        /// What the server made of it, where the source knows.
        said: Option<Said>,
    },
    /// A frame of a type that is no message's.
    UnknownFrame {
        /// The type.
        kind: u64,
    },
    /// A connection ended inside a frame.
    TornFrame {
        /// So many bytes of the frame were there.
        bytes: u64,
    },
    /// A message was not sent: the client had no room and did not wait.
    Dropped {
        /// The message.
        message: Message,
    },
    /// A connection was opened.
    Opened,
    /// A connection was closed.
    Closed,
    /// The server dropped what a process owned, because it held it for dead.
    Swept {
        /// The process.
        pid: i32,
        /// How many buffers it dropped, where the source knows.
        buffers: Option<u64>,
    },
    /// A server began with nothing live.
    ServerStarted,
}

impl Said {
    /// What a registry's answer says, in the words of a log. `None` for what is no answer to an ALLOC or a FREE.
    pub fn from_code(code: ReceiveCode) -> Option<Said> {
        Some(match code {
            ReceiveCode::Inserted => Said::Inserted,
            ReceiveCode::Replaced => Said::Replaced,
            ReceiveCode::Incremented => Said::Incremented,
            ReceiveCode::Removed => Said::Freed(RefsLeft::Final),
            ReceiveCode::Decremented => Said::Decremented,
            ReceiveCode::UnknownFree => Said::UnknownFree,
            ReceiveCode::Rejected => Said::Rejected,
            ReceiveCode::Held | ReceiveCode::Ignored | ReceiveCode::Unknown => return None,
        })
    }
}

/// What a source says of itself beside its observations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What positions count: `line`, `event`, `entry`.
    pub position_word: &'static str,
    /// The source shows that all clients have ended.
    pub complete: bool,
    /// It may begin when buffers are live.
    pub begins_in_the_middle: bool,
    /// How many positions there are.
    pub positions: u64,
    /// How many of them were not understood.
    pub unrecognised: u64,
    /// What keeps the observations from being all, or in order.
    pub note: Option<String>,
}

/// Why a source cannot be read.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// Its bytes cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The trace contradicts itself.
    #[error("{0}")]
    Contradiction(String),
    /// Nothing reads observations from this kind of trace.
    #[error("{0} shows no messages that can be read")]
    Unreadable(&'static str),
}

/// Tells everything that `trace` shows of messages, in its order.
pub fn each(trace: &TraceFile, tell: &mut dyn FnMut(Observation)) -> Result<Seen, ObserveError> {
    match trace.header() {
        Header::Run(header) => run::each(trace, header, tell),
        Header::Import(header) if header.format == ImportFormat::ServerLog => {
            let mut text = TextReader::new(trace);
            let mut seen = each_line(&mut text, tell)?;
            seen.note = text.damage().map(str::to_owned);
            Ok(seen)
        }
        Header::Import(header) => {
            let mut text = TextReader::new(trace);
            let Some(mut source) = allocation::source(header, &mut text) else {
                return Err(ObserveError::Unreadable("this import"));
            };
            for record in source.by_ref() {
                if let Some(observation) = record?.observation() {
                    tell(observation);
                }
            }
            let seen = Seen::of_records(header.format, source.accounting());
            drop(source);
            Ok(Seen {
                note: text.damage().map(str::to_owned),
                ..seen
            })
        }
        other @ (Header::Capture(_) | Header::Journal(_)) => {
            Err(ObserveError::Unreadable(other.what()))
        }
    }
}

/// Tells everything that a tracking server's log shows of messages.
pub fn each_line(
    log: impl io::BufRead,
    tell: &mut dyn FnMut(Observation),
) -> Result<Seen, ObserveError> {
    let mut log = ServerLogReader::new(log);
    for record in log.by_ref() {
        if let Some(observation) = server_log::observation(&record?) {
            tell(observation);
        }
    }
    let accounting = log.into_accounting();
    Ok(Seen {
        position_word: ImportFormat::ServerLog.position_word(),
        positions: accounting.lines,
        unrecognised: accounting.unrecognised,
        ..Seen::default()
    })
}

impl Seen {
    /// What the account of an allocator's records says of them.
    pub fn of_records(format: ImportFormat, accounting: &Accounting) -> Seen {
        Seen {
            position_word: format.position_word(),
            // Such a log begins and ends with its program.
            complete: !format.begins_in_the_middle(),
            begins_in_the_middle: format.begins_in_the_middle(),
            positions: accounting.lines,
            unrecognised: accounting.unrecognised,
            note: None,
        }
    }
}
