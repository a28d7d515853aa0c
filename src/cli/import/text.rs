//! `heisenbed import` of texts: they are kept as they are, and read before for the account.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Take};
use std::path::Path;
use std::thread;

use super::account::{ImportedRecords, not_understood};
use super::{ImportArgs, READ_BYTES, at, name_of, open, start_of, written};
use crate::cli::opened::not_a_file;
use crate::import::accounting::Accounting;
use crate::import::server_log::{LogEvent, ServerLogReader};
use crate::import::{allocation, rmm_log, rocprof};
use crate::trace::file::{ImportFormat, ImportHeader};
use crate::trace::text::{self, TextWriter};

/// Imports one file. The trace is begun when the first record was understood, beside the reading
/// for the account: from then on it is an import.
pub(super) fn import(
    args: &ImportArgs,
    mut file: File,
    header: ImportHeader,
) -> Result<ImportedRecords, String> {
    let path = &args.files[0];
    let length = length_of(&file);
    if let (Some(_), Some(why)) = (&args.output, not_a_file(path)) {
        return Err(at(path, &why));
    }
    let beside = args
        .output
        .as_ref()
        .filter(|_| length.is_some() && header.format != ImportFormat::Rocprof);
    let (counted, mut kept) = thread::scope(|scope| {
        let mut writer = None;
        let counted = account_for(&file, length, &header, &mut || {
            if let (Some(output), None) = (beside, &writer) {
                writer = Some(scope.spawn(|| keep(path, length, output, &header)));
            }
        });
        let join = |writer: thread::ScopedJoinHandle<'_, _>| match writer.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        (counted, writer.map(join))
    });
    let (accounting, is_by_time) = counted.map_err(|error| at(path, &error))?;
    understood(&file, path, header.format, &accounting)?;
    if let Some(output) = args.output.as_ref().filter(|_| kept.is_none()) {
        file.rewind().map_err(|error| at(path, &error))?;
        kept = Some(written(output, |trace| {
            let mut source = part(&file, length);
            if header.format != ImportFormat::Rocprof || is_by_time {
                let bytes = text::write(trace, header, &mut source)?;
                return still_whole(&file, length).map(|()| bytes);
            }
            let mut writer = TextWriter::create(trace, header)?;
            let source = BufReader::with_capacity(READ_BYTES, source);
            rocprof::sort(source, &mut |text| writer.text(text))?;
            still_whole(&file, length)?;
            writer.end()
        }));
    }
    Ok(ImportedRecords {
        accounting,
        trace_bytes: kept.transpose()?,
        snapshot: None,
    })
}

/// Writes a file into a trace as it is; returns the bytes written.
fn keep(
    path: &Path,
    length: Option<u64>,
    output: &Path,
    header: &ImportHeader,
) -> Result<u64, String> {
    let file = File::open(path).map_err(|error| at(path, &error))?;
    written(output, |trace| {
        let bytes = text::write(trace, header.clone(), &mut part(&file, length))?;
        still_whole(&file, length).map(|()| bytes)
    })
}

/// How long a file is now; `None` where it has no length, as a pipe.
fn length_of(file: &File) -> Option<u64> {
    let data = file.metadata().ok().filter(|data| data.is_file());
    data.map(|data| data.len())
}

/// A file up to the length that it had: it is read twice, and a log may grow in between.
fn part(file: &File, length: Option<u64>) -> Take<&File> {
    file.take(length.unwrap_or(u64::MAX))
}

/// Refuses a file that is shorter than it was, as one that was rotated: two readings of it may
/// have seen different ones.
fn still_whole(file: &File, length: Option<u64>) -> io::Result<()> {
    match length_of(file) < length {
        true => Err(io::Error::other(
            "the recording became shorter while it was read; import it again",
        )),
        false => Ok(()),
    }
}

