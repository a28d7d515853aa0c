//! The forms in which people have a record of messages: of which kind it is, in which layout its
//! messages came, and how the server understood them.

use std::fmt;
use std::io;
use std::ops::ControlFlow;

use crate::diagnosis::Circumstances;
use crate::observe::each_line;
use crate::registry::{Limits, Outcome, Registry, Semantics};
use crate::scenario::random::Random;
use crate::server::legacy_log::LegacyLog;
use crate::trace::event::receive_code;
use crate::trace::observation::{Observation, Observed, ServerAnswer};
use crate::tracking::{Layout, Message, MessageKind};

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A recorded run, or a journal whose server wrote down its answers: each message and what the
    /// server made of it, connections, and the end.
    Trace,
    /// What a proxy saw: messages and connections, nothing of the server.
    Capture,
    /// The lines that a reference server writes: no connections, no times, no end.
    Log,
}

/// A record's form, with all that it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// What the record is.
    pub form: Form,
    /// How messages are written. Only [`Layout::Extended`] names memory, generation and thread.
    pub layout: Layout,
    /// How the server understands them.
    pub semantics: Semantics,
}

/// Records in the extended layout, in per cent: all others are alike but for their frames.
const EXTENDED_PERCENT: u8 = 30;

impl Shape {
    pub(super) fn draw(random: &mut Random) -> Shape {
        let form = [Form::Trace, Form::Capture, Form::Log][random.below(3) as usize];
        let legacy = Layout::LEGACY[random.below(Layout::LEGACY.len() as u64) as usize];
        let layout = match random.percent(EXTENDED_PERCENT) {
            true => Layout::Extended,
            false => legacy,
        };
        let semantics = [
            Semantics::Overwrite,
            Semantics::Refcount,
            Semantics::Typed,
            Semantics::Sequenced,
        ][random.below(4) as usize];
        Shape {
            form,
            layout,
            semantics,
        }
    }

    /// Whether messages name what they mean, and the record keeps it.
    pub(super) fn names_lives(self) -> bool {
        self.layout == Layout::Extended && self.form != Form::Log
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Form::Trace => "trace",
            Form::Capture => "capture",
            Form::Log => "log",
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.form, self.layout, self.semantics)
    }
}

/// A record in one shape.
#[derive(Clone, Debug)]
pub(crate) struct Presented {
    /// What it shows.
    pub seen: Vec<Observation>,
    /// What is known of it beside.
    pub circumstances: Circumstances,
    /// Of a log: its text.
    pub text: Option<String>,
}

/// The same record in this shape, and what is known of it beside.
pub(crate) fn present(seen: Vec<Observation>, shape: Shape, complete: bool) -> Presented {
    let presented = |seen, complete, text| Presented {
        seen,
        circumstances: Circumstances {
            complete,
            ..Circumstances::default()
        },
        text,
    };
    let written = written_in(seen, shape.layout);
    match shape.form {
        Form::Trace => {
            let answered = answered(written, shape.semantics, complete);
            presented(answered, complete, None)
        }
        Form::Capture => presented(written, complete, None),
        Form::Log => {
            let text = log_text(&written, shape.semantics, complete);
            let mut lines = Vec::new();
            // A text in memory can be read.
            let _ = each_line(text.as_bytes(), &mut |line| {
                lines.push(line);
                ControlFlow::Continue(())
            });
            presented(lines, false, Some(text))
        }
    }
}

/// The messages in the order in which they came, with what `layout` carries of them, and without a
/// word of the server.
fn written_in(seen: Vec<Observation>, layout: Layout) -> Vec<Observation> {
    let came = seen
        .into_iter()
        .filter(|observation| !matches!(observation.what, Observed::TookEffect { .. }));
    came.map(|mut observation| {
        if let Observed::Message {
            message,
            server_answer,
            ..
        } = &mut observation.what
        {
            if layout != Layout::Extended {
                *message = without_extension(message);
            }
            *server_answer = None;
        }
        observation
    })
    .collect()
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

/// Each message with what a server of these semantics makes of it; those that it holds back come
/// once more when they take effect.
fn answered(seen: Vec<Observation>, semantics: Semantics, complete: bool) -> Vec<Observation> {
    let mut registry = Registry::new(semantics, Limits::default());
    let mut out = Vec::with_capacity(seen.len());
    let answer = |outcome: &Outcome| ServerAnswer::from_code(receive_code(outcome));
    let took_effect = |message: &Message, outcome: &Outcome| Observed::TookEffect {
        message: message.clone(),
        server_answer: answer(outcome),
    };
    let last = seen.last().cloned();
    for observation in seen {
        match &observation.what {
            Observed::Message { message, .. } => {
                let mut is_first = true;
                registry.apply(message, &mut |taken, outcome| {
                    let what = match std::mem::take(&mut is_first) {
                        true => Observed::Message {
                            message: taken.clone(),
                            complete: true,
                            server_answer: answer(&outcome),
                        },
                        false => took_effect(taken, &outcome),
                    };
                    out.push(Observation {
                        what,
                        ..observation.clone()
                    });
                });
            }
            Observed::Swept { pid, .. } => {
                sweep(&mut registry, *pid);
                out.push(observation);
            }
            Observed::ServerStarted => {
                registry.clear();
                out.push(observation);
            }
            _ => out.push(observation),
        }
    }
    if complete && let Some(last) = last {
        registry.flush(&mut |message, outcome| {
            out.push(Observation {
                what: took_effect(message, &outcome),
                conn: None,
                ..last.clone()
            });
        });
    }
    out
}

/// What a reference server with these semantics writes of the messages.
pub(crate) fn log_text(seen: &[Observation], semantics: Semantics, complete: bool) -> String {
    let mut registry = Registry::new(semantics, Limits::default());
    let mut log = LegacyLog::new(io::sink());
    let mut text = String::from("🚀 Allocation Server started\n");
    for observation in seen {
        match &observation.what {
            Observed::Message { message, .. } => {
                registry.apply(message, &mut |message, outcome| {
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
    if complete {
        registry.flush(&mut |message, outcome| log.write_outcome(message, &outcome));
        text += &log.take_lines();
    }
    text
}

/// Drops what `pid` owns, as a sweep does.
fn sweep(registry: &mut Registry, pid: i32) {
    for entry in registry.live() {
        let free = entry.release();
        for _ in 0..if entry.pid == pid { entry.refcount } else { 0 } {
            registry.apply(&free, &mut |_, _| ());
        }
    }
}
