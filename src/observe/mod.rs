//! Observe: any record read as messages, in one order, with what the record knows beside them.
//!
//! [`each`] visits the [`Observation`]s of a trace, whatever kind it is: a recorded run, an import,
//! a capture, a server's journal. The checks without truth, the diagnosis and `replay --to` read
//! nothing else, so they agree on messages, torn frames and order. It does not judge; of a recorded
//! run it says too what the allocators had live at the end.
//!
//! What holds: one pass, in the order of the record; memory is bounded by what is live. A record
//! that contradicts itself is an error; a damaged one is read as far as it goes, which
//! [`Seen::damage`] says.

mod run;
mod server_log;

use std::io;
use std::ops::ControlFlow;

use thiserror::Error;

pub(crate) use run::RunMessages;

use crate::import::accounting::Accounting;
use crate::import::allocation;
use crate::import::server_log::ServerLogReader;
use crate::oracle::CheckError;
use crate::trace::file::{Header, ImportFormat, ImportHeader, TraceFile};
use crate::trace::observation::Observation;
use crate::trace::text::TextReader;
use crate::trace::{capture, journal};

/// Takes observations one by one, until it has had enough.
pub(crate) type Visit<'a> = dyn FnMut(Observation) -> ControlFlow<()> + 'a;

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
    /// How many of these were records, at least, whose meaning is not known.
    pub lost: u64,
    /// What keeps the observations from being all.
    pub damage: Option<String>,
    /// What keeps them from being in the order in which the server took them.
    pub order: Option<&'static str>,
    /// Of a recorded run: how many frames the server took, which is how many messages a check
    /// counts.
    pub frames: Option<u64>,
    /// Of a recorded run that came to its end: what the allocators had live then, by device.
    pub truth: Option<Vec<LiveBytes>>,
}

/// Bytes that an allocator has live on one device at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveBytes {
    /// Buffers, by memory: DRAM, L1, L1_SMALL, TRACE.
    pub(crate) plain: [u64; 4],
    /// Circular buffers, which live in L1.
    pub(crate) circular: u64,
}

/// Why a source cannot be read.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// Its bytes cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A recorded run that asks for what cannot be, or contradicts itself.
    #[error(transparent)]
    Run(#[from] CheckError),
    /// Nothing reads observations from this kind of trace.
    #[error("{0} shows no messages that can be read")]
    Unreadable(&'static str),
}

/// Visits everything that `trace` shows of messages, in its order.
pub fn each(trace: &TraceFile, visit: &mut Visit) -> Result<Seen, ObserveError> {
    match trace.header() {
        Header::Run(header) => run::each(trace, header, visit),
        Header::Import(header) if header.format == ImportFormat::ServerLog => {
            let mut text = TextReader::new(trace);
            let seen = each_line(&mut text, visit)?;
            Ok(seen.damaged(&text))
        }
        Header::Import(header) => each_allocation(trace, header, visit),
        Header::Capture(header) => {
            let account = pushed(visit, |sink| capture::messages(trace, header, sink));
            Ok(Seen {
                position_word: "message",
                complete: account.damage.is_none() && account.lost_bytes == 0,
                begins_in_the_middle: account.skipped_bytes > 0,
                positions: account.messages + account.unknown_frames,
                unrecognised: account.unknown_frames,
                damage: account.incompleteness(),
                ..Seen::default()
            })
        }
        Header::Journal(_) => {
            let mut positions = 0;
            let damage = pushed(visit, |sink| {
                journal::observations(trace, &mut |observation: Observation| {
                    positions = observation.position;
                    sink(observation);
                })
            });
            Ok(Seen {
                position_word: "message",
                positions,
                damage,
                ..Seen::default()
            })
        }
    }
}

/// Visits everything that a tracking server's log shows of messages.
pub fn each_line(log: impl io::BufRead, visit: &mut Visit) -> Result<Seen, ObserveError> {
    let mut log = ServerLogReader::new(log);
    for record in log.by_ref() {
        if let Some(observation) = server_log::observation(&record?)
            && visit(observation).is_break()
        {
            break;
        }
    }
    let accounting = log.into_accounting();
    Ok(Seen {
        position_word: ImportFormat::ServerLog.position_word(),
        positions: accounting.lines,
        unrecognised: accounting.unrecognised,
        lost: accounting.lost(ImportFormat::ServerLog),
        ..Seen::default()
    })
}

impl Seen {
    /// What the account of an allocator's records says of them.
    pub(crate) fn of_records(format: ImportFormat, accounting: &Accounting) -> Seen {
        Seen {
            position_word: format.position_word(),
            // Such a log begins and ends with its program.
            complete: !format.begins_in_the_middle(),
            begins_in_the_middle: format.begins_in_the_middle(),
            positions: accounting.lines,
            unrecognised: accounting.unrecognised,
            lost: accounting.lost(format),
            ..Seen::default()
        }
    }

    /// The same, with the damage of the text that it was read from.
    pub(crate) fn damaged(self, text: &TextReader) -> Seen {
        Seen {
            damage: text.damage().map(str::to_owned),
            ..self
        }
    }

    /// What keeps the observations from being all, or in order.
    pub(crate) fn note(&self) -> Option<String> {
        self.damage.clone().or(self.order.map(str::to_owned))
    }
}

fn each_allocation(
    trace: &TraceFile,
    header: &ImportHeader,
    visit: &mut Visit,
) -> Result<Seen, ObserveError> {
    let mut text = TextReader::new(trace);
    let Some(mut source) = allocation::source(header, &mut text) else {
        return Err(ObserveError::Unreadable("this import"));
    };
    for record in source.by_ref() {
        if let Some(observation) = record?.observation()
            && visit(observation).is_break()
        {
            break;
        }
    }
    let seen = Seen::of_records(header.format, source.accounting());
    drop(source);
    Ok(seen.damaged(&text))
}

/// Of a source that pushes its observations: what comes after `visit` has had enough is not shown.
fn pushed<R>(visit: &mut Visit, push: impl FnOnce(&mut dyn FnMut(Observation)) -> R) -> R {
    let mut flow = ControlFlow::Continue(());
    push(&mut |observation| {
        if flow.is_continue() {
            flow = visit(observation);
        }
    })
}
