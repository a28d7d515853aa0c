/* Descriptors of which both ends are in this process alone: pipes and pairs of sockets that it made
 * itself, connections over TCP from itself to itself, and its events. Where everybody waits for
 * such ones nothing can come from outside, and nobody need wait to see whether it does.
 *
 * What is in doubt is no inner one: what was inherited, what some process that the program made may
 * hold, what is named, and all of them while a thread that is not under control, or a handler of a
 * signal, may use them. Everything is asked of the system when nobody can go on; nothing is kept up
 * to date meanwhile.
 */
#include "io.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_INHERITED 64u
#define MOST_DESCRIPTORS 1024

/* Pipes and sockets that were there before the program: their numbers. */
static ino_t inherited[MOST_INHERITED];
static unsigned inherited_count;
/* More of them, or some that have no number of their own. */
static bool inherits_others;

static bool name_of(int fd, char *name, size_t room)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, name, room - 1);
    name[length < 0 ? 0 : length] = 0;
    return length > 0;
}

/* Before the first schedule. */
void hb_inner_begin(void)
{
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        struct stat about;
        char name[64];
        if (fstat(fd, &about) != 0 || !name_of(fd, name, sizeof name))
            continue;
        bool is_numbered = strncmp(name, "pipe:", 5) == 0 || strncmp(name, "socket:", 7) == 0;
        if (is_numbered && inherited_count < MOST_INHERITED)
            inherited[inherited_count++] = about.st_ino;
        else if (is_numbered || strncmp(name, "anon_inode:", 11) == 0)
            inherits_others = true;
    }
}

/* By system calls alone: nothing of the program's is touched. How much there is of it. */
static size_t read_file(const char *path, char *into, size_t room)
{
    long fd = hb_syscall(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    size_t length = 0;
    for (long got = 1; fd >= 0 && got > 0 && length < room - 1; length += got > 0 ? (size_t)got : 0)
        got = hb_syscall(SYS_read, fd, (long)(into + length), (long)(room - 1 - length), 0, 0, 0);
    if (fd >= 0)
        hb_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
    into[length] = 0;
    return length;
}

/* How many threads the process has, by the system's count; 0: it does not say. */
static uint32_t threads_of_process(void)
{
    char text[1024];
    if (read_file("/proc/self/stat", text, sizeof text) == 0)
        return 0;
    /* The name may hold anything, but what follows its last bracket are numbers. */
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < 20; field++)
        at = strchr(at + 1, ' ');
    return at ? (uint32_t)strtoul(at, NULL, 10) : 0;
}

/* A thread that nobody here made may do anything. One that has ended may not be gone yet. */
static bool all_are_known(const struct hb_thread *me)
{
    uint32_t known = 0;
    for (uint32_t id = 0; id < hb.thread_count; id++) {
        const struct hb_thread *thread = &hb.threads[id];
        known += !thread->serves && (id == 0 || thread == me || !thread->finished);
    }
    for (int round = 0; round < 400; round++) {
        uint32_t count = threads_of_process();
        if (count <= known)
            return count > 0;
        struct timespec span = {.tv_nsec = 500000};
        hb_syscall(SYS_nanosleep, (long)&span, 0, 0, 0, 0, 0);
    }
    return false;
}

static bool is_pair_of_ours(int fd)
{
    struct ucred other;
    int domain = 0, listens = 1;
    socklen_t size = sizeof other, domain_size = sizeof domain, listens_size = sizeof listens;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) == 0 &&
           domain == AF_UNIX &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_size) == 0 && !listens &&
           getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &other, &size) == 0 &&
           other.pid == (pid_t)hb_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

static bool is_inherited(int fd)
{
    struct stat about;
    if (fstat(fd, &about) != 0)
        return true;
    for (unsigned at = 0; at < inherited_count; at++)
        if (inherited[at] == about.st_ino)
            return true;
    return false;
}

/* ---- Connections over the network, from this process to itself ---- */

