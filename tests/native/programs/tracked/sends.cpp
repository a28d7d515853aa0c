// How messages are written.
//
//   HALVES     each in two writes, with or without a lock around both
//   DONTWAIT   without waiting for room: what does not fit is dropped, or sent again
#include "tracked.h"

#include <cerrno>
#include <sched.h>
#include <thread>

static std::mutex writes;

static void write_message(int type, uint64_t address, uint64_t size)
{
    Message message{};
    message.type = static_cast<uint8_t>(type);
    message.size = size;
    message.buffer_type = L1;
    message.pid = getpid();
    message.address = address;
    const char *bytes = reinterpret_cast<const char *>(&message);
#ifdef HALVES
#ifdef FIXED
    std::lock_guard<std::mutex> guard(writes);
#endif
    if (write(client.fd(), bytes, 40) != 40 || write(client.fd(), bytes + 40, 72) != 72)
        perror("write");
#else
    while (send(client.fd(), bytes, sizeof message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
#ifdef FIXED
        if (errno == EAGAIN) {
            sched_yield();
            continue;
        }
#endif
        return;
    }
#endif
}

static void work(uint64_t size)
{
    for (int round = 0; round < 2; round++) {
        uint64_t address = allocator.allocate(0, size);
        write_message(ALLOC, address, size);
        write_message(FREE, address, 0);
        allocator.release(0, address);
    }
}

int main()
{
    client.connect();
    std::thread first(work, 4096), second(work, 4096);
    first.join();
    second.join();
    return 0;
}
