//! Export: what a trace, a reproducer, a capture or an import holds, in the forms of other tools.
//!
//! [`export`] reads any input once, in its order, and hands what it holds to an
//! [`ExportSink`]: the steps of a run, what happened to buffers, and messages. A sink writes one
//! format. It does not judge: what contradicts itself is exported as it is.
//!
//! What holds:
//! - The same input gives the same bytes.
//! - Memory does not grow with the length of the input, but with what is live at once, distinct
//!   call stacks, and devices.
//! - What a format cannot say is counted by its name ([`LeftOut`]), never dropped in silence.

mod csv;
mod jsonl;
mod left_out;
#[cfg(feature = "parquet")]
mod parquet;
mod perfetto;
mod rmm_csv;
mod rows;
mod server_log;
mod source;
mod spool;
mod torch_snapshot;
mod words;

use std::io::{self, Write};

use clap::ValueEnum;
use thiserror::Error;

pub(crate) use left_out::LeftOut;
pub(crate) use source::ExportInput;

use crate::import::allocation::{AllocationRecord, Buffer};
use crate::import::live_table::LiveTable;
use crate::import::stacks::StackTable;
use crate::observe::ObserveError;
use crate::trace::merge::Contradiction;
use crate::trace::observation::Observation;
use source::{ExportStep, SourceAbout};

/// What can be written. What stands at each is its line in `export --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Every event, an object a line
    Jsonl,
    /// What happened to buffers, or with `--table messages` the messages
    Csv,
    /// Threads, locks, messages and memory, for Perfetto
    Perfetto,
    /// A memory snapshot, for PyTorch's memory viewer
    TorchSnapshot,
    /// An RMM allocation log of one device
    RmmCsv,
    /// The log that a tracking server would have written
    ServerLog,
    /// What `csv` says, as an Apache Parquet file
    #[cfg(feature = "parquet")]
    Parquet,
}

/// Which of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportTable {
    /// What happened to buffers
    Allocations,
    /// The messages about them
    Messages,
}

impl ExportTable {
    /// What is needed to write it.
    fn wants(self) -> Wants {
        Wants {
            steps: false,
            allocations: self == ExportTable::Allocations,
            observations: self == ExportTable::Messages,
        }
    }
}

/// A buffer for which there was no room.
fn failed(device: i32, size_bytes: u64) -> Buffer {
    Buffer {
        device,
        size_bytes: Some(size_bytes),
        ..Buffer::default()
    }
}

/// What is wanted beside the format.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExportOptions {
    /// Which table, of a format that has one of two.
    pub(crate) table: Option<ExportTable>,
    /// The device, of a format that has one device only.
    pub(crate) device: Option<i32>,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exported {
    /// How many rows, events or records.
    pub(crate) written: u64,
    /// What one of them is.
    pub(crate) noun: &'static str,
    /// Bytes.
    pub(crate) bytes: u64,
    /// What the format could not say.
    pub(crate) left_out: LeftOut,
    /// What else is to be said once.
    pub(crate) notes: Vec<String>,
    /// What keeps the input from being all, if anything does.
    pub(crate) damage: Option<String>,
}

/// Why nothing can be exported.
#[derive(Debug, Error)]
pub(crate) enum ExportError {
    /// The input cannot be read, or the output not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The input shows no messages.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// The input contradicts itself.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// The input asks for what cannot be.
    #[error(transparent)]
    Scenario(#[from] crate::scenario::ScenarioError),
    /// The format takes one device only.
    #[error(
        "{format} has one device only, and there are {}: choose one with --device",
        listed(.devices)
    )]
    SeveralDevices {
        /// The format's name.
        format: &'static str,
        /// The devices, ascending.
        devices: Vec<i32>,
    },
    /// The table cannot be written.
    #[cfg(feature = "parquet")]
    #[error(transparent)]
    Parquet(#[from] ::parquet::errors::ParquetError),
}

/// The most devices that an error lists.
const SHOWN_DEVICES: usize = 8;

