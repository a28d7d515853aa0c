// A target: a ring. Buffers are handed out one after the other and taken back in the order of their
// age; what is released out of turn waits until all that is older is released. `options` names a
// planted fault; without, it is the correct twin.
//
//   no-lock       allocate gives the lock back between looking for room and taking it
//   misaligned    sizes are rounded to 16 bytes, not to the alignment
//   wrap          the ring may grow one unit into its oldest buffer
//   one-at-a-time a release takes back one buffer only, however many are due
//   end           one unit too many is believed to be at the end
//   wrong-totals  some releases are counted twice
#include "heisenbed.h"

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

class Ring {
  public:
    Ring(uint64_t bytes, uint64_t unit, std::string fault)
        : bytes_(bytes / unit * unit), unit_(unit), fault_(std::move(fault))
    {
    }

    // A number for the release; 0 where there is no room.
    uint64_t allocate(uint64_t size, uint64_t *address)
    {
        uint64_t unit = fault_ == "misaligned" ? 16 : unit_;
        uint64_t needed = (size + unit - 1) / unit * unit;
        if (needed > bytes_)
            return 0;
        std::unique_lock<std::mutex> guard(mutex_);
        if (!place(needed, address))
            return 0;
        if (fault_ == "no-lock") {
            guard.unlock();
            guard.lock();
        }
        entries_.push_back(Entry{*address, size, false});
        head_ = *address + needed;
        live_bytes_ += size;
        live_++;
        return first_ + entries_.size();
    }

    void release(uint64_t number)
    {
        std::lock_guard<std::mutex> guard(mutex_);
        Entry &entry = entries_[number - 1 - first_];
        entry.released = true;
        live_bytes_ -= entry.size;
        live_ -= fault_ == "wrong-totals" && entries_.size() > 3 && live_ > 1 ? 2 : 1;
        while (!entries_.empty() && entries_.front().released) {
            entries_.pop_front();
            first_++;
            if (fault_ == "one-at-a-time")
                break;
        }
    }

    hb_target_totals totals() const { return {live_bytes_, live_, UINT64_MAX}; }

  private:
    struct Entry {
        uint64_t at, size;
        bool released;
    };

    // Head and tail are never at one place while something is live.
    bool place(uint64_t needed, uint64_t *at)
    {
        if (entries_.empty())
            head_ = 0;
        uint64_t tail = entries_.empty() ? 0 : entries_.front().at;
        uint64_t end = fault_ == "end" ? bytes_ + unit_ : bytes_;
        if (entries_.empty() || head_ > tail) {
            *at = end - head_ >= needed && head_ <= end ? head_ : 0;
            return *at == head_ || tail > needed;
        }
        *at = head_;
        return tail + (fault_ == "wrap" ? 2 * unit_ : 0) > head_ + needed;
    }

    uint64_t bytes_, unit_;
    std::string fault_;
    std::mutex mutex_;
    std::deque<Entry> entries_;
    uint64_t head_ = 0, first_ = 0, live_bytes_ = 0, live_ = 0;
};

using Rings = std::vector<std::unique_ptr<Ring>>;

struct Buffer {
    Ring *ring;
    uint64_t number;
};

static void *open(const hb_target_config *config, char *, size_t)
{
    auto *rings = new Rings;
    for (uint32_t at = 0; at < config->devices * 4; at++)
        rings->emplace_back(new Ring(config->size[at % 4], config->alignment, config->options));
    return rings;
}

static int allocate(void *target, uint32_t device, uint32_t memory, uint64_t size, uint32_t flags,
                    void *, void **handle, uint64_t *address)
{
    Ring *ring = (*static_cast<Rings *>(target))[device * 4 + memory].get();
    if (flags)
        return HB_TARGET_UNSUPPORTED;
    uint64_t number = ring->allocate(size, address);
    if (!number)
        return HB_TARGET_NO_MEMORY;
    *handle = new Buffer{ring, number};
    return HB_TARGET_OK;
}

static int deallocate(void *, void *handle)
{
    auto *buffer = static_cast<Buffer *>(handle);
    buffer->ring->release(buffer->number);
    return HB_TARGET_OK;
}

static void forget(void *, void *handle) { delete static_cast<Buffer *>(handle); }

static void close(void *target) { delete static_cast<Rings *>(target); }

static int totals(void *target, uint32_t device, uint32_t memory, hb_target_totals *totals)
{
    *totals = (*static_cast<Rings *>(target))[device * 4 + memory]->totals();
    return HB_TARGET_OK;
}

extern "C" const hb_target *hb_target_v1()
{
    static const hb_target target{HB_TARGET_ABI, 0, "ring", nullptr, open, allocate, deallocate,
                                  forget, close, {}, {}, {}, totals};
    return &target;
}
