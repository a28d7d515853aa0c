//! The trace file: a header, then blocks, each with checksums, then an end block.
//!
//! | part | bytes |
//! |---|---|
//! | magic | `HBTRACE` and the format version |
//! | header | length u32, CRC-32C u32, TOML ([`Header`]) |
//! | block | 32-byte head (with a CRC-32C of its own), then the payload, zstd-compressed |
//!
//! Blocks of all streams stand in the order in which they were written, each holds whole events,
//! and a file without its end block is the readable prefix of a run that was cut short. Memory does
//! not grow with the length of the file in either direction: a writer holds one block a stream, a
//! reader one block a stream and the offsets of the blocks (8 bytes for each 64 KiB of events).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use super::header::{
    AtRest, CaptureHeader, CaptureSource, End, Header, ImportFormat, ImportHeader, JournalHeader,
    RunHeader, TableEntry,
};

/// A block is closed when it holds this many bytes of events.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;
/// The stream number of the server.
pub const SERVER_STREAM: u16 = u16::MAX;

const MAGIC: &[u8; 8] = b"HBTRACE\x01";
const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"HBLK");
const MAX_HEADER_BYTES: u32 = 16 << 20;
/// No block of events or text holds more; a writer closes it at [`BLOCK_BYTES`].
const MAX_BLOCK_BYTES: u32 = 2 * BLOCK_BYTES as u32;
/// No end block holds more: a table of some two million entries.
const MAX_END_BYTES: u32 = 256 << 20;
const COMPRESSION_LEVEL: i32 = 1;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BlockKind {
    /// Events of one stream.
    Events = 0,
    /// The [`End`], as JSON.
    End = 1,
    /// What was imported, as it was: of a text, whole lines.
    Text = 2,
    /// Whole records of a capture or a journal.
    Records = 3,
}

/// The head of a block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct BlockHead {
    magic: U32,
    kind: u8,
    reserved: u8,
    stream: U16,
    /// The block's number within its stream.
    number: U32,
    events: U32,
    raw_bytes: U32,
    stored_bytes: U32,
    payload_crc: U32,
    head_crc: U32,
}

const HEAD_BYTES: usize = size_of::<BlockHead>();

impl BlockHead {
    fn crc(&self) -> u32 {
        crc32c::crc32c(&self.as_bytes()[..HEAD_BYTES - 4])
    }

    fn limit(&self) -> u32 {
        if self.kind == BlockKind::End as u8 {
            MAX_END_BYTES
        } else {
            MAX_BLOCK_BYTES
        }
    }

    fn is_sound(&self) -> bool {
        self.magic.get() == BLOCK_MAGIC
            && self.head_crc.get() == self.crc()
            && self.raw_bytes.get() <= self.limit()
            && self.stored_bytes.get() <= self.limit()
    }
}

/// Why a trace cannot be written or read.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{}: not a heisenbed trace: {why}", path.display())]
    NotATrace {
        /// The file.
        path: PathBuf,
        /// What gave it away.
        why: String,
    },
    /// The file is several traces, one behind the other.
    #[error(
        "{}: another trace begins at byte {at}, behind the end of the first; give each by itself",
        path.display()
    )]
    Several {
        /// The file.
        path: PathBuf,
        /// Where the second begins.
        at: u64,
    },
}

/// Writes blocks to a file, one after the other.
pub struct TraceWriter {
    file: File,
    compressor: zstd::bulk::Compressor<'static>,
    compressed: Vec<u8>,
    written_bytes: u64,
}

impl std::fmt::Debug for TraceWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraceWriter")
            .field("file", &self.file)
            .field("written_bytes", &self.written_bytes)
            .finish_non_exhaustive()
    }
}

impl TraceWriter {
    /// Starts a trace in `file` with its header.
    pub fn create(mut file: File, header: &Header) -> io::Result<TraceWriter> {
        let text = toml::to_string(header).map_err(io::Error::other)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(text.as_bytes()).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        file.write_all(&bytes)?;
        TraceWriter::resume(file, bytes.len() as u64)
    }

