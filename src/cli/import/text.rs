//! `heisenbed import` of texts: they are kept as they are, and read before for the account.

use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::path::Path;
use std::thread;

use super::account::{ImportedRecords, not_understood};
use super::{ImportArgs, READ_BYTES, at, name_of, open, start_of};
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
    let can_read_twice = file.metadata().is_ok_and(|data| data.is_file());
    let beside = args
        .output
        .as_ref()
        .filter(|_| can_read_twice && header.format != ImportFormat::Rocprof);
    let (counted, mut written) = thread::scope(|scope| {
        let mut writer = None;
        let counted = account_for(&file, &header, &mut || {
            if let (Some(output), None) = (beside, &writer) {
                writer = Some(scope.spawn(|| keep(path, output, &header)));
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
    if let Some(output) = args.output.as_ref().filter(|_| written.is_none()) {
        file.rewind().map_err(|error| at(path, &error))?;
        let trace = File::create(output).map_err(|error| at(output, &error))?;
        let done = if header.format == ImportFormat::Rocprof && !is_by_time {
            TextWriter::create(trace, header).and_then(|mut writer| {
                rocprof::sort(BufReader::with_capacity(READ_BYTES, file), &mut writer)?;
                writer.end()
            })
        } else {
            text::write(trace, header, &mut file)
        };
        written = Some(done.map_err(|error| at(output, &error)));
    }
    Ok(ImportedRecords {
        accounting,
        trace_bytes: written.transpose()?,
        snapshot: None,
    })
}

/// Writes a file into a trace as it is; returns the bytes written.
fn keep(path: &Path, output: &Path, header: &ImportHeader) -> Result<u64, String> {
    let mut file = File::open(path).map_err(|error| at(path, &error))?;
    let trace = File::create(output).map_err(|error| at(output, &error))?;
    text::write(trace, header.clone(), &mut file).map_err(|error| at(output, &error))
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
        let counted = account_for(&file, &of_one, &mut || ());
        let (counted, _) = counted.map_err(|error| at(path, &error))?;
        understood(&file, path, header.format, &counted)?;
        accounting.add(&counted, &of_one.source);
        file.rewind().map_err(|error| at(path, &error))?;
        files.push((of_one.source, BufReader::with_capacity(READ_BYTES, file)));
    }
    let mut trace_bytes = None;
    if let Some(output) = &args.output {
        let written = File::create(output).and_then(|trace| {
            let mut writer = TextWriter::create(trace, header)?;
            rmm_log::merge(files, &mut writer)?;
            writer.end()
        });
        trace_bytes = Some(written.map_err(|error| at(output, &error))?);
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
    header: &ImportHeader,
    on_record: &mut dyn FnMut(),
) -> io::Result<(Accounting, bool)> {
    let text = BufReader::with_capacity(READ_BYTES, file);
    let (mut last_ns, mut is_by_time) = (0, true);
    match allocation::source(header, text) {
        Some(mut records) => {
            for record in records.by_ref() {
                let at_ns = record?.at_ns.unwrap_or(last_ns);
                is_by_time &= at_ns >= last_ns;
                last_ns = at_ns;
                on_record();
            }
            Ok((records.accounting().clone(), is_by_time))
        }
        None => {
            let mut lines = ServerLogReader::new(BufReader::with_capacity(READ_BYTES, file));
            for record in lines.by_ref() {
                let what = record?.what;
                if !matches!(what, LogEvent::KnownOther(_) | LogEvent::Unrecognised(_)) {
                    on_record();
                }
            }
            Ok((lines.into_accounting(), true))
        }
    }
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
