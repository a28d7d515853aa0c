// A target around an allocator class: what you have is FreeList, the rest is the same for each.
#include "heisenbed.h"
#include <iterator>
#include <map>
#include <mutex>
#include <vector>

class FreeList {
  public:
    FreeList(uint64_t size, uint64_t unit) : unit_(unit) { free_[0] = size / unit * unit; }

    bool allocate(uint64_t size, uint64_t *address)
    {
        uint64_t needed = (size + unit_ - 1) / unit_ * unit_;
        auto found = free_.begin();
        {
            std::lock_guard<std::mutex> guard(mutex_);
            while (found != free_.end() && found->second < needed)
                ++found;
        }
        if (found == free_.end()) // BUG: the lock was given back before the range is taken out.
            return false;
        std::lock_guard<std::mutex> guard(mutex_);
        auto [begin, bytes] = *found;
        free_.erase(begin);
        if (bytes > needed)
            free_[begin + needed] = bytes - needed;
        live_[*address = begin] = needed;
        return true;
    }

    void release(uint64_t address)
    {
        std::lock_guard<std::mutex> guard(mutex_);
        auto freed = free_.emplace(address, live_[address]).first;
        live_.erase(address);
        auto next = std::next(freed);
        if (next != free_.end() && freed->first + freed->second == next->first) {
            freed->second += next->second;
            free_.erase(next);
        }
        if (freed == free_.begin())
            return;
        auto before = std::prev(freed);
        if (before->first + before->second == freed->first) {
            before->second += freed->second;
            free_.erase(freed);
        }
    }

  private:
    uint64_t unit_;
    std::mutex mutex_;
    std::map<uint64_t, uint64_t> free_, live_;
};

struct Buffer { FreeList *list; uint64_t address; };
struct Target { std::vector<FreeList *> lists; };

static void *open(const hb_target_config *config, char *, size_t)
{
    auto *target = new Target;
    for (uint32_t at = 0; at < config->devices * 4; at++)
        target->lists.push_back(new FreeList(config->size[at % 4], config->alignment));
    return target;
}

static int allocate(void *target, uint32_t device, uint32_t memory, uint64_t size, uint32_t flags,
                    void *, void **handle, uint64_t *address)
{
    FreeList *list = static_cast<Target *>(target)->lists[device * 4 + memory];
    if (flags)
        return HB_TARGET_UNSUPPORTED;
    if (!list->allocate(size, address))
        return HB_TARGET_NO_MEMORY;
    *handle = new Buffer{list, *address};
    return HB_TARGET_OK;
}

static int deallocate(void *, void *handle)
{
    auto *buffer = static_cast<Buffer *>(handle);
    buffer->list->release(buffer->address);
    return HB_TARGET_OK;
}

static void forget(void *, void *handle) { delete static_cast<Buffer *>(handle); }

static void close(void *target)
{
    for (FreeList *list : static_cast<Target *>(target)->lists)
        delete list;
    delete static_cast<Target *>(target);
}

extern "C" const hb_target *hb_target_v1()
{
    static const hb_target target{HB_TARGET_ABI, 0, "free list", "first-fit", open, allocate,
                                  deallocate, forget, close, {}, {}, {}, {}};
    return &target;
}
