//! What a file is, by its beginning: a recording of a form that is imported, a trace, or something
//! else that people have in its place, with what to do about it.

use super::allocation;
use super::clock::time_of_day;
use super::server_log::{LogEvent, ServerLogReader};
use super::vma_replay;
use crate::trace::file::{ImportFormat, ImportHeader};

/// Bytes of a file by which it is recognised.
pub(crate) const RECOGNISED_BYTES: usize = 64 << 10;
/// Lines in which RMM's debug log is looked for.
const LOOKED_AT_LINES: usize = 20;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recognised {
    /// There is nothing in it.
    Empty,
    /// A trace of this program.
    Trace,
    /// A recording that can be imported.
    Recording(ImportFormat),
    /// Something else that is known.
    Foreign(ForeignFile),
    /// It has no form that is known.
    Unknown,
}

/// Something that is no recording, but may hold one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForeignFile {
    /// What it is.
    pub(crate) what: &'static str,
    /// What to do; `{}` stands for the file.
    pub(crate) remedy: &'static str,
}

/// What a file that begins so is.
pub(crate) fn recognise(start: &[u8]) -> Recognised {
    if start.is_empty() {
        return Recognised::Empty;
    }
    if start.starts_with(b"HBTRACE") {
        return Recognised::Trace;
    }
    if let Some(foreign) = foreign(start) {
        return Recognised::Foreign(foreign);
    }
    match recording(start) {
        Some(format) => Recognised::Recording(format),
        None => Recognised::Unknown,
    }
}

/// What is known of files by their first bytes.
const MAGIC: [(&[u8], ForeignFile); 14] = [
    (
        b"\x1f\x8b",
        packed("compressed with gzip", "unpack it first: gunzip -k {}"),
    ),
    (
        b"\x28\xb5\x2f\xfd",
        packed("compressed with zstd", "unpack it first: zstd -d {}"),
    ),
    (
        b"\xfd7zXZ\0",
        packed("compressed with xz", "unpack it first: xz -dk {}"),
    ),
    (
        b"BZh",
        packed("compressed with bzip2", "unpack it first: bzip2 -dk {}"),
    ),
    (
        b"\x04\x22\x4d\x18",
        packed("compressed with lz4", "unpack it first: lz4 -d {}"),
    ),
    (
        b"7z\xbc\xaf\x27\x1c",
        packed("a 7z archive", "unpack it first: 7z x {}"),
    ),
    (
        b"PK\x03\x04",
        packed(
            "a zip archive, as `torch.save` writes too",
            "unpack it first: unzip {}; write memory snapshots with `torch.cuda.memory._dump_snapshot`, not with `torch.save`",
        ),
    ),
    (
        b"version https://git-lfs.github.com/spec/",
        packed(
            "a Git LFS pointer, not the file itself",
            "fetch the file first: git lfs pull",
        ),
    ),
    (
        b"/annex/objects/",
        packed(
            "a git-annex pointer, not the file itself",
            "fetch the file first: git annex get {}",
        ),
    ),
    (
        b"SQLite format 3\0",
        packed(
            "an SQLite database, as rocprofv3 writes by default",
            "write CSV instead: rocprofv3 --memory-allocation-trace --output-format csv",
        ),
    ),
    (
        b"PAR1",
        packed(
            "a Parquet file",
            "write it as CSV first: see docs/formats.md",
        ),
    ),
    (
        b"\xff\xfe",
        packed(
            "a text in UTF-16",
            "convert it first: iconv -f UTF-16 -t UTF-8 {}",
        ),
    ),
    (
        b"\xfe\xff",
        packed(
            "a text in UTF-16",
            "convert it first: iconv -f UTF-16 -t UTF-8 {}",
        ),
    ),
    (
        b"\x7fELF",
        packed("a program", "run it, and import what it recorded"),
    ),
];

const fn packed(what: &'static str, remedy: &'static str) -> ForeignFile {
    ForeignFile { what, remedy }
}

/// Where a tar archive says that it is one.
const TAR_MAGIC_AT: usize = 257;

