//! The wire layouts, byte for byte: five that real clients speak and heisenbed's own extension of
//! the 144-byte one.
//!
//! This module turns one whole frame into a [`Message`] or an answer and back. It is not for
//! streams: cutting bytes into frames is [`super::codec`]'s work. All fields are little-endian and
//! unaligned; padding is written as zero and not looked at. Fields that a layout doesn't carry are
//! zero (or `None`) after decoding.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::message::{Extension, Message, MessageKind};
use crate::device::Memory;

/// One wire layout; all frames of a connection have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// 72 bytes: the common part alone.
    #[serde(rename = "72")]
    V72,
    /// 112 bytes: with device properties.
    #[serde(rename = "112")]
    V112,
    /// 128 bytes: with circular buffer and kernel totals.
    #[serde(rename = "128")]
    V128,
    /// 144 bytes: with ring buffer figures.
    #[serde(rename = "144")]
    V144,
    /// 648 bytes: the common part with a name and a call stack as text.
    #[serde(rename = "648")]
    V648,
    /// 168 bytes: heisenbed's own. The 144-byte layout, then memory, sequence number, generation
    /// and thread.
    Extended,
}

/// The bytes of the longest frame of any layout.
pub(crate) const MAX_FRAME_BYTES: usize = 648;

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; 6] = [
        Layout::V72,
        Layout::V112,
        Layout::V128,
        Layout::V144,
        Layout::V648,
        Layout::Extended,
    ];

    /// The layouts of real clients, which say nothing at connection time; by size.
    pub const LEGACY: [Layout; 5] = [
        Layout::V72,
        Layout::V112,
        Layout::V128,
        Layout::V144,
        Layout::V648,
    ];

    /// The size of every frame in bytes.
    pub const fn frame_bytes(self) -> usize {
        match self {
            Layout::V72 => 72,
            Layout::V112 => 112,
            Layout::V128 => 128,
            Layout::V144 => 144,
            Layout::V648 => MAX_FRAME_BYTES,
            Layout::Extended => 168,
        }
    }

    /// The layout whose frames have this size in bytes, if there is one.
    pub(crate) fn from_frame_bytes(bytes: usize) -> Option<Layout> {
        Layout::ALL
            .into_iter()
            .find(|layout| layout.frame_bytes() == bytes)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layout::Extended => f.pad("extended"),
            legacy => f.pad(&legacy.frame_bytes().to_string()),
        }
    }
}

/// A name that is no layout's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown wire layout {0:?}: expected 72, 112, 128, 144, 648 or extended")]
pub struct UnknownLayout(String);

impl FromStr for Layout {
    type Err = UnknownLayout;

    fn from_str(text: &str) -> Result<Layout, UnknownLayout> {
        let known = Layout::ALL
            .into_iter()
            .find(|layout| layout.to_string() == text);
        known.ok_or_else(|| UnknownLayout(text.to_owned()))
    }
}

/// Why a whole frame is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// The type byte is none of [`MessageKind`]'s.
    #[error("unknown message type {0}")]
    UnknownKind(u8),
    /// An extended frame whose memory byte is none of [`Memory`]'s.
    #[error("unknown memory {0}")]
    UnknownMemory(u8),
}

/// What a server answers to QUERY: bytes live on one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Response {
    /// The device asked for.
    pub device: i32,
    /// Live DRAM bytes.
    pub dram_bytes: u64,
    /// Live L1 bytes.
    pub l1_bytes: u64,
    /// Live L1_SMALL bytes.
    pub l1_small_bytes: u64,
    /// Live TRACE bytes.
    pub trace_bytes: u64,
    /// Live circular buffer bytes; layouts 128, 144 and extended only.
    pub cb_bytes: u64,
    /// Live kernel bytes; layouts 128, 144 and extended only.
    pub kernel_bytes: u64,
}

