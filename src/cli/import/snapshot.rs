//! `heisenbed import torch-snapshot`.

use std::fs::File;
use std::path::PathBuf;

use super::account::{self, ImportedRecords, entries_word};
use super::{ImportArgs, at, start_of};
use crate::cli::foreign::other_format;
use crate::cli::outcome::Context;
use crate::cli::progress::Progress;
use crate::import::{pickle, torch_snapshot};
use crate::trace::file::{ImportFormat, ImportHeader};
use crate::trace::text::TextWriter;

/// Of a pickle the entries are kept, as they are read. Where it is damaged, the trace holds what
/// came before, and has no end.
pub(super) fn import(
    args: &ImportArgs,
    file: File,
    header: ImportHeader,
    context: &Context,
) -> Result<ImportedRecords, String> {
    let mut trace = match &args.output {
        None => None,
        Some(output) => {
            let created = File::create(output).and_then(|trace| TextWriter::create(trace, header));
            Some((output, created.map_err(|error| at(output, &error))?))
        }
    };
    let start = start_of(&file);
    let length = file.metadata().map_or(0, |data| data.len());
    let mut progress = Progress::new(context.quiet, "import", "bytes", length);
    let writer = trace.as_mut().map(|(_, writer)| writer);
    let (converted, read) =
        torch_snapshot::convert(file, writer, &mut |bytes| progress.update(bytes));
    progress.finish();
    let nothing = converted.accounting.parsed + converted.accounting.known_other == 0
        && converted.accounting.unrecognised > 0
        && converted.blocks + converted.awaiting == 0;
    if nothing && read.is_ok() {
        if let Some((output, _)) = trace {
            let _ = std::fs::remove_file(output);
        }
        return Err(account::not_understood(
            &args.files[0],
            ImportFormat::TorchSnapshot,
            &converted.accounting,
            &[],
        ));
    }
    let summary = match read {
        Ok(summary) => summary,
        Err(error) => {
            let entries = converted.accounting.lines;
            let mut what = unreadable(args, &error, trace, entries);
            if matches!(error, pickle::PickleError::NotAPickle { .. }) {
                what += &other_format(&args.files[0], ImportFormat::TorchSnapshot, &start);
            }
            return Err(what);
        }
    };
    let mut trace_bytes = None;
    if let Some((output, writer)) = trace {
        trace_bytes = Some(writer.end().map_err(|error| at(output, &error))?);
    }
    Ok(ImportedRecords {
        accounting: converted.accounting.clone(),
        trace_bytes,
        snapshot: Some((converted, summary)),
    })
}

/// What is said of a pickle that cannot be read to its end. What was read of it is kept, if it is
/// anything.
fn unreadable(
    args: &ImportArgs,
    error: &pickle::PickleError,
    trace: Option<(&PathBuf, TextWriter)>,
    entries: u64,
) -> String {
    let what = at(&args.files[0], error);
    let Some((output, writer)) = trace else {
        return what;
    };
    if entries == 0 {
        let _ = std::fs::remove_file(output);
        return what;
    }
    match writer.cut_short() {
        Ok(_) => format!(
            "{what}\n{}: holds the {} before that",
            output.display(),
            entries_word(entries)
        ),
        Err(error) => format!("{what}\n{}", at(output, &error)),
    }
}
