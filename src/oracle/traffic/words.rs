//! Messages and what the server made of them, as people read them in a timeline.

use std::fmt::Write as _;

use super::senders::SentFrame;
use crate::device::Memory;
use crate::numbers::{grouped, plural};
use crate::registry::Outcome;
use crate::server::offline::TakenFrame;
use crate::tracking::{Message, MessageKind};

/// What the allocator did.
pub(super) fn truth(
    verb: &str,
    device: u32,
    memory: u32,
    address: u64,
    size_bytes: Option<u64>,
) -> String {
    let memory = u8::try_from(memory).ok().and_then(Memory::from_index);
    let memory = memory.map_or("no memory", Memory::name);
    let size = size_bytes.map_or_else(String::new, |size| format!(", {}", plural(size, "byte")));
    format!("allocator {verb} {address:#x} (device {device}, {memory}{size})")
}

/// A message.
pub(super) fn message(message: &Message) -> String {
    let mut text = message.kind.name().to_owned();
    match message.kind.role() {
        Some((_, opens)) => {
            let _ = write!(text, " {:#x} (device {}", message.address, message.device);
            if opens {
                let memory = Memory::from_buffer_type(message.buffer_type);
                let memory = memory.map_or("system", Memory::name);
                let _ = write!(text, ", {memory}, {}", plural(message.size_bytes, "byte"));
            }
            text.push(')');
        }
        None => {
            let _ = write!(text, " (device {})", message.device);
        }
    }
    text
}

/// A frame.
pub(super) fn frame(frame: &SentFrame) -> String {
    let text = match &frame.message {
        Some(message) => self::message(message),
        None => "a frame that is no message".to_owned(),
    };
    match frame.torn {
        true => format!("{text}, in pieces of several threads"),
        false => text,
    }
}

/// What the server made of a frame.
pub(super) fn effects(taken: &TakenFrame) -> String {
    let mut text = String::new();
    for (message, outcome) in &taken.effects {
        let own = taken.message.as_ref() == Some(message);
        let subject = match own {
            true => String::new(),
            false => format!("{} ", self::message(message)),
        };
        let made = outcome_words(outcome);
        if !made.is_empty() {
            let _ = write!(text, " → {subject}{made}");
        }
    }
    text
}

fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Inserted => "live".to_owned(),
        Outcome::Replaced { old } => {
            format!("replaces a live one of {}", plural(old.size_bytes, "byte"))
        }
        Outcome::Incremented { kept } => format!(
            "live already: {} references to {} bytes",
            kept.refcount,
            grouped(kept.size_bytes)
        ),
        Outcome::Removed { .. } => "gone".to_owned(),
        Outcome::Decremented { left } => {
            format!("{} left", plural(left.refcount.into(), "reference"))
        }
        Outcome::UnknownFree => "unknown buffer".to_owned(),
        Outcome::Held => "waits for an earlier number".to_owned(),
        Outcome::Rejected(why) => format!("rejected: {}", why.words()),
        Outcome::Ignored => String::new(),
    }
}

/// What stands for a request that is about no buffer.
pub(super) fn nothing() -> Message {
    Message::bare(MessageKind::DumpRemaining, -1, 0)
}
