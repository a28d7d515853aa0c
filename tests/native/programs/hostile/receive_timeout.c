// Hostile: it waits for what never comes over a pair of sockets of its own, but only for a while.
// Ends: exit 0.
#include "../threads.h"
#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>

int main(void) {
    int ends[2];
    char byte;
    struct timeval moment = {.tv_usec = 20000};
    assert(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    assert(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof moment) == 0);
    assert(recv(ends[0], &byte, 1, 0) == -1 && errno == EAGAIN);
    return 0;
}
