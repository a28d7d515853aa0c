#include "buffer.h"

#include <atomic>
#include <fstream>

#include "locks.h"

// The claim: of several threads that release one buffer, one goes on.
static bool claim(AllocationStatus &status)
{
    AllocationStatus live = AllocationStatus::Allocated;
    return std::atomic_ref(status).compare_exchange_strong(live, AllocationStatus::Dying);
}

Buffer::Buffer(Runtime &runtime, Kind kind, uint32_t device, Memory memory, uint64_t size)
    : runtime_(runtime), kind_(kind), device_(device), memory_(memory), size_(size)
{
}

bool Buffer::allocate(const Publish &publish, uint64_t *address)
{
    if (kind_ == Kind::Preallocated) {
        // The memory is somebody else's: nothing is allocated, and nothing is tracked.
        address_ = *address;
        return true;
    }
    bool done = allocate_impl(publish);
    *address = address_;
    return done;
}

void Buffer::deallocate()
{
    if (kind_ != Kind::Preallocated)
        deallocate_impl();
}

bool Buffer::allocate_impl(const Publish &publish)
{
    Guard lifecycle(wide_lock(runtime_.options, device_)); // level 2 as described
    if (!runtime_.allocator(device_, memory_).allocate_buffer(size_, &address_))
        return false;
    set_status(AllocationStatus::Allocated);
    if (publish)
        publish(address_);
    Guard narrow(narrow_lock(runtime_.options, device_)); // level 2 as applied
    write_debug_log("BUFFER ALLOCATED");
    const Tracked tracked{device_, memory_, address_, size_};
    if (kind_ == Kind::Circular)
        runtime_.tracker.track_allocate_cb(tracked);
    else
        runtime_.tracker.track_allocate(tracked);
    return true;
}

void Buffer::deallocate_impl()
{
    if (!is_allocated())
        return;
    Guard lifecycle(wide_lock(runtime_.options, device_));
    if (runtime_.options.free_first)
        runtime_.allocator(device_, memory_).deallocate_buffer(address_);
    {
        Guard narrow(narrow_lock(runtime_.options, device_));
        write_debug_log("BUFFER DEALLOCATED");
        const Tracked tracked{device_, memory_, address_, size_};
        if (kind_ == Kind::Circular)
            runtime_.tracker.track_deallocate_cb(tracked);
        else
            runtime_.tracker.track_deallocate(tracked);
    }
    if (!runtime_.options.free_first)
        runtime_.allocator(device_, memory_).deallocate_buffer(address_);
    set_status(AllocationStatus::Deallocated);
}

bool Buffer::is_allocated()
{
    if (runtime_.options.claims)
        return claim(allocation_status_);
    return allocation_status_ == AllocationStatus::Allocated; // a plain read, before any lock
}

void Buffer::set_status(AllocationStatus status)
{
    if (runtime_.options.claims)
        std::atomic_ref(allocation_status_).store(status);
    else
        allocation_status_ = status;
}

void Buffer::write_debug_log(const char *title)
{
    if (runtime_.options.debug_log.empty())
        return;
    std::ofstream log(runtime_.options.debug_log, std::ios::app);
    log << title << "\n  Device: " << device_ << "\n  Address: " << address_ << "\n  Size: "
        << size_ << " bytes\n";
}

MeshBuffer::MeshBuffer(Runtime &runtime, uint32_t first, uint32_t count, Memory memory,
                       uint64_t size)
    : runtime_(runtime), first_(first), count_(count), memory_(memory), size_(size)
{
}

bool MeshBuffer::allocate(uint64_t *addresses)
{
    if (!allocate_backing())
        return false;
    std::copy(backing_.begin(), backing_.end(), addresses);
    create_views();
    return true;
}

// As reported: the backing buffer gives its addresses back, and only then do the views die.
void MeshBuffer::deallocate()
{
    if (runtime_.options.views_first) {
        if (!claim(status_))
            return;
        release_views();
        release_backing();
    } else {
        release_backing();
        release_views();
    }
}

bool MeshBuffer::allocate_backing()
{
    for (uint32_t at = 0; at < count_; at++) {
        uint64_t address;
        if (!runtime_.allocator(first_ + at, memory_).allocate_buffer(size_, &address)) {
            release_backing();
            backing_.clear();
            return false;
        }
        backing_.push_back(address);
        if (runtime_.options.views_first)
            std::atomic_ref(status_).store(AllocationStatus::Allocated);
    }
    return true;
}

void MeshBuffer::release_backing()
{
    for (uint32_t at = 0; at < backing_.size(); at++) {
        runtime_.allocator(first_ + at, memory_).deallocate_buffer(backing_[at]);
        if (runtime_.options.views_first)
            std::atomic_ref(status_).store(AllocationStatus::Deallocated);
    }
}

// A view does not own its memory: it takes no lifecycle lock, but for the fix.
void MeshBuffer::create_views()
{
    for (uint32_t at = 0; at < count_; at++) {
        views_.push_back({first_ + at, memory_, backing_[at], size_});
        const Options &options = runtime_.options;
        Guard fix(options.views_first ? wide_lock(options, first_ + at) : nullptr);
        runtime_.tracker.track_allocate(views_.back());
    }
}

void MeshBuffer::release_views()
{
    for (const Tracked &view : views_)
        runtime_.tracker.track_deallocate(view);
}
