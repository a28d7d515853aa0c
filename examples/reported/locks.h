// The locks of the fixes, and which of them a variant takes where.
#pragma once

#include <cstdint>
#include <mutex>

#include "options.h"

// A lock guard of a lock, or of none.
class Guard {
  public:
    explicit Guard(std::mutex *mutex) : mutex_(mutex)
    {
        if (mutex_)
            mutex_->lock();
    }
    ~Guard()
    {
        if (mutex_)
            mutex_->unlock();
    }
    Guard(const Guard &) = delete;
    Guard &operator=(const Guard &) = delete;

  private:
    std::mutex *mutex_;
};

// Around each send.
std::mutex *tracker_lock(const Options &options);
// Around debug log and send.
std::mutex *narrow_lock(const Options &options, uint32_t device);
// From the address to its message, and from the message to the release.
std::mutex *wide_lock(const Options &options, uint32_t device);
