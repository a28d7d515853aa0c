#include "allocator.h"

#include "../../include/heisenbed.h"

Allocator::Allocator(uint32_t device, Memory memory, uint64_t size, uint64_t alignment)
    : device_(device), memory_(memory), begin_(alignment), end_(alignment + size),
      alignment_(alignment)
{
}

bool Allocator::allocate_buffer(uint64_t size, uint64_t *address)
{
    std::lock_guard<std::mutex> guard(mutex_);
    uint64_t at = begin_;
    for (const auto &[start, bytes] : live_) {
        if (start - at >= size)
            break;
        at = (start + bytes + alignment_ - 1) / alignment_ * alignment_;
    }
    if (at >= end_ || end_ - at < size)
        return false;
    live_[at] = size;
    hb_truth_alloc(device_, static_cast<uint32_t>(memory_), at, size);
    *address = at;
    return true;
}

void Allocator::deallocate_buffer(uint64_t address)
{
    std::lock_guard<std::mutex> guard(mutex_);
    live_.erase(address);
    hb_truth_free(device_, static_cast<uint32_t>(memory_), address);
}
