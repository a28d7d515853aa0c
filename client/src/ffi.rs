//! The C interface: pointers and numbers in, a status out. Here and nowhere else they are checked
//! and converted.
//!
//! The comments are those of `include/heisenbed.h`; they are written for its reader.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use heisenbed::device::Memory;
use heisenbed::tracking::transport::SendMode;

use crate::client::{Buffer, Client, Event, Failure, Sequence};

/// Wait while the socket's buffer is full.
pub const HB_BLOCKING: u32 = 0;
/// Drop a message when the socket's buffer is full (MSG_DONTWAIT): HB_STATUS_DROPPED, counted.
pub const HB_DONTWAIT: u32 = 1;

/// hb_buffer.sequence: the message has no sequence number; the server takes it when it comes.
pub const HB_UNSTAMPED: u64 = 0;
/// hb_buffer.sequence: take the next number as the message is sent. Right only while the caller
/// holds its allocator's lock for that device; else take it there with hb_stamp and send later.
pub const HB_STAMP_NOW: u64 = u64::MAX;
/// hb_buffer.thread: number the threads in the order of their first message.
pub const HB_THIS_THREAD: u32 = u32::MAX;

/// What became of a call.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HbStatus {
    /// Done. For a message: the kernel has taken it.
    Ok = 0,
    /// The socket's buffer was full and the client doesn't wait: the message is lost, and counted.
    /// Its sequence number, if it had one, stays missing, and a sequenced server will say so.
    Dropped = 1,
    /// A null pointer, unknown flags, a device beyond 65535, an unknown memory, or an allocation of
    /// size 0.
    BadArgument = 2,
    /// Nobody listens at the path.
    NoServer = 3,
    /// The system refused the connection: permissions, file descriptors, or a path of more than 107
    /// bytes.
    CannotConnect = 4,
    /// The server is gone; the client can only be closed.
    Closed = 5,
    /// The answer didn't come in time or can't be read. The connection is broken by this (a late
    /// answer would pass for a later one): the client can only be closed.
    NoAnswer = 6,
    /// The client was connected by the process that this one was forked from; connect anew.
    Forked = 7,
    /// A defect of this library; please report it.
    Internal = 8,
}

/// Address spaces, for hb_buffer.memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub enum HbMemory {
    /// Device DRAM.
    Dram = 0,
    /// On-core SRAM.
    L1 = 1,
    /// The small L1 region.
    L1Small = 2,
    /// The region for recorded command traces.
    Trace = 3,
}

/// One buffer in one message.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HbBuffer {
    /// The device, from 0 to 65535.
    pub device: u32,
    /// One of hb_memory.
    pub memory: u32,
    /// The address that the allocator handed out.
    pub address: u64,
    /// The size in bytes; at a release it is not looked at.
    pub size_bytes: u64,
    /// Which life of the address this is: a number that the allocator counts up at every
    /// allocation, the same at the release. 0 when it has none.
    pub generation: u64,
    /// From hb_stamp, or HB_UNSTAMPED, or HB_STAMP_NOW.
    pub sequence: u64,
    /// The caller's number of the thread, or HB_THIS_THREAD.
    pub thread: u32,
}

/// Bytes that are live on a device, as the server sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct HbTotals {
    /// In DRAM.
    pub dram_bytes: u64,
    /// In L1, circular buffers not included.
    pub l1_bytes: u64,
    /// In L1_SMALL.
    pub l1_small_bytes: u64,
    /// In TRACE.
    pub trace_bytes: u64,
    /// In circular buffers.
    pub cb_bytes: u64,
    /// In kernels.
    pub kernel_bytes: u64,
}

/// One connection to a tracking server. Every function but hb_close may be called from any thread
/// at any time.
pub struct HbClient(Client);