/// What a file that begins so is, where it is no recording but known.
pub(crate) fn foreign(start: &[u8]) -> Option<ForeignFile> {
    let magic = MAGIC.iter().find(|(magic, _)| start.starts_with(magic));
    if let Some((_, foreign)) = magic {
        return Some(*foreign);
    }
    if start
        .get(TAR_MAGIC_AT..)
        .is_some_and(|rest| rest.starts_with(b"ustar"))
    {
        return Some(packed("a tar archive", "unpack it first: tar xf {}"));
    }
    let text = start.trim_ascii_start();
    let begins = |word: &[u8]| {
        text.get(..word.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(word))
    };
    if begins(b"<!doctype html") || begins(b"<html") {
        return Some(packed(
            "a web page",
            "download the file itself: on GitHub that is what \"Raw\" shows",
        ));
    }
    is_rmm_debug_log(start).then_some(packed(
        "RMM's debug log (RMM_DEBUG_LOG_FILE, by default rmm_log.txt), which holds no allocations",
        "import the allocation log: what RMM_LOG_FILE or a logging_resource_adaptor writes, \
         a file a device: rmm_log.dev0.txt",
    ))
}

/// Whether lines are those of RMM's debug log: `[ 10001][10:00:00:000001][info  ] …`.
fn is_rmm_debug_log(start: &[u8]) -> bool {
    start
        .split(|byte| *byte == b'\n')
        .take(LOOKED_AT_LINES)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .any(|line| {
            let mut groups = line.split_inclusive(']').map(|group| {
                let group = group.strip_prefix('[')?;
                group.strip_suffix(']').map(str::trim)
            });
            let mut group = || groups.next().flatten().unwrap_or_default();
            let (thread, time, level) = (group(), group(), group());
            thread.parse::<u64>().is_ok()
                && time_of_day(time).is_some()
                && [
                    "trace", "debug", "info", "warn", "warning", "error", "critical", "off",
                ]
                .contains(&level)
        })
}

/// The format of a recording that begins so.
fn recording(start: &[u8]) -> Option<ImportFormat> {
    if matches!(start, [0x80, 2..=5, ..]) {
        return Some(ImportFormat::TorchSnapshot);
    }
    if start.starts_with(vma_replay::FIRST_LINE.as_bytes()) {
        return Some(ImportFormat::VmaReplay);
    }
    if start.starts_with(b"Thread,Time,Action") {
        return Some(ImportFormat::RmmLog);
    }
    // Of those that read as much, the first: the generic ones come last.
    let mut best = None;
    for format in ImportFormat::ALL {
        let read = records_read(format, start);
        if read > best.map_or(0, |(most, _)| most) {
            best = Some((read, format));
        }
    }
    best.map(|(_, format)| format)
}

/// How many records a format's importer reads in the beginning of a file.
fn records_read(format: ImportFormat, start: &[u8]) -> u64 {
    match format {
        ImportFormat::TorchSnapshot => return 0,
        ImportFormat::ServerLog => {
            let known = |event: &LogEvent| {
                !matches!(event, LogEvent::KnownOther(_) | LogEvent::Unrecognised(_))
            };
            return ServerLogReader::new(start)
                .filter_map(Result::ok)
                .filter(|record| known(&record.what))
                .count() as u64;
        }
        _ => {}
    }
    let header = ImportHeader::new(format, "");
    allocation::source(&header, start).map_or(0, |mut source| {
        source.by_ref().for_each(drop);
        source.accounting().parsed
    })
}