/// What a server answers to DEVICE_INFO_QUERY. Layouts 72 and 648 carry only the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// The device asked for; -1 when only the number of devices was.
    pub(crate) device: i32,
    /// DRAM of the device in bytes.
    pub(crate) total_dram_bytes: u64,
    /// L1 of the device in bytes.
    pub(crate) total_l1_bytes: u64,
    /// 0 invalid, 1 Grayskull, 2 Wormhole_B0, 3 Blackhole, 4 Quasar.
    pub(crate) arch: u32,
    /// DRAM channels.
    pub(crate) num_dram_channels: u32,
    /// DRAM of one channel, in bytes as far as 32 bits reach.
    pub(crate) dram_bytes_per_channel: u32,
    /// L1 of one core in bytes.
    pub(crate) l1_bytes_per_core: u32,
    /// Whether the device exists.
    pub(crate) is_available: bool,
    /// How many devices the system has.
    pub(crate) num_devices: u32,
}

/// Bytes 0 to 71, common to all layouts.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Common {
    pub(super) kind: u8,
    /// Padding; in the frames of a full dump the first byte is the entry's class.
    pub(super) pad: [u8; 3],
    pub(super) device: I32,
    pub(super) size_bytes: U64,
    pub(super) buffer_type: u8,
    pub(super) pad2: [u8; 3],
    pub(super) pid: I32,
    pub(super) address: U64,
    pub(super) timestamp_ns: U64,
    pub(super) dram: U64,
    pub(super) l1: U64,
    pub(super) l1_small: U64,
    pub(super) trace: U64,
}

/// The device properties: bytes 72 to 111 of the 112-byte layout, 88 to 127 of the longer ones.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Properties {
    total_dram: U64,
    total_l1: U64,
    arch: U32,
    num_dram_channels: U32,
    dram_size_per_channel: U32,
    l1_size_per_core: U32,
    is_available: U32,
    num_devices: U32,
}

/// Bytes 72 to 87 of the 128-byte layout and its extensions.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct MoreTotals {
    cb: U64,
    kernel: U64,
}

/// Bytes 144 to 167 of the extended layout.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct ExtendedTail {
    memory: u8,
    /// 1 when the message carries an extension, else 0.
    present: u8,
    pad: [u8; 2],
    pub(super) thread: U32,
    sequence: U64,
    pub(super) generation: U64,
}

const PROPERTIES_AT_112: usize = 72;
const TOTALS_AT: usize = 72;
const PROPERTIES_AT_128: usize = 88;
pub(super) const TAIL_AT: usize = 144;

/// Where the properties are in a layout that has them.
fn properties_at(layout: Layout) -> Option<usize> {
    match layout {
        Layout::V72 | Layout::V648 => None,
        Layout::V112 => Some(PROPERTIES_AT_112),
        Layout::V128 | Layout::V144 | Layout::Extended => Some(PROPERTIES_AT_128),
    }
}

/// Whether a layout has circular buffer and kernel totals.
pub(crate) fn has_more_totals(layout: Layout) -> bool {
    matches!(layout, Layout::V128 | Layout::V144 | Layout::Extended)
}

/// A part of a frame that its size guarantees.
pub(super) fn part<T: FromBytes + KnownLayout + Immutable + Unaligned>(
    frame: &[u8],
    at: usize,
) -> &T {
    T::ref_from_prefix(&frame[at..])
        .expect("a whole frame holds its layout's parts")
        .0
}

fn put<T: IntoBytes + Immutable>(frame: &mut [u8], at: usize, value: &T) {
    value
        .write_to_prefix(&mut frame[at..])
        .expect("a whole frame holds its layout's parts");
}

/// A frame under construction, on the stack.
pub struct FrameBuffer {
    bytes: [u8; MAX_FRAME_BYTES],
    len: usize,
}

impl FrameBuffer {
    fn zeroed(layout: Layout) -> FrameBuffer {
        FrameBuffer {
            bytes: [0; MAX_FRAME_BYTES],
            len: layout.frame_bytes(),
        }
    }

