// Programs of which little can be said: how is chosen by the argument.
#include "tracked.h"

#include <csignal>
#include <string>
#include <thread>
#include <vector>

extern "C" int report_totals(uint32_t device, uint32_t memory, uint64_t *bytes)
{
    if (device > 0)
        return 1;
    *bytes = memory == L1 ? 4096 : 0;
    return 0;
}

int main(int argc, char **argv)
{
    std::string how = argc > 1 ? argv[1] : "";
    if (how == "silent")
        return 0;
    client.connect();
    if (how == "mute")
        return 0;
    if (how == "rubbish") {
        std::vector<char> bytes(1000, '\xee');
        return write(client.fd(), bytes.data(), bytes.size()) < 0;
    }
    if (how == "half") {
        Message message{};
        message.type = ALLOC;
        return write(client.fd(), &message, 50) < 0;
    }
    if (how == "flood") {
        std::vector<char> bytes(1 << 20, 1);
        for (int round = 0; round < 80; round++)
            if (write(client.fd(), bytes.data(), bytes.size()) < 0)
                return 1;
        return 0;
    }
    if (how == "many") {
        for (int round = 0; round < 100; round++) {
            int fd = socket(AF_UNIX, SOCK_STREAM, 0);
            sockaddr_un to{};
            to.sun_family = AF_UNIX;
            strcpy(to.sun_path, "/tmp/tt_allocation_server.sock");
            (void)connect(fd, reinterpret_cast<sockaddr *>(&to), sizeof to);
        }
        return 0;
    }
    uint64_t address = allocator.allocate(0, 4096);
    client.send(ALLOC, 0, address, 4096);
    if (how == "killed")
        raise(SIGKILL);
    if (how == "dumped")
        client.send(5, 0, 0, 0);
    if (how == "unanswered") {
        // A dump is for the server's log: no answer comes.
        client.send(5, 0, 0, 0);
        Message answer;
        return recv(client.fd(), &answer, sizeof answer, 0) < 0;
    }
    if (how == "wrong-total")
        client.send(ALLOC, 0, 0x9000, 64);
    return 0;
}
