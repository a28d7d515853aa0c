// A target with buffers that are tracked: an allocator with a mutex of its own, two-step buffers,
// and a client that sends a message for each. `options` are words, with spaces between them:
//
//   free-first   the address is given back before its FREE is sent (else after)
//   wide         a lock from the address to its message
//   silent       the allocator does not tell heisenbed what it does
//   twice        a second release of a buffer gives its address back again
//   stale        it sends by a copy of its socket of the time before, where there was one
#include "heisenbed.h"

#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

struct __attribute__((packed)) Message {
    uint8_t type;
    uint8_t pad[3];
    int32_t device;
    uint64_t size;
    uint8_t memory;
    uint8_t pad2[3];
    int32_t pid;
    uint64_t address, timestamp, totals[4];
    uint8_t properties[40];
};
static_assert(sizeof(Message) == 112);

struct Options {
    bool free_first, wide, silent, twice, stale;
};

// Hands out the lowest free address: what was given back last comes again first.
struct Memory {
    std::mutex mutex;
    std::map<uint64_t, uint64_t> live;
};

struct Buffer {
    uint32_t device, memory;
    uint64_t address;
    bool is_live;
};

class Runtime {
  public:
    explicit Runtime(const hb_target_config *config)
        : config_(*config), memories_(new Memory[config->devices * 4])
    {
        const std::string words = std::string(" ") + config->options + " ";
        auto has = [&](const char *word) { return words.find(word) != std::string::npos; };
        options_ = {has(" free-first "), has(" wide "), has(" silent "), has(" twice "),
                    has(" stale ")};
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        strncpy(to.sun_path, config->socket ? config->socket : "", sizeof to.sun_path - 1);
        socket_ = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(socket_, reinterpret_cast<sockaddr *>(&to), sizeof to) != 0) {
            close(socket_);
            socket_ = -1;
        }
    }

    ~Runtime()
    {
        if (options_.stale && copy_ < 0)
            copy_ = dup(socket_);
        if (socket_ >= 0)
            close(socket_);
        delete[] memories_;
    }

    int allocate(uint32_t device, uint32_t memory, uint64_t size, Buffer **made, uint64_t *address)
    {
        std::unique_lock<std::mutex> lock(lifecycle_, std::defer_lock);
        if (options_.wide)
            lock.lock();
        if (!place(device, memory, size, address))
            return HB_TARGET_NO_MEMORY;
        *made = new Buffer{device, memory, *address, true};
        send(1, **made, size);
        return HB_TARGET_OK;
    }

    int deallocate(Buffer *buffer)
    {
        std::unique_lock<std::mutex> lock(lifecycle_, std::defer_lock);
        if (options_.wide)
            lock.lock();
        if (!buffer->is_live && !options_.twice)
            return HB_TARGET_OK;
        buffer->is_live = false;
        if (options_.free_first)
            give_back(*buffer);
        send(2, *buffer, 0);
        if (!options_.free_first)
            give_back(*buffer);
        return HB_TARGET_OK;
    }

  private:
    Memory &memory_of(uint32_t device, uint32_t memory) { return memories_[device * 4 + memory]; }

    bool place(uint32_t device, uint32_t memory, uint64_t size, uint64_t *address)
    {
        Memory &space = memory_of(device, memory);
        std::lock_guard<std::mutex> guard(space.mutex);
        uint64_t unit = config_.alignment, at = unit;
        for (const auto &[begin, bytes] : space.live) {
            if (begin >= at + size)
                break;
            at = (begin + bytes + unit - 1) / unit * unit;
        }
        if (at + size > config_.size[memory] + unit)
            return false;
        space.live[at] = size;
        *address = at;
        if (!options_.silent)
            hb_truth_alloc(device, memory, at, size);
        return true;
    }

    void give_back(const Buffer &buffer)
    {
        Memory &space = memory_of(buffer.device, buffer.memory);
        std::lock_guard<std::mutex> guard(space.mutex);
        space.live.erase(buffer.address);
        if (!options_.silent)
            hb_truth_free(buffer.device, buffer.memory, buffer.address);
    }

    void send(int type, const Buffer &buffer, uint64_t size)
    {
        if (socket_ < 0)
            return;
        Message message{};
        message.type = static_cast<uint8_t>(type);
        message.device = static_cast<int32_t>(buffer.device);
        message.size = size;
        message.memory = static_cast<uint8_t>(buffer.memory);
        message.pid = getpid();
        message.address = buffer.address;
        (void)!::send(copy_ >= 0 ? copy_ : socket_, &message, sizeof message, MSG_NOSIGNAL);
    }

    hb_target_config config_;
    Options options_;
    Memory *memories_;
    std::mutex lifecycle_;
    int socket_ = -1;
    static inline int copy_ = -1;
};

Runtime *runtime(void *target) { return static_cast<Runtime *>(target); }

const hb_target TARGET = [] {
    hb_target target{};
    target.abi = HB_TARGET_ABI;
    target.abilities = HB_TARGET_TRACKS | HB_TARGET_SHARED_RELEASE;
    target.name = "lifecycle";
    target.open = [](const hb_target_config *config, char *, size_t) -> void * {
        return new Runtime(config);
    };
    target.allocate = [](void *target, uint32_t device, uint32_t memory, uint64_t size,
                         uint32_t flags, void *, void **handle, uint64_t *address) -> int {
        // One memory only: FREE messages of this layout do not say which one they mean.
        if (flags || memory != HB_MEMORY_L1)
            return HB_TARGET_UNSUPPORTED;
        Buffer *made = nullptr;
        int status = runtime(target)->allocate(device, memory, size, &made, address);
        *handle = made;
        return status;
    };
    target.deallocate = [](void *target, void *handle) -> int {
        return runtime(target)->deallocate(static_cast<Buffer *>(handle));
    };
    target.forget = [](void *, void *handle) { delete static_cast<Buffer *>(handle); };
    target.close = [](void *target) { delete runtime(target); };
    return target;
}();

} // namespace

extern "C" const hb_target *hb_target_v1() { return &TARGET; }
