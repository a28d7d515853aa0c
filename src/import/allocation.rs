//! What an allocator's own records say of buffers, whoever recorded them: the runtime's debug log,
//! RMM, PyTorch, and others of [`ImportFormat`].
//!
//! An [`AllocationSource`] yields one [`AllocationRecord`] for each thing that happened to a
//! buffer, in the order of its source. [`AllocationRecord::observation`] is the same as a tracking
//! message, for what reads messages. What a source does not know is absent; nothing is guessed.

use std::io;

use super::accounting::Accounting;
use super::debug_log::DebugLogReader;
use super::generic::{CsvReader, JsonlReader};
use super::graph_capture::GraphReader;
use super::live_table::LiveTable;
use super::rmm_log::RmmLogReader;
use super::rocprof::RocprofReader;
use super::stacks::{StackId, StackTable};
use super::torch_snapshot::EntryReader;
use super::umpire::UmpireReader;
use super::vma_replay::VmaReader;
use super::without_empty::WithoutEmpty;
use crate::trace::file::{ImportFormat, ImportHeader};
use crate::trace::observation::{Observation, Observed};
use crate::tracking::{Message, MessageKind};

/// Something that happened to a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationRecord {
    /// Where its source says so, from 1: see [`ImportFormat::position_word`].
    pub position: u64,
    /// When, in ns since an origin of the source's own, where it knows. Not monotone: threads write
    /// as they come.
    pub at_ns: Option<u64>,
    /// Which thread, by the source's own number, where it knows.
    pub thread: Option<u64>,
    /// What happened.
    pub what: AllocationEvent,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocationEvent {
    /// A buffer has got an address.
    Allocated(Buffer),
    /// The program has given a buffer up; its address is not free yet.
    ReleaseRequested(Buffer),
    /// A buffer's address is free again.
    Released(Buffer),
    /// The object that holds a buffer ends while the buffer is allocated; a release should follow.
    HolderEnded(Buffer),
    /// An allocation failed.
    Failed {
        /// Device id.
        device: i32,
        /// The size asked for.
        size_bytes: u64,
    },
}

/// A buffer, as far as a record states it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    /// The process that it belongs to: each has addresses of its own.
    pub process: Option<u32>,
    /// Device id.
    pub device: i32,
    /// The C++ buffer type of its memory: an address space of its own.
    pub buffer_type: u8,
    /// Its address.
    pub address: u64,
    /// Its size.
    pub size_bytes: Option<u64>,
    /// The object that holds it: the same in all records of one buffer.
    pub holder: Option<u64>,
    /// Where in the program the record comes from.
    pub stack: Option<StackId>,
}

/// Reads the records of one source. An error of the source ends the iteration.
pub trait AllocationSource: Iterator<Item = io::Result<AllocationRecord>> {
    /// What became of the lines that were read so far.
    fn accounting(&self) -> &Accounting;

    /// The call stacks that were read so far.
    fn stacks(&self) -> &StackTable;

    /// What the allocator itself has in use at the end, where the source says so. It is known from
    /// the first record on, and at the end where there is none.
    fn table(&self) -> Option<&LiveTable> {
        None
    }

    /// Whether the source says that, and not all of it was understood. Known as the table is.
    fn table_is_lost(&self) -> bool {
        false
    }

    /// How many records were left out because they are about buffers of no bytes.
    fn left_out(&self) -> u64 {
        0
    }
}

/// Reads the text that an imported trace keeps, or the recording itself where that is a text; of
/// buffers with bytes (`without_empty`). `None` for a server's log, which is about messages.
pub fn source<'a>(
    header: &ImportHeader,
    text: impl io::BufRead + 'a,
) -> Option<Box<dyn AllocationSource + 'a>> {
    Some(match header.format {
        ImportFormat::ServerLog => return None,
        ImportFormat::DebugLog => boxed(DebugLogReader::new(text)),
        ImportFormat::RmmLog => boxed(RmmLogReader::new(text, header)),
        ImportFormat::TorchSnapshot => boxed(EntryReader::new(text)),
        ImportFormat::Csv => boxed(CsvReader::new(text)),
        ImportFormat::Jsonl => boxed(JsonlReader::new(text)),
        ImportFormat::GraphCapture => boxed(GraphReader::new(text)),
        ImportFormat::Umpire => boxed(UmpireReader::new(text)),
        ImportFormat::Rocprof => boxed(RocprofReader::new(text)),
        ImportFormat::VmaReplay => boxed(VmaReader::new(text)),
    })
}

fn boxed<'a>(source: impl AllocationSource + 'a) -> Box<dyn AllocationSource + 'a> {
    Box::new(WithoutEmpty::new(source))
}

