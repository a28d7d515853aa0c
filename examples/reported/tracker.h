// The graph tracker: four calls, from which the client's messages come.
#pragma once

#include <cstdint>
#include <mutex>

#include "allocator.h"
#include "client.h"

// What is reported of a buffer.
struct Tracked {
    uint32_t device;
    Memory memory;
    uint64_t address;
    uint64_t size;
};

class GraphTracker {
  public:
    GraphTracker(const Options &options, Client &client) : options_(options), client_(client) {}

    void track_allocate(const Tracked &buffer) { track(MessageType::Alloc, buffer); }
    void track_deallocate(const Tracked &buffer) { track(MessageType::Free, buffer); }
    void track_allocate_cb(const Tracked &buffer) { track(MessageType::CbAlloc, buffer); }
    void track_deallocate_cb(const Tracked &buffer) { track(MessageType::CbFree, buffer); }

  private:
    void track(MessageType type, const Tracked &buffer);

    const Options &options_;
    Client &client_;
};
