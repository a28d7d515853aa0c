/* The tracking socket: a program that connects to its tracking server reaches heisenbed.
 *
 * The program's descriptor becomes one end of a pair; the runtime keeps the other. So descriptors
 * are what they always are (poll, dup, fcntl, partial writes), and nothing of the real path is
 * touched. What comes out of the other end goes into a log in the page, beside what the allocator
 * says that it does: heisenbed judges both when the schedule is over. Only where the program waits
 * for an answer is heisenbed asked at once, by whoever has the turn, which waits for it.
 *
 * One connection's messages are taken as they are sent: when the server takes them makes no
 * difference to what it sees. From the second connection on it does: then each connection has a
 * thread of the server's, which takes a send at a time and is scheduled like any other.
 */
#include "track.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

struct hb_connection hb_connections[HB_MAX_CONNECTIONS];
uint32_t hb_connection_count;

static void at_exit(int status, void *nothing);
static void probe(int status, void *nothing);

/* ---- The server's threads ---- */

/* What the server's threads act on: the order in which they do is what the server sees. */
static char server_object;

static bool has_sends(const struct hb_thread *server)
{
    return ((const struct hb_connection *)server->next.with)->waiting > 0;
}

/* The server gets a thread for the connection. It has none in the system: its step is taken by
 * whoever chooses it. */
static void serve(struct hb_connection *connection)
{
    if (connection->thread)
        return;
    struct hb_thread *server = hb_new_thread(NULL);
    server->serves = server->joined = server->detached = true;
    server->next = (struct hb_action){.kind = HB_K_TAKE,
                                      .address = &server_object,
                                      .can = has_sends,
                                      .with = connection,
                                      .deadline = HB_NEVER};
    /* A sampler that picks it as often as any other would hardly ever leave it behind for long. */
    server->slow = hb.config->strategy != HB_FIRST && hb_sampler_bits() % 3 == 0;
    connection->thread = server;
    connection->at = hb.track_head->used;
}

void hb_track_take(struct hb_thread *server)
{
    struct hb_connection *connection = (struct hb_connection *)server->next.with;
    while (connection->at < hb.track_head->used) {
        const struct hb_track_record *record =
            (const struct hb_track_record *)(hb.track_log + connection->at);
        connection->at += sizeof *record + hb_track_padded(record->bytes);
        if (record->kind != HB_T_SENT || record->conn != connection->id)
            continue;
        server->passed = 0;
        connection->waiting--;
        connection->waiting_bytes -= record->bytes;
        connection->untold = true;
        uint32_t number = hb_track_note((struct hb_track_record){.kind = HB_T_TAKEN,
                                                                 .thread = (uint16_t)server->id,
                                                                 .conn = connection->id},
                                        NULL);
        hb_record(server, HB_K_TAKE, &server_object, 0, number);
        return;
    }
    connection->waiting = 0;
}

/* ---- Connections ---- */

/* `asked`: answers to another schedule may be there that were not read. */
static void clear(bool asked)
{
    memset(hb.track_head, 0, offsetof(struct hb_track_head, patched));
    memset(hb.track_head->called, 0, sizeof hb.track_head->called);
    char rest[HB_MAX_ANSWER + sizeof(struct hb_answer)];
    while (asked &&
           hb_syscall(SYS_recvfrom, hb.ask, (long)rest, sizeof rest, MSG_DONTWAIT, 0, 0) > 0) {
    }
    hb_track_asked = false;
}

void hb_track_begin(void)
{
    clear(true);
    /* Registered before all others, it runs after them. */
    on_exit(at_exit, NULL);
}

static const char *path_of(const struct sockaddr *to, unsigned length, size_t *size)
{
    const struct sockaddr_un *address = (const struct sockaddr_un *)to;
    size_t before = offsetof(struct sockaddr_un, sun_path);
    if (!to || length <= before || to->sa_family != AF_UNIX)
        return NULL;
    *size = strnlen(address->sun_path, length - before);
    return *size ? address->sun_path : NULL;
}

bool hb_track_connects(const struct sockaddr *to, unsigned length)
{
    size_t size;
    const char *path = hb_track_is_on() ? path_of(to, length, &size) : NULL;
    return path && size == strnlen(hb.track->path, sizeof hb.track->path) &&
           memcmp(path, hb.track->path, size) == 0;
}

