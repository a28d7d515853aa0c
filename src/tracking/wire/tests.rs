use super::*;

fn message() -> Message {
    Message {
        kind: MessageKind::Alloc,
        device: 0x0102_0304,
        size_bytes: 0x1112_1314_1516_1718,
        buffer_type: 3,
        pid: 0x2122_2324,
        address: 0x3132_3334_3536_3738,
        timestamp_ns: 0x4142_4344_4546_4748,
        extension: None,
    }
}

#[test]
fn the_common_part_has_the_documented_offsets() {
    for layout in Layout::ALL {
        let frame = encode(layout, &message());
        let bytes = frame.as_bytes();
        assert_eq!(bytes.len(), layout.frame_bytes());
        assert_eq!(bytes[..4], [1, 0, 0, 0]);
        assert_eq!(bytes[4..8], 0x0102_0304_i32.to_le_bytes());
        assert_eq!(bytes[8..16], 0x1112_1314_1516_1718_u64.to_le_bytes());
        assert_eq!(bytes[16..20], [3, 0, 0, 0]);
        assert_eq!(bytes[20..24], 0x2122_2324_i32.to_le_bytes());
        assert_eq!(bytes[24..32], 0x3132_3334_3536_3738_u64.to_le_bytes());
        assert_eq!(bytes[32..40], 0x4142_4344_4546_4748_u64.to_le_bytes());
        assert!(bytes[40..].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn responses_have_the_documented_offsets() {
    let response = Response {
        device: 2,
        dram_bytes: 1,
        l1_bytes: 2,
        l1_small_bytes: 3,
        trace_bytes: 4,
        cb_bytes: 5,
        kernel_bytes: 6,
    };
    let frame = encode_response(Layout::V128, &response);
    let figures: Vec<u64> = frame.as_bytes()[40..88]
        .chunks_exact(8)
        .map(|b| u64::from_le_bytes(b.try_into().unwrap()))
        .collect();
    assert_eq!(figures, [1, 2, 3, 4, 5, 6]);
    assert_eq!(frame.as_bytes()[0], 4);
    let short = encode_response(Layout::V112, &response);
    assert!(short.as_bytes()[72..].iter().all(|&byte| byte == 0));
    for layout in Layout::ALL {
        let decoded = decode_response(layout, encode_response(layout, &response).as_bytes());
        let more = has_more_totals(layout);
        let expected = if more {
            response
        } else {
            Response {
                cb_bytes: 0,
                kernel_bytes: 0,
                ..response
            }
        };
        assert_eq!(decoded, Some(expected));
    }
}

#[test]
fn device_properties_have_the_documented_offsets() {
    let info = DeviceInfo {
        device: 1,
        total_dram_bytes: 11,
        total_l1_bytes: 12,
        arch: 2,
        num_dram_channels: 14,
        dram_bytes_per_channel: 15,
        l1_bytes_per_core: 16,
        is_available: true,
        num_devices: 18,
    };
    for (layout, at) in [(Layout::V112, 72), (Layout::V128, 88), (Layout::V144, 88)] {
        let frame = encode_device_info(layout, &info);
        let bytes = &frame.as_bytes()[at..];
        assert_eq!((bytes[0], bytes[8]), (11, 12));
        assert_eq!(
            [
                bytes[16], bytes[20], bytes[24], bytes[28], bytes[32], bytes[36]
            ],
            [2, 14, 15, 16, 1, 18]
        );
        assert_eq!(decode_device_info(layout, frame.as_bytes()), Some(info));
    }
    let bare = encode_device_info(Layout::V72, &info);
    let expected = DeviceInfo {
        device: 1,
        ..DeviceInfo::default()
    };
    assert_eq!(
        decode_device_info(Layout::V72, bare.as_bytes()),
        Some(expected)
    );
}

#[test]
fn an_extended_frame_with_an_unknown_memory_is_no_message() {
    let extension = Some(Extension {
        memory: Memory::L1,
        sequence: 1,
        generation: 2,
        thread: 3,
    });
    let mut bytes = encode(
        Layout::Extended,
        &Message {
            extension,
            ..message()
        },
    )
    .as_bytes()
    .to_vec();
    assert_eq!(
        decode(Layout::Extended, &bytes).unwrap().extension,
        extension
    );
    bytes[TAIL_AT] = 4;
    assert_eq!(
        decode(Layout::Extended, &bytes),
        Err(FrameError::UnknownMemory(4))
    );
}

#[test]
fn layout_names_parse_back() {
    for layout in Layout::ALL {
        assert_eq!(layout.to_string().parse(), Ok(layout));
        let json = serde_json::to_string(&layout).unwrap();
        assert_eq!(json, format!("\"{layout}\""));
    }
    assert!("73".parse::<Layout>().is_err());
}

#[test]
fn a_hello_announces_every_layout_and_nothing_else_is_one() {
    for layout in Layout::ALL {
        assert_eq!(decode_hello(&encode_hello(layout)), Some(layout));
    }
    assert!(MessageKind::from_byte(HELLO_FIRST_BYTE).is_none());
    let mut other_version = encode_hello(Layout::Extended);
    other_version[8] = 2;
    assert_eq!(decode_hello(&other_version), None);
}
