//! The log that a tracking server would have written, in the lines of the reference servers.
//!
//! The messages go through a registry like the one that took them, and the lines are those that
//! `serve --log-style legacy` writes of its outcomes. An imported log is given back as it was, to
//! the byte: its lines say more than its messages.

use std::io::{self, BufRead, Write};

use super::source::SourceAbout;
use super::{ExportError, ExportSink, Exported, LeftOut, Out, Wants};
use crate::import::stacks::StackTable;
use crate::registry::{Limits, Registry, Semantics};
use crate::server::legacy_log::LegacyLog;
use crate::trace::file::{Header, ImportFormat, TraceFile};
use crate::trace::observation::{Observation, Observed};
use crate::trace::text::TextReader;
use crate::tracking::entry::Entry;

/// Whether a trace is an imported log of a server.
pub(super) fn is_one(trace: &TraceFile) -> bool {
    matches!(trace.header(), Header::Import(header) if header.format == ImportFormat::ServerLog)
}

/// Writes an imported log as it was.
pub(super) fn as_it_was(
    trace: &TraceFile,
    to: &mut (dyn Write + Send),
) -> Result<Exported, ExportError> {
    let mut text = TextReader::new(trace);
    let (mut lines, mut bytes) = (0, 0);
    loop {
        let piece = text.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        to.write_all(piece)?;
        lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        bytes += piece.len() as u64;
        let length = piece.len();
        text.consume(length);
    }
    to.flush()?;
    Ok(Exported {
        written: lines,
        noun: "line",
        bytes,
        notes: vec!["the log is given back as it was imported".to_owned()],
        damage: text.damage().map(str::to_owned),
        ..Exported::default()
    })
}

/// Writes lines.
pub(super) struct ServerLog<'a> {
    out: Out<'a>,
    registry: Registry,
    log: LegacyLog<io::Sink>,
    lines: u64,
    left_out: LeftOut,
}

impl<'a> ServerLog<'a> {
    pub(super) fn new(to: &'a mut (dyn Write + Send + 'a)) -> ServerLog<'a> {
        ServerLog {
            out: Out::new(to),
            registry: Registry::new(Semantics::Overwrite, Limits::default()),
            log: LegacyLog::new(io::sink()),
            lines: 0,
            left_out: LeftOut::default(),
        }
    }

    fn take_lines(&mut self) -> io::Result<u64> {
        let lines = self.log.take_lines();
        let count = lines.matches('\n').count() as u64;
        self.lines += count;
        self.out.buffer().extend_from_slice(lines.as_bytes());
        self.out.written()?;
        Ok(count)
    }

    /// What a dead process owned goes.
    fn sweep(&mut self, pid: i32) {
        let owned = |entry: &Entry| entry.pid == pid;
        let removed: Vec<Entry> = self.registry.live().into_iter().filter(owned).collect();
        for entry in &removed {
            for _ in 0..entry.refcount {
                self.registry.apply(&entry.release(), &mut |_, _| {});
            }
        }
        self.log.write_sweep(pid, &removed);
    }
}

impl ExportSink for ServerLog<'_> {
    fn begin(&mut self, about: &SourceAbout) -> Result<Wants, ExportError> {
        self.registry = Registry::new(about.registry.semantics(), about.registry.limits());
        Ok(Wants {
            observations: true,
            ..Wants::default()
        })
    }

    fn observation(&mut self, seen: &Observation) -> Result<(), ExportError> {
        match &seen.what {
            Observed::Message { message, .. } => {
                let log = &mut self.log;
                self.registry.apply(message, &mut |taken, outcome| {
                    log.write_outcome(taken, &outcome);
                });
                if self.take_lines()? == 0 {
                    self.left_out
                        .count("messages of which a server writes nothing");
                }
            }
            Observed::Swept { pid, .. } => {
                self.sweep(*pid);
                self.take_lines()?;
            }
            Observed::UnknownFrame { kind } => {
                writeln!(self.out.buffer(), "Unknown message type: {kind}")?;
                self.lines += 1;
                self.out.written()?;
            }
            Observed::ServerStarted => {
                self.registry.clear();
                self.log = LegacyLog::new(io::sink());
                self.left_out.count("starts of a server");
            }
            Observed::MixedFrame | Observed::TornFrame { .. } => {
                self.left_out.count("frames that are no message");
            }
            Observed::Dropped { .. } => self.left_out.count("messages that were not sent"),
            // The registry has held it back and lets it take effect by itself.
            Observed::TookEffect { .. } | Observed::Opened | Observed::Closed => {}
        }
        Ok(())
    }

    fn end(&mut self, _stacks: &StackTable) -> Result<Exported, ExportError> {
        let log = &mut self.log;
        self.registry
            .flush(&mut |taken, outcome| log.write_outcome(taken, &outcome));
        self.take_lines()?;
        Ok(Exported {
            written: self.lines,
            noun: "line",
            bytes: self.out.end()?,
            left_out: std::mem::take(&mut self.left_out),
            ..Exported::default()
        })
    }
}
