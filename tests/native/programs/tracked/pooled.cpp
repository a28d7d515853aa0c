// Two threads that use the library's allocator, and track it: FIXED with a lock around both.
//
//   VIRTUAL   through virtual functions
#include "pool.h"
#include "tracked.h"

#include <stdexcept>
#include <thread>

static uint64_t take(uint64_t size)
{
#ifdef VIRTUAL
    uint64_t address = 0;
    return the_pool()->reserve(size, 0, &address) ? address : 0;
#else
    return pool_allocate(0, size);
#endif
}

static void give(uint64_t address)
{
#ifdef VIRTUAL
    the_pool()->give_back(address, 0);
#else
    pool_release(0, address);
#endif
}

static void work(uint64_t size)
{
    // What throws has allocated nothing, and must come through.
    try {
        pool_allocate(0, 0);
        abort();
    } catch (const std::invalid_argument &) {
    }
    for (int round = 0; round < 3; round++) {
#ifdef FIXED
        std::lock_guard<std::mutex> guard(lifecycle);
#endif
        uint64_t address = take(size);
        client.send(ALLOC, 0, address, size);
        give(address);
        client.send(FREE, 0, address, 0);
    }
}

int main()
{
    client.connect();
    std::thread first(work, 4096), second(work, 8192);
    first.join();
    second.join();
    for (int count = 0; count < 6; count++)
        if (uint64_t address = take(64))
            client.send(ALLOC, 0, address, 64);
    return 0;
}
