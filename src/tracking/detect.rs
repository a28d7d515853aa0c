//! Which of the real layouts a stream without hello speaks, from its first bytes.
//!
//! The layouts share one header and differ in frame size, so the question is where the next header
//! is. A layout *fits* when every frame that it cuts looks like one: a type in 1 to 12, zero
//! padding, a plausible device and buffer type, and after the 72 common bytes zeros (in the
//! 648-byte layout: text), as clients send requests. It is decided once a layout fits with most of
//! a second header seen and no other layout does so.
//!
//! Until then bytes are held. A client that sends one message and waits never gets there; for it
//! the reader says that the stream has gone quiet, and the layout that the held bytes are whole
//! frames of wins: clients write whole messages. A sender that pauses inside its first message at
//! exactly a smaller layout's frame size defeats this; tell the reader the layout then.
//!
//! When no layout fits because a client leaves rubbish in the fields it doesn't use, only type and
//! device are looked at. *Ties* go to the default layout if it is among them, else to the smallest:
//! it needs the most headers to be in place, so fitting by accident is least likely for it.

use serde::{Deserialize, Serialize};

use super::wire::{Common, Layout, MAX_FRAME_BYTES, part};

/// Why a connection's layout is believed to be what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detection {
    /// The client said so.
    Hello,
    /// Whoever set up the reader said so.
    Stated,
    /// Only this layout fits the content.
    Content,
    /// The stream went quiet after whole frames of this layout.
    Quiet,
    /// Several fit equally well; see the module's page for who wins.
    Tie,
    /// None fits: the default was taken.
    Fallback,
}

impl Detection {
    /// Why, in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Detection::Hello => "the client said so",
            Detection::Stated => "as told",
            Detection::Content => "by content",
            Detection::Quiet => "by whole frames before a pause",
            Detection::Tie => "several fit: a tie",
            Detection::Fallback => "none fits: the default",
        }
    }
}

/// What [`judge`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LayoutVerdict {
    Undecided,
    Decided(Layout, Detection),
}

/// With so many bytes the content must decide: three frames of the longest layout.
pub(super) const ENOUGH_BYTES: usize = 3 * MAX_FRAME_BYTES;
/// How much of a second header must be seen: everything up to the timestamp.
const HEADER_BYTES: usize = 32;
/// Type, padding and device.
const LOOSE_HEADER_BYTES: usize = 8;
const COMMON_BYTES: usize = 72;
/// Devices from -1 to below this are plausible.
const PLAUSIBLE_DEVICES: i32 = 4096;

/// How well bytes go with a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LayoutFit {
    /// They can't be.
    Impossible,
    /// Nothing speaks against it, but the last frame isn't whole.
    Partial,
    /// Whole frames and nothing else.
    Whole,
    /// Whole frames, and enough of the next header.
    Beyond,
}

/// Decides from the first bytes of a stream, or asks for more.
pub(super) fn judge(bytes: &[u8], default: Layout) -> LayoutVerdict {
    for strict in [true, false] {
        let fits = fits(bytes, strict);
        let possible = fits
            .iter()
            .filter(|(_, fit)| *fit != LayoutFit::Impossible)
            .count();
        if possible == 0 {
            continue;
        }
        let beyond = fits
            .iter()
            .filter(|(_, fit)| *fit == LayoutFit::Beyond)
            .map(|(layout, _)| *layout);
        let mut beyond = beyond.peekable();
        return match (possible, beyond.peek()) {
            (1, Some(&layout)) => LayoutVerdict::Decided(layout, Detection::Content),
            (_, Some(_)) if bytes.len() >= ENOUGH_BYTES => {
                LayoutVerdict::Decided(prefer(beyond, default).unwrap_or(default), Detection::Tie)
            }
            _ => LayoutVerdict::Undecided,
        };
    }
    LayoutVerdict::Decided(default, Detection::Fallback)
}