fn listed(devices: &[i32]) -> String {
    let shown = devices.iter().take(SHOWN_DEVICES).map(i32::to_string);
    let more = match devices.len() > SHOWN_DEVICES {
        true => " and more",
        false => "",
    };
    shown.collect::<Vec<_>>().join(", ") + more
}

/// Takes what an input holds, in its order. What a sink does not want it is not given.
pub(crate) trait ExportSink {
    /// What it wants of this input.
    fn begin(&mut self, about: &SourceAbout) -> Result<Wants, ExportError>;

    /// A step of a run.
    fn step(&mut self, _step: &ExportStep<'_>) -> Result<(), ExportError> {
        Ok(())
    }

    /// Something that happened to a buffer; its stack is one of `stacks`.
    fn allocation(
        &mut self,
        _record: &AllocationRecord,
        _stacks: &StackTable,
    ) -> Result<(), ExportError> {
        Ok(())
    }

    /// Something that was seen of messages.
    fn observation(&mut self, _seen: &Observation) -> Result<(), ExportError> {
        Ok(())
    }

    /// What the allocator itself has in use at the end, where the input says so.
    fn table(&mut self, _table: &LiveTable) {}

    /// Nothing comes after this. `stacks`: all of them.
    fn end(&mut self, stacks: &StackTable) -> Result<Exported, ExportError>;
}

/// What a sink wants to be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// Steps of a run.
    pub(crate) steps: bool,
    /// What happened to buffers.
    pub(crate) allocations: bool,
    /// What was seen of messages.
    pub(crate) observations: bool,
}

/// Reads `input` once and writes what it holds to `to`. `progress` is told how far it has come.
pub(crate) fn export(
    input: &ExportInput<'_>,
    format: ExportFormat,
    options: ExportOptions,
    to: &mut (dyn Write + Send),
    progress: &mut dyn FnMut(u64),
) -> Result<Exported, ExportError> {
    if let (ExportFormat::ServerLog, ExportInput::Trace(trace)) = (format, input)
        && server_log::is_one(trace)
    {
        return server_log::as_it_was(trace, to);
    }
    source::feed(input, &mut *sink(format, options, to), progress)
}

/// The sink of a format, which writes to `to`.
fn sink<'a>(
    format: ExportFormat,
    options: ExportOptions,
    to: &'a mut (dyn Write + Send + 'a),
) -> Box<dyn ExportSink + 'a> {
    match format {
        ExportFormat::Jsonl => Box::new(jsonl::Jsonl::new(to)),
        ExportFormat::Csv => Box::new(csv::Csv::new(to, options.table)),
        ExportFormat::Perfetto => Box::new(perfetto::Perfetto::new(to)),
        ExportFormat::TorchSnapshot => Box::new(torch_snapshot::TorchSnapshot::new(to)),
        ExportFormat::RmmCsv => Box::new(rmm_csv::RmmCsv::new(to, options.device)),
        ExportFormat::ServerLog => Box::new(server_log::ServerLog::new(to)),
        #[cfg(feature = "parquet")]
        ExportFormat::Parquet => Box::new(parquet::Parquet::new(to, options.table)),
    }
}

/// Where a sink writes: in pieces, so that a byte costs no call.
struct Out<'a> {
    to: &'a mut (dyn Write + Send + 'a),
    waiting: Vec<u8>,
    bytes: u64,
}

impl<'a> Out<'a> {
    const PIECE_BYTES: usize = 128 << 10;

    fn new(to: &'a mut (dyn Write + Send + 'a)) -> Out<'a> {
        Out {
            to,
            waiting: Vec::with_capacity(2 * Out::PIECE_BYTES),
            bytes: 0,
        }
    }

    /// To append a record to; [`Out::written`] comes after it.
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.waiting
    }

    /// A record was appended.
    #[inline]
    fn written(&mut self) -> io::Result<()> {
        match self.waiting.len() < Out::PIECE_BYTES {
            true => Ok(()),
            false => self.flush(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(&self.waiting)?;
        self.bytes += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    /// All of it; returns how many bytes that was.
    fn end(&mut self) -> io::Result<u64> {
        self.flush()?;
        self.to.flush()?;
        Ok(self.bytes)
    }
}
