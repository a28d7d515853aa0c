//! `heisenbed import torch-snapshot`.

use std::fs::File;
use std::path::PathBuf;

use super::super::output::Beside;
use super::account::{self, ImportedRecords};
use super::{ImportArgs, at, start_of};
use crate::cli::foreign::other_format;
use crate::cli::outcome::Context;
use crate::cli::progress::Progress;
use crate::import::{pickle, torch_snapshot};
use crate::numbers::plural;
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
            let created = Beside::create(output).and_then(|beside| {
                let writer = TextWriter::create(beside.file()?, header)?;
                Ok((output, beside, writer))
            });
            Some(created.map_err(|error| at(output, &error))?)
        }
    };
    let start = start_of(&file);
    let length = file.metadata().map_or(0, |data| data.len());
    let mut progress = Progress::new(context.quiet, "import", "bytes", length);
    let writer = trace.as_mut().map(|(_, _, writer)| writer);
    let (converted, read) =
        torch_snapshot::convert(file, writer, &mut |bytes| progress.update(bytes));
    progress.finish();
    let nothing = converted.accounting.parsed + converted.accounting.known_other == 0
        && converted.accounting.unrecognised > 0
        && converted.blocks + converted.awaiting == 0;
    if nothing && read.is_ok() {
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
    if let Some((output, beside, writer)) = trace {
        let bytes = writer.end().map_err(|error| at(output, &error))?;
        beside.keep().map_err(|error| at(output, &error))?;
        trace_bytes = Some(bytes);
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
    trace: Option<(&PathBuf, Beside, TextWriter)>,
    entries: u64,
) -> String {
    let what = at(&args.files[0], error);
    let Some((output, beside, writer)) = trace.filter(|_| entries > 0) else {
        return what;
    };
    let kept = writer.cut_short().and_then(|_| beside.keep());
    match kept {
        Ok(_) => format!(
            "{what}\n{}: holds the {} before that",
            output.display(),
            plural(entries, "entry")
        ),
        Err(error) => format!("{what}\n{}", at(output, &error)),
    }
}
