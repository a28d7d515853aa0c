// A target: buddies. Blocks of powers of two are split and joined under one mutex. `options` names
// a planted fault; without, it is the correct twin.
//
//   no-lock       the lists are looked at before the lock is taken
//   order         a neighbour is joined that was split meanwhile
//   lost          a released block is lost where two of its size are free already
//   stale-header  the header of a joined block is used after it was given back
//   totals        bytes are counted outside of the lock
#include "heisenbed.h"

#include <atomic>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

class Buddies {
  public:
    struct Block {
        uint64_t address;
        int order;
        bool is_free;
        uint64_t asked;
        Block *next, *previous;
    };

    Buddies(uint64_t bytes, uint64_t smallest, std::string fault)
        : smallest_(smallest), fault_(std::move(fault))
    {
        while (bytes - end_ >= smallest_) {
            int order = 0;
            while ((smallest_ << (order + 1)) <= bytes - end_ &&
                   end_ % (smallest_ << (order + 1)) == 0)
                order++;
            push(make(end_, order));
            end_ += smallest_ << order;
        }
    }

    ~Buddies()
    {
        for (auto &[address, block] : blocks_)
            delete block;
    }

    Block *allocate(uint64_t size, uint64_t *address)
    {
        int order = 0;
        while ((smallest_ << order) < size)
            order++;
        std::unique_lock<std::mutex> guard(mutex_);
        Block *block = first(order);
        if (fault_ == "no-lock") {
            guard.unlock();
            guard.lock();
        }
        if (!block)
            return nullptr;
        pop(block);
        while (block->order > order) {
            block->order--;
            push(make(block->address + (smallest_ << block->order), block->order));
        }
        block->asked = size;
        live_bytes_ = live_bytes_ + size;
        live_++;
        *address = block->address;
        return block;
    }

    void release(Block *block)
    {
        std::unique_lock<std::mutex> guard(mutex_);
        uint64_t bytes = live_bytes_;
        if (fault_ == "totals") {
            guard.unlock();
            guard.lock();
        }
        live_bytes_ = bytes - block->asked;
        live_--;
        while (Block *other = buddy(block)) {
            pop(other);
            Block *low = block->address < other->address ? block : other;
            Block *high = low == block ? other : block;
            blocks_.erase(high->address);
            discard(high);
            low->order++;
            if (fault_ == "stale-header" && high->order != low->order - 1)
                low->order = 0;
            block = low;
        }
        if (fault_ == "lost" && heads_[block->order] && heads_[block->order]->next)
            return;
        push(block);
    }

    hb_target_totals totals() const { return {live_bytes_, live_, UINT64_MAX}; }

    bool check() const
    {
        uint64_t bytes = 0;
        for (auto &[address, block] : blocks_)
            bytes += smallest_ << block->order;
        return bytes == end_;
    }

  private:
    // Not in sight of the compiler, which would know what is used after.
    [[gnu::noipa]] static void discard(Block *block) { delete block; }

    Block *first(int order) const
    {
        while (order < kOrders && !heads_[order])
            order++;
        return order < kOrders ? heads_[order] : nullptr;
    }

    Block *buddy(const Block *block) const
    {
        auto found = blocks_.find(block->address ^ (smallest_ << block->order));
        if (found == blocks_.end() || !found->second->is_free)
            return nullptr;
        return found->second->order == block->order || fault_ == "order" ? found->second : nullptr;
    }

    Block *make(uint64_t address, int order)
    {
        return blocks_[address] = new Block{address, order, false, 0, nullptr, nullptr};
    }

    void push(Block *block)
    {
        block->is_free = true;
        block->previous = nullptr;
        block->next = heads_[block->order];
        if (block->next)
            block->next->previous = block;
        heads_[block->order] = block;
    }

    void pop(Block *block)
    {
        block->is_free = false;
        (block->previous ? block->previous->next : heads_[block->order]) = block->next;
        if (block->next)
            block->next->previous = block->previous;
    }

    static constexpr int kOrders = 48;
    uint64_t smallest_, end_ = 0;
    std::string fault_;
    std::mutex mutex_;
    Block *heads_[kOrders + 1] = {};
    std::map<uint64_t, Block *> blocks_;
    std::atomic<uint64_t> live_bytes_{0};
    uint64_t live_ = 0;
};

using All = std::vector<std::unique_ptr<Buddies>>;

struct Buffer {
    Buddies *buddies;
    Buddies::Block *block;
};

static void *open(const hb_target_config *config, char *, size_t)
{
    auto *all = new All;
    for (uint32_t at = 0; at < config->devices * 4; at++)
        all->emplace_back(new Buddies(config->size[at % 4], config->alignment, config->options));
    return all;
}

static int allocate(void *target, uint32_t device, uint32_t memory, uint64_t size, uint32_t flags,
                    void *, void **handle, uint64_t *address)
{
    Buddies *buddies = (*static_cast<All *>(target))[device * 4 + memory].get();
    if (flags)
        return HB_TARGET_UNSUPPORTED;
    Buddies::Block *block = buddies->allocate(size, address);
    if (!block)
        return HB_TARGET_NO_MEMORY;
    *handle = new Buffer{buddies, block};
    return HB_TARGET_OK;
}

static int deallocate(void *, void *handle)
{
    auto *buffer = static_cast<Buffer *>(handle);
    buffer->buddies->release(buffer->block);
    return HB_TARGET_OK;
}

static void forget(void *, void *handle) { delete static_cast<Buffer *>(handle); }

static void close(void *target) { delete static_cast<All *>(target); }

static int check(void *target, char *why, size_t why_size)
{
    for (auto &buddies : *static_cast<All *>(target))
        if (!buddies->check()) {
            snprintf(why, why_size, "blocks do not add up to the memory");
            return HB_TARGET_FAILED;
        }
    return HB_TARGET_OK;
}

static int totals(void *target, uint32_t device, uint32_t memory, hb_target_totals *totals)
{
    *totals = (*static_cast<All *>(target))[device * 4 + memory]->totals();
    return HB_TARGET_OK;
}

extern "C" const hb_target *hb_target_v1()
{
    static const hb_target target{HB_TARGET_ABI, 0, "buddies", "any-hole", open, allocate,
                                  deallocate, forget, close, {}, {}, check, totals};
    return &target;
}