/// Imports the logs of several devices, of one process.
pub(super) fn import_merged(
    args: &ImportArgs,
    header: ImportHeader,
) -> Result<ImportedRecords, String> {
    let mut accounting = Accounting::default();
    let mut files = Vec::new();
    for path in &args.files {
        let mut file = open(args, path)?;
        let of_one = ImportHeader::new(header.format, name_of(path));
        let length = length_of(&file);
        let counted = account_for(&file, length, &of_one, &mut || ());
        let (counted, _) = counted.map_err(|error| at(path, &error))?;
        understood(&file, path, header.format, &counted)?;
        accounting.add(&counted, &of_one.source);
        file.rewind().map_err(|error| at(path, &error))?;
        let source = file.take(length.unwrap_or(u64::MAX));
        files.push((of_one.source, BufReader::with_capacity(READ_BYTES, source)));
    }
    let mut trace_bytes = None;
    if let Some(output) = &args.output {
        let bytes = written(output, |trace| {
            let mut writer = TextWriter::create(trace, header)?;
            rmm_log::merge(files, &mut writer)?;
            writer.end()
        })?;
        trace_bytes = Some(bytes);
    }
    Ok(ImportedRecords {
        accounting,
        trace_bytes,
        snapshot: None,
    })
}

/// The account, and whether the records are by time. `on_record` is told of every record that was
/// understood.
fn account_for(
    file: &File,
    length: Option<u64>,
    header: &ImportHeader,
    on_record: &mut dyn FnMut(),
) -> io::Result<(Accounting, bool)> {
    let text = || BufReader::with_capacity(READ_BYTES, part(file, length));
    let (mut last_ns, mut is_by_time) = (0, true);
    let counted = match allocation::source(header, text()) {
        Some(mut records) => {
            for record in records.by_ref() {
                let at_ns = record?.at_ns.unwrap_or(last_ns);
                is_by_time &= at_ns >= last_ns;
                last_ns = at_ns;
                on_record();
            }
            (records.accounting().clone(), is_by_time)
        }
        None => {
            let mut lines = ServerLogReader::new(text());
            for record in lines.by_ref() {
                let what = record?.what;
                if !matches!(what, LogEvent::KnownOther(_) | LogEvent::Unrecognised(_)) {
                    on_record();
                }
            }
            (lines.into_accounting(), true)
        }
    };
    still_whole(file, length).map(|()| counted)
}

/// Refuses a file that holds nothing, or of which nothing was understood. A server that nobody
/// talked to says that it was started.
fn understood(
    file: &File,
    path: &Path,
    format: ImportFormat,
    accounting: &Accounting,
) -> Result<(), String> {
    let blank = accounting.forms.get("other-blank").copied().unwrap_or(0);
    if accounting.lines == blank {
        return Err(format!(
            "{}: there is nothing in it to import: it is empty",
            path.display()
        ));
    }
    let started =
        format == ImportFormat::ServerLog && accounting.forms.contains_key("other-started");
    if accounting.parsed == 0 && accounting.unrecognised > 0 && !started {
        return Err(not_understood(path, format, accounting, &start_of(file)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "op,address,size\nalloc,0x1000,64\nfree,0x1000,64\n";

    /// What is written of a file that had `length` bytes when it was opened, and its account.
    fn read(length: usize) -> (Result<u64, String>, io::Result<u64>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.csv");
        std::fs::write(&path, TEXT).expect("writable");
        let header = ImportHeader::new(ImportFormat::Csv, "log.csv");
        let output = folder.path().join("log.hb");
        let length = Some(length as u64);
        let kept = keep(&path, length, &output, &header);
        assert_eq!(kept.is_ok(), output.exists(), "whole or not at all");
        let file = File::open(&path).expect("it is there");
        let counted = account_for(&file, length, &header, &mut || ());
        (kept, counted.map(|(accounting, _)| accounting.lines))
    }

    #[test]
    fn what_a_log_grew_by_while_it_was_read_is_no_part_of_it() {
        let (kept, lines) = read(TEXT.len() - "free,0x1000,64\n".len());
        assert!(kept.is_ok(), "{kept:?}");
        assert_eq!(lines.expect("readable"), 2);
    }

    #[test]
    fn a_file_that_became_shorter_while_it_was_read_is_refused() {
        let (kept, lines) = read(TEXT.len() + 1);
        assert!(kept.is_err_and(|error| error.contains("shorter")));
        assert!(lines.is_err());
        assert!(read(TEXT.len()).0.is_ok());
    }
}
