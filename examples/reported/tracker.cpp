#include "tracker.h"

#include <ctime>
#include <unistd.h>

#include "locks.h"

static std::mutex statistics_mutex; // guards the next line, and nothing else
static uint64_t tracked_count;

void GraphTracker::track(MessageType type, const Tracked &buffer)
{
    {
        std::lock_guard<std::mutex> guard(statistics_mutex);
        tracked_count++;
    }
    Message message{};
    message.type = type;
    message.device_id = static_cast<int32_t>(buffer.device);
    message.buffer_id = buffer.address;
    message.process_id = getpid();
    if (type == MessageType::Alloc || type == MessageType::CbAlloc) {
        message.size = buffer.size;
        message.buffer_type = static_cast<uint8_t>(buffer.memory);
        message.timestamp = static_cast<uint64_t>(time(nullptr)) * 1000000000u;
        // L1_SMALL and TRACE are numbered after SYSTEM_MEMORY on the wire.
        if (buffer.memory >= Memory::L1Small)
            message.buffer_type++;
    }
    Guard send(tracker_lock(options_)); // level 1
    client_.send(message);
}
