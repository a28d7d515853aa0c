// A small runtime as real ones are: an allocator with a mutex of its own, buffers that are tracked,
// and a client that sends fixed-size messages over one socket. What differs is chosen by defines:
//
//   FREE_FIRST   the address is given back before its FREE is sent (else after)
//   NARROW       a lock around each send, not around address and send
//   WIDE         the same lock from the address to its message
//   ANNOTATED    the allocator tells heisenbed what it does
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef ANNOTATED
#include "../../../../include/heisenbed.h"
#else
static inline void hb_truth_alloc(uint32_t, uint32_t, uint64_t, uint64_t) {}
static inline void hb_truth_free(uint32_t, uint32_t, uint64_t) {}
#endif

constexpr int ALLOC = 1, FREE = 2, QUERY = 3;
constexpr uint32_t L1 = 1;

// 112 bytes, as on the wire.
struct __attribute__((packed)) Message {
    uint8_t type;
    uint8_t pad[3];
    int32_t device;
    uint64_t size;
    uint8_t buffer_type;
    uint8_t pad2[3];
    int32_t pid;
    uint64_t address;
    uint64_t timestamp;
    uint64_t dram, l1, l1_small, trace;
    uint8_t properties[40];
};
static_assert(sizeof(Message) == 112);

// Hands out the lowest free address: what was given back last comes again first.
class Allocator {
  public:
    __attribute__((noinline)) uint64_t allocate(uint32_t device, uint64_t size)
    {
        std::lock_guard<std::mutex> guard(mutex_);
        uint64_t address = 0x1000;
        while (live_.count(address))
            address += 0x1000;
        live_[address] = size;
        hb_truth_alloc(device, L1, address, size);
        return address;
    }

    __attribute__((noinline)) void release(uint32_t device, uint64_t address)
    {
        std::lock_guard<std::mutex> guard(mutex_);
        live_.erase(address);
        hb_truth_free(device, L1, address);
    }

    uint64_t total()
    {
        uint64_t sum = 0;
        for (auto &entry : live_)
            sum += entry.second;
        return sum;
    }

  private:
    std::mutex mutex_;
    std::map<uint64_t, uint64_t> live_;
};

class Client {
  public:
    void connect()
    {
        const char *path = getenv("TRACKING_SOCKET");
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        strncpy(to.sun_path, path ? path : "/tmp/tt_allocation_server.sock",
                sizeof to.sun_path - 1);
#ifdef DATAGRAMS
        fd_ = socket(AF_UNIX, SOCK_DGRAM, 0);
#else
        fd_ = socket(AF_UNIX, SOCK_STREAM, 0);
#endif
        if (::connect(fd_, reinterpret_cast<sockaddr *>(&to), sizeof to) != 0) {
            perror("no tracking server");
            exit(3);
        }
    }

    void send(int type, int device, uint64_t address, uint64_t size)
    {
        Message message{};
        message.type = static_cast<uint8_t>(type);
        message.device = device;
        message.size = size;
        message.buffer_type = L1;
        message.pid = getpid();
        message.address = address;
        if (type == ALLOC)
            message.timestamp = static_cast<uint64_t>(time(nullptr));
        ssize_t sent = ::send(fd_, &message, sizeof message, MSG_NOSIGNAL);
        if (sent != static_cast<ssize_t>(sizeof message))
            perror("send");
    }

    uint64_t query(int device)
    {
        send(QUERY, device, 0, 0);
        Message answer{};
        if (recv(fd_, &answer, sizeof answer, MSG_WAITALL) != sizeof answer)
            return UINT64_MAX;
        return answer.l1;
    }

    int fd() const { return fd_; }

  private:
    int fd_ = -1;
};

inline Allocator allocator;
inline Client client;
inline std::mutex lifecycle;
