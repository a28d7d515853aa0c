// Buffers: plain and circular ones own their address, pre-allocated ones don't; a mesh buffer is a
// backing buffer, which owns an address on each device and is never reported, and a view on each
// device, which is.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "allocator.h"
#include "options.h"
#include "tracker.h"

struct Device {
    std::vector<std::unique_ptr<Allocator>> allocators; // by Memory
};

struct Runtime {
    Options options;
    Client client{options};
    GraphTracker tracker{options, client};
    std::vector<Device> devices;

    Allocator &allocator(uint32_t device, Memory memory)
    {
        return *devices[device].allocators[static_cast<uint32_t>(memory)];
    }
};

enum class AllocationStatus : uint32_t { Allocating, Allocated, Dying, Deallocated };

// What is called when a handle becomes visible before allocate returns; empty where it doesn't.
using Publish = std::function<void(uint64_t address)>;

// What the target's handles are.
class Handle {
  public:
    virtual ~Handle() = default;
    virtual void deallocate() = 0;
};

class Buffer : public Handle {
  public:
    enum class Kind { Plain, Circular, Preallocated };

    Buffer(Runtime &runtime, Kind kind, uint32_t device, Memory memory, uint64_t size);

    // False: there is no room. A pre-allocated buffer is at `*address`.
    bool allocate(const Publish &publish, uint64_t *address);
    void deallocate() override;

  private:
    bool allocate_impl(const Publish &publish);
    void deallocate_impl();
    bool is_allocated();
    void set_status(AllocationStatus status);
    void write_debug_log(const char *title);

    Runtime &runtime_;
    const Kind kind_;
    const uint32_t device_;
    const Memory memory_;
    const uint64_t size_;
    uint64_t address_ = 0;
    AllocationStatus allocation_status_ = AllocationStatus::Allocating;
};

class MeshBuffer : public Handle {
  public:
    MeshBuffer(Runtime &runtime, uint32_t first, uint32_t count, Memory memory, uint64_t size);

    // Its handle is known when this returns, whatever publication says.
    bool allocate(uint64_t *addresses);
    void deallocate() override;

  private:
    bool allocate_backing();
    void release_backing();
    void create_views();
    void release_views();

    Runtime &runtime_;
    const uint32_t first_, count_;
    const Memory memory_;
    const uint64_t size_;
    std::vector<uint64_t> backing_; // an address on each device
    std::vector<Tracked> views_;
    AllocationStatus status_ = AllocationStatus::Allocating; // of the fix alone
};
