//! Micro-steps and their text form, in both directions.
//!
//! Not here: what a micro-step does (the engine's step function) and which sequences of them make
//! sense (the lint).
//!
//! Invariant: for every [`MicroStep`] that can be parsed or generated, parsing its `Display` gives
//! it back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::shared::{SharedStep, shared_step};

/// A lock that a micro-step names. Which mutex it is may depend on the device of the buffer at
/// hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, arbitrary::Arbitrary)]
pub enum Lock {
    /// `tracker`: one mutex for the process, around sends.
    Tracker,
    /// `lifecycle`: one mutex a device.
    Lifecycle,
    /// `lifecycle[N]`: a fixed table of N ≥ 1 mutexes indexed by device id; a device id of N or
    /// more is out of its bounds.
    LifecycleTable(
        #[arbitrary(with = |u: &mut arbitrary::Unstructured| u.int_in_range(1..=u16::MAX))] u16,
    ),
    /// `lifecycle@N`: the lifecycle mutex of device N, whatever device the buffer is on.
    LifecycleOf(u16),
    /// `global`: one mutex for the process, around whole lifecycles.
    Global,
    /// `allocator`: the device's allocator mutex, which `alloc` and `free` otherwise take for
    /// themselves.
    Allocator,
}

/// Which message a `send` micro-step sends. For a circular buffer, ALLOC and FREE go out as their
/// CB_ forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, arbitrary::Arbitrary)]
pub enum SendKind {
    /// `send ALLOC`
    Alloc,
    /// `send FREE`
    Free,
    /// `send CB_ALLOC`
    CbAlloc,
    /// `send CB_FREE`
    CbFree,
}

impl SendKind {
    /// ALLOC or CB_ALLOC: the messages that announce a buffer.
    pub(crate) fn announces(self) -> bool {
        matches!(self, SendKind::Alloc | SendKind::CbAlloc)
    }
}

/// One visible action of a discipline.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    arbitrary::Arbitrary,
)]
#[serde(into = "String", try_from = "String")]
pub enum MicroStep {
    /// `lock M`
    Lock(Lock),
    /// `unlock M`
    Unlock(Lock),
    /// `alloc`: the allocator hands out an address.
    Alloc,
    /// `free`: the allocator takes the address back.
    Free,
    /// `send KIND`
    Send(SendKind),
    /// `publish`: the handle becomes visible to other threads.
    Publish,
    /// `check-live`: return unless the buffer is live; a plain read.
    CheckLive,
    /// `check-live-unguarded`: as `check-live`, but the early return forgets what is locked, as
    /// code without lock guards does.
    CheckLiveUnguarded,
    /// `claim`: compare-and-swap live → dying; return if lost.
    Claim,
    /// `mark-live`
    MarkLive,
    /// `mark-dead`
    MarkDead,
    /// `stamp`: take the device's next sequence number for the coming message.
    Stamp,
    /// `debug-log`: write the debug log block when enabled.
    DebugLog,
    /// `each device`: what follows, up to `end`, is done for each device of a mesh buffer, one
    /// after the other. Only in the programs of [`MeshPath`](super::MeshPath).
    EachDevice,
    /// `end`: of `each device`, `if`, `repeat` and `retry`.
    End,
    /// A step on what the program itself shares. The fuzz targets draw those elsewhere.
    #[arbitrary(skip)]
    Shared(SharedStep),
}

impl MicroStep {
    /// True for `check-live` and `claim`, which return early and then release what the program
    /// holds.
    pub(crate) fn may_return(self) -> bool {
        matches!(
            self,
            MicroStep::CheckLive | MicroStep::CheckLiveUnguarded | MicroStep::Claim
        )
    }
}

