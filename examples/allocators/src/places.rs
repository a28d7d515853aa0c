//! The allocators: each hands out pieces of one memory.

use std::alloc::Layout;
use std::collections::HashMap;
use std::ops::Range;
use std::ptr::NonNull;

use linked_list_allocator::Heap;
use offset_allocator::{Allocation, Allocator};
use range_alloc::RangeAllocator;
use rlsf::Tlsf;

/// One memory. Sizes are multiples of its alignment.
pub trait Place: Send {
    fn allocate(&mut self, size: u64) -> Option<u64>;
    fn release(&mut self, address: u64, size: u64);
}

/// The one of this name, over so many bytes.
pub fn named(name: &str, size: u64, alignment: u64) -> Option<Box<dyn Place>> {
    let alignment = alignment.max(1);
    Some(match name {
        "offset" => Box::new(Offset {
            // It makes room for all of them at once.
            allocator: Allocator::with_max_allocs(
                u32::try_from(size / alignment).unwrap_or(u32::MAX),
                16 * 1024,
            ),
            live: HashMap::new(),
            alignment,
        }),
        "range" => Box::new(Ranges(RangeAllocator::new(
            alignment..alignment + size / alignment * alignment,
        ))),
        "tlsf" => {
            let arena = Arena::new(size as usize);
            let mut heap = Box::new(Tlsf::new());
            // SAFETY: the arena is nobody else's, and is dropped after the heap.
            let _ = unsafe { heap.insert_free_block_ptr(arena.whole()) };
            Box::new(TwoLevel {
                heap,
                _arena: arena,
                alignment,
            })
        }
        "linked-list" => {
            let arena = Arena::new(size as usize);
            // SAFETY: the same.
            let heap = unsafe { Heap::new(arena.at.as_ptr(), arena.size) };
            Box::new(LinkedList {
                heap,
                _arena: arena,
                alignment,
            })
        }
        _ => return None,
    })
}

struct Offset {
    allocator: Allocator<u32>,
    live: HashMap<u64, Allocation<u32>>,
    alignment: u64,
}

impl Place for Offset {
    fn allocate(&mut self, size: u64) -> Option<u64> {
        let units = u32::try_from(size / self.alignment).ok()?;
        let found = self.allocator.allocate(units)?;
        let address = (u64::from(found.offset) + 1) * self.alignment;
        self.live.insert(address, found);
        Some(address)
    }

    fn release(&mut self, address: u64, _size: u64) {
        if let Some(live) = self.live.remove(&address) {
            self.allocator.free(live);
        }
    }
}

struct Ranges(RangeAllocator<u64>);

impl Place for Ranges {
    fn allocate(&mut self, size: u64) -> Option<u64> {
        let range: Range<u64> = self.0.allocate_range(size).ok()?;
        Some(range.start)
    }

    fn release(&mut self, address: u64, size: u64) {
        self.0.free_range(address..address + size);
    }
}

/// Address space of which as much becomes memory as is touched.
struct Arena {
    at: NonNull<u8>,
    size: usize,
}

// SAFETY: it is only memory.
unsafe impl Send for Arena {}

impl Arena {
    fn new(size: usize) -> Arena {
        let (rights, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: a new mapping, which touches no other.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), size, rights, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED, "no address space for {size} bytes");
        Arena {
            at: NonNull::new(at.cast()).expect("a mapping is never at 0"),
            size,
        }
    }

    fn whole(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.at, self.size)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: it was mapped so, and nobody has any of it.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.size) };
    }
}

fn layout(size: u64, alignment: u64) -> Layout {
    Layout::from_size_align(size as usize, alignment as usize).expect("sizes of memories are small")
}

struct TwoLevel {
    heap: Box<Tlsf<'static, u64, u64, 48, 16>>,
    _arena: Arena,
    alignment: u64,
}

impl Place for TwoLevel {
    fn allocate(&mut self, size: u64) -> Option<u64> {
        let found = self.heap.allocate(layout(size, self.alignment))?;
        Some(found.as_ptr() as u64)
    }

    fn release(&mut self, address: u64, _size: u64) {
        if let Some(at) = NonNull::new(address as *mut u8) {
            // SAFETY: the heap gave it, with this alignment.
            unsafe { self.heap.deallocate(at, self.alignment as usize) };
        }
    }
}

struct LinkedList {
    heap: Heap,
    _arena: Arena,
    alignment: u64,
}

impl Place for LinkedList {
    fn allocate(&mut self, size: u64) -> Option<u64> {
        let found = self.heap.allocate_first_fit(layout(size, self.alignment));
        Some(found.ok()?.as_ptr() as u64)
    }

    fn release(&mut self, address: u64, size: u64) {
        if let Some(at) = NonNull::new(address as *mut u8) {
            // SAFETY: the heap gave it, with this layout.
            unsafe { self.heap.deallocate(at, layout(size, self.alignment)) };
        }
    }
}