void hb_track_elsewhere(const struct sockaddr *to, unsigned length)
{
    size_t size;
    const char *path = hb_track_is_on() && hb.mode != HB_OFF ? path_of(to, length, &size) : NULL;
    if (!path)
        return;
    hb_track_lock();
    hb_track_note((struct hb_track_record){.kind = HB_T_ELSEWHERE,
                                           .thread = hb_track_caller(),
                                           .bytes = (uint32_t)size},
                  path);
    hb_track_unlock();
}

struct hb_connection *hb_track_find(int fd)
{
    if (hb_connection_count == 0)
        return NULL;
    struct stat about;
    if (fstat(fd, &about) != 0 || !S_ISSOCK(about.st_mode))
        return NULL;
    for (uint32_t at = hb_connection_count; at-- > 0;)
        if (hb_connections[at].ends.inode == about.st_ino)
            return &hb_connections[at];
    return NULL;
}

void hb_track_shut(int fd)
{
    struct hb_connection *connection = hb_track_find(fd);
    if (connection)
        connection->shut = true;
}

HB_HOOK int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    struct hb_connection *connection = hb_track_find(fd);
    if (connection)
        connection->worn = true;
    return REAL(setsockopt)(fd, level, name, value, size);
}

/* Above what programs use. */
static int kept(int fd)
{
    long high = hb_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 720, 0, 0, 0);
    if (high < 0)
        return fd;
    hb_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
    return (int)high;
}

/* Ends that the schedule before has left as they were when they were made. To make them anew costs
 * more than all that is sent. */
static struct hb_ends spare = {.server = -1};

/* A schedule is run twice in a process before others are: in both, and once in a while, all is new.
 * So what a target keeps of a connection that it has closed shows as ever. */
#define ALL_NEW 256u

static bool can_spare(void) { return hb.swift && hb.era >= 2 && hb.era % ALL_NEW; }

static void close_ends(const struct hb_ends *ends)
{
    hb_syscall(SYS_close, ends->server, 0, 0, 0, 0, 0);
    if (ends->program >= 0)
        hb_syscall(SYS_close, ends->program, 0, 0, 0, 0, 0);
}

/* The schedule is over: its ends are those of the next, or closed. */
static void put_aside(const struct hb_connection *connection)
{
    char byte;
    const struct hb_ends *ends = &connection->ends;
    if (ends->program >= 0 && spare.server < 0 && !connection->shut && !connection->worn &&
        hb_syscall(SYS_recvfrom, ends->server, (long)&byte, 1, MSG_DONTWAIT, 0, 0) == -EAGAIN)
        spare = *ends;
    else
        close_ends(ends);
}

static bool make_ends(struct hb_ends *made, int type)
{
    int both[2];
    struct stat about;
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, both) != 0)
        return false;
    *made = (struct hb_ends){.server = kept(both[1]), .program = both[0], .type = type};
    if (can_spare() && type == SOCK_STREAM)
        made->program = kept(both[0]);
    bool done = fstat(made->program, &about) == 0;
    made->inode = about.st_ino;
    if (!done)
        close_ends(made);
    return done;
}

/* Makes the descriptor the program's end. */
static bool connect_by(struct hb_ends *ends, int fd)
{
    int status = (int)hb_syscall(SYS_fcntl, fd, F_GETFL, 0, 0, 0, 0);
    int closes = (int)hb_syscall(SYS_fcntl, fd, F_GETFD, 0, 0, 0, 0);
    hb_syscall(SYS_fcntl, ends->program, F_SETFL, status, 0, 0, 0);
    long result =
        hb_syscall(SYS_dup3, ends->program, fd, closes & FD_CLOEXEC ? O_CLOEXEC : 0, 0, 0, 0);
    if (result < 0) {
        close_ends(ends);
        errno = (int)-result;
        return false;
    }
    if (!can_spare() || ends->type != SOCK_STREAM) {
        hb_syscall(SYS_close, ends->program, 0, 0, 0, 0, 0);
        ends->program = -1;
    }
    return true;
}

