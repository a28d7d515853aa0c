//! Finding frames in a stream whose beginning is damaged or missing, or that has holes.
//!
//! Streams have no marks between frames, so a place is believed when what follows looks like frames
//! of one layout, as strictly as the detection of layouts wants it. Not for live connections: those
//! begin with a frame.

use super::detect::{self, LayoutFit};
use super::wire::{HELLO_BYTES, Layout, decode_hello};

/// So many bytes may be passed over: those of a frame whose beginning is missing, or what else
/// stands before the first one.
pub(crate) const MAX_DAMAGED_BYTES: usize = 64 << 10;
/// With so many bytes a first frame that there is can be found.
pub(crate) const ENOUGH_BYTES: usize = detect::ENOUGH_BYTES + MAX_DAMAGED_BYTES;

/// Where the first frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FirstFrame {
    /// Bytes before it.
    pub(crate) offset: usize,
    /// The first of them that are whole frames of that layout, too: the damage comes after them.
    pub(crate) sound: usize,
    /// The layout that the stream goes on in.
    pub(crate) layout: Layout,
}

/// The first place from which on `bytes` look like frames: of `layout` where it is known, else of
/// any. `None` when there is none, or when the stream begins with a hello: then it is read
/// from its first byte.
pub(crate) fn first_frame(bytes: &[u8], layout: Option<Layout>) -> Option<FirstFrame> {
    let hello = bytes.first_chunk::<HELLO_BYTES>();
    if hello.is_some_and(|hello| decode_hello(hello).is_some()) {
        return None;
    }
    let layouts = match layout {
        Some(layout) => vec![layout],
        None => Layout::LEGACY
            .into_iter()
            .chain([Layout::Extended])
            .collect(),
    };
    for offset in 0..MAX_DAMAGED_BYTES.min(bytes.len()) {
        let rest = &bytes[offset..bytes.len().min(offset + detect::ENOUGH_BYTES)];
        // At the very start a short stream counts too; behind damage a place needs a second header
        // to be believed.
        let least = |layout| match (offset, layout) {
            // Its clients say so in a hello, which is missing here.
            (_, Layout::Extended) if layouts.len() > 1 => LayoutFit::Beyond,
            (0, _) => LayoutFit::Partial,
            _ => LayoutFit::Beyond,
        };
        let fits = layouts
            .iter()
            .map(|&layout| (detect::fit(rest, layout, true), layout))
            .filter(|(fit, layout)| *fit >= least(*layout));
        // Of layouts that fit as well, the longest frames: shorter ones fit by accident where the
        // rest of a frame is zero.
        if let Some((_, layout)) = fits.max_by_key(|(fit, layout)| (*fit, layout.frame_bytes())) {
            let sound = sound_bytes(&bytes[..offset], layout);
            return Some(FirstFrame {
                offset,
                sound,
                layout,
            });
        }
    }
    None
}

/// A part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamPart<'a> {
    /// Frames, as far as is known.
    Frames(&'a [u8]),
    /// So many bytes of frames of which others are missing.
    Damaged(usize),
}

/// Cuts a stream of one layout that began with a frame where bytes are missing from it.
#[derive(Debug, Default)]
pub(crate) struct HoleFinder {
    held: Vec<u8>,
    /// In so many of these there is no frame: they were looked at.
    barren: usize,
}

impl HoleFinder {
    /// Takes bytes, and hands on what they tell; at the end of the stream all that is left.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        layout: Layout,
        at_end: bool,
        sink: &mut dyn FnMut(StreamPart<'_>),
    ) {
        self.held.extend_from_slice(bytes);
        let size = layout.frame_bytes();
        let (mut from, mut at) = (0, 0);
        while let Some(frame) = self.held.get(at..at + size) {
            if at < self.barren || detect::looks_sent(frame, layout, true) {
                at += size;
                continue;
            }
            let rest = &self.held[at..];
            if rest.len() < ENOUGH_BYTES && !at_end {
                break;
            }
            match first_frame(rest, Some(layout)) {
                Some(found) if found.offset % size != 0 => {
                    sink(StreamPart::Frames(&self.held[from..at]));
                    sink(StreamPart::Damaged(found.offset));
                    at += found.offset;
                    from = at;
                }
                // Of a type that nobody knows, with others behind it.
                Some(found) => at += found.offset.max(size),
                None => self.barren = at + MAX_DAMAGED_BYTES.min(rest.len()),
            }
        }
        if at_end {
            at = self.held.len();
        }
        sink(StreamPart::Frames(&self.held[from..at]));
        self.held.drain(..at);
        self.barren = self.barren.saturating_sub(at);
    }
}

