// A target: slabs with a cache for each thread. Pages come from a pool; small buffers from pages of
// their size, by way of the thread's cache. `options` names a planted fault; without, it is the
// correct twin, which gives its caches back in `check`.
//
//   no-lock      a page for a slab is looked for under the lock, and taken under it again
//   lost-page    a page that is all free is given back only where few pieces are free
//   dead-class   a size that found no page once never does again
//   border       sizes a little above a class are taken to be of it
#include "heisenbed.h"

#include <array>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

class Slabs {
  public:
    Slabs(uint64_t bytes, std::string fault) : fault_(std::move(fault))
    {
        if (bytes / kPage)
            pages_[0] = bytes / kPage;
    }

    bool allocate(uint64_t size, uint64_t *address)
    {
        int of = class_of(size);
        if (of < 0) {
            uint64_t page;
            std::lock_guard<std::mutex> guard(pool_);
            if (!take((size + kPage - 1) / kPage, &page))
                return false;
            *address = page * kPage;
        } else if (!take_small(of, address))
            return false;
        std::lock_guard<std::mutex> guard(live_lock_);
        live_[*address] = {of, size};
        live_bytes_ += size;
        return true;
    }

    void release(uint64_t address)
    {
        Live live;
        {
            std::lock_guard<std::mutex> guard(live_lock_);
            live = live_[address];
            live_.erase(address);
            live_bytes_ -= live.size;
        }
        if (live.of < 0) {
            std::lock_guard<std::mutex> guard(pool_);
            give(address / kPage, (live.size + kPage - 1) / kPage);
            return;
        }
        Cache &cache = own_cache();
        std::lock_guard<std::mutex> guard(cache.lock);
        cache.free[live.of].push_back(address);
        if (cache.free[live.of].size() > kMost) {
            put_back(live.of, address);
            cache.free[live.of].pop_back();
        }
    }

    // Nobody else is there.
    void trim()
    {
        for (auto &[thread, cache] : caches_)
            for (int of = 0; of < kClasses; of++) {
                for (uint64_t address : cache->free[of])
                    put_back(of, address);
                cache->free[of].clear();
            }
    }

    hb_target_totals totals() const { return {live_bytes_, live_.size(), UINT64_MAX}; }

  private:
    static constexpr uint64_t kPage = 16384;
    static constexpr int kClasses = 6; // 256 bytes to 8 KB
    static constexpr size_t kMost = 2;

    struct Cache {
        std::mutex lock;
        std::array<std::vector<uint64_t>, kClasses> free;
    };
    struct Live {
        int of;
        uint64_t size;
    };

    int class_of(uint64_t size) const
    {
        uint64_t slack = fault_ == "border" ? 16 : 0;
        for (int of = 0; of < kClasses; of++)
            if (size <= (256u << of) + slack)
                return of;
        return -1;
    }

    Cache &own_cache()
    {
        std::lock_guard<std::mutex> guard(caches_lock_);
        std::unique_ptr<Cache> &cache = caches_[std::this_thread::get_id()];
        if (!cache)
            cache = std::make_unique<Cache>();
        return *cache;
    }

    bool take_small(int of, uint64_t *address)
    {
        Cache &cache = own_cache();
        {
            std::lock_guard<std::mutex> guard(cache.lock);
            if (!cache.free[of].empty()) {
                *address = cache.free[of].back();
                cache.free[of].pop_back();
                return true;
            }
        }
        std::lock_guard<std::mutex> guard(slabs_lock_);
        for (auto &[page, free] : slabs_[of])
            if (!free.empty()) {
                *address = *free.begin();
                free.erase(free.begin());
                return true;
            }
        std::unique_lock<std::mutex> pool(pool_);
        if (pages_.empty())
            dead_[of] = fault_ == "dead-class";
        if (pages_.empty() || dead_[of])
            return false;
        uint64_t page = pages_.begin()->first;
        if (fault_ == "no-lock") {
            pool.unlock();
            pool.lock();
        }
        auto at = pages_.find(page);
        uint64_t count = at == pages_.end() ? 1 : at->second;
        pages_.erase(page);
        if (count > 1)
            pages_[page + 1] = count - 1;
        std::set<uint64_t> &free = slabs_[of][page];
        for (uint64_t in = 0; in < kPage; in += 256u << of)
            free.insert(page * kPage + in);
        *address = *free.begin();
        free.erase(free.begin());
        return true;
    }

