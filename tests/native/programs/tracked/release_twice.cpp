// Two threads release one buffer: its status is looked at and set in two steps, or claimed in one.
#include "tracked.h"

#include <atomic>
#include <thread>

static std::atomic<int> status{1};
static std::mutex status_lock;
static uint64_t address;

static bool may_release()
{
#ifdef FIXED
    std::lock_guard<std::mutex> guard(status_lock);
    return status.exchange(0) == 1;
#else
    bool is_live;
    {
        std::lock_guard<std::mutex> guard(status_lock);
        is_live = status == 1;
    }
    return is_live;
#endif
}

static void work()
{
    if (!may_release())
        return;
    client.send(FREE, 0, address, 0);
    allocator.release(0, address);
    status = 0;
}

int main()
{
    client.connect();
    address = allocator.allocate(0, 4096);
    client.send(ALLOC, 0, address, 4096);
    std::thread first(work), second(work);
    first.join();
    second.join();
    return 0;
}
