/* Waiting for several descriptors: poll, select and epoll.
 *
 * Whether one of them is ready is asked of the system without waiting, each time that the thread
 * might go on; so is what the calls of io.c wait for.
 */
#include "io.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>

void hb_answer_all(const struct pollfd *fds, nfds_t count)
{
    for (nfds_t at = 0; at < count; at++)
        if (fds[at].events & POLLIN)
            hb_track_answer(fds[at].fd);
}

int hb_poll_now(struct pollfd *fds, nfds_t count)
{
    hb_answer_all(fds, count);
    struct timespec none = {0};
    return (int)hb_syscall(SYS_ppoll, (long)fds, (long)count, (long)&none, 0, 8, 0);
}

bool hb_is_prepared(const struct hb_thread *thread)
{
    const struct hb_waits *waits = thread->next.with;
    return hb_poll_now(waits->fds, waits->count) != 0;
}

uint32_t hb_poll_for(const struct hb_thread *thread, struct pollfd *into, uint32_t room)
{
    if (thread->next.can != hb_is_prepared)
        return 0;
    const struct hb_waits *waits = thread->next.with;
    uint32_t count = waits->count < room ? (uint32_t)waits->count : room;
    memcpy(into, waits->fds, count * sizeof *into);
    return count;
}

/* Until one of them is ready; how many are. */
static int wait_for(struct hb_thread *me, struct pollfd *fds, nfds_t count, int64_t deadline,
                    bool at_once, uint64_t pc)
{
    struct hb_waits all = {fds, count};
    enum hb_turn how = hb_turn(me, (struct hb_action){.kind = HB_K_POLL,
                                                      .pc = pc,
                                                      .can = at_once ? NULL : hb_is_prepared,
                                                      .with = &all,
                                                      .deadline = deadline,
                                                      .cancellable = true,
                                                      .signals = HB_ENDS,
                                                      .outside = count > 0});
    if (how == HB_CANCELLED)
        pthread_testcancel();
    int result = how == HB_INTERRUPTED ? -EINTR : hb_poll_now(fds, count);
    hb_record(me, HB_K_POLL, NULL, pc, (uint32_t)result);
    if (result == 0 && at_once)
        hb_let_others(me, HB_K_YIELD, pc);
    if (result < 0) {
        errno = -result;
        result = -1;
    }
    return result;
}

/* The same, while the thread lets through what `mask` says; NULL: what it does anyway. */
static int wait_masked(struct hb_thread *me, struct pollfd *fds, nfds_t count, int64_t deadline,
                       bool at_once, const sigset_t *mask, uint64_t pc)
{
    sigset_t before;
    if (!at_once)
        hb_enter(me, HB_K_POLL, NULL, pc);
    if (!mask)
        return wait_for(me, fds, count, deadline, at_once, pc);
    bool came = hb_signals_let(mask, &before);
    errno = EINTR;
    int result = came ? -1 : wait_for(me, fds, count, deadline, at_once, pc);
    int kept = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = kept;
    return result;
}

static int64_t in_ms(int milliseconds)
{
    return milliseconds < 0 ? HB_NEVER : hb.now + (int64_t)milliseconds * 1000000;
}

HB_HOOK int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    struct hb_thread *me = hb_controlled();
    if (!me) {
        hb_answer_all(fds, count);
        return REAL(poll)(fds, count, timeout);
    }
    return wait_masked(me, fds, count, in_ms(timeout), timeout == 0, NULL, HB_PC);
}

HB_HOOK int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                  const sigset_t *mask)
{
    struct hb_thread *me = hb_controlled();
    if (!me) {
        hb_answer_all(fds, count);
        return REAL(ppoll)(fds, count, timeout, mask);
    }
    int64_t deadline = timeout ? hb_deadline_in(timeout) : HB_NEVER;
    return wait_masked(me, fds, count, deadline, timeout && hb_of(timeout) == 0, mask, HB_PC);
}

static int select_by_poll(struct hb_thread *me, int count, fd_set *reading, fd_set *writing,
                          fd_set *failing, int64_t deadline, bool at_once, const sigset_t *mask,
                          uint64_t pc)
{
    struct pollfd fds[FD_SETSIZE];
    nfds_t used = 0;
    for (int fd = 0; fd < count && fd < FD_SETSIZE; fd++) {
        short events = (short)((reading && FD_ISSET(fd, reading) ? POLLIN : 0) |
                               (writing && FD_ISSET(fd, writing) ? POLLOUT : 0) |
                               (failing && FD_ISSET(fd, failing) ? POLLPRI : 0));
        if (events)
            fds[used++] = (struct pollfd){.fd = fd, .events = events};
    }
    int found = wait_masked(me, fds, used, deadline, at_once, mask, pc);
    if (found < 0)
        return found;
    int bits = 0;
    for (nfds_t at = 0; at < used; at++) {
        int fd = fds[at].fd;
        short came = fds[at].revents;
        if (came & POLLNVAL) {
            errno = EBADF;
            return -1;
        }
        if (reading && FD_ISSET(fd, reading)) {
            if (came & (POLLIN | POLLHUP | POLLERR))
                bits++;
            else
                FD_CLR(fd, reading);
        }
        if (writing && FD_ISSET(fd, writing)) {
            if (came & (POLLOUT | POLLERR))
                bits++;
            else
                FD_CLR(fd, writing);
        }
        if (failing && FD_ISSET(fd, failing)) {
            if (came & POLLPRI)
                bits++;
            else
                FD_CLR(fd, failing);
        }
    }
    return bits;
}

HB_HOOK int select(int count, fd_set *restrict reading, fd_set *restrict writing,
                   fd_set *restrict failing, struct timeval *restrict timeout)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(select)(count, reading, writing, failing, timeout);
    int64_t span = timeout ? (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_usec * 1000 : 0;
    return select_by_poll(me, count, reading, writing, failing,
                          timeout ? hb.now + span : HB_NEVER, timeout && span == 0, NULL, HB_PC);
}

HB_HOOK int pselect(int count, fd_set *restrict reading, fd_set *restrict writing,
                    fd_set *restrict failing, const struct timespec *restrict timeout,
                    const sigset_t *restrict mask)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(pselect)(count, reading, writing, failing, timeout, mask);
    return select_by_poll(me, count, reading, writing, failing,
                          timeout ? hb_deadline_in(timeout) : HB_NEVER,
                          timeout && hb_of(timeout) == 0, mask, HB_PC);
}

static int wait_epoll(struct hb_thread *me, int epoll, struct epoll_event *events, int most,
                      int timeout, const sigset_t *mask, uint64_t pc)
{
    struct pollfd one = {.fd = epoll, .events = POLLIN};
    int ready = wait_masked(me, &one, 1, in_ms(timeout), timeout == 0, mask, pc);
    if (ready < 0)
        return -1;
    return REAL(epoll_wait)(epoll, events, most, 0);
}

HB_HOOK int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    struct hb_thread *me = hb_controlled();
    return me ? wait_epoll(me, epoll, events, most, timeout, NULL, HB_PC)
              : REAL(epoll_wait)(epoll, events, most, timeout);
}

HB_HOOK int epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout,
                        const sigset_t *mask)
{
    struct hb_thread *me = hb_controlled();
    return me ? wait_epoll(me, epoll, events, most, timeout, mask, HB_PC)
              : REAL(epoll_pwait)(epoll, events, most, timeout, mask);
}