/// Why a text is not a micro-step. Displays as `TEXT: what was expected`; [`StepError::remedy`]
/// says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Nothing but spaces.
    #[error("``: expected a micro-step, found nothing")]
    Empty,
    /// The first word is not a micro-step.
    #[error(
        "`{found}`: not a micro-step; expected one of lock, unlock, send, {}, or a step on cells, \
         ledgers or other locks (docs/language.md)",
        simple_names()
    )]
    Unknown {
        /// The text.
        found: String,
        /// The known step that is written most like it.
        nearest: Option<Box<MicroStep>>,
    },
    /// `lock` or `unlock` is not followed by the name of a lock.
    #[error(
        "`{found}`: expected a lock: tracker, lifecycle, lifecycle[N] (N from 1 to 65535), lifecycle@N, global or allocator"
    )]
    LockName {
        /// The text.
        found: String,
        /// The known step that is written most like it.
        nearest: Option<Box<MicroStep>>,
    },
    /// `send` is not followed by the name of a message.
    #[error("`{found}`: expected a message: ALLOC, FREE, CB_ALLOC or CB_FREE")]
    MessageName {
        /// The text.
        found: String,
        /// The known step that is written most like it.
        nearest: Option<Box<MicroStep>>,
    },
    /// A step on what the program shares is not written as one.
    #[error("`{found}`: {why}")]
    Shared {
        /// The text.
        found: String,
        /// What was expected.
        why: String,
    },
    /// Words after a whole micro-step.
    #[error("`{found}`: expected nothing after `{step}`")]
    Trailing {
        /// The text.
        found: String,
        /// The step that it starts with.
        step: Box<MicroStep>,
    },
}

impl StepError {
    /// What to write instead.
    pub(crate) fn remedy(&self) -> String {
        match self {
            StepError::Empty => "remove it, or write a step".to_string(),
            StepError::Unknown {
                nearest: Some(step),
                ..
            }
            | StepError::LockName {
                nearest: Some(step),
                ..
            }
            | StepError::MessageName {
                nearest: Some(step),
                ..
            } => format!("did you mean `{step}`?"),
            StepError::Unknown { .. } => "write one of these".to_string(),
            StepError::LockName { .. } => "name one of these locks".to_string(),
            StepError::MessageName { .. } => "name one of these messages".to_string(),
            StepError::Shared { .. } => "docs/language.md has the form of every step".to_string(),
            StepError::Trailing { step, .. } => {
                format!("write `{step}` alone, and what follows as a step of its own")
            }
        }
    }
}

impl FromStr for MicroStep {
    type Err = StepError;

    fn from_str(text: &str) -> Result<MicroStep, StepError> {
        let found = normalised(text);
        if let Some(shared) = shared_step(&found) {
            return match shared {
                Ok(step) => Ok(MicroStep::Shared(step)),
                Err(why) => Err(StepError::Shared { found, why }),
            };
        }
        let mut words = found.split(' ');
        let verb = words.next().unwrap_or_default();
        let step = match verb {
            "" => return Err(StepError::Empty),
            "lock" | "unlock" => {
                let Some(lock) = words.next().and_then(parse_lock) else {
                    return Err(StepError::LockName {
                        nearest: nearest(&found),
                        found,
                    });
                };
                if verb == "lock" {
                    MicroStep::Lock(lock)
                } else {
                    MicroStep::Unlock(lock)
                }
            }
            "each" if found == "each device" => return Ok(MicroStep::EachDevice),
            "send" => {
                let name = words.next().unwrap_or_default();
                let Some((kind, _)) = SENDS.iter().find(|(_, known)| *known == name) else {
                    return Err(StepError::MessageName {
                        nearest: nearest(&found),
                        found,
                    });
                };
                MicroStep::Send(*kind)
            }
            _ => match SIMPLE.iter().find(|(_, known)| *known == verb) {
                Some((step, _)) => *step,
                None => {
                    return Err(StepError::Unknown {
                        nearest: nearest(&found),
                        found,
                    });
                }
            },
        };
        if words.next().is_some() {
            return Err(StepError::Trailing {
                found,
                step: Box::new(step),
            });
        }
        Ok(step)
    }
}

