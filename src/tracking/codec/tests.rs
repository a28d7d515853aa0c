use proptest::prelude::*;

use super::*;
use crate::device::Memory;
use crate::tracking::message::{Extension, MessageKind};
use crate::tracking::wire::{encode, encode_hello};

fn alloc(index: u64) -> Message {
    Message {
        kind: MessageKind::Alloc,
        device: (index % 8) as i32,
        size_bytes: 4096 + index,
        buffer_type: (index % 5) as u8,
        pid: 26_880,
        address: 0x18b20 + 32 * index,
        timestamp_ns: 1_700_000_000_000_000_000 + index,
        extension: None,
    }
}

fn free(index: u64) -> Message {
    Message {
        kind: MessageKind::Free,
        size_bytes: 0,
        buffer_type: 0,
        timestamp_ns: 0,
        ..alloc(index)
    }
}

fn pairs(count: u64) -> Vec<Message> {
    (0..count)
        .flat_map(|index| [alloc(index), free(index)])
        .collect()
}

fn stream(layout: Layout, messages: &[Message]) -> Vec<u8> {
    messages
        .iter()
        .flat_map(|m| encode(layout, m).as_bytes().to_vec())
        .collect()
}

/// Feeds `pieces` and returns what came out before the end, and after it.
fn decode_pieces<'a>(
    decoder: &mut FrameDecoder,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Message>, Vec<Message>, StreamTail) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for piece in pieces {
        decoder.feed(piece, &mut |frame| before.extend(message(frame)));
    }
    let tail = decoder.finish(&mut |frame| after.extend(message(frame)));
    (before, after, tail)
}

fn message(frame: DecodedFrame<'_>) -> Option<Message> {
    match frame {
        DecodedFrame::Message(message, _) => Some(message.clone()),
        _ => None,
    }
}

#[test]
fn every_layout_is_recognised_from_the_second_message_on() {
    for layout in Layout::LEGACY {
        let messages = pairs(3);
        let bytes = stream(layout, &messages);
        let mut decoder = FrameDecoder::detecting();
        let (before, after, tail) = decode_pieces(&mut decoder, bytes.chunks(layout.frame_bytes()));
        assert_eq!(
            (before, after.len(), tail.torn_bytes),
            (messages, 0, 0),
            "layout {layout}"
        );
        assert_eq!(
            (decoder.layout(), decoder.detection()),
            (Some(layout), Some(Detection::Content))
        );
    }
}

#[test]
fn a_layout_is_recognised_byte_by_byte() {
    for layout in Layout::LEGACY {
        let messages = pairs(2);
        let bytes = stream(layout, &messages);
        let mut decoder = FrameDecoder::detecting();
        let (before, _, _) = decode_pieces(&mut decoder, bytes.chunks(1));
        assert_eq!((before, decoder.layout()), (messages, Some(layout)));
    }
}

#[test]
fn one_message_and_silence_is_enough_to_settle() {
    for layout in Layout::LEGACY {
        for kind in MessageKind::ALL {
            let query = Message { kind, ..free(0) };
            let mut decoder = FrameDecoder::detecting();
            let mut got = Vec::new();
            decoder.feed(encode(layout, &query).as_bytes(), &mut |f| {
                got.extend(message(f))
            });
            assert_eq!((got.len(), decoder.is_undecided()), (0, true));
            decoder.settle(&mut |f| got.extend(message(f)));
            assert_eq!((got, decoder.layout()), (vec![query], Some(layout)));
            assert_eq!(decoder.detection(), Some(Detection::Quiet));
        }
    }
}

#[test]
fn silence_inside_the_first_message_settles_nothing() {
    let bytes = stream(Layout::V112, &[alloc(1)]);
    let mut decoder = FrameDecoder::detecting();
    decoder.feed(&bytes[..100], &mut |_| panic!("no frame yet"));
    decoder.settle(&mut |_| panic!("no frame yet"));
    assert!(decoder.is_undecided());
    let mut got = Vec::new();
    decoder.feed(&bytes[100..], &mut |_| panic!("not decided yet"));
    decoder.settle(&mut |f| got.extend(message(f)));
    assert_eq!(got, [alloc(1)]);
}

#[test]
fn rubbish_in_unused_fields_does_not_hide_the_layout() {
    let messages = pairs(20);
    for layout in [Layout::V112, Layout::V128, Layout::V144] {
        let mut bytes = stream(layout, &messages);
        for frame in bytes.chunks_exact_mut(layout.frame_bytes()) {
            frame[72..].fill(0xA7);
        }
        let mut decoder = FrameDecoder::detecting();
        let (before, after, _) = decode_pieces(&mut decoder, [&bytes[..]]);
        assert_eq!(
            (before, after.len(), decoder.layout()),
            (messages.clone(), 0, Some(layout))
        );
    }
}

#[test]
fn texts_of_the_648_byte_layout_are_no_obstacle() {
    let messages = pairs(2);
    let mut bytes = stream(Layout::V648, &messages);
    for frame in bytes.chunks_exact_mut(648) {
        frame[72..80].copy_from_slice(b"conv2d_1");
        frame[136..161].copy_from_slice(b"#0 allocate\n#1 main\tat \xE2\x80");
    }
    let mut decoder = FrameDecoder::detecting();
    let (before, _, _) = decode_pieces(&mut decoder, [&bytes[..]]);
    assert_eq!((before, decoder.layout()), (messages, Some(Layout::V648)));
}

