//! Finding the first frame of a stream whose beginning is damaged or missing.
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
/// any real one. `None` when there is none, or when the stream begins with a hello: then it is read
/// from its first byte.
pub(crate) fn first_frame(bytes: &[u8], layout: Option<Layout>) -> Option<FirstFrame> {
    let hello = bytes.first_chunk::<HELLO_BYTES>();
    if hello.is_some_and(|hello| decode_hello(hello).is_some()) {
        return None;
    }
    let layouts = match layout {
        Some(layout) => vec![layout],
        None => Layout::LEGACY.to_vec(),
    };
    for offset in 0..MAX_DAMAGED_BYTES.min(bytes.len()) {
        let rest = &bytes[offset..bytes.len().min(offset + detect::ENOUGH_BYTES)];
        // At the very start a short stream counts too; behind damage a place needs a second header
        // to be believed.
        let least = if offset == 0 {
            LayoutFit::Partial
        } else {
            LayoutFit::Beyond
        };
        let fits = layouts
            .iter()
            .map(|&layout| (detect::fit(rest, layout, true), layout))
            .filter(|(fit, _)| *fit >= least);
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

    #[test]
    fn rubbish_has_no_first_frame() {
        let rubbish: Vec<u8> = (0..ENOUGH_BYTES).map(|i| 0x80 | (i * 37) as u8).collect();
        assert_eq!(first_frame(&rubbish, None), None);
    }
}