/// Connects to the tracking server at `path` and announces heisenbed's own message layout. On
/// success `*client` is a client that hb_close must get, else NULL. `flags`: HB_BLOCKING or
/// HB_DONTWAIT.
///
/// A child of fork() can't use its parent's client (HB_STATUS_FORKED); it connects for itself. As
/// with every function that allocates, it may do so only when no other thread was in hb_connect at
/// the fork.
///
/// # Safety
/// `path` is NULL or a string that ends in 0; `client` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hb_connect(
    path: *const c_char,
    client: *mut *mut HbClient,
    flags: u32,
) -> HbStatus {
    guarded(|| {
        if client.is_null() {
            return HbStatus::BadArgument;
        }
        // SAFETY: not null, and the caller says that it may be written to.
        unsafe { client.write(std::ptr::null_mut()) };
        let mode = match flags {
            HB_BLOCKING => SendMode::Blocking,
            HB_DONTWAIT => SendMode::DontWait,
            _ => return HbStatus::BadArgument,
        };
        if path.is_null() {
            return HbStatus::BadArgument;
        }
        // SAFETY: not null, and the caller says that it ends in 0.
        let path = Path::new(OsStr::from_bytes(
            unsafe { CStr::from_ptr(path) }.to_bytes(),
        ));
        match Client::connect(path, mode) {
            Ok(connected) => {
                let connected = Box::into_raw(Box::new(HbClient(connected)));
                // SAFETY: as above.
                unsafe { client.write(connected) };
                HbStatus::Ok
            }
            Err(failure) => failure.into(),
        }
    })
}

/// Takes the next sequence number of a device. Call it inside the critical section in which the
/// allocator hands out or takes back the address: the numbers then have the order of the
/// allocator's history, and the messages may be sent in any order from any thread. Each number must
/// be sent once. Clients of one process to one server count together.
///
/// # Safety
/// `client` is NULL or open; `sequence` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hb_stamp(
    client: *const HbClient,
    device: u32,
    sequence: *mut u64,
) -> HbStatus {
    // SAFETY: the caller's promise is that of `opened`.
    let client = unsafe { opened(client) };
    guarded(|| {
        let (Some(client), Ok(device), false) = (client, u16::try_from(device), sequence.is_null())
        else {
            return HbStatus::BadArgument;
        };
        match client.stamp(device) {
            Ok(number) => {
                // SAFETY: not null, and the caller says that it may be written to.
                unsafe { sequence.write(number) };
                HbStatus::Ok
            }
            Err(failure) => failure.into(),
        }
    })
}

/// Says that a buffer exists: after the allocator handed out its address.
///
/// # Safety
/// `client` is NULL or open; `buffer` is NULL or may be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hb_alloc(client: *const HbClient, buffer: *const HbBuffer) -> HbStatus {
    // SAFETY: the caller's promises are those of `send`.
    unsafe { send(client, Event::Alloc, buffer) }
}

/// Says that a buffer is gone.
///
/// # Safety
/// As hb_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hb_free(client: *const HbClient, buffer: *const HbBuffer) -> HbStatus {
    // SAFETY: the caller's promises are those of `send`.
    unsafe { send(client, Event::Free, buffer) }
}

/// Says that a circular buffer exists. Circular buffers are counted apart from buffers, also at the
/// same address.
///
/// # Safety
/// As hb_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hb_cb_alloc(client: *const HbClient, buffer: *const HbBuffer) -> HbStatus {
    // SAFETY: the caller's promises are those of `send`.
    unsafe { send(client, Event::CbAlloc, buffer) }
}

/// Says that a circular buffer is gone.
///
/// # Safety
/// As hb_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hb_cb_free(client: *const HbClient, buffer: *const HbBuffer) -> HbStatus {
    // SAFETY: the caller's promises are those of `send`.
    unsafe { send(client, Event::CbFree, buffer) }
}

/// Asks the server for a device's totals and waits up to `timeout_ms` (at least 1) for the answer.
/// The server has then seen every message that was sent before on this client.
///
/// # Safety
/// `client` is NULL or open; `totals` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hb_query_totals(
    client: *const HbClient,
    device: u32,
    timeout_ms: u32,
    totals: *mut HbTotals,
) -> HbStatus {
    // SAFETY: the caller's promise is that of `opened`.
    let client = unsafe { opened(client) };
    guarded(|| {
        let (Some(client), Ok(device), false) = (client, u16::try_from(device), totals.is_null())
        else {
            return HbStatus::BadArgument;
        };
        let timeout = Duration::from_millis(u64::from(timeout_ms.max(1)));
        match client.totals(device, timeout) {
            Ok(answer) => {
                let answer = HbTotals {
                    dram_bytes: answer.dram_bytes,
                    l1_bytes: answer.l1_bytes,
                    l1_small_bytes: answer.l1_small_bytes,
                    trace_bytes: answer.trace_bytes,
                    cb_bytes: answer.cb_bytes,
                    kernel_bytes: answer.kernel_bytes,
                };
                // SAFETY: not null, and the caller says that it may be written to.
                unsafe { totals.write(answer) };
                HbStatus::Ok
            }
            Err(failure) => failure.into(),
        }
    })
}

