#include "client.h"

#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

Client::Client(const Options &options) : options_(options) {}

Client::~Client()
{
    if (fd_ >= 0)
        close(fd_);
}

bool Client::connect()
{
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    strncpy(to.sun_path, options_.socket.c_str(), sizeof to.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr *>(&to), sizeof to) != 0) {
        close(fd);
        return false;
    }
    fd_ = fd;
    return true;
}

void Client::send(const Message &message)
{
    if (fd_ < 0 && (options_.socket.empty() || !connect()))
        return;
    // Without MSG_NOSIGNAL, as reported: the application dies with its server.
    ::send(fd_, &message, sizeof message, options_.dontwait ? MSG_DONTWAIT : 0);
}
