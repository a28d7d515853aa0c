//! `heisenbed import wire`: a client's raw bytes as a capture of one connection.

use std::path::Path;

use serde_json::json;

use super::super::captured;
use super::super::outcome::Format;
use super::super::output::Beside;
use super::{ImportArgs, at, open};
use crate::import::wire::{self, WireError};
use crate::numbers::{grouped, plural};
use crate::trace::capture::{self, CaptureAccount};
use crate::trace::file::{CaptureHeader, CaptureSource, Header, TraceFile};

/// Writes the capture, reads it again, and says what became of every byte.
pub(super) fn import(args: &ImportArgs, format: Format) -> Result<String, String> {
    let [path] = args.files.as_slice() else {
        return Err("several files become one trace for `rmm-log` only".to_owned());
    };
    let source_path = path;
    let mut source = open(args, source_path)?;
    let beside = args.output.as_ref().map(|output| {
        let created = Beside::create(output).and_then(|beside| Ok((beside.file()?, beside)));
        created.map_err(|error| at(output, &error))
    });
    let (file, beside) = match beside.transpose()? {
        Some((file, beside)) => (file, Some(beside)),
        None => (
            tempfile::tempfile().map_err(|error| error.to_string())?,
            None,
        ),
    };
    let path = match &args.output {
        Some(output) => output.as_path(),
        None => Path::new("(temporary)"),
    };
    let header = CaptureHeader {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        source: CaptureSource::Wire,
        layout: args.layout,
        started_unix_ns: 0,
    };
    let copy = file.try_clone().map_err(|error| at(path, &error))?;
    let written = wire::capture(copy, header, &mut source);
    let trace_bytes = written.map_err(|error| match error {
        WireError::Source(error) => at(source_path, &error),
        WireError::Capture(error) => at(path, &error),
    })?;
    let trace = TraceFile::from_file(file, path).map_err(|error| error.to_string())?;
    let Header::Capture(header) = trace.header() else {
        unreachable!("it was just written as a capture")
    };
    let account = capture::messages(&trace, header, &mut |_| ());
    if account.messages + account.table_requests == 0 {
        return Err(nothing(source_path, &account));
    }
    if let Some(beside) = beside {
        beside.keep().map_err(|error| at(path, &error))?;
    }
    let trace_bytes = args.output.is_some().then_some(trace_bytes);
    Ok(match format {
        Format::Json => account_json(args, &account, trace_bytes),
        Format::Human => account_human(args, &account, trace_bytes),
    })
}

/// What is said of bytes that hold no message.
fn nothing(path: &Path, account: &CaptureAccount) -> String {
    match account.to_server_bytes {
        0 => format!(
            "{}: there is nothing in it to import: it is empty",
            path.display()
        ),
        bytes => format!(
            "{}: none of its {} bytes is understood as part of a message: is it the right FORMAT, and the right --layout?",
            path.display(),
            grouped(bytes)
        ),
    }
}

fn account_json(args: &ImportArgs, account: &CaptureAccount, trace_bytes: Option<u64>) -> String {
    let mut value = captured::json(account);
    value["format"] = "wire".into();
    value["messages"] = account.messages.into();
    value["trace"] = json!(args.output.as_ref().map(|path| path.display().to_string()));
    value["trace_bytes"] = json!(trace_bytes);
    format!("{value}\n")
}

fn account_human(args: &ImportArgs, account: &CaptureAccount, trace_bytes: Option<u64>) -> String {
    let mut text = format!("{}: {}", args.files[0].display(), captured::human(account));
    if let Some((output, bytes)) = args.output.as_ref().zip(trace_bytes) {
        text += &format!(
            "trace: {} ({})\n\nNext: heisenbed check {0}\n",
            output.display(),
            plural(bytes, "byte")
        );
    }
    text
}