struct ends {
    struct sockaddr_in6 own, other; /* Or of IPv4, which is shorter. */
};

static bool is_connection(int fd, struct ends *ends)
{
    int type = 0;
    socklen_t size = sizeof type, own = sizeof ends->own, other = sizeof ends->other;
    memset(ends, 0, sizeof *ends);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM &&
           getsockname(fd, (struct sockaddr *)&ends->own, &own) == 0 &&
           (ends->own.sin6_family == AF_INET || ends->own.sin6_family == AF_INET6) &&
           getpeername(fd, (struct sockaddr *)&ends->other, &other) == 0;
}

/* The descriptor of the connection's other end; -1: this process has none. */
static int other_end(const struct ends *ends)
{
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        struct ends its;
        if (is_connection(fd, &its) && memcmp(&its.own, &ends->other, sizeof its.own) == 0 &&
            memcmp(&its.other, &ends->own, sizeof its.own) == 0)
            return fd;
    }
    return -1;
}

/* Whether all that was sent has come: what comes late is no deadlock. An acknowledgement may take
 * its time. */
static bool has_arrived(int from)
{
    for (int round = 0; round < 1000; round++) {
        int left = 1;
        if (ioctl(from, SIOCOUTQ, &left) != 0)
            return false;
        if (left == 0)
            return true;
        struct timespec span = {.tv_nsec = 500000};
        hb_syscall(SYS_nanosleep, (long)&span, 0, 0, 0, 0, 0);
    }
    return false;
}

/* Room to send may come without anybody's doing; so only what is waited for to be received. */
static bool is_connection_of_ours(const struct pollfd *waits)
{
    struct ends ends;
    if (waits->events & POLLOUT || is_inherited(waits->fd) || !is_connection(waits->fd, &ends))
        return false;
    int other = other_end(&ends);
    return other >= 0 && !is_inherited(other) && has_arrived(other);
}

static bool is_inner(const struct pollfd *waits, unsigned depth);

/* What it looks at: each line of it in /proc begins with "tfd:", and has "events:". */
static bool watches_inner_only(int fd, unsigned depth)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    size_t length = read_file(path, text, sizeof text);
    if (length == 0 || length == sizeof text - 1)
        return false;
    bool all = true;
    for (const char *at = text; all && (at = strstr(at, "tfd:")); at += 4) {
        const char *events = strstr(at, "events:");
        struct pollfd watched = {
            .fd = atoi(at + 4),
            .events = (short)(events ? strtoul(events + 7, NULL, 16) : POLLIN | POLLOUT)};
        all = is_inner(&watched, depth + 1);
    }
    return all;
}

static bool is_inner(const struct pollfd *waits, unsigned depth)
{
    int fd = waits->fd;
    struct stat about;
    char name[64];
    /* One that is ignored. */
    if (fd < 0)
        return true;
    if (depth > 2 || inherits_others || fstat(fd, &about) != 0 ||
        !name_of(fd, name, sizeof name))
        return false;
    if (strncmp(name, "socket:", 7) == 0)
        return is_pair_of_ours(fd) || is_connection_of_ours(waits);
    if (strcmp(name, "anon_inode:[eventfd]") == 0)
        return true;
    if (strcmp(name, "anon_inode:[eventpoll]") == 0)
        return watches_inner_only(fd, depth);
    return strncmp(name, "pipe:", 5) == 0 && !is_inherited(fd);
}

/* Whether what the thread waits for can come from this process's threads only. */
bool hb_inner_waits(struct hb_thread *me, const struct hb_thread *thread)
{
    struct pollfd fds[64];
    if (thread->inside || hb.result->children > 0 || hb.passes_on)
        return false;
    /* What is asked here is no action of the program. */
    bool before = me->busy;
    me->busy = true;
    uint32_t count = hb_poll_for(thread, fds, 64);
    bool all = count > 0 && count < 64 && all_are_known(me);
    for (uint32_t at = 0; all && at < count; at++)
        all = is_inner(&fds[at], 0);
    me->busy = before;
    return all;
}