impl fmt::Display for MicroStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            MicroStep::Lock(lock) => return write!(f, "lock {lock}"),
            MicroStep::Unlock(lock) => return write!(f, "unlock {lock}"),
            MicroStep::Send(kind) => return write!(f, "send {kind}"),
            MicroStep::Shared(step) => return write!(f, "{step}"),
            MicroStep::Alloc => "alloc",
            MicroStep::Free => "free",
            MicroStep::Publish => "publish",
            MicroStep::CheckLive => "check-live",
            MicroStep::CheckLiveUnguarded => "check-live-unguarded",
            MicroStep::Claim => "claim",
            MicroStep::MarkLive => "mark-live",
            MicroStep::MarkDead => "mark-dead",
            MicroStep::Stamp => "stamp",
            MicroStep::DebugLog => "debug-log",
            MicroStep::EachDevice => "each device",
            MicroStep::End => "end",
        };
        f.write_str(text)
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lock::Tracker => f.write_str("tracker"),
            Lock::Lifecycle => f.write_str("lifecycle"),
            Lock::LifecycleTable(n) => write!(f, "lifecycle[{n}]"),
            Lock::LifecycleOf(device) => write!(f, "lifecycle@{device}"),
            Lock::Global => f.write_str("global"),
            Lock::Allocator => f.write_str("allocator"),
        }
    }
}

impl fmt::Display for SendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendKind::Alloc => "ALLOC",
            SendKind::Free => "FREE",
            SendKind::CbAlloc => "CB_ALLOC",
            SendKind::CbFree => "CB_FREE",
        })
    }
}

impl From<MicroStep> for String {
    fn from(step: MicroStep) -> String {
        step.to_string()
    }
}

impl TryFrom<String> for MicroStep {
    type Error = String;

    fn try_from(text: String) -> Result<MicroStep, String> {
        text.parse()
            .map_err(|error: StepError| format!("{error}; {}", error.remedy()))
    }
}

const SIMPLE: [(MicroStep, &str); 12] = [
    (MicroStep::Alloc, "alloc"),
    (MicroStep::Free, "free"),
    (MicroStep::Publish, "publish"),
    (MicroStep::CheckLive, "check-live"),
    (MicroStep::CheckLiveUnguarded, "check-live-unguarded"),
    (MicroStep::Claim, "claim"),
    (MicroStep::MarkLive, "mark-live"),
    (MicroStep::MarkDead, "mark-dead"),
    (MicroStep::Stamp, "stamp"),
    (MicroStep::DebugLog, "debug-log"),
    (MicroStep::EachDevice, "each device"),
    (MicroStep::End, "end"),
];

const SENDS: [(SendKind, &str); 4] = [
    (SendKind::Alloc, "ALLOC"),
    (SendKind::Free, "FREE"),
    (SendKind::CbAlloc, "CB_ALLOC"),
    (SendKind::CbFree, "CB_FREE"),
];

fn simple_names() -> String {
    SIMPLE.map(|(_, name)| name).join(", ")
}

/// One space between words, none at a bracket's inside or before it.
fn normalised(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .join(" ")
        .replace(" [", "[")
        .replace("[ ", "[")
        .replace(" ]", "]")
}

pub(super) fn parse_lock(name: &str) -> Option<Lock> {
    match name {
        "tracker" => Some(Lock::Tracker),
        "lifecycle" => Some(Lock::Lifecycle),
        "global" => Some(Lock::Global),
        "allocator" => Some(Lock::Allocator),
        _ => {
            let number = |digits: &str| {
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
                plain.then(|| digits.parse().ok()).flatten()
            };
            if let Some(device) = name.strip_prefix("lifecycle@") {
                return number(device).map(Lock::LifecycleOf);
            }
            number(name.strip_prefix("lifecycle[")?.strip_suffix(']')?)
                .filter(|size| *size > 0)
                .map(Lock::LifecycleTable)
        }
    }
}

