// Two threads that allocate and release buffers of their own, each told to the tracking server.
#include "tracked.h"

#include <thread>

struct Lock {
    explicit Lock(bool taken) : taken(taken)
    {
        if (taken)
            lifecycle.lock();
    }
    ~Lock()
    {
        if (taken)
            lifecycle.unlock();
    }
    bool taken;
};

#if defined(WIDE) || defined(FIXED)
constexpr bool wide = true, narrow = false;
#elif defined(NARROW)
constexpr bool wide = false, narrow = true;
#else
constexpr bool wide = false, narrow = false;
#endif
#ifdef FREE_FIRST
constexpr bool free_first = true;
#else
constexpr bool free_first = false;
#endif

static uint64_t allocate_buffer(uint64_t size)
{
    Lock outer(wide);
    uint64_t address = allocator.allocate(0, size);
    Lock inner(narrow);
    client.send(ALLOC, 0, address, size);
    return address;
}

static void deallocate_buffer(uint64_t address)
{
    Lock outer(wide);
    if (free_first)
        allocator.release(0, address);
    {
        Lock inner(narrow);
        client.send(FREE, 0, address, 0);
    }
    if (!free_first)
        allocator.release(0, address);
}

static void work(uint64_t size)
{
    for (int round = 0; round < 3; round++)
        deallocate_buffer(allocate_buffer(size));
}

int main()
{
    client.connect();
    std::thread first(work, 4096), second(work, 8192);
    first.join();
    second.join();
#ifdef ASKS
    if (client.query(0) != allocator.total()) {
        fprintf(stderr, "the server's total is wrong\n");
        return 1;
    }
#endif
    return 0;
}