    void put_back(int of, uint64_t address)
    {
        std::lock_guard<std::mutex> guard(slabs_lock_);
        auto slab = slabs_[of].find(address / kPage);
        slab->second.insert(address);
        if (slab->second.size() < kPage / (256u << of))
            return;
        slabs_[of].erase(slab);
        std::lock_guard<std::mutex> pool(pool_);
        if (fault_ != "lost-page" || pages_.size() < 2)
            give(address / kPage, 1);
    }

    bool take(uint64_t count, uint64_t *page)
    {
        for (auto at = pages_.begin(); at != pages_.end(); ++at)
            if (at->second >= count) {
                uint64_t rest = at->second - count;
                *page = at->first;
                pages_.erase(at);
                if (rest)
                    pages_[*page + count] = rest;
                return true;
            }
        return false;
    }

    void give(uint64_t page, uint64_t count)
    {
        auto at = pages_.emplace(page, count).first;
        auto next = std::next(at);
        if (next != pages_.end() && page + count == next->first) {
            at->second += next->second;
            pages_.erase(next);
        }
        if (at == pages_.begin())
            return;
        auto before = std::prev(at);
        if (before->first + before->second == page) {
            before->second += at->second;
            pages_.erase(at);
        }
    }

    std::string fault_;
    std::mutex caches_lock_, slabs_lock_, pool_, live_lock_;
    std::map<std::thread::id, std::unique_ptr<Cache>> caches_;
    std::array<std::map<uint64_t, std::set<uint64_t>>, kClasses> slabs_;
    std::array<bool, kClasses> dead_{}; // Under slabs_lock_.
    std::map<uint64_t, uint64_t> pages_;
    std::map<uint64_t, Live> live_;
    uint64_t live_bytes_ = 0;
};

using All = std::vector<std::unique_ptr<Slabs>>;

struct Buffer {
    Slabs *slabs;
    uint64_t address;
};

static void *open(const hb_target_config *config, char *, size_t)
{
    auto *all = new All;
    for (uint32_t at = 0; at < config->devices * 4; at++)
        all->emplace_back(new Slabs(config->size[at % 4], config->options));
    return all;
}

static int allocate(void *target, uint32_t device, uint32_t memory, uint64_t size, uint32_t flags,
                    void *, void **handle, uint64_t *address)
{
    Slabs *slabs = (*static_cast<All *>(target))[device * 4 + memory].get();
    if (flags)
        return HB_TARGET_UNSUPPORTED;
    if (!slabs->allocate(size, address))
        return HB_TARGET_NO_MEMORY;
    *handle = new Buffer{slabs, *address};
    return HB_TARGET_OK;
}

static int deallocate(void *, void *handle)
{
    auto *buffer = static_cast<Buffer *>(handle);
    buffer->slabs->release(buffer->address);
    return HB_TARGET_OK;
}

static void forget(void *, void *handle) { delete static_cast<Buffer *>(handle); }

static void close(void *target) { delete static_cast<All *>(target); }

static int check(void *target, char *, size_t)
{
    for (auto &slabs : *static_cast<All *>(target))
        slabs->trim();
    return HB_TARGET_OK;
}

static int totals(void *target, uint32_t device, uint32_t memory, hb_target_totals *totals)
{
    *totals = (*static_cast<All *>(target))[device * 4 + memory]->totals();
    return HB_TARGET_OK;
}

extern "C" const hb_target *hb_target_v1()
{
    static const hb_target target{
        HB_TARGET_ABI, HB_TARGET_CACHES | HB_TARGET_TRIMS, "slabs", nullptr, open, allocate,
        deallocate, forget, close, {}, {}, check, totals};
    return &target;
}
