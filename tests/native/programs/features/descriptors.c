// Features: pipes, sockets, poll, select, epoll, eventfd and futexes between threads, in C.
// Each section prints a line, the same in every schedule; descriptors.c.out has them.
// Ends: exit 0.
#define _GNU_SOURCE
#include "features.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

// ---- Descriptors --------------------------------------------------------------------------------

static int pipe_ends[2];
static int sockets[2];

static void *write_pipe(void *unused) {
    (void)unused;
    for (char letter = 'a'; letter < 'e'; letter++) {
        if (write(pipe_ends[1], &letter, 1) != 1) {
            return NULL;
        }
    }
    return NULL;
}

static void *echo(void *unused) {
    (void)unused;
    char buffer[8];
    ssize_t got;
    while ((got = recv(sockets[1], buffer, sizeof buffer, 0)) > 0) {
        send(sockets[1], buffer, (size_t)got, MSG_NOSIGNAL);
    }
    return NULL;
}

static int await_poll(int descriptor) {
    struct pollfd entry = {descriptor, POLLIN, 0};
    return poll(&entry, 1, -1) == 1 && (entry.revents & POLLIN) != 0;
}

static int await_select(int descriptor) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(descriptor, &set);
    return select(descriptor + 1, &set, NULL, NULL, NULL) == 1;
}

static int await_epoll(int descriptor) {
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = descriptor}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
    struct epoll_event got;
    int count = epoll_wait(epoll, &got, 1, -1);
    close(epoll);
    return count == 1 && got.data.fd == descriptor;
}

static void *accept_one(void *listener) {
    int connection = accept(*(int *)listener, NULL, NULL);
    char buffer[4] = "";
    ssize_t got = read(connection, buffer, sizeof buffer);
    if (write(connection, "pong", 4) != 4) {
        got = -1;
    }
    close(connection);
    return (void *)(intptr_t)got;
}

static int event_descriptor;

static void *add_event(void *unused) {
    (void)unused;
    uint64_t value = 3;
    return (void *)(intptr_t)write(event_descriptor, &value, sizeof value);
}

static void descriptors(void) {
    if (pipe(pipe_ends) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0) {
        exit(70);
    }
    char letters[5] = "";
    pthread_t writer = start(write_pipe, NULL);
    int ready_count = await_poll(pipe_ends[0]);
    for (int i = 0; i < 4; i++) {
        if (read(pipe_ends[0], &letters[i], 1) != 1) {
            letters[i] = '?';
        }
    }
    join(writer);
    writer = start(write_pipe, NULL);
    ready_count += await_select(pipe_ends[0]) + await_epoll(pipe_ends[0]);
    join(writer);
    printf("pipe: %s, ready %d of 3", letters, ready_count);
    if (read(pipe_ends[0], letters, 4) != 4) {
        letters[0] = '?';
    }
    struct pollfd empty = {pipe_ends[0], POLLIN, 0};
    printf(", %s, then empty: poll %d", letters, poll(&empty, 1, 2));
    fcntl(pipe_ends[0], F_SETFL, O_NONBLOCK);
    printf(", read %s\n", read(pipe_ends[0], letters, 1) < 0 ? name(errno) : "?");

    pthread_t echoing = start(echo, NULL);
    char answer[3] = "";
    send(sockets[0], "hi", 2, 0);
    recv(sockets[0], answer, 2, MSG_WAITALL);
    struct iovec part = {answer, 2};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    sendmsg(sockets[0], &message, 0);
    ssize_t got = recvmsg(sockets[0], &message, MSG_WAITALL);
    int nothing_yet = recv(sockets[0], answer, 2, MSG_DONTWAIT) < 0 ? errno : 0;
    shutdown(sockets[0], SHUT_WR);
    join(echoing);
    printf("socketpair: %s, %zd bytes, then %s\n", answer, got, name(nothing_yet));

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "features-%d",
                          (int)getpid());
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    int bound = bind(listener, (struct sockaddr *)&address, size);
    int listening = listen(listener, 1);
    pthread_t server = start(accept_one, &listener);
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    int connected = connect(client, (struct sockaddr *)&address, size);
    char reply[5] = "";
    if (write(client, "ping", 4) != 4 || recv(client, reply, 4, MSG_WAITALL) != 4) {
        strcpy(reply, "none");
    }
    void *served = NULL;
    pthread_join(server, &served);
    printf("socket: %s %s %s, served %d bytes, %s\n", name(error_of(bound)),
           name(error_of(listening)), name(error_of(connected)), (int)(intptr_t)served, reply);
    close(client);
    close(listener);

    event_descriptor = eventfd(0, 0);
    pthread_t adder = start(add_event, NULL);
    uint64_t value = 0;
    if (read(event_descriptor, &value, sizeof value) != sizeof value) {
        value = 0;
    }
    join(adder);
    printf("eventfd: %d\n", (int)value);
    close(event_descriptor);
}

// ---- Futexes ------------------------------------------------------------------------------------

static _Atomic int futex_turn;

static long futex(int operation, int value, const struct timespec *timeout) {
    return syscall(SYS_futex, &futex_turn, operation, value, timeout, NULL, 0);
}

static void *futex_alternate(void *side) {
    int mine = *(const int *)side;
    for (int i = 0; i < 10; i++) {
        int seen;
        while ((seen = futex_turn) % 2 != mine) {
            futex(FUTEX_WAIT_PRIVATE, seen, NULL);
        }
        futex_turn++;
        futex(FUTEX_WAKE_PRIVATE, 1, NULL);
    }
    return NULL;
}

static void futexes(void) {
    static int sides[2] = {0, 1};
    pthread_t one = start(futex_alternate, &sides[0]), other = start(futex_alternate, &sides[1]);
    join(one);
    join(other);
    struct timespec moment = {0, 2000000};
    int changed = error_of((int)futex(FUTEX_WAIT_PRIVATE, 99, NULL));
    // A wait without a waker ends by its time, or by a wake-up without a reason before.
    int timed;
    do {
        timed = error_of((int)futex(FUTEX_WAIT_PRIVATE, 20, &moment));
    } while (timed == 0 || timed == EINTR);
    printf("futex: %d turns, changed %s, timed %s\n", futex_turn, name(changed), name(timed));
}

int main(void) {
    descriptors();
    futexes();
    return 0;
}
