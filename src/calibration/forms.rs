//! The forms in which people have a record of messages.

use std::io;
use std::ops::ControlFlow;

use crate::diagnosis::Circumstances;
use crate::observe::each_line;
use crate::registry::{Limits, Registry, Semantics};
use crate::server::legacy_log::LegacyLog;
use crate::trace::observation::{Observation, Observed};
use crate::tracking::{Message, MessageKind};

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Messages of the extended layout: a run of ours, or a journal of clients that use the
    /// library.
    Extended,
    /// Messages as real clients send them: no type in FREE, no generation, no thread.
    Plain,
    /// The lines that a reference server writes of them: no connections, no times, no end.
    Log,
}

/// The same record in `form`, and what is known of it beside.
pub fn present(
    seen: Vec<Observation>,
    form: Form,
    complete: bool,
) -> (Vec<Observation>, Circumstances) {
    let circumstances = |complete| Circumstances {
        complete,
        ..Circumstances::default()
    };
    match form {
        Form::Extended => (seen, circumstances(complete)),
        Form::Plain => (
            seen.into_iter().map(plain).collect(),
            circumstances(complete),
        ),
        Form::Log => {
            let text = log_text(&seen);
            let mut lines = Vec::new();
            // A text in memory can be read.
            let _ = each_line(text.as_bytes(), &mut |line| {
                lines.push(line);
                ControlFlow::Continue(())
            });
            (lines, circumstances(false))
        }
    }
}

fn plain(mut observation: Observation) -> Observation {
    if let Observed::Message {
        message,
        server_answer,
        ..
    } = &mut observation.what
    {
        *message = without_extension(message);
        *server_answer = None;
    }
    observation
}

fn without_extension(message: &Message) -> Message {
    Message {
        extension: None,
        buffer_type: match message.kind {
            MessageKind::Free => 0,
            _ => message.buffer_type,
        },
        ..message.clone()
    }
}

/// What a reference server writes of the messages.
pub fn log_text(seen: &[Observation]) -> String {
    let mut registry = Registry::new(Semantics::Refcount, Limits::default());
    let mut log = LegacyLog::new(io::sink());
    let mut text = String::from("🚀 Allocation Server started\n");
    for observation in seen {
        match &observation.what {
            Observed::Message { message, .. } => {
                let message = without_extension(message);
                registry.apply(&message, &mut |message, outcome| {
                    log.write_outcome(message, &outcome);
                });
                text += &log.take_lines();
            }
            Observed::UnknownFrame { kind } => text += &format!("Unknown message type: {kind}\n"),
            Observed::Swept { pid, .. } => {
                text += &format!("   PID {pid} is dead, removing its buffers...\n");
                sweep(&mut registry, *pid);
            }
            Observed::ServerStarted => {
                text += "🚀 Allocation Server started\n";
                registry.clear();
            }
            Observed::TookEffect { .. }
            | Observed::MixedFrame
            | Observed::TornFrame { .. }
            | Observed::Dropped { .. }
            | Observed::Opened
            | Observed::Closed => {}
        }
    }
    text
}

/// Drops what `pid` owns, as a sweep does.
fn sweep(registry: &mut Registry, pid: i32) {
    for entry in registry.live() {
        let free = without_extension(&entry.release());
        for _ in 0..if entry.pid == pid { entry.refcount } else { 0 } {
            registry.apply(&free, &mut |_, _| ());
        }
    }
}