    /// Goes on in `file`, which is at its end, behind `written_bytes` of a trace.
    pub(super) fn resume(file: File, written_bytes: u64) -> io::Result<TraceWriter> {
        Ok(TraceWriter {
            file,
            compressor: zstd::bulk::Compressor::new(COMPRESSION_LEVEL)?,
            compressed: Vec::new(),
            written_bytes,
        })
    }

    /// Appends one block: a single write, so that a killed process leaves whole blocks.
    pub fn block(
        &mut self,
        kind: BlockKind,
        stream: u16,
        number: u32,
        events: u32,
        raw: &[u8],
    ) -> io::Result<()> {
        self.compressed.clear();
        self.compressed
            .resize(HEAD_BYTES + zstd::zstd_safe::compress_bound(raw.len()), 0);
        let limit = match kind {
            BlockKind::End => MAX_END_BYTES,
            BlockKind::Events | BlockKind::Text | BlockKind::Records => MAX_BLOCK_BYTES,
        };
        if raw.len() > limit as usize {
            return Err(io::Error::other(format!(
                "a block of {} bytes is larger than the {limit} that a reader takes",
                raw.len()
            )));
        }
        let stored = self
            .compressor
            .compress_to_buffer(raw, &mut self.compressed[HEAD_BYTES..])?;
        self.compressed.truncate(HEAD_BYTES + stored);
        let mut head = BlockHead {
            magic: U32::new(BLOCK_MAGIC),
            kind: kind as u8,
            reserved: 0,
            stream: U16::new(stream),
            number: U32::new(number),
            events: U32::new(events),
            raw_bytes: U32::new(raw.len() as u32),
            stored_bytes: U32::new(stored as u32),
            payload_crc: U32::new(crc32c::crc32c(&self.compressed[HEAD_BYTES..])),
            head_crc: U32::new(0),
        };
        head.head_crc = U32::new(head.crc());
        self.compressed[..HEAD_BYTES].copy_from_slice(head.as_bytes());
        self.file.write_all(&self.compressed)?;
        self.written_bytes += self.compressed.len() as u64;
        Ok(())
    }

    /// Appends the end block.
    pub fn end(&mut self, end: &End) -> io::Result<()> {
        let json = serde_json::to_vec(end).map_err(io::Error::other)?;
        self.block(BlockKind::End, 0, 0, 0, &json)
    }

    /// Appends the end block of what is no run; returns the size of the file.
    pub(super) fn complete(mut self) -> io::Result<u64> {
        self.end(&End {
            completed: true,
            ..End::default()
        })?;
        Ok(self.written_bytes)
    }

    /// Bytes written so far.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }
}

/// Where one block of a stream is.
#[derive(Clone, Copy, Debug)]
struct BlockRef {
    offset: u64,
}

/// A trace, opened: its header, where its blocks are, and how far it is sound.
#[derive(Debug)]
pub struct TraceFile {
    path: PathBuf,
    file: File,
    header: Header,
    streams: Vec<(u16, Vec<BlockRef>)>,
    events: u64,
    end: Option<End>,
    damage: Option<String>,
    bytes: u64,
    sound_bytes: u64,
    ends: Ends,
    trailing_bytes: u64,
}

/// How the readable part of a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// With the end block, and that with the file.
    WithEnd,
    /// With the file, perhaps inside a block: a writer was stopped here.
    Torn,
    /// With something else behind it.
    Inside,
}

impl TraceFile {
    /// Opens the trace at `path` and looks over all its blocks' heads.
    pub fn open(path: &Path) -> Result<TraceFile, TraceError> {
        let file = File::open(path).map_err(|source| TraceError::Io {
            path: path.to_owned(),
            source,
        })?;
        TraceFile::from_file(file, path)
    }

    /// Copies the whole file, damage included, to a new file at `path`, in a folder that is made
    /// where it is missing.
    pub(crate) fn copy_to(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut source = self.file.try_clone()?;
        io::Seek::rewind(&mut source)?;
        io::copy(&mut source, &mut File::create(path)?)?;
        Ok(())
    }

