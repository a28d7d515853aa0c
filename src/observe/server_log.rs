//! What the line of a server's log shows.

use crate::import::server_log::{LogEvent, LogRecord, OtherKind, to_message};
use crate::trace::observation::{Observation, Observed};

/// The observation that a line stands for; `None` for a line that says nothing of messages.
pub(super) fn observation(record: &LogRecord) -> Option<Observation> {
    let what = match record.what {
        LogEvent::UnknownMessageType(kind) => Observed::UnknownFrame { kind },
        // How much it removes, it says line by line after it.
        LogEvent::DeadProcess { pid } => Observed::Swept { pid, buffers: None },
        LogEvent::KnownOther(OtherKind::Started) => Observed::ServerStarted,
        _ => {
            let imported = to_message(record)?;
            Observed::Message {
                message: imported.message,
                complete: imported.complete,
                server_answer: Some(imported.server_answer),
            }
        }
    };
    Some(Observation {
        position: record.line,
        at_ns: None,
        conn: None,
        what,
    })
}