    /// The frame.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

/// Encodes one message. What the layout doesn't carry is left out; response fields are zero.
pub fn encode(layout: Layout, message: &Message) -> FrameBuffer {
    let mut frame = FrameBuffer::zeroed(layout);
    encode_into(layout, message, frame.as_mut());
    frame
}

/// Encodes one message into `frame`.
///
/// # Panics
/// When `frame` isn't exactly [`Layout::frame_bytes`] long.
pub(crate) fn encode_into(layout: Layout, message: &Message, frame: &mut [u8]) {
    assert_eq!(
        frame.len(),
        layout.frame_bytes(),
        "a frame has its layout's size"
    );
    frame.fill(0);
    let mut common = Common::new_zeroed();
    common.kind = message.kind as u8;
    common.device = message.device.into();
    common.size_bytes = message.size_bytes.into();
    common.buffer_type = message.buffer_type;
    common.pid = message.pid.into();
    common.address = message.address.into();
    common.timestamp_ns = message.timestamp_ns.into();
    put(frame, 0, &common);
    if let (Layout::Extended, Some(extension)) = (layout, message.extension) {
        let mut tail = ExtendedTail::new_zeroed();
        tail.memory = extension.memory as u8;
        tail.present = 1;
        tail.thread = extension.thread.into();
        tail.sequence = extension.sequence.into();
        tail.generation = extension.generation.into();
        put(frame, TAIL_AT, &tail);
    }
}

/// Decodes one whole frame.
///
/// # Panics
/// When `frame` is shorter than [`Layout::frame_bytes`].
#[inline]
pub(crate) fn decode(layout: Layout, frame: &[u8]) -> Result<Message, FrameError> {
    let common: &Common = part(frame, 0);
    let kind = MessageKind::from_byte(common.kind).ok_or(FrameError::UnknownKind(common.kind))?;
    let extension = if layout == Layout::Extended {
        decode_tail(part(frame, TAIL_AT))?
    } else {
        None
    };
    Ok(Message {
        kind,
        device: common.device.get(),
        size_bytes: common.size_bytes.get(),
        buffer_type: common.buffer_type,
        pid: common.pid.get(),
        address: common.address.get(),
        timestamp_ns: common.timestamp_ns.get(),
        extension,
    })
}

fn decode_tail(tail: &ExtendedTail) -> Result<Option<Extension>, FrameError> {
    if tail.present == 0 {
        return Ok(None);
    }
    let memory = Memory::from_index(tail.memory).ok_or(FrameError::UnknownMemory(tail.memory))?;
    let (sequence, generation) = (tail.sequence.get(), tail.generation.get());
    Ok(Some(Extension {
        memory,
        sequence,
        generation,
        thread: tail.thread.get(),
    }))
}

/// Encodes the answer to a QUERY.
pub(crate) fn encode_response(layout: Layout, response: &Response) -> FrameBuffer {
    let mut frame = FrameBuffer::zeroed(layout);
    let mut common = Common::new_zeroed();
    common.kind = MessageKind::Response as u8;
    common.device = response.device.into();
    common.dram = response.dram_bytes.into();
    common.l1 = response.l1_bytes.into();
    common.l1_small = response.l1_small_bytes.into();
    common.trace = response.trace_bytes.into();
    put(frame.as_mut(), 0, &common);
    if has_more_totals(layout) {
        let more = MoreTotals {
            cb: response.cb_bytes.into(),
            kernel: response.kernel_bytes.into(),
        };
        put(frame.as_mut(), TOTALS_AT, &more);
    }
    frame
}

/// Decodes the answer to a QUERY; `None` when the frame is something else.
///
/// # Panics
/// When `frame` is shorter than [`Layout::frame_bytes`].
pub fn decode_response(layout: Layout, frame: &[u8]) -> Option<Response> {
    let common: &Common = part(frame, 0);
    if common.kind != MessageKind::Response as u8 {
        return None;
    }
    let more = has_more_totals(layout).then(|| part::<MoreTotals>(frame, TOTALS_AT));
    Some(Response {
        device: common.device.get(),
        dram_bytes: common.dram.get(),
        l1_bytes: common.l1.get(),
        l1_small_bytes: common.l1_small.get(),
        trace_bytes: common.trace.get(),
        cb_bytes: more.map_or(0, |m| m.cb.get()),
        kernel_bytes: more.map_or(0, |m| m.kernel.get()),
    })
}

/// Encodes the answer to a DEVICE_INFO_QUERY.
pub(crate) fn encode_device_info(layout: Layout, info: &DeviceInfo) -> FrameBuffer {
    let mut frame = FrameBuffer::zeroed(layout);
    let mut common = Common::new_zeroed();
    common.kind = MessageKind::DeviceInfoResponse as u8;
    common.device = info.device.into();
    put(frame.as_mut(), 0, &common);
    if let Some(at) = properties_at(layout) {
        let properties = Properties {
            total_dram: info.total_dram_bytes.into(),
            total_l1: info.total_l1_bytes.into(),
            arch: info.arch.into(),
            num_dram_channels: info.num_dram_channels.into(),
            dram_size_per_channel: info.dram_bytes_per_channel.into(),
            l1_size_per_core: info.l1_bytes_per_core.into(),
            is_available: u32::from(info.is_available).into(),
            num_devices: info.num_devices.into(),
        };
        put(frame.as_mut(), at, &properties);
    }
    frame
}

/// Decodes the answer to a DEVICE_INFO_QUERY; `None` when the frame is something else.
///
/// # Panics
/// When `frame` is shorter than [`Layout::frame_bytes`].
pub(crate) fn decode_device_info(layout: Layout, frame: &[u8]) -> Option<DeviceInfo> {
    let common: &Common = part(frame, 0);
    if common.kind != MessageKind::DeviceInfoResponse as u8 {
        return None;
    }
    let device = common.device.get();
    let Some(at) = properties_at(layout) else {
        return Some(DeviceInfo {
            device,
            ..DeviceInfo::default()
        });
    };
    let properties: &Properties = part(frame, at);
    Some(DeviceInfo {
        device,
        total_dram_bytes: properties.total_dram.get(),
        total_l1_bytes: properties.total_l1.get(),
        arch: properties.arch.get(),
        num_dram_channels: properties.num_dram_channels.get(),
        dram_bytes_per_channel: properties.dram_size_per_channel.get(),
        l1_bytes_per_core: properties.l1_size_per_core.get(),
        is_available: properties.is_available.get() != 0,
        num_devices: properties.num_devices.get(),
    })
}

/// What a client sends first to say which layout it speaks; clients of the real layouts send none.
/// Its first byte can't be a legal message type.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Hello {
    magic: [u8; 8],
    version: U16,
    frame_bytes: U16,
    reserved: U32,
}

/// The first byte of a hello.
pub(crate) const HELLO_FIRST_BYTE: u8 = HELLO_MAGIC[0];
/// The size of a hello in bytes.
pub(crate) const HELLO_BYTES: usize = 16;
const HELLO_MAGIC: [u8; 8] = *b"\xF5hsnbed\n";
const HELLO_VERSION: u16 = 1;

/// The hello that announces `layout`.
pub(crate) fn encode_hello(layout: Layout) -> [u8; HELLO_BYTES] {
    let frame_bytes = (layout.frame_bytes() as u16).into();
    let hello = Hello {
        magic: HELLO_MAGIC,
        version: HELLO_VERSION.into(),
        frame_bytes,
        reserved: 0.into(),
    };
    zerocopy::transmute!(hello)
}

/// The layout that a hello announces; `None` when it is none, or of a version that isn't known
/// here.
pub(crate) fn decode_hello(bytes: &[u8; HELLO_BYTES]) -> Option<Layout> {
    let hello: Hello = zerocopy::transmute!(*bytes);
    let ours = hello.magic == HELLO_MAGIC && hello.version.get() == HELLO_VERSION;
    if ours {
        Layout::from_frame_bytes(usize::from(hello.frame_bytes.get()))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