impl ImportFormat {
    /// A short recording of this format, as text; none of a pickle.
    pub fn sample(self) -> &'static str {
        match self {
            ImportFormat::ServerLog => {
                "✓ [PID 4711] Allocated 4096 bytes of DRAM on device 0 (buffer_id=0x1000)\n"
            }
            ImportFormat::DebugLog => {
                "═══════════════════════════════════════════════════════════\n\
                 BUFFER ALLOCATED\n\
                 Time: 10:00:00\n\
                 Device: 0\n\
                 Address: 0x1000 (4096)\n\
                 Size: 4096 bytes (4 KB)\n\
                 Type: DRAM\n\
                 Buffer*: 0x5581a0\n\
                 Owns Data: yes\n\
                 Hooked: no\n\
                 Call Stack:\n    \
                     tt::tt_metal::Buffer::allocate_impl()\n"
            }
            ImportFormat::RmmLog => {
                "Thread,Time,Action,Pointer,Size,Stream\n\
                 4711,10:00:00.000001,allocate,0x7f0000001000,4096,0x0\n"
            }
            ImportFormat::TorchSnapshot => "",
            ImportFormat::Csv => {
                "time,op,device,memory,address,size,thread,process\n\
                 1000,alloc,0,dram,0x1000,4096,1,4711\n"
            }
            ImportFormat::Jsonl => {
                "{\"time\":1000,\"op\":\"alloc\",\"device\":0,\"memory\":\"dram\",\"address\":\"0x1000\",\"size\":4096,\"thread\":1,\"process\":4711}\n"
            }
            ImportFormat::GraphCapture => {
                "[{\"counter\":1,\"node_type\":\"buffer_allocate\",\"params\":{\"address\":\"4096\",\"size\":\"4096\",\"type\":\"DRAM\",\"device_id\":\"0\"},\"connections\":[2]}]\n"
            }
            ImportFormat::Umpire => {
                "{\"category\":\"operation\",\"name\":\"allocate\",\"numeric_args\":{\"size\":4096},\"string_args\":{\"allocator_ref\":\"0x55d0\",\"pointer\":\"0x7f0000001000\"},\"tags\":{\"replay\":\"true\"},\"timestamp\":1700000000000000001}\n"
            }
            ImportFormat::Rocprof => {
                "\"Kind\",\"Operation\",\"Agent_Id\",\"Allocation_Size\",\"Address\",\"Correlation_Id\",\"Start_Timestamp\",\"End_Timestamp\"\n\
                 \"MEMORY_ALLOCATION\",\"MEMORY_ALLOCATION_ALLOCATE\",\"Agent 1\",4096,\"0x7f0000001000\",1,1000,1100\n"
            }
            ImportFormat::VmaReplay => {
                "Vulkan Memory Allocator,Calls recording\n\
                 1,8\n\
                 4711,0.017,0,vmaCreateBuffer,0,4096,130,0,0,1,0,0,0,0000000000000000,000001D85B8B1A80,\n"
            }
        }
    }

    /// A line of it that tells the format.
    pub(crate) fn sample_line(self) -> &'static str {
        match self {
            ImportFormat::TorchSnapshot => "(a pickle, as torch.cuda.memory._dump_snapshot writes)",
            ImportFormat::DebugLog => "BUFFER ALLOCATED   (a block of lines)",
            _ => self.sample().lines().next().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_recognised_by_its_sample() {
        for format in ImportFormat::ALL {
            if format != ImportFormat::TorchSnapshot {
                let sample = format.sample().as_bytes();
                assert_eq!(recognise(sample), Recognised::Recording(format));
                assert!(records_read(format, sample) > 0, "{}", format.name());
            }
        }
        assert_eq!(
            recognise(b"\x80\x04}"),
            Recognised::Recording(ImportFormat::TorchSnapshot)
        );
        assert_eq!(recognise(b"HBTRACE\x01"), Recognised::Trace);
        assert_eq!(recognise(b""), Recognised::Empty);
        assert_eq!(recognise(b"what is this?\n"), Recognised::Unknown);
    }

    #[test]
    fn what_people_have_in_its_place_is_named() {
        let named = |start: &[u8]| match recognise(start) {
            Recognised::Foreign(foreign) => foreign.what,
            other => panic!("{other:?}"),
        };
        assert!(named(b"\x1f\x8b\x08\x00").contains("gzip"));
        assert!(
            named(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n").contains("LFS")
        );
        assert!(named(b"\n<!DOCTYPE HTML><html>").contains("web page"));
        assert!(named(b"PK\x03\x04rest").contains("zip"));
        let mut tar = vec![0; 600];
        tar[TAR_MAGIC_AT..TAR_MAGIC_AT + 5].copy_from_slice(b"ustar");
        assert!(named(&tar).contains("tar"));
        let rmm = "[ 10001][10:00:00:000001][info  ] ----- RMM LOG BEGIN [PTDS DISABLED] -----\n";
        assert!(named(rmm.as_bytes()).contains("debug log"));
        assert!(named(b"[ 7][10:00:00.000001][error ] [A][Stream 0x1]\n").contains("debug log"));
        assert_eq!(foreign(b"[INFO][10:00:00][x] y\n"), None);
    }
}
