/* Time under control is virtual: it goes on by what is done, leaps where everybody waits, and is
 * the same in every run of a schedule. */
#include "runtime.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

/* The monotonic clock is as old as a machine that was started an hour before. */
#define BOOT_NS INT64_C(3600000000000)

int64_t hb_of(const struct timespec *at)
{
    if (at->tv_sec > INT64_C(9000000000))
        return HB_NEVER - 1;
    return (int64_t)at->tv_sec * 1000000000 + at->tv_nsec;
}

bool hb_is_time(const struct timespec *at)
{
    return at->tv_nsec >= 0 && at->tv_nsec <= 999999999;
}

static int64_t begin_ns(void) { return (int64_t)hb.config->start_time_ns; }

/* What this clock shows. */
int64_t hb_now_of(clockid_t clock)
{
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_TAI:
        return hb.now;
    case CLOCK_PROCESS_CPUTIME_ID:
    case CLOCK_THREAD_CPUTIME_ID:
        return hb.now - begin_ns();
    default:
        return hb.now - begin_ns() + BOOT_NS;
    }
}

/* An absolute time of this clock, in virtual nanoseconds. */
int64_t hb_deadline(clockid_t clock, const struct timespec *at)
{
    int64_t span = hb_of(at) - hb_now_of(clock);
    return span >= HB_NEVER - 1 - hb.now ? HB_NEVER - 1 : hb.now + span;
}

int64_t hb_deadline_in(const struct timespec *span)
{
    int64_t nanoseconds = hb_of(span);
    return nanoseconds >= HB_NEVER - 1 - hb.now ? HB_NEVER - 1 : hb.now + nanoseconds;
}

static struct timespec as_timespec(int64_t nanoseconds)
{
    return (struct timespec){.tv_sec = nanoseconds / 1000000000,
                             .tv_nsec = nanoseconds % 1000000000};
}

/* Whoever looks at the clock again and again sees it go on. */
static int64_t look(clockid_t clock)
{
    hb_before(hb_self, HB_K_SLEEP, (void *)HB_OF_CLOCK, NULL, HB_PC);
    hb.now += 1000;
    return hb_now_of(clock);
}

HB_HOOK int clock_gettime(clockid_t clock, struct timespec *at)
{
    if (!hb_controlled() || clock < 0)
        return REAL(clock_gettime)(clock, at);
    *at = as_timespec(look(clock));
    return 0;
}

HB_HOOK int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    if (!hb_controlled())
        return REAL(gettimeofday)(at, zone);
    struct timespec now = as_timespec(look(CLOCK_REALTIME));
    *at = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

HB_HOOK time_t time(time_t *at)
{
    if (!hb_controlled())
        return REAL(time)(at);
    time_t now = (time_t)(look(CLOCK_REALTIME) / 1000000000);
    if (at)
        *at = now;
    return now;
}

static bool never(const struct hb_thread *thread)
{
    (void)thread;
    return false;
}

/* Sleeps until others have had their chance: it ends early now and then, as a loaded machine makes
 * the others late, and else when nobody can go on. False: a signal came first. */
static bool sleep_until(struct hb_thread *me, int64_t deadline, uint64_t pc)
{
    hb_enter(me, HB_K_SLEEP, NULL, pc);
    hb_sampler_falls(me->id);
    enum hb_turn how = hb_turn(me, (struct hb_action){.kind = HB_K_SLEEP,
                                                      .pc = pc,
                                                      .can = never,
                                                      .deadline = deadline,
                                                      .signals = HB_ENDS,
                                                      .cancellable = true});
    hb_record(me, HB_K_SLEEP, NULL, pc, 0);
    if (how == HB_CANCELLED)
        pthread_testcancel();
    return how != HB_INTERRUPTED;
}

/* What is left of a sleep that a signal ended. */
static int64_t left_until(int64_t deadline) { return deadline > hb.now ? deadline - hb.now : 0; }

HB_HOOK int nanosleep(const struct timespec *span, struct timespec *left)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(nanosleep)(span, left);
    if (span->tv_nsec < 0 || span->tv_nsec > 999999999 || span->tv_sec < 0) {
        errno = EINVAL;
        return -1;
    }
    int64_t deadline = hb_deadline_in(span);
    bool slept = sleep_until(me, deadline, HB_PC);
    if (left)
        *left = as_timespec(slept ? 0 : left_until(deadline));
    if (!slept)
        errno = EINTR;
    return slept ? 0 : -1;
}

HB_HOOK int clock_nanosleep(clockid_t clock, int flags, const struct timespec *at,
                            struct timespec *left)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(clock_nanosleep)(clock, flags, at, left);
    if (at->tv_nsec < 0 || at->tv_nsec > 999999999)
        return EINVAL;
    int64_t deadline = flags & TIMER_ABSTIME ? hb_deadline(clock, at) : hb_deadline_in(at);
    bool slept = sleep_until(me, deadline, HB_PC);
    if (left && !(flags & TIMER_ABSTIME))
        *left = as_timespec(slept ? 0 : left_until(deadline));
    return slept ? 0 : EINTR;
}

HB_HOOK int usleep(useconds_t microseconds)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(usleep)(microseconds);
    if (sleep_until(me, hb.now + (int64_t)microseconds * 1000, HB_PC))
        return 0;
    errno = EINTR;
    return -1;
}

HB_HOOK unsigned sleep(unsigned seconds)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(sleep)(seconds);
    int64_t deadline = hb.now + (int64_t)seconds * 1000000000;
    if (sleep_until(me, deadline, HB_PC))
        return 0;
    return (unsigned)((left_until(deadline) + 500000000) / 1000000000);
}

#include <threads.h>

HB_HOOK int thrd_sleep(const struct timespec *span, struct timespec *left)
{
    return nanosleep(span, left);
}
