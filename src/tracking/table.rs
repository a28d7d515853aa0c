//! The whole live table on the wire, in the extended layout: one request, a frame an entry, an end
//! frame.
//!
//! For the exact comparison of reconstruction and truth; real clients and servers know nothing of
//! it. The frames reuse the extended layout's fields: class in the first padding byte, reference
//! count in `dram`, generation and thread in the tail. The end frame has the number of entries in
//! `size`.

use zerocopy::{FromZeros, IntoBytes};

use super::wire::{Common, ExtendedTail, Layout, TAIL_AT, part};
use crate::device::DeviceId;
use crate::tracking::entry::{Class, Entry};

/// The size of each of these frames in bytes.
pub(crate) const TABLE_FRAME_BYTES: usize = Layout::Extended.frame_bytes();

const REQUEST: u8 = 64;
const ENTRY: u8 = 65;
const END: u8 = 66;

/// One frame of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableFrame {
    /// One live entry.
    Entry(Entry),
    /// No more entries; so many were sent.
    End(u64),
}

/// The request for the table.
pub(crate) fn encode_request() -> [u8; TABLE_FRAME_BYTES] {
    let mut common = Common::new_zeroed();
    common.kind = REQUEST;
    assemble(&common, &ExtendedTail::new_zeroed())
}

/// Whether a frame of the extended layout is the request for the table.
pub(crate) fn is_request(frame: &[u8]) -> bool {
    frame.first() == Some(&REQUEST)
}

/// One frame of the answer.
pub(crate) fn encode(frame: &TableFrame) -> [u8; TABLE_FRAME_BYTES] {
    let (mut common, mut tail) = (Common::new_zeroed(), ExtendedTail::new_zeroed());
    match *frame {
        TableFrame::Entry(entry) => {
            common.kind = ENTRY;
            common.pad[0] = entry.class as u8;
            common.device = i32::from(entry.device.0).into();
            common.size_bytes = entry.size_bytes.into();
            common.buffer_type = entry.buffer_type;
            common.pid = entry.pid.into();
            common.address = entry.address.into();
            common.dram = u64::from(entry.refcount).into();
            tail.generation = entry.generation.into();
            tail.thread = entry.thread.into();
        }
        TableFrame::End(count) => {
            common.kind = END;
            common.size_bytes = count.into();
        }
    }
    assemble(&common, &tail)
}

/// Decodes one frame of the answer; `None` when it is something else.
pub(crate) fn decode(frame: &[u8; TABLE_FRAME_BYTES]) -> Option<TableFrame> {
    let (common, tail): (&Common, &ExtendedTail) = (part(frame, 0), part(frame, TAIL_AT));
    match common.kind {
        ENTRY => Some(TableFrame::Entry(Entry {
            device: DeviceId(u16::try_from(common.device.get()).ok()?),
            class: Class::from_index(common.pad[0])?,
            buffer_type: common.buffer_type,
            address: common.address.get(),
            size_bytes: common.size_bytes.get(),
            pid: common.pid.get(),
            thread: tail.thread.get(),
            generation: tail.generation.get(),
            refcount: u32::try_from(common.dram.get()).ok()?,
        })),
        END => Some(TableFrame::End(common.size_bytes.get())),
        _ => None,
    }
}

fn assemble(common: &Common, tail: &ExtendedTail) -> [u8; TABLE_FRAME_BYTES] {
    let mut frame = [0; TABLE_FRAME_BYTES];
    frame[..size_of::<Common>()].copy_from_slice(common.as_bytes());
    frame[TAIL_AT..].copy_from_slice(tail.as_bytes());
    frame
}
