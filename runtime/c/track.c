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
#include "runtime.h"

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

struct connection {
    int server;  /* The other end. */
    ino_t inode; /* Of the program's end, whatever descriptors it has. */
    uint32_t id;
    int type;
    struct hb_thread *thread; /* The server's; NULL while sends are taken at once. */
    uint32_t waiting;         /* Sends that it has not taken. */
    uint64_t waiting_bytes;
    uint64_t at;   /* Where in the log the oldest of these is, or later. */
    bool untold;   /* It took something since it was last asked for answers. */
    bool deaf;     /* The program does not read its answers. */
    bool shut;     /* By the program. */
};

static struct connection connections[HB_MAX_CONNECTIONS];
static uint32_t connection_count;

/* What the server's threads act on: the order in which they do is what the server sees. */
static char server_object;

/* Threads in parallel append to one log. Under control nobody is descheduled in here. */
static uint32_t log_lock;

static void lock_log(void)
{
    while (__atomic_exchange_n(&log_lock, 1, __ATOMIC_ACQUIRE))
        hb_syscall(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

static void unlock_log(void) { __atomic_store_n(&log_lock, 0, __ATOMIC_RELEASE); }

static void at_exit(int status, void *nothing);
static void probe(int status, void *nothing);

/* What comes now is no part of the schedule: a target is given back. */
static bool settled;

static bool is_on(void) { return hb.track && hb.track->enabled && !settled; }

static uint16_t caller(void)
{
    struct hb_thread *me = hb_self;
    return (uint16_t)(me ? me->id : hb.mode == HB_CONTROL ? UINT16_MAX : hb_observer());
}

/* ---- The log ---- */

static uint64_t padded(uint64_t bytes) { return (bytes + 7) & ~UINT64_C(7); }

/* Room for a record and `bytes` bytes; NULL if there is none. */
static struct hb_track_record *room_for(uint64_t bytes)
{
    if (settled)
        return NULL;
    uint64_t used = hb.track_head->used;
    if (used > HB_TRACK_LOG_BYTES ||
        sizeof(struct hb_track_record) + padded(bytes) > HB_TRACK_LOG_BYTES - used) {
        hb.track_head->full = 1;
        return NULL;
    }
    return (struct hb_track_record *)(hb.track_log + used);
}

/* Its number. */
static uint32_t append(struct hb_track_record *record)
{
    hb.track_head->used += sizeof *record + padded(record->bytes);
    return hb.track_head->records++;
}

static uint32_t note(struct hb_track_record given, const void *payload)
{
    struct hb_track_record *record = room_for(given.bytes);
    if (!record)
        return UINT32_MAX;
    *record = given;
    if (given.bytes)
        memcpy(record + 1, payload, given.bytes);
    return append(record);
}

/* ---- Connections ---- */

static void clear(void)
{
    memset(hb.track_head, 0, offsetof(struct hb_track_head, patched));
    memset(hb.track_head->called, 0, sizeof hb.track_head->called);
    /* What was not read of the answers to another schedule. */
    char rest[HB_MAX_ANSWER + sizeof(struct hb_answer)];
    while (hb_syscall(SYS_recvfrom, hb.ask, (long)rest, sizeof rest, MSG_DONTWAIT, 0, 0) > 0) {
    }
}

void hb_track_begin(void)
{
    clear();
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
    const char *path = is_on() ? path_of(to, length, &size) : NULL;
    return path && size == strnlen(hb.track->path, sizeof hb.track->path) &&
           memcmp(path, hb.track->path, size) == 0;
}

void hb_track_elsewhere(const struct sockaddr *to, unsigned length)
{
    size_t size;
    const char *path = is_on() && hb.mode != HB_OFF ? path_of(to, length, &size) : NULL;
    if (!path)
        return;
    lock_log();
    note((struct hb_track_record){
             .kind = HB_T_ELSEWHERE, .thread = caller(), .bytes = (uint32_t)size},
         path);
    unlock_log();
}

static struct connection *find(int fd)
{
    if (connection_count == 0)
        return NULL;
    struct stat about;
    if (fstat(fd, &about) != 0 || !S_ISSOCK(about.st_mode))
        return NULL;
    for (uint32_t at = connection_count; at-- > 0;)
        if (connections[at].inode == about.st_ino)
            return &connections[at];
    return NULL;
}

/* Of the caller's last question, for the send that follows. */
static __thread struct connection *asked __attribute__((tls_model("initial-exec")));

bool hb_track_is(int fd)
{
    asked = find(fd);
    return asked != NULL;
}

void hb_track_shut(int fd)
{
    struct connection *connection = find(fd);
    if (connection)
        connection->shut = true;
}

static bool has_sends(const struct hb_thread *server)
{
    return ((const struct connection *)server->next.with)->waiting > 0;
}

/* The server gets a thread for the connection. It has none in the system: its step is taken by
 * whoever chooses it. */
static void serve(struct connection *connection)
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

/* Above what programs use. */
static int kept(int fd)
{
    long high = hb_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 720, 0, 0, 0);
    if (high < 0)
        return fd;
    hb_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
    return (int)high;
}

int hb_track_connect(int fd)
{
    hb_symbols_patch();
    if (hb.mode == HB_OFF) {
        /* A child, which nobody controls: the real server is not to hear of it. */
        errno = ECONNREFUSED;
        return -1;
    }
    if (find(fd)) {
        errno = EISCONN;
        return -1;
    }
    int type = 0, ends[2];
    socklen_t size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0)
        return -1;
    struct stat about;
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0)
        return -1;
    int status = (int)hb_syscall(SYS_fcntl, fd, F_GETFL, 0, 0, 0, 0);
    int closes = (int)hb_syscall(SYS_fcntl, fd, F_GETFD, 0, 0, 0, 0);
    hb_syscall(SYS_fcntl, ends[0], F_SETFL, status, 0, 0, 0);
    long result = hb_syscall(SYS_dup3, ends[0], fd, closes & FD_CLOEXEC ? O_CLOEXEC : 0, 0, 0, 0);
    hb_syscall(SYS_close, ends[0], 0, 0, 0, 0, 0);
    if (result < 0 || fstat(fd, &about) != 0) {
        hb_syscall(SYS_close, ends[1], 0, 0, 0, 0, 0);
        errno = result < 0 ? (int)-result : errno;
        return -1;
    }
    lock_log();
    if (connection_count >= HB_MAX_CONNECTIONS) {
        hb.track_head->full = 1;
        unlock_log();
        hb_syscall(SYS_close, ends[1], 0, 0, 0, 0, 0);
        errno = ECONNREFUSED;
        return -1;
    }
    struct connection *made = &connections[connection_count];
    *made = (struct connection){
        .server = kept(ends[1]), .inode = about.st_ino, .id = connection_count, .type = type};
    connection_count++;
    hb.track_head->connections = connection_count;
    note((struct hb_track_record){
             .kind = HB_T_OPENED, .thread = caller(), .conn = made->id, .memory = (uint32_t)type},
         NULL);
    if (hb.mode == HB_CONTROL && (connection_count > 1 || hb.track->room))
        for (uint32_t at = 0; at < connection_count; at++)
            serve(&connections[at]);
    unlock_log();
    /* What is taken when, and how much a send has room for, is not told to a search. */
    if (connection_count > 1 || hb.track->room)
        hb_explore_limit(HB_L_CONNECTS);
    if (made->id == 0 && hb.track->probe[0])
        on_exit(probe, NULL);
    return 0;
}