/// The known step written most like `text`, if it is near enough to be meant.
fn nearest(text: &str) -> Option<Box<MicroStep>> {
    let locks = [
        Lock::Tracker,
        Lock::Lifecycle,
        Lock::LifecycleTable(8),
        Lock::Global,
        Lock::Allocator,
    ];
    let wanted = text.to_lowercase();
    (SIMPLE.iter().map(|(step, _)| *step))
        .chain(SENDS.iter().map(|(kind, _)| MicroStep::Send(*kind)))
        .chain(
            locks
                .into_iter()
                .flat_map(|lock| [MicroStep::Lock(lock), MicroStep::Unlock(lock)]),
        )
        .map(|step| {
            (
                edit_distance(&wanted, &step.to_string().to_lowercase()),
                step,
            )
        })
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, step)| *distance <= step.to_string().len().div_ceil(3))
        .map(|(_, step)| Box::new(step))
}

/// Levenshtein distance, in characters.
pub(crate) fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use arbitrary::{Arbitrary, Unstructured};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn extra_spaces_are_tolerated_between_words_and_around_brackets() {
        let step = Ok(MicroStep::Lock(Lock::LifecycleTable(8)));
        assert_eq!("  lock   lifecycle [ 8 ] ".parse(), step);
        assert_eq!("lock\tlifecycle[8]".parse(), step);
        assert_eq!(
            " send  CB_FREE".parse(),
            Ok(MicroStep::Send(SendKind::CbFree))
        );
    }

    #[test]
    fn a_misspelt_step_is_answered_with_the_nearest_known_one() {
        for (text, remedy) in [
            ("lokc lifecycle", "did you mean `lock lifecycle`?"),
            ("send alloc", "did you mean `send ALLOC`?"),
            ("send FEE", "did you mean `send FREE`?"),
            ("check_live", "did you mean `check-live`?"),
            ("unlock trakcer", "did you mean `unlock tracker`?"),
            ("lock lifecycle[0]", "did you mean `lock lifecycle[8]`?"),
            ("marklive", "did you mean `mark-live`?"),
            ("stand in the rain", "write one of these"),
            ("wait for it", "docs/language.md has the form of every step"),
            ("lock", "name one of these locks"),
            (
                "free the buffer",
                "write `free` alone, and what follows as a step of its own",
            ),
            (" ", "remove it, or write a step"),
        ] {
            let error = text.parse::<MicroStep>().expect_err(text);
            assert_eq!(error.remedy(), remedy, "{text}: {error}");
        }
    }

    #[test]
    fn a_step_error_says_what_was_expected() {
        let message = |text: &str| text.parse::<MicroStep>().expect_err(text).to_string();
        assert_eq!(
            message("lock lifecycle[99999]"),
            "`lock lifecycle[99999]`: expected a lock: tracker, lifecycle, lifecycle[N] (N from 1 to 65535), \
             lifecycle@N, global or allocator"
        );
        assert_eq!(
            message("send"),
            "`send`: expected a message: ALLOC, FREE, CB_ALLOC or CB_FREE"
        );
        assert!(message("jump").contains("lock, unlock, send, alloc, free, publish, check-live"));
    }

    #[test]
    fn a_table_size_with_a_sign_is_refused() {
        assert!("lock lifecycle[+8]".parse::<MicroStep>().is_err());
        assert!("lock lifecycle[]".parse::<MicroStep>().is_err());
    }

    proptest! {
        #[test]
        fn parsing_what_was_displayed_gives_the_same_step(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            let step = MicroStep::arbitrary(&mut Unstructured::new(&bytes)).expect("no bytes are refused");
            prop_assert_eq!(step.to_string().parse(), Ok(step));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}|(lock|unlock|send|free)[ \\[\\]a-z0-9]{0,20}") {
            if let Ok(step) = text.parse::<MicroStep>() {
                prop_assert_eq!(step.to_string().parse(), Ok(step));
            }
        }
    }
}
