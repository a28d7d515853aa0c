/* Descriptors that may keep a thread waiting: sockets, pipes, terminals, events.
 *
 * Whether a call would wait is asked of poll(); the call itself is made when it does not. Files on
 * disk are no visible action. A descriptor whose other end is another process is waited for outside
 * of all schedules, when nobody else can go on.
 */
#include "io.h"
#include "race.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

bool hb_may_wait(int fd)
{
    struct stat about;
    if (fstat(fd, &about) != 0)
        return false;
    return !S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode) && !S_ISBLK(about.st_mode);
}

static bool never_waits(int fd)
{
    return fcntl(fd, F_GETFL) & O_NONBLOCK;
}

/* An object of its own for each descriptor, at an address that nothing else has. */
static void *object_of(int fd) { return (void *)(uintptr_t)(fd + 1); }

/* Until when a call may wait, by SO_RCVTIMEO or SO_SNDTIMEO. */
static int64_t patience_of(int fd, short events)
{
    struct timeval span = {0};
    socklen_t size = sizeof span;
    int option = events & POLLOUT ? SO_SNDTIMEO : SO_RCVTIMEO;
    if (getsockopt(fd, SOL_SOCKET, option, &span, &size) != 0 ||
        (span.tv_sec == 0 && span.tv_usec == 0))
        return HB_NEVER;
    return hb.now + (int64_t)span.tv_sec * 1000000000 + span.tv_usec * 1000;
}

bool hb_io_prepared(struct hb_thread *me, uint16_t kind, int fd, short events, bool waits,
                    uint64_t pc)
{
    struct pollfd one = {.fd = fd, .events = events};
    struct hb_waits all = {&one, 1};
    int64_t deadline = waits ? patience_of(fd, events) : HB_NEVER;
    if (waits)
        hb_enter(me, kind, object_of(fd), pc);
    enum hb_turn how = hb_turn(me, (struct hb_action){.kind = kind,
                                                      .address = object_of(fd),
                                                      .pc = pc,
                                                      .can = waits ? hb_is_prepared : NULL,
                                                      .with = &all,
                                                      .deadline = deadline,
                                                      .cancellable = true,
                                                      .signals = deadline == HB_NEVER
                                                                     ? HB_RESTARTED
                                                                     : HB_ENDS,
                                                      .outside = waits && !hb_track_is(fd)});
    if (how == HB_CANCELLED)
        pthread_testcancel();
    if (how != HB_TIMED_OUT && how != HB_INTERRUPTED)
        return true;
    hb_record(me, kind, object_of(fd), pc, (uint32_t)-1);
    errno = how == HB_INTERRUPTED ? EINTR : EAGAIN;
    return false;
}

/* Descriptors of what the system tells: whose doing that was is not seen. */
static unsigned char system_tells[1024 / 8];

/* The byte that tells of it; none of one beyond. */
static unsigned char *teller(int fd)
{
    return fd >= 0 && fd / 8 < (int)sizeof system_tells ? &system_tells[fd / 8] : NULL;
}

static int note_teller(int fd)
{
    if (teller(fd))
        __atomic_fetch_or(teller(fd), (unsigned char)(1 << fd % 8), __ATOMIC_RELAXED);
    return fd;
}

HB_HOOK int signalfd(int fd, const sigset_t *mask, int flags)
{
    return note_teller(REAL(signalfd)(fd, mask, flags));
}

HB_HOOK int timerfd_create(clockid_t clock, int flags)
{
    return note_teller(REAL(timerfd_create)(clock, flags));
}

void hb_io_done(struct hb_thread *me, uint16_t kind, int fd, ssize_t result, uint64_t pc)
{
    int kept = errno;
    hb_record(me, kind, object_of(fd), pc, (uint32_t)result);
    if (kind == HB_K_RECEIVE && teller(fd) && *teller(fd) >> fd % 8 & 1)
        hb_race_acquire_all(me);
    if (result < 0 && (kept == EAGAIN || kept == EWOULDBLOCK))
        hb_let_others(me, HB_K_YIELD, pc);
    errno = kept;
}

#define RECEIVES(type, name, parameters, arguments, fd, dontwait)                                  \
    HB_HOOK type name parameters                                                                   \
    {                                                                                              \
        struct hb_thread *me = hb_controlled();                                                    \
        if (!me || !hb_may_wait(fd)) {                                                             \
            if (!me) {                                                                             \
                hb_observe(HB_K_RECEIVE, NULL, HB_PC);                                             \
                hb_track_answer(fd);                                                               \
            }                                                                                      \
            return REAL(name) arguments;                                                           \
        }                                                                                          \
        bool waits = !never_waits(fd) && !(dontwait);                                              \
        if (!hb_io_prepared(me, HB_K_RECEIVE, fd, POLLIN, waits, HB_PC))                           \
            return -1;                                                                             \
        hb_track_answer(fd);                                                                       \
        type result = REAL(name) arguments;                                                        \
        hb_io_done(me, HB_K_RECEIVE, fd, result, HB_PC);                                           \
        return result;                                                                             \
    }

