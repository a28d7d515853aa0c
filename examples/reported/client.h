// The tracking client: messages of 144 bytes over one stream socket a process.
#pragma once

#include <cstdint>

#include "options.h"

enum class MessageType : uint8_t { Alloc = 1, Free = 2, CbAlloc = 8, CbFree = 9 };

struct __attribute__((packed)) Message {
    MessageType type;
    uint8_t pad[3];
    int32_t device_id;
    uint64_t size;
    uint8_t buffer_type;
    uint8_t pad2[3];
    int32_t process_id;
    uint64_t buffer_id; // the address
    uint64_t timestamp; // 0 in FREE
    uint8_t response[104];
};
static_assert(sizeof(Message) == 144);

class Client {
  public:
    explicit Client(const Options &options);
    ~Client();

    // Whether there is a server.
    bool connect();
    // Sends, and connects before where nobody did: two threads may both find that nobody did.
    void send(const Message &message);

  private:
    const Options &options_;
    int fd_ = -1;
};
