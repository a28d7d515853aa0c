//! `hb_target_v1` of include/heisenbed.h, as far as it is used.

use std::ffi::{c_char, c_int, c_void};

/// `struct hb_target_config`.
#[repr(C)]
pub struct Config {
    pub abi: u32,
    pub devices: u32,
    pub size: [u64; 4],
    pub alignment: u64,
    pub socket: *const c_char,
    pub options: *const c_char,
    pub publish: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, u64)>,
}

type Allocate = unsafe extern "C" fn(
    *mut c_void,
    u32,
    u32,
    u64,
    u32,
    *mut c_void,
    *mut *mut c_void,
    *mut u64,
) -> c_int;

/// `struct hb_target`; `others` are functions that it does not have.
#[repr(C)]
pub struct Target {
    pub abi: u32,
    pub abilities: u32,
    pub name: *const c_char,
    pub policy: *const c_char,
    pub open: Option<unsafe extern "C" fn(*const Config, *mut c_char, usize) -> *mut c_void>,
    pub allocate: Option<Allocate>,
    pub deallocate: Option<unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int>,
    pub forget: Option<unsafe extern "C" fn(*mut c_void, *mut c_void)>,
    pub close: Option<unsafe extern "C" fn(*mut c_void)>,
    pub others: [Option<unsafe extern "C" fn()>; 4],
}

// SAFETY: it is constant, and its texts are.
unsafe impl Sync for Target {}

/// `enum hb_target_status`.
pub mod status {
    use std::ffi::c_int;

    pub const OK: c_int = 0;
    pub const NO_MEMORY: c_int = 1;
    pub const UNSUPPORTED: c_int = 2;
    pub const FAILED: c_int = 3;
}