static bool are_empty(const struct iovec *parts, int count)
{
    for (int at = 0; at < count; at++)
        if (parts[at].iov_len > 0)
            return false;
    return true;
}

/* Who reads nothing does not wait. */
RECEIVES(ssize_t, read, (int fd, void *into, size_t size), (fd, into, size), fd, size == 0)
RECEIVES(ssize_t, readv, (int fd, const struct iovec *parts, int count), (fd, parts, count), fd,
         are_empty(parts, count))
RECEIVES(ssize_t, recv, (int fd, void *into, size_t size, int flags), (fd, into, size, flags), fd,
         flags &MSG_DONTWAIT)
RECEIVES(ssize_t, recvfrom,
         (int fd, void *restrict into, size_t size, int flags, struct sockaddr *restrict from,
          socklen_t *restrict length),
         (fd, into, size, flags, from, length), fd, flags &MSG_DONTWAIT)
RECEIVES(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags), fd,
         flags &MSG_DONTWAIT)
RECEIVES(int, accept,
         (int fd, struct sockaddr *restrict from, socklen_t *restrict length), (fd, from, length),
         fd, false)
RECEIVES(int, accept4,
         (int fd, struct sockaddr *restrict from, socklen_t *restrict length, int flags),
         (fd, from, length, flags), fd, false)

/* ---- Sending ---- */

static ssize_t send_parts(struct hb_thread *me, int fd, const struct iovec *parts, int count,
                          const struct msghdr *message, int flags, bool is_write, uint64_t pc)
{
    bool dontwait = flags & MSG_DONTWAIT || never_waits(fd);
    struct msghdr own = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
    const struct msghdr *what = message ? message : &own;
    if (hb_track_is(fd))
        return hb_track_send(me, fd, what, flags, dontwait, pc);
    if (!hb_io_prepared(me, HB_K_SEND, fd, POLLOUT, !dontwait, pc))
        return -1;
    ssize_t result;
    size_t total = 0;
    for (int part = 0; part < count; part++)
        total += parts[part].iov_len;
    if (!is_write && !dontwait) {
        /* Never waits inside: what does not fit waits here. */
        for (;;) {
            result = REAL(sendmsg)(fd, what, flags | MSG_DONTWAIT);
            if (result >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
                break;
            if (!hb_io_prepared(me, HB_K_SEND, fd, POLLOUT, true, pc))
                return -1;
        }
    } else if (is_write && !dontwait && total > 4096) {
        /* A pipe takes a page without waiting; the program sees a short write, as it may. */
        struct iovec first = parts[0];
        if (first.iov_len > 4096)
            first.iov_len = 4096;
        result = REAL(write)(fd, first.iov_base, first.iov_len);
    } else if (is_write)
        result = REAL(writev)(fd, parts, count);
    else
        result = REAL(sendmsg)(fd, what, flags);
    hb_io_done(me, HB_K_SEND, fd, result, pc);
    return result;
}

/* A send of a thread that nobody controls, to the tracking server; false: it goes elsewhere. */
static bool track_parts(int fd, const struct iovec *parts, int count, int flags, uint64_t pc,
                        ssize_t *result)
{
    if (hb.mode == HB_OFF || !hb_track_is(fd))
        return false;
    struct msghdr what = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
    *result = hb_track_send(NULL, fd, &what, flags, true, pc);
    return true;
}

/* A datagram needs no connection before it. */
static void track_destination(int fd, const struct sockaddr *to, socklen_t length)
{
    if (to && hb_track_connects(to, length) && !hb_track_is(fd))
        hb_track_connect(fd);
}

/* A blocking write is whole or fails: programs do not look. */
static ssize_t write_all(struct hb_thread *me, int fd, const void *from, size_t size, uint64_t pc)
{
    size_t written = 0;
    for (;;) {
        struct iovec part = {(char *)from + written, size - written};
        ssize_t result = send_parts(me, fd, &part, 1, NULL, 0, true, pc);
        if (result < 0)
            return written ? (ssize_t)written : result;
        written += (size_t)result;
        if (written >= size || result == 0 || never_waits(fd))
            return (ssize_t)written;
    }
}

HB_HOOK ssize_t write(int fd, const void *from, size_t size)
{
    struct hb_thread *me = hb_controlled();
    if (!me || !hb_may_wait(fd)) {
        struct iovec part = {(void *)from, size};
        ssize_t result;
        if (!me && track_parts(fd, &part, 1, 0, HB_PC, &result))
            return result;
        if (!me)
            hb_observe(HB_K_SEND, NULL, HB_PC);
        else
            hb_track_op(HB_OP_LOGS, NULL, HB_PC);
        return REAL(write)(fd, from, size);
    }
    return write_all(me, fd, from, size, HB_PC);
}

HB_HOOK ssize_t writev(int fd, const struct iovec *parts, int count)
{
    struct hb_thread *me = hb_controlled();
    ssize_t result;
    if (!me && count > 0 && track_parts(fd, parts, count, 0, HB_PC, &result))
        return result;
    if (!me || !hb_may_wait(fd) || count < 1) {
        hb_track_op(HB_OP_LOGS, NULL, HB_PC);
        return REAL(writev)(fd, parts, count);
    }
    return send_parts(me, fd, parts, count, NULL, 0, true, HB_PC);
}

HB_HOOK ssize_t send(int fd, const void *from, size_t size, int flags)
{
    struct hb_thread *me = hb_controlled();
    struct iovec part = {(void *)from, size};
    if (!me) {
        ssize_t result;
        if (track_parts(fd, &part, 1, flags, HB_PC, &result))
            return result;
        hb_observe(HB_K_SEND, NULL, HB_PC);
        return REAL(send)(fd, from, size, flags);
    }
    return send_parts(me, fd, &part, 1, NULL, flags, false, HB_PC);
}

HB_HOOK ssize_t sendto(int fd, const void *from, size_t size, int flags,
                       const struct sockaddr *to, socklen_t length)
{
    struct hb_thread *me = hb_controlled();
    struct iovec part = {(void *)from, size};
    track_destination(fd, to, length);
    if (!me) {
        ssize_t result;
        if (track_parts(fd, &part, 1, flags, HB_PC, &result))
            return result;
        return REAL(sendto)(fd, from, size, flags, to, length);
    }
    struct msghdr message = {
        .msg_name = (void *)to, .msg_namelen = length, .msg_iov = &part, .msg_iovlen = 1};
    return send_parts(me, fd, &part, 1, &message, flags, false, HB_PC);
}

HB_HOOK ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct hb_thread *me = hb_controlled();
    hb.passes_on |= message->msg_controllen > 0;
    track_destination(fd, message->msg_name, message->msg_namelen);
    if (!me) {
        ssize_t result;
        if (track_parts(fd, message->msg_iov, (int)message->msg_iovlen, flags, HB_PC, &result))
            return result;
        return REAL(sendmsg)(fd, message, flags);
    }
    return send_parts(me, fd, message->msg_iov, (int)message->msg_iovlen, message, flags, false,
                      HB_PC);
}

