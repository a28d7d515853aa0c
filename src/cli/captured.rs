//! What is printed of the bytes of a capture: every one of them is accounted for.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::numbers::{grouped, plural};
use crate::trace::capture::{CaptureAccount, CaptureTrouble};

/// Troubles that the text output lists.
const SHOWN: usize = 10;

/// The account as text, its lines ended by `\n`.
pub(super) fn human(account: &CaptureAccount) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}, {} to the server, {} to clients: {}, {}, {} skipped, {} torn",
        plural(account.connections, "connection"),
        plural(account.to_server_bytes, "byte"),
        plural(account.to_client_bytes, "byte"),
        plural(account.messages, "message"),
        plural(account.unknown_frames, "unknown frame"),
        plural(account.skipped_bytes, "byte"),
        plural(account.torn_bytes, "byte"),
    );
    for ((layout, why), count) in &account.layouts {
        let _ = writeln!(
            text,
            "  {} in layout {layout} ({})",
            plural(*count, "connection"),
            why.words()
        );
    }
    for (kind, count) in &account.faults {
        let _ = writeln!(
            text,
            "  {} put in: {}",
            plural(*count, "fault"),
            kind.name()
        );
    }
    for (conn, trouble) in account.troubles.iter().take(SHOWN) {
        let _ = writeln!(text, "  connection {conn}: {}", words(trouble));
    }
    text
}

/// The account as JSON keys.
pub(super) fn json(account: &CaptureAccount) -> Value {
    let layouts: Vec<Value> = account
        .layouts
        .iter()
        .map(|((layout, why), count)| {
            json!({ "layout": layout, "detection": why, "connections": count })
        })
        .collect();
    let troubles: Vec<Value> = account
        .troubles
        .iter()
        .map(|(conn, trouble)| json!({ "connection": conn, "what": words(trouble) }))
        .collect();
    json!({
        "connections": account.connections,
        "to_server_bytes": account.to_server_bytes,
        "to_client_bytes": account.to_client_bytes,
        "frames": account.messages + account.table_requests + account.unknown_frames,
        "unknown_frames": account.unknown_frames,
        "skipped_bytes": account.skipped_bytes,
        "torn_bytes": account.torn_bytes,
        "faults": account.faults,
        "layouts": layouts,
        "troubles": troubles,
    })
}

fn words(trouble: &CaptureTrouble) -> String {
    match trouble {
        CaptureTrouble::Skipped { bytes, offset: 0 } => format!(
            "the first {} bytes are no whole frame and were passed over",
            grouped(*bytes)
        ),
        CaptureTrouble::Skipped { bytes, offset } => format!(
            "byte {offset}: {} bytes are no whole frame and were passed over",
            grouped(*bytes)
        ),
        CaptureTrouble::UnknownFrame { kind, offset } => {
            format!("byte {offset}: a frame of type {kind}, which no message has")
        }
        CaptureTrouble::Torn { bytes, offset } => format!(
            "byte {offset}: the last {} bytes are no whole frame",
            grouped(*bytes)
        ),
    }
}
