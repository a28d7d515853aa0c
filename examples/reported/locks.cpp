#include "locks.h"

#include <map>

static std::mutex g_tracker_mutex;
static std::mutex g_global_mutex;
static std::mutex g_device_buffer_lifecycle_mutex[8]; // indexed by device id: up to a t3k

// The table that replaced the array: filled when a device is seen first.
static std::mutex lifecycle_map_mutex;
static std::map<uint32_t, std::mutex> lifecycle_map;

static std::mutex *lifecycle_mutex(uint32_t device)
{
    std::lock_guard<std::mutex> guard(lifecycle_map_mutex);
    return &lifecycle_map[device];
}

std::mutex *tracker_lock(const Options &options)
{
    bool has_none = options.locking == Locking::Unlocked || options.locking == Locking::Global;
    return has_none ? nullptr : &g_tracker_mutex;
}

std::mutex *narrow_lock(const Options &options, uint32_t device)
{
    return options.locking == Locking::Narrow ? lifecycle_mutex(device) : nullptr;
}

std::mutex *wide_lock(const Options &options, uint32_t device)
{
    switch (options.locking) {
    case Locking::Wide:
        return lifecycle_mutex(device);
    case Locking::Array8:
        return &g_device_buffer_lifecycle_mutex[device];
    case Locking::Global:
        return &g_global_mutex;
    default:
        return nullptr;
    }
}
