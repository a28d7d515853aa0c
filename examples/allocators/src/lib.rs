//! Other people's allocators behind heisenbed's target ABI, each under one mutex for each memory.
//! The target's options name which: `offset`, `range`, `tlsf`, `linked-list`.
//!
//! The first two hand out numbers. The others are heaps over memory that they write to, of which
//! they get as much address space as the memory is long.

mod abi;
mod places;
mod visible;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Mutex;

use abi::{Config, Target, status};
use places::Place;
use visible::Lock;

/// The flag of a circular buffer, which is allocated as any other.
const CIRCULAR: u32 = 1;

struct Allocators {
    /// Four a device.
    memories: Vec<(Lock, Mutex<Option<Box<dyn Place>>>)>,
    alignment: u64,
}

struct Handle {
    memory: usize,
    address: u64,
    size: u64,
}

unsafe extern "C" fn open(config: *const Config, why: *mut c_char, room: usize) -> *mut c_void {
    // SAFETY: heisenbed gives a configuration that outlives the call, with a text that ends.
    let (config, options) = unsafe { (&*config, CStr::from_ptr((*config).options)) };
    let name = options.to_string_lossy();
    let memory = |at: usize| match config.size[at % 4] {
        0 => Some(None),
        size => places::named(&name, size, config.alignment).map(Some),
    };
    let all: Option<Vec<_>> = (0..config.devices as usize * 4)
        .map(|at| memory(at).map(|place| (Lock::new(), Mutex::new(place))))
        .collect();
    let Some(memories) = all else {
        let text = c"--target-options: offset, range, tlsf or linked-list";
        let bytes = text.to_bytes_with_nul();
        // SAFETY: `why` has `room` bytes.
        unsafe { why.copy_from_nonoverlapping(bytes.as_ptr().cast(), room.min(bytes.len())) };
        return std::ptr::null_mut();
    };
    Box::into_raw(Box::new(Allocators {
        memories,
        alignment: config.alignment.max(1),
    }))
    .cast()
}

unsafe extern "C" fn allocate(
    target: *mut c_void,
    device: u32,
    memory: u32,
    size: u64,
    flags: u32,
    _context: *mut c_void,
    handle: *mut *mut c_void,
    address: *mut u64,
) -> c_int {
    // SAFETY: it is what `open` gave, and only shared.
    let target = unsafe { &*target.cast::<Allocators>() };
    if flags & !CIRCULAR != 0 {
        return status::UNSUPPORTED;
    }
    let at = device as usize * 4 + memory as usize;
    let size = size.max(1).next_multiple_of(target.alignment);
    let (lock, memory) = &target.memories[at];
    let found = lock.held(|| {
        let mut memory = memory.lock().expect("nobody panics under it");
        memory.as_mut().map(|place| place.allocate(size))
    });
    let found = match found {
        None => return status::UNSUPPORTED,
        Some(None) => return status::NO_MEMORY,
        Some(Some(found)) => found,
    };
    let made = Box::new(Handle {
        memory: at,
        address: found,
        size,
    });
    // SAFETY: heisenbed gives two places to write to.
    unsafe {
        *handle = Box::into_raw(made).cast();
        *address = found;
    }
    status::OK
}

unsafe extern "C" fn deallocate(target: *mut c_void, handle: *mut c_void) -> c_int {
    // SAFETY: they are what `open` and `allocate` gave; a handle is released once.
    let (target, handle) = unsafe { (&*target.cast::<Allocators>(), &*handle.cast::<Handle>()) };
    let (lock, memory) = &target.memories[handle.memory];
    lock.held(|| {
        let mut memory = memory.lock().expect("nobody panics under it");
        let Some(place) = memory.as_mut() else {
            return status::FAILED;
        };
        place.release(handle.address, handle.size);
        status::OK
    })
}

unsafe extern "C" fn forget(_target: *mut c_void, handle: *mut c_void) {
    // SAFETY: this is the last use of what `allocate` made.
    drop(unsafe { Box::from_raw(handle.cast::<Handle>()) });
}

unsafe extern "C" fn close(target: *mut c_void) {
    // SAFETY: this is the last use of what `open` made.
    drop(unsafe { Box::from_raw(target.cast::<Allocators>()) });
}

/// What heisenbed asks for.
#[unsafe(no_mangle)]
pub extern "C" fn hb_target_v1() -> *const Target {
    static TARGET: Target = Target {
        abi: 1,
        abilities: 0,
        name: c"allocators of others".as_ptr(),
        policy: c"any-hole".as_ptr(),
        open: Some(open),
        allocate: Some(allocate),
        deallocate: Some(deallocate),
        forget: Some(forget),
        close: Some(close),
        others: [None; 4],
    };
    &TARGET
}