/// How many messages this client dropped; 0 for NULL.
///
/// # Safety
/// `client` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hb_dropped_count(client: *const HbClient) -> u64 {
    // SAFETY: the caller's promise is that of `opened`.
    unsafe { opened(client) }.map_or(0, Client::dropped)
}

/// Closes the connection; what was sent before still arrives. NULL is allowed. No other thread may
/// be using the client, nor use it after.
///
/// # Safety
/// `client` is NULL or open, and nobody else's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hb_close(client: *mut HbClient) {
    guarded(|| {
        if !client.is_null() {
            // SAFETY: it came from `Box::into_raw` in `hb_connect`, and the caller gives it up.
            drop(unsafe { Box::from_raw(client) });
        }
        HbStatus::Ok
    });
}

/// A status in words. The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn hb_error_text(status: u32) -> *const c_char {
    const TEXTS: [&CStr; 9] = [
        c"done",
        c"dropped: the socket's buffer is full",
        c"bad argument",
        c"nobody listens at this path: start a tracking server there first",
        c"the system refused the connection",
        c"the server is gone",
        c"no answer in time",
        c"the client belongs to the parent process: connect anew after a fork",
        c"a defect of the heisenbed client",
    ];
    let text = TEXTS.get(status as usize).copied();
    text.unwrap_or(c"not a status of the heisenbed client")
        .as_ptr()
}

/// # Safety
/// `client` is null or open; `buffer` is null or may be read.
unsafe fn send(client: *const HbClient, event: Event, buffer: *const HbBuffer) -> HbStatus {
    // SAFETY: the caller's promises, as they are needed.
    let (client, buffer) = unsafe { (opened(client), buffer.as_ref()) };
    guarded(|| {
        let (Some(client), Some(buffer)) = (client, buffer.and_then(parsed)) else {
            return HbStatus::BadArgument;
        };
        match client.send(event, &buffer) {
            Ok(()) => HbStatus::Ok,
            Err(failure) => failure.into(),
        }
    })
}

/// # Safety
/// `client` is null, or came from `hb_connect` and was not closed for as long as the reference is
/// used.
unsafe fn opened<'a>(client: *const HbClient) -> Option<&'a Client> {
    // SAFETY: the caller's promise.
    unsafe { client.as_ref() }.map(|client| &client.0)
}

fn parsed(buffer: &HbBuffer) -> Option<Buffer> {
    Some(Buffer {
        device: u16::try_from(buffer.device).ok()?,
        memory: Memory::from_index(u8::try_from(buffer.memory).ok()?)?,
        address: buffer.address,
        size_bytes: buffer.size_bytes,
        generation: buffer.generation,
        sequence: match buffer.sequence {
            HB_UNSTAMPED => Sequence::Unstamped,
            HB_STAMP_NOW => Sequence::Now,
            number => Sequence::Taken(number),
        },
        thread: (buffer.thread != HB_THIS_THREAD).then_some(buffer.thread),
    })
}

/// A panic becomes a status; it must not unwind into C.
fn guarded(call: impl FnOnce() -> HbStatus) -> HbStatus {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(HbStatus::Internal)
}

impl From<Failure> for HbStatus {
    fn from(failure: Failure) -> HbStatus {
        match failure {
            Failure::Dropped => HbStatus::Dropped,
            Failure::BadArgument => HbStatus::BadArgument,
            Failure::NoServer => HbStatus::NoServer,
            Failure::CannotConnect => HbStatus::CannotConnect,
            Failure::Closed => HbStatus::Closed,
            Failure::NoAnswer => HbStatus::NoAnswer,
            Failure::Forked => HbStatus::Forked,
        }
    }
}

// The C side's numbers are the library's.
const _: () =
    assert!(HbMemory::Dram as u8 == Memory::Dram as u8 && HbMemory::L1 as u8 == Memory::L1 as u8);
const _: () = assert!(
    HbMemory::L1Small as u8 == Memory::L1Small as u8
        && HbMemory::Trace as u8 == Memory::Trace as u8
);
