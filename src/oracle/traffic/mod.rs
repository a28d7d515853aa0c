//! The check of a real program: what it sent to a tracking server, byte by byte, against what its
//! allocator says that it did.
//!
//! [`TrafficEvent`]s come in the order in which they happened, wherever they were seen; the server
//! is [`OfflineServer`], and differences are those of every other check. What is known of the truth
//! decides how strong it is:
//! - The allocator's own history ([`TrafficEvent::Alloc`], [`TrafficEvent::Free`]): exact. Each
//!   message is held against the life that its sender meant ([`lives`] says which), totals at every
//!   message against what is in flight, and the live tables against each other at rest.
//! - Totals only ([`TrafficEvent::Total`]): at rest, by device and memory.
//! - Nothing: the messages against each other.
//!
//! What holds: a connection whose bytes don't fit its layout is not judged, and said; a frame made
//! of pieces that several threads sent is `torn-frame` only where it is no frame that a client
//! sends; a message that had no room is lost only if its sender did not send it again.

mod check;
mod events;
mod lives;
mod outcome;
mod senders;
mod spoken;
mod totals;
mod words;

use std::collections::BTreeMap;

use self::check::TrafficCheck;
pub(crate) use self::events::TrafficEvent;
pub(crate) use self::spoken::Spoken;
use super::kind::Report;
use crate::registry::Semantics;
use crate::server::listener::{DeviceInfo, ServerConfig};
use crate::tracking::Layout;

/// How messages are read and understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrafficRules {
    /// How the server understands ALLOC and FREE.
    pub(crate) semantics: Semantics,
    /// What clients speak that say nothing of it; `None`: found out from the content.
    pub(crate) layout: Option<Layout>,
    /// How many devices there are; `None`: ids to 255 are taken.
    pub(crate) devices: Option<u32>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrafficReport {
    /// As of any other check.
    pub(crate) report: Report,
    /// The event that showed the first divergence; none if that was seen at rest.
    pub(crate) first_event: Option<usize>,
    /// Of each event, what it was in words; empty where that is nothing.
    pub(crate) words: Vec<String>,
    /// The same as data; what said nothing is not in it.
    pub(crate) spoken: BTreeMap<usize, Spoken>,
}

impl TrafficRules {
    /// The configuration of a server that goes by them.
    pub(crate) fn server(&self) -> ServerConfig {
        let mut config = ServerConfig::new("", self.semantics);
        config.layout = self.layout;
        config.device_info = DeviceInfo {
            num_devices: self.devices.unwrap_or(0),
            ..config.device_info
        };
        if let Some(devices) = self.devices {
            config.limits.devices = devices;
        }
        config
    }

    /// Checks a program's `events`. `completed`: it came to an end of its own; `in_words`: tell
    /// what each event was; `distrust`: why the truth in them is not to be believed.
    pub(crate) fn check_without(
        &self,
        distrust: Option<String>,
        events: &[TrafficEvent],
        completed: bool,
        in_words: bool,
    ) -> TrafficReport {
        let mut check = TrafficCheck::new(self, events, in_words);
        if let Some(why) = distrust {
            check.contradict(|| why);
        }
        for (at, event) in events.iter().enumerate() {
            check.observe(at, event);
        }
        check.finish(completed)
    }
}

#[cfg(test)]
mod tests;
