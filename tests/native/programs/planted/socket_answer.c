// Planted: two ends of a connection over TCP to itself: main asks only if the other is not there
// yet, and the other answers only what was asked. With -DPAIR: a pair of sockets.
// Fewest preemptions: 1, of main before it looks.
// Failure: deadlock: both wait for the other to say something.
#include "../threads.h"
#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

static int own, other;
static atomic_bool is_there;

static void *answer(void *unused) {
    char byte;
    atomic_store(&is_there, true);
    pthread_mutex_t here = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&here);
    pthread_mutex_unlock(&here);
    assert(read(other, &byte, 1) == 1);
    assert(write(other, &byte, 1) == 1);
    return unused;
}

static void connect_both(void) {
#ifdef PAIR
    int ends[2];
    assert(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    own = ends[0];
    other = ends[1];
#else
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    assert(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 1) == 0);
    assert(getsockname(listener, (struct sockaddr *)&at, &size) == 0);
    own = socket(AF_INET, SOCK_STREAM, 0);
    assert(connect(own, (struct sockaddr *)&at, sizeof at) == 0);
    other = accept(listener, NULL, NULL);
    assert(other >= 0 && close(listener) == 0);
#endif
}

int main(void) {
    char byte = 'x';
    connect_both();
    pthread_t worker = start(answer, NULL);
#ifdef FIXED
    bool asks = true;
#else
    bool asks = !atomic_load(&is_there);
#endif
    if (asks) {
        assert(write(own, &byte, 1) == 1);
    }
    assert(read(own, &byte, 1) == 1);
    join(worker);
    return 0;
}