#[test]
fn a_hello_decides_at_once_whatever_was_told() {
    for layout in Layout::ALL {
        let mut bytes = encode_hello(layout).to_vec();
        bytes.extend(stream(layout, &[free(1)]));
        for decoder in [FrameDecoder::detecting(), FrameDecoder::fixed(Layout::V72)] {
            let mut decoder = decoder;
            let (before, _, _) = decode_pieces(&mut decoder, bytes.chunks(1));
            assert_eq!(
                (before, decoder.detection()),
                (vec![free(1)], Some(Detection::Hello))
            );
        }
    }
}

#[test]
fn a_told_layout_needs_no_evidence() {
    let mut decoder = FrameDecoder::fixed(Layout::V128);
    let bytes = stream(Layout::V128, &[free(1)]);
    let (before, _, _) = decode_pieces(&mut decoder, [&bytes[..]]);
    assert_eq!(
        (before, decoder.detection()),
        (vec![free(1)], Some(Detection::Stated))
    );
}

#[test]
fn bytes_that_fit_nothing_fall_back_to_the_default() {
    let mut decoder = FrameDecoder::detecting();
    decoder.feed(&[0xEE; 400], &mut |_| {});
    assert_eq!(
        (decoder.layout(), decoder.detection()),
        (Some(Layout::V112), Some(Detection::Fallback))
    );
}

#[test]
fn unknown_types_are_reported_counted_and_skipped_whole() {
    let mut bytes = stream(Layout::V112, &[alloc(0), alloc(1), alloc(2)]);
    bytes[112] = 13;
    let mut decoder = FrameDecoder::fixed(Layout::V112);
    let (mut messages, mut unknown) = (Vec::new(), Vec::new());
    decoder.feed(&bytes, &mut |frame| match frame {
        DecodedFrame::Unknown(raw) => unknown.push((raw[0], raw.len())),
        other => messages.extend(message(other)),
    });
    assert_eq!(
        (messages, unknown, decoder.unknown_frames()),
        (vec![alloc(0), alloc(2)], vec![(13, 112)], 1)
    );
}

#[test]
fn a_partial_frame_at_the_end_is_torn_and_no_message() {
    let bytes = stream(Layout::V72, &[alloc(0), alloc(1)]);
    let mut decoder = FrameDecoder::fixed(Layout::V72);
    let (before, after, tail) = decode_pieces(&mut decoder, [&bytes[..143]]);
    assert_eq!((before.len(), after.len(), tail.torn_bytes), (1, 0, 71));
}

#[test]
fn a_table_request_is_one_in_the_extended_layout_only() {
    let request = table::encode_request();
    let mut decoder = FrameDecoder::fixed(Layout::Extended);
    let mut seen = 0;
    decoder.feed(&request, &mut |frame| {
        seen += u32::from(frame == DecodedFrame::TableRequest)
    });
    assert_eq!(seen, 1);
    FrameDecoder::fixed(Layout::V112).feed(&request, &mut |f| {
        assert!(matches!(f, DecodedFrame::Unknown(_)))
    });
}

fn any_message() -> impl Strategy<Value = Message> {
    let fields = (
        0..12usize,
        -1..300i32,
        any::<u64>(),
        any::<u8>(),
        any::<i32>(),
        any::<u64>(),
        any::<u64>(),
    );
    let extension = (0..4u8, any::<u64>(), any::<u64>(), any::<u32>());
    (fields, prop::option::of(extension)).prop_map(
        |((kind, device, size, buffer_type, pid, address, time), ext)| Message {
            kind: MessageKind::ALL[kind],
            device,
            size_bytes: size,
            buffer_type,
            pid,
            address,
            timestamp_ns: time,
            extension: ext.map(|(memory, sequence, generation, thread)| Extension {
                memory: Memory::from_index(memory).expect("below 4"),
                sequence,
                generation,
                thread,
            }),
        },
    )
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn any_split_of_a_stream_gives_the_same_frames(
        layout in prop::sample::select(Layout::ALL.to_vec()),
        messages in prop::collection::vec(any_message(), 1..12),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
        torn in 0..72usize,
    ) {
        let mut bytes = stream(layout, &messages);
        bytes.truncate(bytes.len() - torn);
        let whole = bytes.len() / layout.frame_bytes();
        let expected: Vec<Message> = messages[..whole]
            .iter()
            .map(|m| if layout == Layout::Extended { m.clone() } else { Message { extension: None, ..m.clone() } })
            .collect();
        let mut decoder = FrameDecoder::fixed(layout);
        let (before, _, tail) = decode_pieces(&mut decoder, pieces(&bytes, &cuts));
        prop_assert_eq!(before, expected);
        prop_assert_eq!(tail.torn_bytes, bytes.len() % layout.frame_bytes());
    }

    #[test]
    fn any_split_of_any_bytes_loses_none(
        bytes in prop::collection::vec(prop_oneof![3 => Just(0u8), 2 => 0..14u8, 1 => any::<u8>()], 0..3000),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let mut decoder = FrameDecoder::detecting();
        let mut frames = 0;
        let mut consumed = 0;
        let mut count = |frame: DecodedFrame<'_>| {
            frames += 1;
            consumed += match frame {
                DecodedFrame::Message(_, raw) | DecodedFrame::Unknown(raw) => raw.len(),
                DecodedFrame::TableRequest => table::TABLE_FRAME_BYTES,
            };
        };
        for piece in pieces(&bytes, &cuts) {
            decoder.feed(piece, &mut count);
        }
        let tail = decoder.finish(&mut count);
        prop_assert_eq!(consumed + tail.torn_bytes, bytes.len());
    }
}