/* ---- Sends ---- */

static bool has_room(const struct connection *connection)
{
    return !hb.track->room || connection->waiting_bytes < hb.track->room;
}

static bool can_send(const struct hb_thread *thread) { return has_room(thread->next.with); }

/* Brings what has come out of the other end into the log; the number of the last record. */
static uint32_t drain(struct connection *connection)
{
    uint32_t number = UINT32_MAX;
    for (;;) {
        static char scratch[65536];
        struct hb_track_record *record = room_for(sizeof scratch);
        void *into = record ? (void *)(record + 1) : scratch;
        long got = hb_syscall(SYS_recvfrom, connection->server, (long)into, sizeof scratch,
                              MSG_DONTWAIT, 0, 0);
        if (got <= 0)
            return number;
        if (!record)
            continue;
        *record = (struct hb_track_record){.kind = HB_T_SENT,
                                           .thread = caller(),
                                           .conn = connection->id,
                                           .memory = !connection->thread,
                                           .bytes = (uint32_t)got};
        number = append(record);
        if (connection->thread) {
            connection->waiting++;
            connection->waiting_bytes += (uint64_t)got;
        } else
            connection->untold = true;
    }
}

/* What was sent by no call that is seen here (stdio, a system call of the program's own): since its
 * last visible action only this thread ran. */