impl AllocationRecord {
    /// The buffer that it is about, if it is about one.
    pub(crate) fn buffer(&self) -> Option<Buffer> {
        match self.what {
            AllocationEvent::Allocated(buffer)
            | AllocationEvent::ReleaseRequested(buffer)
            | AllocationEvent::Released(buffer)
            | AllocationEvent::HolderEnded(buffer) => Some(buffer),
            AllocationEvent::Failed { .. } => None,
        }
    }

    /// The tracking message that an allocator's runtime would have sent for this: ALLOC for an
    /// allocation, FREE for an address that is free again. The process is not known, and there is
    /// only one: its id is 0. `None` for what no message is sent of.
    pub(crate) fn observation(&self) -> Option<Observation> {
        let (kind, buffer) = match self.what {
            AllocationEvent::Allocated(buffer) => (MessageKind::Alloc, buffer),
            AllocationEvent::Released(buffer) => (MessageKind::Free, buffer),
            AllocationEvent::ReleaseRequested(_)
            | AllocationEvent::HolderEnded(_)
            | AllocationEvent::Failed { .. } => return None,
        };
        let allocates = kind == MessageKind::Alloc;
        Some(Observation {
            position: self.position,
            at_ns: self.at_ns,
            conn: None,
            what: Observed::Message {
                message: Message {
                    kind,
                    device: buffer.device,
                    size_bytes: buffer.size_bytes.filter(|_| allocates).unwrap_or(0),
                    buffer_type: buffer.buffer_type,
                    pid: buffer.process.map_or(0, |process| process as i32),
                    address: buffer.address,
                    timestamp_ns: self.at_ns.filter(|_| allocates).unwrap_or(0),
                    extension: None,
                },
                complete: true,
                server_answer: None,
            },
        })
    }
}

impl ImportFormat {
    /// Every format.
    pub const ALL: [ImportFormat; 10] = [
        ImportFormat::ServerLog,
        ImportFormat::DebugLog,
        ImportFormat::RmmLog,
        ImportFormat::TorchSnapshot,
        ImportFormat::GraphCapture,
        ImportFormat::Umpire,
        ImportFormat::Rocprof,
        ImportFormat::VmaReplay,
        ImportFormat::Csv,
        ImportFormat::Jsonl,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ImportFormat::ServerLog => "server-log",
            ImportFormat::DebugLog => "debug-log",
            ImportFormat::RmmLog => "rmm-log",
            ImportFormat::TorchSnapshot => "torch-snapshot",
            ImportFormat::Csv => "csv",
            ImportFormat::Jsonl => "jsonl",
            ImportFormat::GraphCapture => "graph-capture",
            ImportFormat::Umpire => "umpire",
            ImportFormat::Rocprof => "rocprof",
            ImportFormat::VmaReplay => "vma-replay",
        }
    }

    /// What such a recording is.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            ImportFormat::ServerLog => "server's log",
            ImportFormat::DebugLog => "debug log",
            ImportFormat::RmmLog => "RMM log",
            ImportFormat::TorchSnapshot => "memory snapshot",
            ImportFormat::Csv => "CSV log",
            ImportFormat::Jsonl => "JSON Lines log",
            ImportFormat::GraphCapture => "graph capture",
            ImportFormat::Umpire => "Umpire replay log",
            ImportFormat::Rocprof => "rocprofv3 trace",
            ImportFormat::VmaReplay => "recording of the Vulkan Memory Allocator",
        }
    }

    /// The same with its article.
    pub(crate) fn a_noun(self) -> String {
        let article = match self {
            ImportFormat::RmmLog | ImportFormat::Umpire => "an",
            _ => "a",
        };
        format!("{article} {}", self.noun())
    }

    /// What positions in it count.
    pub(crate) fn position_word(self) -> &'static str {
        match self {
            ImportFormat::TorchSnapshot => "entry",
            ImportFormat::GraphCapture => "node",
            _ => "line",
        }
    }

    /// Whether records may be about buffers that were allocated before the first record, and end
    /// before the program does. A snapshot keeps only the last entries of a ring buffer, a capture
    /// is of a part of the program; the others begin and end with the program.
    pub(crate) fn begins_in_the_middle(self) -> bool {
        matches!(
            self,
            ImportFormat::TorchSnapshot | ImportFormat::GraphCapture
        )
    }

    /// Whether a buffer's bytes are those from its address on, as many as its size says, and are
    /// nobody else's. Those of a device with banks are not, nor is what is cut from a pool that is
    /// recorded as well.
    pub(crate) fn is_size_a_range(self) -> bool {
        self == ImportFormat::RmmLog
    }

    /// Whether that may be so, for all that is known.
    pub(crate) fn may_size_be_a_range(self) -> bool {
        self.is_size_a_range() || matches!(self, ImportFormat::Csv | ImportFormat::Jsonl)
    }

    /// Whether nobody knows in which order its records stand.
    pub(crate) fn is_of_unknown_order(self) -> bool {
        matches!(self, ImportFormat::Csv | ImportFormat::Jsonl)
    }
}
