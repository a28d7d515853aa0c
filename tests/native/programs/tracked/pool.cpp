// The library: see pool.h.
#include "pool.h"

#include <map>
#include <mutex>
#include <stdexcept>

static std::mutex mutex;
static std::map<uint64_t, uint64_t> live;

extern "C" uint64_t pool_allocate(int32_t, uint64_t size)
{
    if (size == 0)
        throw std::invalid_argument("no bytes");
    std::lock_guard<std::mutex> guard(mutex);
    uint64_t address = 0x1000;
    while (live.count(address))
        address += 0x1000;
    if (address > 0x4000)
        return 0;
    live[address] = size;
    return address;
}

extern "C" void pool_release(int32_t, uint64_t address)
{
    std::lock_guard<std::mutex> guard(mutex);
    live.erase(address);
}

Pool::~Pool() = default;

bool Pool::reserve(uint64_t size, int32_t device, uint64_t *address)
{
    *address = pool_allocate(device, size);
    return *address != 0;
}

void Pool::give_back(uint64_t address, int32_t device) { pool_release(device, address); }

Pool *the_pool()
{
    static Pool pool;
    return &pool;
}