void hb_track_seep(struct hb_thread *me)
{
    if (hb.swift)
        return;
    for (uint32_t at = 0; at < connection_count; at++) {
        uint32_t number = drain(&connections[at]);
        if (number != UINT32_MAX)
            hb_record(me, HB_K_TRACK, &connections[at], me->next.pc, number);
    }
}

void hb_track_take(struct hb_thread *server)
{
    struct connection *connection = (struct connection *)server->next.with;
    while (connection->at < hb.track_head->used) {
        const struct hb_track_record *record =
            (const struct hb_track_record *)(hb.track_log + connection->at);
        connection->at += sizeof *record + padded(record->bytes);
        if (record->kind != HB_T_SENT || record->conn != connection->id)
            continue;
        server->passed = 0;
        connection->waiting--;
        connection->waiting_bytes -= record->bytes;
        connection->untold = true;
        uint32_t number = note((struct hb_track_record){.kind = HB_T_TAKEN,
                                                        .thread = (uint16_t)server->id,
                                                        .conn = connection->id},
                               NULL);
        hb_record(server, HB_K_TAKE, &server_object, 0, number);
        return;
    }
    connection->waiting = 0;
}

/* The same, where nothing is to come out but what was noted already. */
static void expect_nothing(struct connection *connection)
{
    if (hb.swift && drain(connection) != UINT32_MAX)
        hb_swift_leave();
}

static void gather(char *into, const struct msghdr *what)
{
    for (size_t part = 0; part < what->msg_iovlen; part++) {
        memcpy(into, what->msg_iov[part].iov_base, what->msg_iov[part].iov_len);
        into += what->msg_iov[part].iov_len;
    }
}

static uint64_t total_of(const struct msghdr *what)
{
    uint64_t total = 0;
    for (size_t part = 0; part < what->msg_iovlen; part++)
        total += what->msg_iov[part].iov_len;
    return total;
}

/* What would come out of the other end at once goes into the log without going in. */
static long note_sent(struct connection *connection, const struct msghdr *what, uint64_t total,
                      uint32_t *number)
{
    struct hb_track_record *record = total ? room_for(65536) : NULL;
    if (!record)
        return (long)total;
    *record = (struct hb_track_record){.kind = HB_T_SENT,
                                       .thread = caller(),
                                       .conn = connection->id,
                                       .memory = !connection->thread,
                                       .bytes = (uint32_t)total};
    gather((char *)(record + 1), what);
    *number = append(record);
    if (connection->thread) {
        connection->waiting++;
        connection->waiting_bytes += total;
    } else
        connection->untold = true;
    return (long)total;
}

/* Sends all of it: what comes out of the other end makes room for more. */
static long send_all(struct connection *connection, int fd, const struct msghdr *what, int flags,
                     uint32_t *number)
{
    uint64_t total = total_of(what);
    if (hb.swift && total <= 32768 && !what->msg_controllen && !connection->shut &&
        !(flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE)))
        return note_sent(connection, what, total, number);
    struct msghdr bare = *what;
    bare.msg_name = NULL; /* It is connected now. */
    bare.msg_namelen = 0;
    if (connection->type != SOCK_STREAM || total <= 32768) {
        long sent = hb_syscall(SYS_sendmsg, fd, (long)&bare, flags | MSG_DONTWAIT, 0, 0, 0);
        *number = drain(connection);
        return sent;
    }
    long sent = 0;
    for (size_t part = 0; part < what->msg_iovlen; part++) {
        const char *from = what->msg_iov[part].iov_base;
        size_t left = what->msg_iov[part].iov_len;
        while (left > 0) {
            long more = hb_syscall(SYS_sendto, fd, (long)from, left > 32768 ? 32768 : (long)left,
                                   flags | MSG_DONTWAIT, 0, 0);
            *number = drain(connection);
            if (more <= 0)
                return sent ? sent : more;
            from += more;
            left -= (size_t)more;
            sent += more;
        }
    }
    return sent;
}

