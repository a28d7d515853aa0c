// A small device allocator whose every buffer is tracked: where the calls go.
//
//   tracked_allocator SOCKET [THREADS [PAIRS]]
//
// Each thread allocates and releases PAIRS buffers, keeps its last one, and at the end the server's totals must be
// the allocator's. Prints one line a live buffer: device, memory, address, size, generation, thread.

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "heisenbed.h"

namespace {

constexpr uint32_t devices = 2;

// Everything about one device that its mutex guards. Addresses are re-used as soon as they are free.
struct Device {
    std::mutex mutex;
    std::vector<uint64_t> free_addresses;
    uint64_t fresh = 0x1000;
    uint64_t generations = 0;
    std::map<uint64_t, hb_buffer> live;
};

void demand(hb_status status, const char* what) {
    if (status != HB_STATUS_OK) {
        std::fprintf(stderr, "%s: %s\n", what, hb_error_text(status));
        std::exit(2);
    }
}

hb_buffer allocate(hb_client* client, Device& device, uint32_t id, uint64_t size_bytes, uint32_t thread) {
    hb_buffer buffer{};
    buffer.device = id;
    buffer.memory = size_bytes % 2 ? HB_MEMORY_DRAM : HB_MEMORY_L1;
    buffer.size_bytes = size_bytes;
    buffer.thread = thread;
    {
        std::lock_guard<std::mutex> guard(device.mutex);
        if (device.free_addresses.empty()) {
            buffer.address = device.fresh;
            device.fresh += 0x1000;
        } else {
            buffer.address = device.free_addresses.back();
            device.free_addresses.pop_back();
        }
        buffer.generation = ++device.generations;
        // The number is taken where the address is: it has the order of the allocator's history.
        demand(hb_stamp(client, id, &buffer.sequence), "hb_stamp");
        device.live[buffer.address] = buffer;
    }
    // The message needs no lock: a sequenced server puts it where its number belongs.
    demand(hb_alloc(client, &buffer), "hb_alloc");
    return buffer;
}

void release(hb_client* client, Device& device, hb_buffer buffer) {
    {
        std::lock_guard<std::mutex> guard(device.mutex);
        device.live.erase(buffer.address);
        device.free_addresses.push_back(buffer.address);
        demand(hb_stamp(client, buffer.device, &buffer.sequence), "hb_stamp");
    }
    demand(hb_free(client, &buffer), "hb_free");
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: tracked_allocator SOCKET [THREADS [PAIRS]]\n");
        return 2;
    }
    const unsigned threads = argc > 2 ? std::atoi(argv[2]) : 4;
    const unsigned pairs = argc > 3 ? std::atoi(argv[3]) : 1000;
    hb_client* client = nullptr;
    demand(hb_connect(argv[1], &client, HB_BLOCKING), argv[1]);

    Device all[devices];
    std::vector<std::thread> workers;
    for (unsigned t = 0; t < threads; ++t) {
        workers.emplace_back([&, t] {
            for (unsigned i = 0; i < pairs; ++i) {
                const uint32_t id = (t + i) % devices;
                const hb_buffer buffer = allocate(client, all[id], id, 64 + t + i % 7, t);
                if (i + 1 < pairs) {
                    release(client, all[id], buffer);
                }
            }
        });
    }
    for (auto& worker : workers) {
        worker.join();
    }

    bool equal = true;
    for (uint32_t id = 0; id < devices; ++id) {
        hb_totals ours{}, theirs{};
        for (const auto& [address, buffer] : all[id].live) {
            (buffer.memory == HB_MEMORY_DRAM ? ours.dram_bytes : ours.l1_bytes) += buffer.size_bytes;
            std::printf("%u %u %llu %llu %llu %u\n", id, buffer.memory, (unsigned long long)address,
                        (unsigned long long)buffer.size_bytes, (unsigned long long)buffer.generation,
                        buffer.thread);
        }
        demand(hb_query_totals(client, id, 10000, &theirs), "hb_query_totals");
        if (ours.dram_bytes != theirs.dram_bytes || ours.l1_bytes != theirs.l1_bytes) {
            std::fprintf(stderr, "device %u: the server shows dram %llu, l1 %llu; live are %llu, %llu\n", id,
                         (unsigned long long)theirs.dram_bytes, (unsigned long long)theirs.l1_bytes,
                         (unsigned long long)ours.dram_bytes, (unsigned long long)ours.l1_bytes);
            equal = false;
        }
    }
    hb_close(client);
    return equal ? 0 : 1;
}