    /// As [`TraceFile::open`], for a file that is open already; `path` is for messages.
    pub fn from_file(mut file: File, path: &Path) -> Result<TraceFile, TraceError> {
        let io = |source| TraceError::Io {
            path: path.to_owned(),
            source,
        };
        let not_a_trace = |why: &str| TraceError::NotATrace {
            path: path.to_owned(),
            why: why.to_owned(),
        };
        io::Seek::rewind(&mut file).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let mut start = [0u8; 16];
        file.read_exact(&mut start)
            .map_err(|_| not_a_trace("it is shorter than a trace's first 16 bytes"))?;
        if start[..7] != MAGIC[..7] {
            return Err(not_a_trace("it does not begin with `HBTRACE`"));
        }
        if start[7] != MAGIC[7] {
            return Err(not_a_trace(&format!(
                "it has format version {}, this program reads {}",
                start[7], MAGIC[7]
            )));
        }
        let field = |at: usize| u32::from_le_bytes(start[at..at + 4].try_into().expect("4 bytes"));
        let (length, crc) = (field(8), field(12));
        if length > MAX_HEADER_BYTES || u64::from(length) > bytes {
            return Err(not_a_trace(
                "its header is cut off or damaged (wrong length)",
            ));
        }
        let mut text = vec![0; length as usize];
        file.read_exact(&mut text)
            .map_err(|_| not_a_trace("its header is cut off"))?;
        if crc32c::crc32c(&text) != crc {
            return Err(not_a_trace("its header is damaged (wrong checksum)"));
        }
        let text = String::from_utf8(text).map_err(|_| not_a_trace("its header is no text"))?;
        let header: Header = toml::from_str(&text)
            .map_err(|error| not_a_trace(&format!("its header does not parse: {error}")))?;
        let mut trace = TraceFile {
            path: path.to_owned(),
            file,
            header,
            streams: Vec::new(),
            events: 0,
            end: None,
            damage: None,
            bytes,
            sound_bytes: 0,
            ends: Ends::Torn,
            trailing_bytes: 0,
        };
        trace.scan(16 + u64::from(length));
        Ok(trace)
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The end block, where the run came to its end and the file is whole.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// What is wrong with the file, if anything: where the readable prefix ends and why.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Where the blocks that were found end; the end block is not among them.
    pub(super) fn sound_bytes(&self) -> u64 {
        self.sound_bytes
    }

    /// Whether a writer may go on behind the blocks that were found: nothing but an end block, or a
    /// block that never became whole, is behind them.
    pub(crate) fn can_be_continued(&self) -> bool {
        self.ends != Ends::Inside
    }

    /// Bytes behind the end block: they belong to nothing, and are not read.
    pub(crate) fn trailing_bytes(&self) -> u64 {
        self.trailing_bytes
    }

    /// Where another trace begins behind the end of this one, as in files that were joined.
    pub fn another_begins_at(&self) -> Option<u64> {
        let at = self.bytes - self.trailing_bytes;
        let mut start = [0; 7];
        self.file.read_exact_at(&mut start, at).ok()?;
        (self.trailing_bytes > 0 && start[..] == MAGIC[..7]).then_some(at)
    }

    /// Events in all blocks found.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Size of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The streams found, in ascending order ([`SERVER_STREAM`] last).
    pub fn streams(&self) -> impl Iterator<Item = u16> + '_ {
        self.streams.iter().map(|(stream, _)| *stream)
    }

    /// How many blocks a stream has.
    pub fn blocks(&self, stream: u16) -> usize {
        self.find(stream).map_or(0, <[BlockRef]>::len)
    }

    /// Reads block `number` of `stream` into `raw`. An error says what is wrong with that block.
    pub fn read_block(&self, stream: u16, number: usize, raw: &mut Vec<u8>) -> Result<(), String> {
        let block = self
            .find(stream)
            .and_then(|blocks| blocks.get(number))
            .ok_or("no such block")?;
        let at = |why: &str| {
            format!(
                "{}: block at byte {}: {why}",
                self.path.display(),
                block.offset
            )
        };
        let head = self
            .head(block.offset)
            .ok_or_else(|| at("its head is damaged"))?;
        self.payload(block.offset, &head, raw)
            .map_err(|why| at(&why))
    }