static uint32_t note_dropped(struct connection *connection, const struct msghdr *what)
{
    uint64_t total = total_of(what);
    struct hb_track_record *record = total <= 65536 ? room_for(total) : NULL;
    if (!record)
        return UINT32_MAX;
    *record = (struct hb_track_record){.kind = HB_T_DROPPED,
                                       .thread = caller(),
                                       .conn = connection->id,
                                       .bytes = (uint32_t)total};
    gather((char *)(record + 1), what);
    return append(record);
}

static void answer(struct connection *connection);

/* What a client that asks a server begins its message with: QUERY, DEVICE_INFO_QUERY. */
static bool asks(const struct msghdr *what)
{
    if (what->msg_iovlen == 0 || what->msg_iov[0].iov_len == 0)
        return false;
    unsigned char first = *(const unsigned char *)what->msg_iov[0].iov_base;
    return first == 3 || first == 6;
}

long hb_track_send(struct hb_thread *me, int fd, const struct msghdr *what, int flags,
                   bool dontwait, uint64_t pc)
{
    struct connection *connection = asked;
    asked = NULL;
    if (!connection) {
        errno = EPIPE;
        return -1;
    }
    uint32_t number = UINT32_MAX;
    long sent;
    if (!me) {
        hb_observe(HB_K_TRACK, NULL, pc);
        /* The order in the log is that of the stream. */
        lock_log();
        sent = send_all(connection, fd, what, flags, &number);
        if (sent > 0 && asks(what))
            answer(connection);
        unlock_log();
    } else {
        enum hb_turn how = hb_turn(me, (struct hb_action){.kind = HB_K_TRACK,
                                                          .address = connection,
                                                          .pc = pc,
                                                          .can = dontwait ? NULL : can_send,
                                                          .with = connection,
                                                          .deadline = HB_NEVER,
                                                          .cancellable = true});
        if (how == HB_CANCELLED)
            pthread_testcancel();
        bool room = has_room(connection);
        if (room)
            sent = send_all(connection, fd, what, flags, &number);
        else {
            number = note_dropped(connection, what);
            sent = -EAGAIN;
        }
        hb_record(me, HB_K_TRACK, connection, pc, number);
        if (!room)
            hb_let_others(me, HB_K_YIELD, pc);
    }
    if (sent < 0) {
        errno = (int)-sent;
        return -1;
    }
    return sent;
}

/* ---- Answers ---- */

