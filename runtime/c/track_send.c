/* What the program sends to the tracking server, and what it is answered. */
#include "track.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Of the caller's last question, for the send that follows. */
static __thread struct hb_connection *asked __attribute__((tls_model("initial-exec")));

bool hb_track_is(int fd)
{
    asked = hb_track_find(fd);
    return asked != NULL;
}

/* ---- What comes out of the other end ---- */

/* Fills in the record of bytes that are in place, and leaves them to whoever takes them for the
 * server. Its number. */
static uint32_t note_sent(struct hb_connection *connection, struct hb_track_record *record,
                          uint64_t bytes)
{
    *record = (struct hb_track_record){.kind = HB_T_SENT,
                                       .thread = hb_track_caller(),
                                       .conn = connection->id,
                                       .memory = !connection->thread,
                                       .bytes = (uint32_t)bytes};
    if (connection->thread) {
        connection->waiting++;
        connection->waiting_bytes += bytes;
    } else
        connection->untold = true;
    return hb_track_append(record);
}

/* Brings what has come out of the other end into the log; the number of the last record. */
static uint32_t drain(struct hb_connection *connection)
{
    uint32_t number = UINT32_MAX;
    for (;;) {
        static char scratch[65536];
        struct hb_track_record *record = hb_track_room_for(sizeof scratch);
        void *into = record ? (void *)(record + 1) : scratch;
        long got = hb_syscall(SYS_recvfrom, connection->ends.server, (long)into, sizeof scratch,
                              MSG_DONTWAIT, 0, 0);
        if (got <= 0)
            return number;
        if (!record)
            continue;
        number = note_sent(connection, record, (uint64_t)got);
    }
}

/* What was sent by no call that is seen here (stdio, a system call of the program's own): since its
 * last visible action only this thread ran. */
void hb_track_seep(struct hb_thread *me)
{
    if (hb.swift)
        return;
    for (uint32_t at = 0; at < hb_connection_count; at++) {
        uint32_t number = drain(&hb_connections[at]);
        if (number != UINT32_MAX)
            hb_record(me, HB_K_TRACK, &hb_connections[at], me->next.pc, number);
    }
}

void hb_track_gather(struct hb_connection *connection)
{
    if (drain(connection) != UINT32_MAX)
        hb_swift_leave();
}

/* ---- Sends ---- */

static bool has_room(const struct hb_connection *connection)
{
    return !hb.track->room || connection->waiting_bytes < hb.track->room;
}

static bool can_send(const struct hb_thread *thread) { return has_room(thread->next.with); }

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
static long log_at_once(struct hb_connection *connection, const struct msghdr *what, uint64_t total,
                        uint32_t *number)
{
    struct hb_track_record *record = total ? hb_track_room_for(65536) : NULL;
    if (!record)
        return (long)total;
    gather((char *)(record + 1), what);
    *number = note_sent(connection, record, total);
    return (long)total;
}

/* Sends all of it: what comes out of the other end makes room for more. */
static long send_all(struct hb_connection *connection, int fd, const struct msghdr *what, int flags,
                     uint32_t *number)
{
    uint64_t total = total_of(what);
    if (hb.swift && total <= 32768 && !what->msg_controllen && !connection->shut &&
        !(flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE)))
        return log_at_once(connection, what, total, number);
    struct msghdr bare = *what;
    bare.msg_name = NULL; /* It is connected now. */
    bare.msg_namelen = 0;
    if (connection->ends.type != SOCK_STREAM || total <= 32768) {
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

static uint32_t note_dropped(struct hb_connection *connection, const struct msghdr *what)
{
    uint64_t total = total_of(what);
    struct hb_track_record *record = total <= 65536 ? hb_track_room_for(total) : NULL;
    if (!record)
        return UINT32_MAX;
    *record = (struct hb_track_record){.kind = HB_T_DROPPED,
                                       .thread = hb_track_caller(),
                                       .conn = connection->id,
                                       .bytes = (uint32_t)total};
    gather((char *)(record + 1), what);
    return hb_track_append(record);
}

static void answer(struct hb_connection *connection);

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
    struct hb_connection *connection = asked;
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
        hb_track_lock();
        sent = send_all(connection, fd, what, flags, &number);
        if (sent > 0 && asks(what))
            answer(connection);
        hb_track_unlock();
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

static void deliver(struct hb_connection *connection, const char *bytes,
                    const struct hb_answer *said)
{
    connection->worn = true;
    if (said->bytes) /* It depends on what others have sent. */
        hb_explore_limit(HB_L_CONNECTS);
    bool is_stream = connection->ends.type == SOCK_STREAM;
    uint32_t step = is_stream || said->frame == 0 ? said->bytes : said->frame;
    for (uint32_t at = 0; at < said->bytes && !connection->deaf; at += step) {
        uint32_t left = said->bytes - at < step ? said->bytes - at : step;
        long sent = hb_syscall(SYS_sendto, connection->ends.server, (long)(bytes + at), left,
                               MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
        connection->deaf = sent != (long)left;
    }
}

bool hb_track_asked;

static void answer(struct hb_connection *connection)
{
    hb_track_gather(connection);
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
        hb_track_asked = true;
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
    for (uint32_t at = 0; at < hb_connection_count; at++)
        any |= hb_connections[at].untold;
    if (!any)
        return;
    struct stat about;
    if (fstat(fd, &about) != 0 || S_ISREG(about.st_mode) || S_ISFIFO(about.st_mode))
        return;
    hb_track_lock();
    for (uint32_t at = 0; at < hb_connection_count; at++)
        if (!S_ISSOCK(about.st_mode) || hb_connections[at].ends.inode == about.st_ino)
            answer(&hb_connections[at]);
    hb_track_unlock();
}