    fn find(&self, stream: u16) -> Option<&[BlockRef]> {
        self.streams
            .iter()
            .find(|(s, _)| *s == stream)
            .map(|(_, blocks)| blocks.as_slice())
    }

    fn scan(&mut self, mut offset: u64) {
        while offset < self.bytes {
            self.ends = Ends::Inside;
            let Some(head) = self.head(offset) else {
                self.damage = Some(format!("block at byte {offset} is damaged or cut off"));
                if self.bytes - offset < HEAD_BYTES as u64 {
                    self.ends = Ends::Torn;
                }
                break;
            };
            let next = offset + HEAD_BYTES as u64 + u64::from(head.stored_bytes.get());
            if next > self.bytes {
                self.ends = Ends::Torn;
                self.damage = Some(format!(
                    "block at byte {offset} is cut off: {} bytes are missing",
                    next - self.bytes
                ));
                break;
            }
            if head.kind == BlockKind::End as u8 {
                self.read_end(offset, &head);
                if self.end.is_some() && next == self.bytes {
                    self.ends = Ends::WithEnd;
                }
                if self.end.is_some() {
                    self.trailing_bytes = self.bytes - next;
                }
                break;
            }
            let stream = head.stream.get();
            if !self.has_stream(stream) {
                self.damage = Some(format!(
                    "block at byte {offset} is of stream {stream}, which the scenario does not have"
                ));
                break;
            }
            let index = match self.streams.binary_search_by_key(&stream, |(s, _)| *s) {
                Ok(index) => index,
                Err(index) => {
                    self.streams.insert(index, (stream, Vec::new()));
                    index
                }
            };
            let blocks = &mut self.streams[index].1;
            if head.number.get() as usize != blocks.len() {
                self.damage = Some(format!("block at byte {offset} is out of order"));
                break;
            }
            blocks.push(BlockRef { offset });
            self.events += u64::from(head.events.get());
            offset = next;
            self.ends = Ends::Torn;
        }
        self.sound_bytes = offset;
        if self.end.is_none() && self.damage.is_none() {
            self.damage = Some("the end is missing: the run was cut short".to_owned());
        }
    }

    /// Whether the header allows for this stream: it bounds what a reader keeps.
    fn has_stream(&self, stream: u16) -> bool {
        match &self.header {
            Header::Run(run) => stream == SERVER_STREAM || stream < run.scenario.threads,
            Header::Import(_) | Header::Capture(_) | Header::Journal(_) => stream == 0,
        }
    }

    fn read_end(&mut self, offset: u64, head: &BlockHead) {
        let mut raw = Vec::new();
        let end = self
            .payload(offset, head, &mut raw)
            .and_then(|()| serde_json::from_slice(&raw).map_err(|error| error.to_string()));
        match end {
            Ok(end) => self.end = Some(end),
            Err(why) => self.damage = Some(format!("end block at byte {offset}: {why}")),
        }
    }

    fn head(&self, offset: u64) -> Option<BlockHead> {
        let mut bytes = [0; HEAD_BYTES];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        let head = BlockHead::read_from_bytes(&bytes).ok()?;
        head.is_sound().then_some(head)
    }

    fn payload(&self, offset: u64, head: &BlockHead, raw: &mut Vec<u8>) -> Result<(), String> {
        let mut stored = vec![0; head.stored_bytes.get() as usize];
        self.file
            .read_exact_at(&mut stored, offset + HEAD_BYTES as u64)
            .map_err(|error| error.to_string())?;
        if crc32c::crc32c(&stored) != head.payload_crc.get() {
            return Err("its checksum is wrong".to_owned());
        }
        raw.clear();
        raw.resize(head.raw_bytes.get() as usize, 0);
        let length = zstd::bulk::decompress_to_buffer(&stored, raw.as_mut_slice())
            .map_err(|error| error.to_string())?;
        if length != raw.len() {
            return Err("it has another length than its head says".to_owned());
        }
        Ok(())
    }
}