static void deliver(struct connection *connection, const char *bytes, const struct hb_answer *said)
{
    if (said->bytes) /* It depends on what others have sent. */
        hb_explore_limit(HB_L_CONNECTS);
    uint32_t step = connection->type == SOCK_STREAM || said->frame == 0 ? said->bytes : said->frame;
    for (uint32_t at = 0; at < said->bytes && !connection->deaf; at += step) {
        uint32_t left = said->bytes - at < step ? said->bytes - at : step;
        long sent = hb_syscall(SYS_sendto, connection->server, (long)(bytes + at), left,
                               MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
        connection->deaf = sent != (long)left;
    }
}

static void answer(struct connection *connection)
{
    hb.swift ? expect_nothing(connection) : (void)drain(connection);
    while (connection->untold && !connection->deaf) {
        connection->untold = false;
        struct hb_ask ask = {.conn = connection->id, .used = hb.track_head->used};
        static struct {
            struct hb_answer said;
            char bytes[HB_MAX_ANSWER];
        } reply;
        if (hb_syscall(SYS_sendto, hb.ask, (long)&ask, sizeof ask, MSG_NOSIGNAL, 0, 0) !=
            (long)sizeof ask)
            hb_end(HB_TOO_MUCH, hb_self,
                   "it closed descriptors that are not its own: its queries cannot be answered");
        long got;
        do
            got = hb_syscall(SYS_recvfrom, hb.ask, (long)&reply, sizeof reply, 0, 0, 0);
        while (got == -EINTR);
        if (got < (long)sizeof reply.said || reply.said.bytes > HB_MAX_ANSWER ||
            got != (long)(sizeof reply.said + reply.said.bytes))
            return;
        deliver(connection, reply.bytes, &reply.said);
        connection->untold = reply.said.more;
    }
}

/* Before anybody waits for what `fd` has to read: what is not a socket may stand for several. */
void hb_track_answer(int fd)
{
    bool any = false;
    for (uint32_t at = 0; at < connection_count; at++)
        any |= connections[at].untold;
    if (!any)
        return;
    struct stat about;
    if (fstat(fd, &about) != 0 || S_ISREG(about.st_mode) || S_ISFIFO(about.st_mode))
        return;
    lock_log();
    for (uint32_t at = 0; at < connection_count; at++)
        if (!S_ISSOCK(about.st_mode) || connections[at].inode == about.st_ino)
            answer(&connections[at]);
    unlock_log();
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
    if (!is_on() || hb.mode == HB_OFF)
        return;
    lock_log();
    for (uint32_t at = 0; at < connection_count; at++)
        hb.swift ? expect_nothing(&connections[at]) : (void)drain(&connections[at]);
    uint32_t at_work = 0;
    struct hb_thread *me = hb_self;
    for (uint32_t id = 0; hb.mode == HB_CONTROL && id < hb.thread_count; id++) {
        const struct hb_thread *thread = &hb.threads[id];
        at_work += !thread->finished && !thread->serves && thread != me && !is_idle(thread);
    }
    hb.track_head->ended = 1 + at_work;
    unlock_log();
}

void hb_track_settle(void)
{
    hb_track_end();
    settled = true;
}

/* Another schedule in the same process: the target has closed its ends. */
void hb_track_again(void)
{
    for (uint32_t at = 0; at < connection_count; at++)
        hb_syscall(SYS_close, connections[at].server, 0, 0, 0, 0, 0);
    connection_count = 0;
    settled = false;
    if (is_on())
        clear();
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

/* ---- Truth ---- */

void hb_track_truth(uint16_t kind, uint32_t device, uint32_t memory, uint64_t address,
                    uint64_t size, uint64_t pc)
{
    if (!is_on() || hb.mode == HB_OFF)
        return;
    lock_log();
    uint32_t number = note((struct hb_track_record){.kind = kind,
                                                    .thread = caller(),
                                                    .conn = device,
                                                    .memory = memory,
                                                    .a = address,
                                                    .b = size},
                           NULL);
    unlock_log();
    struct hb_thread *me = hb_controlled();
    if (me)
        hb_record(me, HB_K_TRUTH, NULL, pc, number);
}

static uint32_t annotations;

/* How often the allocator itself said what it does, in this process. */
HB_HOOK uint32_t hb_run_annotations(void) { return annotations; }

/* What is live when all is over, of a target that says nothing of it. */
HB_HOOK void hb_run_live(uint32_t device, uint32_t memory, uint64_t bytes)
{
    hb_track_truth(HB_T_TOTAL, device, memory, bytes, 1, HB_PC);
}

HB_HOOK void hb_run_truth_alloc(uint32_t device, uint32_t memory, uint64_t address, uint64_t size)
{
    annotations++;
    hb_track_truth(HB_T_ALLOC, device, memory, address, size, HB_PC);
}

HB_HOOK void hb_run_truth_free(uint32_t device, uint32_t memory, uint64_t address)
{
    hb_track_truth(HB_T_FREE, device, memory, address, 0, HB_PC);
}

HB_HOOK void hb_run_truth_totals(uint32_t device, uint32_t memory, uint64_t bytes)
{
    hb_track_truth(HB_T_TOTAL, device, memory, bytes, 0, HB_PC);
}

/* ---- Operations ---- */

void hb_track_op(uint32_t what, const void *buffer, uint64_t pc)
{
    struct hb_thread *me = hb.config && hb.config->flags & HB_OPS ? hb_controlled() : NULL;
    bool begins = what == HB_OP_ALLOCATES || what == HB_OP_RELEASES;
    if (!me || !(me->in_op || begins))
        return;
    me->in_op += begins;
    me->in_op -= what == HB_OP_ENDS;
    hb_record(me, HB_K_MARK, (void *)(uintptr_t)buffer, pc, what);
}

HB_HOOK void hb_run_op(uint32_t what, const void *buffer) { hb_track_op(what, buffer, HB_PC); }