/// Bytes of the whole frames at the start. One may look like a frame by accident: two do not.
fn sound_bytes(bytes: &[u8], layout: Layout) -> usize {
    let frames = bytes.chunks_exact(layout.frame_bytes());
    let sound = frames
        .take_while(|frame| detect::looks_sent(frame, layout, true))
        .count();
    if sound < 2 {
        return 0;
    }
    sound * layout.frame_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracking::wire::encode;
    use crate::tracking::{Message, MessageKind};

    fn stream(layout: Layout) -> Vec<u8> {
        let frames = (0..40u64).map(|i| {
            let message = Message {
                kind: if i % 3 == 2 {
                    MessageKind::Free
                } else {
                    MessageKind::Alloc
                },
                device: (i % 8) as i32,
                size_bytes: 4096 + i,
                buffer_type: (i % 2) as u8,
                pid: 4_000 + i as i32,
                address: 0x1_0000 + 64 * i,
                timestamp_ns: 1_700_000_000_000_000_000 + i,
                extension: None,
            };
            encode(layout, &message).as_bytes().to_vec()
        });
        frames.collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_stream_cut_anywhere_in_its_first_frame_goes_on_at_the_second() {
        for layout in Layout::LEGACY {
            let stream = stream(layout);
            let size = layout.frame_bytes();
            for cut in 0..size {
                let found = first_frame(&stream[cut..], None).expect("there are frames");
                let expected = if cut == 0 { 0 } else { size - cut };
                assert_eq!(
                    (found.layout, found.offset, found.sound),
                    (layout, expected, 0),
                    "cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn frames_before_a_shift_are_sound() {
        for layout in Layout::LEGACY {
            let mut stream = stream(layout);
            let sound = 3 * layout.frame_bytes();
            if sound >= detect::ENOUGH_BYTES {
                // They are believed before the shift is seen.
                continue;
            }
            stream.drain(sound..sound + 5);
            let found = first_frame(&stream, None).expect("there are frames");
            let expected = 4 * layout.frame_bytes() - 5;
            assert_eq!(
                (found.layout, found.offset, found.sound),
                (layout, expected, sound)
            );
        }
    }

    fn parts(stream: &[u8], layout: Layout, piece: usize) -> (Vec<u8>, Vec<usize>) {
        let mut finder = HoleFinder::default();
        let (mut frames, mut damaged) = (Vec::new(), Vec::new());
        let mut take = |part: StreamPart<'_>| match part {
            StreamPart::Frames(bytes) => frames.extend_from_slice(bytes),
            StreamPart::Damaged(bytes) => damaged.push(bytes),
        };
        for bytes in stream.chunks(piece) {
            finder.feed(bytes, layout, false, &mut take);
        }
        finder.feed(&[], layout, true, &mut take);
        (frames, damaged)
    }

    #[test]
    fn behind_a_hole_the_next_frame_is_found_and_nothing_else_is_passed_over() {
        for layout in Layout::LEGACY.into_iter().chain([Layout::Extended]) {
            let whole = stream(layout);
            let size = layout.frame_bytes();
            for hole in (1..2 * size).step_by(7) {
                let mut stream = whole.clone();
                stream.drain(10 * size..10 * size + hole);
                for piece in [97, 1 << 20] {
                    let (frames, damaged) = parts(&stream, layout, piece);
                    let next = hole.next_multiple_of(size);
                    let left = next - hole;
                    assert_eq!(
                        damaged,
                        if left > 0 { vec![left] } else { vec![] },
                        "{hole}"
                    );
                    assert_eq!(frames[..10 * size], whole[..10 * size]);
                    assert_eq!(frames[10 * size..], whole[10 * size + next..]);
                }
            }
        }
    }

    #[test]
    fn frames_of_unknown_types_and_rubbish_are_no_hole() {
        let layout = Layout::V112;
        let size = layout.frame_bytes();
        let mut unknown = stream(layout);
        unknown[5 * size] = 105;
        unknown[6 * size + 80] = 7;
        assert_eq!(parts(&unknown, layout, 1000), (unknown, vec![]));
        let rubbish: Vec<u8> = (0..3 * ENOUGH_BYTES)
            .map(|i| 0x80 | (i * 37) as u8)
            .collect();
        assert_eq!(parts(&rubbish, layout, 1000), (rubbish, vec![]));
    }

    #[test]
    fn rubbish_has_no_first_frame() {
        let rubbish: Vec<u8> = (0..ENOUGH_BYTES).map(|i| 0x80 | (i * 37) as u8).collect();
        assert_eq!(first_frame(&rubbish, None), None);
    }
}
