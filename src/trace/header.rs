//! What a trace says of itself: its header, before all blocks, and its end, after them.

use serde::{Deserialize, Serialize};

use crate::registry::{Limits, Semantics};
use crate::scenario::Scenario;
use crate::tracking::Layout;

/// What a trace says of itself before its blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Header {
    /// A run of an engine: blocks of events.
    Run(Box<RunHeader>),
    /// What another tool recorded: blocks of it, as it was.
    Import(ImportHeader),
    /// Bytes as they went over tracking connections, in both directions: blocks of records.
    Capture(CaptureHeader),
    /// The messages that a server took, in its order: blocks of records.
    Journal(JournalHeader),
}

impl Header {
    /// What kind of trace it is, in words.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Header::Run(_) => "a recorded run",
            Header::Import(_) => "an import",
            Header::Capture(_) => "a capture of tracking connections",
            Header::Journal(_) => "a server's journal",
        }
    }
}

/// What an imported trace says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ImportHeader {
    /// The version of heisenbed that wrote it.
    pub(crate) version: String,
    /// The format of the text.
    pub(crate) format: ImportFormat,
    /// The name of the file that was imported, without its folder; of several, all of them.
    pub(crate) source: String,
    /// The names of the files, where several became one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) files: Vec<String>,
}

impl ImportHeader {
    /// Of one file.
    pub fn new(format: ImportFormat, source: impl Into<String>) -> ImportHeader {
        ImportHeader {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            format,
            source: source.into(),
            files: Vec::new(),
        }
    }
}

/// Formats that other tools record in. What stands at each is its line in `import --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ImportFormat {
    /// The log of a tracking server
    ServerLog,
    /// The runtime's debug log (TT_BUFFER_DEBUG_LOG): blocks with call stacks
    DebugLog,
    /// An RMM allocation log: CSV
    RmmLog,
    /// A PyTorch CUDA memory snapshot: a pickle, of which nothing is executed
    TorchSnapshot,
    /// Your own log as CSV, with the header time,op,device,memory,address,size,thread,process
    Csv,
    /// Your own log as JSON Lines, with the same names as keys
    Jsonl,
    /// A graph capture of TT-Metal: JSON with buffer_allocate and buffer_deallocate
    GraphCapture,
    /// An Umpire replay log (UMPIRE_REPLAY): JSON Lines
    Umpire,
    /// Memory allocations traced by rocprofv3: CSV
    Rocprof,
    /// Calls recorded by the Vulkan Memory Allocator: CSV
    VmaReplay,
}

/// What a capture says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CaptureHeader {
    /// The version of heisenbed that wrote it.
    pub(crate) version: String,
    /// Who captured the bytes.
    pub(crate) source: CaptureSource,
    /// The wire layout of clients that send no hello, where it is known; else it is found out from
    /// the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) layout: Option<Layout>,
    /// When the capture began, in ns since 1970; the times of its records count from there. 0: not
    /// known.
    pub(crate) started_unix_ns: u64,
}

/// Who captured bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaptureSource {
    /// `heisenbed proxy`.
    Proxy,
    /// `heisenbed import wire`: a raw file of one direction.
    Wire,
}

/// What a journal says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct JournalHeader {
    /// The version of heisenbed that wrote it.
    pub(crate) version: String,
    /// How the server understood messages.
    pub(crate) semantics: Semantics,
    /// The bounds it had.
    pub(crate) limits: Limits,
    /// When the journal began, in ns since 1970.
    pub(crate) started_unix_ns: u64,
}

/// What a recorded run says of itself: enough to run it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RunHeader {
    /// The version of heisenbed that wrote it.
    pub version: String,
    /// Which engine ran: `threads` or `controlled`.
    pub engine: String,
    /// Which run of the seed it was.
    pub run: u64,
    /// Whether the server wrote a stream of what it received.
    pub server_recorded: bool,
    /// The scenario, complete, its discipline spelled out.
    pub scenario: Scenario,
}

/// What the end block says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Whether every thread ran to its end (false: interrupted or given up).
    pub completed: bool,
    /// Messages that the client counted as dropped.
    pub client_dropped: u64,
    /// Messages that the client counted as sent.
    pub client_sent: u64,
    /// What the server showed when all was done.
    pub server: AtRest,
}

/// What a server showed when all was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtRest {
    /// It was not asked, or did not answer.
    #[default]
    Unknown,
    /// Its whole live table.
    Table(Vec<TableEntry>),
    /// Its totals only, in bytes: for each device, DRAM, L1, L1_SMALL and TRACE.
    Totals(Vec<[u64; 4]>),
}

/// One entry of a server's live table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableEntry {
    /// The device.
    pub device: u16,
    /// The memory, as [`crate::device::Memory`]'s discriminant.
    pub memory: u8,
    /// Whether it is a circular buffer.
    pub circular: bool,
    /// The address.
    pub address: u64,
    /// The size.
    pub size_bytes: u64,
    /// The thread that the server takes for its owner.
    pub thread: u32,
    /// Which life of the address.
    pub generation: u64,
    /// References.
    pub refcount: u32,
}
