// The allocator: hands out addresses under a mutex of its own, and knows nothing of tracking.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

enum class Memory : uint32_t { Dram = 0, L1 = 1, L1Small = 2, Trace = 3 };

class Allocator {
  public:
    Allocator(uint32_t device, Memory memory, uint64_t size, uint64_t alignment);

    // The lowest address with room: what was given back last is often what comes next. False:
    // there is none.
    bool allocate_buffer(uint64_t size, uint64_t *address);
    void deallocate_buffer(uint64_t address);

  private:
    const uint32_t device_;
    const Memory memory_;
    const uint64_t begin_, end_, alignment_;
    std::mutex mutex_;
    std::map<uint64_t, uint64_t> live_; // address → size
};
