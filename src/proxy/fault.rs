//! Faults: what is done on purpose to which frames from clients.
//!
//! As text: `drop:rate=0.01,type=FREE`. A fault without `type` is for frames of every type, one
//! without `rate` for each of them.

use std::str::FromStr;

use crate::scenario::random::mix;
use crate::trace::capture::FaultKind;
use crate::tracking::MessageKind;

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// What is done.
    pub(crate) kind: FaultKind,
    /// To which share of the frames, in 2⁻³² of them.
    rate: u64,
    /// To messages of which type only.
    pub(crate) message: Option<MessageKind>,
    /// How long a delay is, or the pause between the two writes of a split frame.
    pub(crate) pause_us: u64,
}

/// Every frame.
const ALWAYS: u64 = 1 << 32;
const DEFAULT_DELAY_US: u64 = 10_000;
/// Long enough for a server to read the first half by itself.
const DEFAULT_SPLIT_US: u64 = 1_000;
const MAX_PAUSE_US: u64 = 60_000_000;

impl Fault {
    /// Whether fault number `index` strikes frame `frame` of connection `conn`, a message of type
    /// `message` if it is one.
    pub(crate) fn strikes(
        &self,
        seed: u64,
        index: usize,
        conn: u32,
        frame: u64,
        message: Option<MessageKind>,
    ) -> bool {
        if self.message.is_some() && self.message != message {
            return false;
        }
        let drawn = [index as u64, u64::from(conn), frame]
            .into_iter()
            .fold(mix(seed), |state, part| mix(state ^ mix(part)));
        (drawn >> 32) < self.rate
    }
}

/// Why a text is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}`: {why} (form: KIND[:rate=0.01][,type=FREE][,us=1000]; kinds: delay, drop, duplicate, reorder, truncate, split, close)"
)]
pub struct FaultError {
    text: String,
    why: String,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Fault, FaultError> {
        let fail = |why: String| FaultError {
            text: text.to_owned(),
            why,
        };
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let kind = FaultKind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| fail(format!("`{name}` is no kind of fault")))?;
        let mut fault = Fault {
            kind,
            rate: ALWAYS,
            message: None,
            pause_us: match kind {
                FaultKind::Split => DEFAULT_SPLIT_US,
                _ => DEFAULT_DELAY_US,
            },
        };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("rate", value)) => {
                    fault.rate = value
                        .parse()
                        .ok()
                        .filter(|rate| (0.0..=1.0).contains(rate))
                        .map(|rate: f64| (rate * ALWAYS as f64) as u64)
                        .ok_or_else(|| fail(format!("`{value}` is no rate from 0 to 1")))?;
                }
                Some(("type", value)) => {
                    let message = MessageKind::ALL
                        .into_iter()
                        .find(|kind| kind.name() == value)
                        .ok_or_else(|| {
                            fail(format!("`{value}` is no message type: {}", types()))
                        })?;
                    fault.message = Some(message);
                }
                Some(("us", value)) if matches!(kind, FaultKind::Delay | FaultKind::Split) => {
                    fault.pause_us = value
                        .parse()
                        .ok()
                        .filter(|us| *us <= MAX_PAUSE_US)
                        .ok_or_else(|| {
                            fail(format!("`{value}` is no time from 0 to {MAX_PAUSE_US} µs"))
                        })?;
                }
                _ => return Err(fail(format!("`{option}` is no option of {name}"))),
            }
        }
        Ok(fault)
    }
}

fn types() -> String {
    MessageKind::ALL.map(MessageKind::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_a_kind_with_options() {
        let fault: Fault = "drop:rate=0.25,type=FREE".parse().expect("a fault");
        assert_eq!(
            (fault.kind, fault.rate, fault.message),
            (FaultKind::Drop, 1 << 30, Some(MessageKind::Free))
        );
        assert_eq!(
            "delay:us=5".parse::<Fault>().map(|fault| fault.pause_us),
            Ok(5)
        );
        for text in [
            "",
            "dorp",
            "drop:rate=2",
            "drop:type=free",
            "drop:us=5",
            "drop:x",
            "delay:us=-1",
        ] {
            let error = text.parse::<Fault>().expect_err(text);
            assert!(error.to_string().contains("form: KIND"), "{error}");
        }
    }

    #[test]
    fn a_rate_is_a_share_and_depends_on_nothing_else() {
        let fault: Fault = "drop:rate=0.25".parse().expect("a fault");
        let struck = |conn| {
            (0..40_000)
                .filter(|frame| fault.strikes(7, 0, conn, *frame, None))
                .count()
        };
        assert!((9_500..10_500).contains(&struck(0)), "{}", struck(0));
        assert_eq!(struck(1), struck(1));
        let free = Some(MessageKind::Free);
        let fault: Fault = "close:type=ALLOC".parse().expect("a fault");
        assert!(!fault.strikes(7, 0, 0, 0, free) && !fault.strikes(7, 0, 0, 0, None));
        assert!(fault.strikes(7, 0, 0, 0, Some(MessageKind::Alloc)));
    }
}
