//! A stream of tracking bytes, cut into pieces anyhow: frames, outcomes and the final
//! reconstruction may not depend on the cuts.
//!
//! Input: one byte for what the reader is stated (0: nothing, else a layout), one byte for the
//! number of piece lengths, these lengths (used in turn, 0 meaning 1), then the stream.
//!
//! A reader that was stated nothing decides its layout as soon as it can, so with rubbish on the
//! wire its decision may depend on how much it saw at once. For it only the accounting of bytes is
//! demanded.

use crate::registry::{Limits, Outcome, Registry, Semantics};
use crate::tracking::Layout;
use crate::tracking::codec::{DecodedFrame, Detection, FrameDecoder};
use crate::tracking::wire::HELLO_BYTES;

/// What a stream did.
#[derive(Debug, PartialEq)]
struct Effect {
    layout: Option<Layout>,
    outcomes: Vec<Outcome>,
    requests: usize,
    unknown: Vec<Vec<u8>>,
    frame_bytes: usize,
    torn_bytes: usize,
    registry: Registry,
}

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let Some((stated, lengths, stream)) = parts(bytes) else {
        return;
    };
    let decoder = || stated.map_or_else(FrameDecoder::detecting, FrameDecoder::fixed);
    let whole = effect(decoder(), [stream]);
    let cut = effect(decoder(), pieces(stream, lengths));
    if stated.is_some() {
        assert_eq!(whole, cut, "cutting changes what a stream means");
    }
}

/// The frames of the stream, read in the pieces of the input.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let Some((stated, lengths, stream)) = parts(bytes) else {
        return String::new();
    };
    let mut text = match stated {
        Some(layout) => format!("layout {layout}, as told\n"),
        None => "layout not told\n".to_owned(),
    };
    let mut decoder = stated.map_or_else(FrameDecoder::detecting, FrameDecoder::fixed);
    let mut list = |frame: DecodedFrame<'_>| {
        text += &match frame {
            DecodedFrame::Message(message, _) => format!("{message:?}\n"),
            DecodedFrame::TableRequest => "a request for the table\n".to_owned(),
            DecodedFrame::Unknown(raw) => format!("a frame of no known type: {raw:02x?}\n"),
        };
    };
    for piece in pieces(stream, lengths) {
        decoder.feed(piece, &mut list);
    }
    let torn_bytes = decoder.finish(&mut list).torn_bytes;
    match decoder.layout() {
        Some(layout) => text += &format!("read as {layout}, {torn_bytes} bytes torn\n"),
        None => text += "no layout\n",
    }
    text
}

/// What the reader is stated, the lengths of the pieces, and the stream.
fn parts(bytes: &[u8]) -> Option<(Option<Layout>, &[u8], &[u8])> {
    let (&[stated, lengths], rest) = bytes.split_first_chunk()?;
    let (lengths, stream) = rest.split_at_checked(usize::from(lengths))?;
    let stated = usize::from(stated)
        .checked_sub(1)
        .map(|index| Layout::ALL[index % Layout::ALL.len()]);
    Some((stated, lengths, stream))
}

/// Feeds `pieces` to a decoder, its messages to a registry, and adds up.
fn effect<'a>(
    mut decoder: FrameDecoder,
    pieces: impl IntoIterator<Item = &'a [u8]> + Clone,
) -> Effect {
    let stream_bytes: usize = pieces.clone().into_iter().map(<[u8]>::len).sum();
    let mut effect = Effect {
        layout: None,
        outcomes: Vec::new(),
        requests: 0,
        unknown: Vec::new(),
        frame_bytes: 0,
        torn_bytes: 0,
        registry: Registry::new(Semantics::Typed, Limits::default()),
    };
    let mut frames = 0;
    let mut take = |frame: DecodedFrame<'_>| {
        frames += 1;
        match frame {
            DecodedFrame::Message(message, raw) => {
                effect.frame_bytes += raw.len();
                effect
                    .registry
                    .apply(message, &mut |_, outcome| effect.outcomes.push(outcome));
            }
            DecodedFrame::TableRequest => effect.requests += 1,
            DecodedFrame::Unknown(raw) => {
                effect.frame_bytes += raw.len();
                effect.unknown.push(raw.to_vec());
            }
        }
    };
    for piece in pieces {
        decoder.feed(piece, &mut take);
        decoder.feed(&[], &mut take);
    }
    effect.torn_bytes = decoder.finish(&mut take).torn_bytes;
    effect.layout = decoder.layout();
    assert_eq!(decoder.unknown_frames(), effect.unknown.len() as u64);
    if let Some(layout) = decoder.layout() {
        let hello_bytes = match decoder.detection() {
            Some(Detection::Hello) => HELLO_BYTES,
            _ => 0,
        };
        assert_eq!(
            hello_bytes + frames * layout.frame_bytes() + effect.torn_bytes,
            stream_bytes,
            "every byte is in a frame or torn"
        );
        assert!(effect.torn_bytes < layout.frame_bytes());
    } else {
        assert_eq!(
            (stream_bytes, frames),
            (0, 0),
            "only nothing stays undecided"
        );
    }
    effect
}

/// `stream` in pieces of `lengths`, used in turn.
fn pieces<'a>(mut stream: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for &length in lengths.iter().cycle() {
        let (piece, rest) = stream.split_at(usize::from(length.max(1)).min(stream.len()));
        pieces.push(piece);
        stream = rest;
        if stream.is_empty() {
            break;
        }
    }
    pieces.push(stream);
    pieces
}
