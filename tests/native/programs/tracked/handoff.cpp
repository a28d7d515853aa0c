// One thread allocates, another releases. The handle becomes visible as soon as the address exists
// (early publication), or when its ALLOC was sent.
//
//   CONNECTIONS   each thread has a connection of its own to the server, which may take the FREE
//                 first; unless the first one asks it for its totals before it publishes
#include "tracked.h"

#include <condition_variable>
#include <thread>

static std::mutex mutex;
static std::condition_variable ready;
static uint64_t handed;

static void publish(uint64_t address)
{
    {
        std::lock_guard<std::mutex> guard(mutex);
        handed = address;
    }
    ready.notify_one();
}

static Client *own_connection()
{
#ifdef CONNECTIONS
    Client *own = new Client;
    own->connect();
    return own;
#else
    return &client;
#endif
}

static void producer()
{
    Client *own = own_connection();
    uint64_t address = allocator.allocate(0, 4096);
#if !defined(FIXED) && !defined(CONNECTIONS)
    publish(address);
#endif
    own->send(ALLOC, 0, address, 4096);
#if defined(FIXED) && defined(CONNECTIONS)
    if (own->query(0) != 4096)
        abort();
#endif
#if defined(FIXED) || defined(CONNECTIONS)
    publish(address);
#endif
}

static void consumer()
{
    Client *own = own_connection();
    std::unique_lock<std::mutex> lock(mutex);
    ready.wait(lock, [] { return handed != 0; });
    lock.unlock();
    own->send(FREE, 0, handed, 0);
    allocator.release(0, handed);
}

int main()
{
    client.connect();
    std::thread first(producer), second(consumer);
    first.join();
    second.join();
    return 0;
}