HB_HOOK int eventfd_write(int fd, eventfd_t value)
{
    return write(fd, &value, sizeof value) == sizeof value ? 0 : -1;
}

HB_HOOK int eventfd_read(int fd, eventfd_t *value)
{
    return read(fd, value, sizeof *value) == sizeof *value ? 0 : -1;
}

/* ---- Connections ---- */

HB_HOOK int connect(int fd, const struct sockaddr *to, socklen_t length)
{
    struct hb_thread *me = hb_controlled();
    bool tracks = hb_track_connects(to, length);
    if (!tracks)
        hb_track_elsewhere(to, length);
    if (!me) {
        hb_observe(HB_K_CONNECT, NULL, HB_PC);
        return tracks ? hb_track_connect(fd) : REAL(connect)(fd, to, length);
    }
    hb_turn(me, (struct hb_action){
                    .kind = HB_K_CONNECT, .address = object_of(fd), .pc = HB_PC,
                    .with = tracks ? hb.track : NULL, .deadline = HB_NEVER});
    int result = tracks ? hb_track_connect(fd) : REAL(connect)(fd, to, length);
    hb_io_done(me, HB_K_CONNECT, fd, result, HB_PC);
    return result;
}

HB_HOOK int close(int fd)
{
    struct hb_thread *me = hb_controlled();
    bool visible = me && hb_may_wait(fd);
    if (visible)
        hb_before(me, HB_K_SEND, object_of(fd), NULL, HB_PC);
    int result = REAL(close)(fd);
    if (visible)
        hb_after(me, HB_K_SEND, object_of(fd), HB_PC, 0);
    return result;
}

HB_HOOK int shutdown(int fd, int how)
{
    struct hb_thread *me = hb_controlled();
    if (me)
        hb_before(me, HB_K_SEND, object_of(fd), NULL, HB_PC);
    hb_track_shut(fd);
    int result = REAL(shutdown)(fd, how);
    if (me)
        hb_after(me, HB_K_SEND, object_of(fd), HB_PC, 0);
    return result;
}