int hb_track_connect(int fd)
{
    hb_symbols_patch();
    if (hb.mode == HB_OFF) {
        /* A child, which nobody controls: the real server is not to hear of it. */
        errno = ECONNREFUSED;
        return -1;
    }
    if (hb_track_find(fd)) {
        errno = EISCONN;
        return -1;
    }
    int type = 0;
    socklen_t size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0)
        return -1;
    struct hb_ends ends = spare;
    bool done = false;
    if (can_spare() && spare.server >= 0 && type == spare.type) {
        spare.server = -1;
        done = connect_by(&ends, fd);
    }
    if (!done && (!make_ends(&ends, type) || !connect_by(&ends, fd)))
        return -1;
    hb_track_lock();
    if (hb_connection_count >= HB_MAX_CONNECTIONS) {
        hb.track_head->full = 1;
        hb_track_unlock();
        close_ends(&ends);
        errno = ECONNREFUSED;
        return -1;
    }
    struct hb_connection *made = &hb_connections[hb_connection_count];
    *made = (struct hb_connection){.ends = ends, .id = hb_connection_count};
    hb_connection_count++;
    hb.track_head->connections = hb_connection_count;
    hb_track_note((struct hb_track_record){.kind = HB_T_OPENED,
                                           .thread = hb_track_caller(),
                                           .conn = made->id,
                                           .memory = (uint32_t)type},
                  NULL);
    if (hb.mode == HB_CONTROL && (hb_connection_count > 1 || hb.track->room))
        for (uint32_t at = 0; at < hb_connection_count; at++)
            serve(&hb_connections[at]);
    hb_track_unlock();
    /* What is taken when, and how much a send has room for, is not told to a search. */
    if (hb_connection_count > 1 || hb.track->room)
        hb_explore_limit(HB_L_CONNECTS);
    if (made->id == 0 && hb.track->probe[0])
        on_exit(probe, NULL);
    return 0;
}

/* ---- The end ---- */

/* A thread that waits for work has none: what it sent was sent. One that waits for a lock may be
 * in the middle of anything. */
static bool is_idle(const struct hb_thread *thread)
{
    switch (thread->next.kind) {
    case HB_K_WAIT:
    case HB_K_WAKE:
    case HB_K_SEM_WAIT:
    case HB_K_BARRIER:
    case HB_K_RECEIVE:
    case HB_K_ACCEPT:
    case HB_K_POLL:
    case HB_K_SLEEP:
    case HB_K_OUTSIDE:
        return true;
    case HB_K_JOIN:
        return true;
    default:
        return false;
    }
}

/* The process ends by itself. */
void hb_track_end(void)
{
    if (!hb_track_is_on() || hb.mode == HB_OFF)
        return;
    hb_track_lock();
    for (uint32_t at = 0; at < hb_connection_count; at++)
        hb_track_gather(&hb_connections[at]);
    uint32_t at_work = 0;
    struct hb_thread *me = hb_self;
    for (uint32_t id = 0; hb.mode == HB_CONTROL && id < hb.thread_count; id++) {
        const struct hb_thread *thread = &hb.threads[id];
        at_work += !thread->finished && !thread->serves && thread != me && !is_idle(thread);
    }
    hb.track_head->ended = 1 + at_work;
    hb_track_unlock();
}

void hb_track_settle(void)
{
    hb_track_end();
    hb_track_settled = true;
}

/* Another schedule in the same process: the target has closed its ends. */
void hb_track_again(void)
{
    for (uint32_t at = 0; at < hb_connection_count; at++)
        put_aside(&hb_connections[at]);
    hb_connection_count = 0;
    hb_track_settled = false;
    if (hb_track_is_on())
        clear(hb_track_asked);
}

/* Asks the program's own function for its totals. Registered when it connects, this runs before
 * what was there by then is destroyed. */
static void probe(int status, void *nothing)
{
    (void)status, (void)nothing;
    int (*report)(uint32_t, uint32_t, uint64_t *) =
        (int (*)(uint32_t, uint32_t, uint64_t *))dlsym(RTLD_DEFAULT, hb.track->probe);
    if (!report || hb.mode == HB_OFF)
        return;
    bool any = true;
    for (uint32_t device = 0; any && device < 65536; device++) {
        any = false;
        for (uint32_t memory = 0; memory < 4; memory++) {
            uint64_t bytes = 0;
            if (report(device, memory, &bytes) != 0)
                continue;
            any = true;
            hb_track_truth(HB_T_TOTAL, device, memory, bytes, 1, 0);
        }
    }
}

static void at_exit(int status, void *nothing)
{
    (void)status, (void)nothing;
    hb_track_end();
}

HB_HOOK _Noreturn void _exit(int status)
{
    hb_explore_last();
    hb_track_end();
    for (;;)
        hb_syscall(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

HB_HOOK _Noreturn void _Exit(int status) { _exit(status); }