/// Decides from held bytes after which nothing came; `None` when they aren't whole frames of any
/// layout.
pub(super) fn settle(bytes: &[u8], default: Layout) -> Option<(Layout, Detection)> {
    for strict in [true, false] {
        let fits = fits(bytes, strict);
        if fits.iter().all(|(_, fit)| *fit == LayoutFit::Impossible) {
            continue;
        }
        let whole: Vec<Layout> = fits
            .iter()
            .filter(|(_, fit)| *fit >= LayoutFit::Whole)
            .map(|(layout, _)| *layout)
            .collect();
        let why = if whole.len() > 1 {
            Detection::Tie
        } else {
            Detection::Quiet
        };
        return prefer(whole.into_iter(), default).map(|layout| (layout, why));
    }
    None
}

fn prefer(layouts: impl Iterator<Item = Layout>, default: Layout) -> Option<Layout> {
    layouts.min_by_key(|&layout| (layout != default, layout.frame_bytes()))
}

fn fits(bytes: &[u8], strict: bool) -> [(Layout, LayoutFit); Layout::LEGACY.len()] {
    let bytes = &bytes[..bytes.len().min(ENOUGH_BYTES)];
    Layout::LEGACY.map(|layout| (layout, fit(bytes, layout, strict)))
}

/// How well `bytes` go with `layout`; strictly: as frames that clients send, else by type and
/// device only.
pub(super) fn fit(bytes: &[u8], layout: Layout, strict: bool) -> LayoutFit {
    let frames = bytes.chunks_exact(layout.frame_bytes());
    let (rest, whole) = (frames.remainder(), frames.len());
    for frame in frames.chain(std::iter::once(rest)) {
        let plausible = if strict {
            is_plausible(frame, layout)
        } else {
            is_possible(frame)
        };
        if !plausible {
            return LayoutFit::Impossible;
        }
    }
    let enough = if strict {
        HEADER_BYTES
    } else {
        LOOSE_HEADER_BYTES
    };
    match (whole, rest.len()) {
        (0, _) => LayoutFit::Partial,
        (_, 0) if bytes.len() >= ENOUGH_BYTES || whole > 1 => LayoutFit::Beyond,
        (_, 0) => LayoutFit::Whole,
        (_, seen) if seen >= enough || whole > 1 => LayoutFit::Beyond,
        _ => LayoutFit::Partial,
    }
}

/// Whether a whole frame looks like one that a client sends; strictly: also in the fields that
/// clients do not use.
pub(crate) fn looks_sent(frame: &[u8], layout: Layout, strict: bool) -> bool {
    match strict {
        true => is_plausible(frame, layout),
        false => is_possible(frame),
    }
}

/// Whether the beginning of a frame, as far as it is there, looks like a client's request.
fn is_plausible(frame: &[u8], layout: Layout) -> bool {
    // Most layouts are none for the first eight bytes already.
    if !is_possible(frame) {
        return false;
    }
    let mut padded = [0; COMMON_BYTES];
    let seen = frame.len().min(COMMON_BYTES);
    padded[..seen].copy_from_slice(&frame[..seen]);
    let common: &Common = part(&padded, 0);
    let buffer_type_ok = common.kind != 1 || common.buffer_type <= 4;
    let rest = frame.get(COMMON_BYTES..).unwrap_or_default();
    let rest_ok = match layout {
        Layout::V648 => rest.iter().all(|&byte| is_text(byte)),
        // Never detected: only looked for where it was told.
        Layout::Extended => true,
        _ => is_zero(rest),
    };
    common.pad == [0; 3] && common.pad2 == [0; 3] && buffer_type_ok && rest_ok
}

/// Whether type and device, as far as they are there, are in range.
fn is_possible(frame: &[u8]) -> bool {
    let device = frame
        .get(4..8)
        .map_or(0, |b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    frame.first().is_none_or(|kind| (1..=12).contains(kind))
        && (-1..PLAUSIBLE_DEVICES).contains(&device)
}

/// By words: bytes one at a time take longer than all else that is looked at.
fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| *word == [0; 8]) && rest.iter().all(|byte| *byte == 0)
}

fn is_text(byte: u8) -> bool {
    byte == 0 || byte >= b' ' || byte.is_ascii_whitespace()
}
