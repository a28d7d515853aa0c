// A small driver: workloads on a target, each operation marked for heisenbed.
//
//   reported [--workload NAME] [--threads N] [--ops N] [--devices N] [--SWITCH VALUE …]
//
// --ops counts the allocations of a thread, and as many releases. Switches are those of options.h.
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "../../include/heisenbed.h"

extern "C" const hb_target *hb_target_v1(void);

static const hb_target *target;
static void *opened;
static uint32_t threads = 2, ops = 2, devices = 1;

// What a thread is handed by its neighbour.
struct Box {
    std::mutex mutex;
    std::condition_variable filled;
    std::deque<void *> handles;

    void put(void *handle)
    {
        {
            std::lock_guard<std::mutex> guard(mutex);
            handles.push_back(handle);
        }
        filled.notify_one();
    }

    void *take()
    {
        std::unique_lock<std::mutex> lock(mutex);
        filled.wait(lock, [this] { return !handles.empty(); });
        void *handle = handles.front();
        handles.pop_front();
        return handle;
    }
};
static std::vector<Box> boxes;

// Handles are forgotten at the end only: until then another thread may have them at hand.
static std::mutex all_mutex;
static std::vector<void *> all;

struct Context {
    Box *to = nullptr; // who gets the buffer
    bool published = false;
};

static void publish(void *context, void *handle, uint64_t)
{
    hb_op_publish(handle);
    auto *about = static_cast<Context *>(context);
    about->published = true;
    if (about->to)
        about->to->put(handle);
}

// What was allocated; it ends the program where there was no room.
static void *kept(int status, void *handle)
{
    if (status != HB_TARGET_OK)
        exit(3);
    std::lock_guard<std::mutex> guard(all_mutex);
    all.push_back(handle);
    return handle;
}

static void *allocate(uint32_t device, uint64_t size, uint32_t flags = 0, Box *to = nullptr,
                      uint64_t *address = nullptr)
{
    Context context{to};
    uint64_t at = address ? *address : 0;
    void *handle = nullptr;
    hb_op_begin(HB_OP_ALLOCATE, nullptr);
    int status =
        target->allocate(opened, device, HB_MEMORY_L1, size, flags, &context, &handle, &at);
    hb_op_end(handle);
    kept(status, handle);
    if (address)
        *address = at;
    if (to && !context.published)
        to->put(handle);
    return handle;
}

static void *allocate_mesh(uint64_t size)
{
    std::vector<uint64_t> addresses(devices);
    void *handle = nullptr;
    hb_op_begin(HB_OP_ALLOCATE, nullptr);
    int status = target->allocate_mesh(opened, 0, devices, HB_MEMORY_L1, size, 0, nullptr, &handle,
                                       addresses.data());
    hb_op_end(handle);
    return kept(status, handle);
}

static void release(void *handle)
{
    hb_op_begin(HB_OP_RELEASE, handle);
    target->deallocate(opened, handle);
    hb_op_end(handle);
}

// Threads and operations have sizes of their own, so that they are told apart in what is shown.
static uint64_t size_of(uint32_t thread, uint32_t op) { return 4096 * (thread + 1) + 64 * op; }

static void own(uint32_t thread, uint32_t flags)
{
    for (uint32_t op = 0; op < ops; op++)
        release(allocate(op % devices, size_of(thread, op), flags));
}

static void hand_off(uint32_t thread)
{
    for (uint32_t op = 0; op < ops; op++) {
        allocate(op % devices, size_of(thread, op), 0, &boxes[(thread + 1) % threads]);
        release(boxes[thread].take());
    }
}

static void mesh(uint32_t thread)
{
    for (uint32_t op = 0; op < ops; op++)
        release(allocate_mesh(size_of(thread, op)));
}

// Beside what is handed on, buffers over its memory, which do not own it.
static void preallocated(uint32_t thread)
{
    for (uint32_t op = 0; op < ops; op++) {
        uint64_t address = 0;
        allocate(op % devices, size_of(thread, op), 0, &boxes[(thread + 1) % threads], &address);
        release(allocate(op % devices, 64, HB_TARGET_PREALLOCATED, nullptr, &address));
        release(boxes[thread].take());
    }
}

// Buffers that are there before the threads begin: each thread releases all of them.
static std::vector<void *> shared;

static void release_shared()
{
    for (void *handle : shared)
        release(handle);
}

// The first thread closes the devices, with the buffers that are live on them, while the others
// allocate.
static void close_devices(uint32_t thread)
{
    if (thread == 0)
        release_shared();
    else
        own(thread, 0);
}

static void mixed(uint32_t thread)
{
    own(thread, 0);
    own(thread, HB_TARGET_CIRCULAR);
    preallocated(thread);
    hand_off(thread);
    release_shared();
    mesh(thread);
}

static const struct {
    const char *name;
    void (*run)(uint32_t thread);
} workloads[] = {
    {"own", [](uint32_t thread) { own(thread, 0); }},
    {"handoff", hand_off},
    {"mesh", mesh},
    {"shared", [](uint32_t) { release_shared(); }},
    {"circular", [](uint32_t thread) { own(thread, HB_TARGET_CIRCULAR); }},
    {"preallocated", preallocated},
    {"close", close_devices},
    {"mixed", mixed},
};

static uint32_t number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || value == 0 || value > 1024)
        fprintf(stderr, "%s: expected a number from 1 to 1024\n", text), exit(2);
    return static_cast<uint32_t>(value);
}

int main(int count, char **words)
{
    std::string workload = "own", options;
    for (int at = 1; at < count; at += 2) {
        std::string name = words[at];
        if (name.rfind("--", 0) != 0 || at + 1 == count)
            fprintf(stderr, "%s: expected --NAME VALUE\n", words[at]), exit(2);
        if (name == "--workload")
            workload = words[at + 1];
        else if (name == "--threads")
            threads = number(words[at + 1]);
        else if (name == "--ops")
            ops = number(words[at + 1]);
        else if (name == "--devices")
            devices = number(words[at + 1]);
        else
            options += (options.empty() ? "" : ",") + name.substr(2) + "=" + words[at + 1];
    }
    void (*run)(uint32_t) = nullptr;
    for (const auto &one : workloads)
        run = workload == one.name ? one.run : run;
    if (!run)
        fprintf(stderr, "%s: no workload: see main.cpp\n", workload.c_str()), exit(2);
    target = hb_target_v1();
    hb_target_config config{};
    config.abi = HB_TARGET_ABI;
    config.devices = devices;
    for (uint64_t &size : config.size)
        size = 1 << 30;
    config.alignment = 64;
    config.socket = "/tmp/tt_allocation_server.sock";
    config.options = options.c_str();
    config.publish = publish;
    char why[256] = "";
    opened = target->open(&config, why, sizeof why);
    if (!opened)
        fprintf(stderr, "%s\n", why), exit(2);
    boxes = std::vector<Box>(threads);
    if (workload == "shared" || workload == "close" || workload == "mixed")
        for (uint32_t at = 0; at < ops; at++)
            shared.push_back(allocate(at % devices, (64 << 10) + 64 * at));
    std::vector<std::thread> running;
    for (uint32_t thread = 0; thread < threads; thread++)
        running.emplace_back(run, thread);
    for (std::thread &thread : running)
        thread.join();
    for (void *handle : all)
        target->forget(opened, handle);
    target->close(opened);
    return 0;
}
