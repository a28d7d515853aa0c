/* Condition variables, modelled whole: their real functions would wait inside. */
#include "mutex.h"
#include "race.h"

#include <errno.h>
#include <string.h>

/* A signal goes to one of those who waited when it was given; whoever of them gets the turn first
 * takes it. */
static bool is_signalled(const struct hb_thread *thread)
{
    struct hb_object *cond = hb_find(thread->next.address);
    return thread->woken ||
           (cond && cond->pending && cond->signals[cond->pending - 1] > thread->waits_since);
}

static bool can_wake(const struct hb_thread *thread)
{
    return is_signalled(thread) && hb_mutex_is_free(thread->next.with, thread);
}

static bool waits_for(const struct hb_thread *thread, void *cond)
{
    return !thread->finished && !thread->woken && thread->next.kind == HB_K_WAKE &&
           thread->next.address == cond;
}

/* How many wait for a signal that was not promised to them. */
static uint32_t waiters(void *cond, const struct hb_thread *but)
{
    uint32_t count = 0;
    for (uint32_t id = 0; id < hb.thread_count; id++)
        count += &hb.threads[id] != but && waits_for(&hb.threads[id], cond);
    return count;
}

static void take_signal(struct hb_object *cond, struct hb_thread *me)
{
    if (me->woken) {
        me->woken = false;
        return;
    }
    for (uint32_t at = 0; at < cond->pending; at++) {
        if (cond->signals[at] <= me->waits_since)
            continue;
        memmove(&cond->signals[at], &cond->signals[at + 1],
                (cond->pending - at - 1) * sizeof cond->signals[0]);
        cond->pending--;
        return;
    }
}

/* Signals for which nobody is left. */
static void drop_signals(struct hb_object *cond, const struct hb_thread *but)
{
    uint32_t left = waiters(cond->address, but);
    while (cond->pending > left)
        take_signal(cond, &(struct hb_thread){.waits_since = 0});
}

static int wait_cond(struct hb_thread *me, pthread_cond_t *cond, pthread_mutex_t *mutex,
                     int64_t deadline, uint64_t pc)
{
    /* Whoever signals need not have the mutex: others may come between the last look at what is
     * waited for and the wait. */
    hb_turn(me, (struct hb_action){.kind = HB_K_WAIT,
                                   .address = cond,
                                   .with = mutex,
                                   .pc = pc,
                                   .deadline = HB_NEVER});
    me->next = (struct hb_action){
        .kind = HB_K_WAIT, .address = mutex, .pc = pc, .deadline = HB_NEVER};
    hb_mutex_check_unlock(me, mutex);
    me->waits_since = ++hb.clock;
    hb_object(cond);
    hb_record(me, HB_K_WAIT, cond, pc, 0);
    hb_race_release(me, mutex);
    /* Recursive locks: given up whole, taken back whole. */
    unsigned depth = HB_MUTEX_KIND(mutex) == PTHREAD_MUTEX_RECURSIVE ? mutex->__data.__count : 1;
    for (unsigned at = 0; at < depth; at++) {
        int refused = REAL(pthread_mutex_unlock)(mutex);
        if (refused)
            return refused;
    }
    enum hb_turn how = hb_turn(me, (struct hb_action){.kind = HB_K_WAKE,
                                                      .address = cond,
                                                      .pc = pc,
                                                      .can = hb.exploring ? is_signalled : can_wake,
                                                      .deadline = deadline,
                                                      .with = mutex,
                                                      .cancellable = true,
                                                      .spurious = hb.config->flags & HB_SPURIOUS});
    struct hb_object *object = hb_object(cond);
    if (how == HB_CAN)
        take_signal(object, me);
    else {
        me->woken = false;
        drop_signals(object, me);
    }
    if (hb.exploring || !hb_mutex_is_free(mutex, me))
        hb_turn(me, (struct hb_action){.kind = HB_K_LOCK,
                                       .address = mutex,
                                       .pc = pc,
                                       .can = hb_mutex_can_lock,
                                       .deadline = HB_NEVER});
    int result = 0;
    for (unsigned at = 0; at < depth; at++)
        result = hb_mutex_take(me, mutex, REAL(pthread_mutex_lock));
    hb_race_acquire(me, mutex);
    if (how == HB_TIMED_OUT)
        result = ETIMEDOUT;
    hb_record(me, HB_K_WAKE, cond, pc, (uint32_t)result);
    if (how == HB_CANCELLED)
        pthread_testcancel();
    return result;
}

HB_HOOK int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    struct hb_thread *me = hb_controlled();
    if (!me) {
        hb_observe(HB_K_WAIT, cond, HB_PC);
        return REAL_COND(pthread_cond_wait)(cond, mutex);
    }
    return wait_cond(me, cond, mutex, HB_NEVER, HB_PC);
}

/* The clock of a condition variable is a bit of its own. */
static clockid_t clock_of(const pthread_cond_t *cond)
{
    return cond->__data.__wrefs & 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

HB_HOOK int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                   const struct timespec *at)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL_COND(pthread_cond_timedwait)(cond, mutex, at);
    if (!hb_is_time(at))
        return EINVAL;
    return wait_cond(me, cond, mutex, hb_deadline(clock_of(cond), at), HB_PC);
}

HB_HOOK int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
                                   const struct timespec *at)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(pthread_cond_clockwait)(cond, mutex, clock, at);
    if (!hb_is_time(at))
        return EINVAL;
    return wait_cond(me, cond, mutex, hb_deadline(clock, at), HB_PC);
}

static int signal_cond(struct hb_thread *me, pthread_cond_t *cond, bool all, uint64_t pc)
{
    hb_before(me, all ? HB_K_BROADCAST : HB_K_SIGNAL, cond, NULL, pc);
    struct hb_object *object = hb_object(cond);
    uint32_t waiting = waiters(cond, NULL);
    if (all) {
        for (uint32_t id = 0; id < hb.thread_count; id++)
            hb.threads[id].woken |= waits_for(&hb.threads[id], cond);
        object->pending = 0;
    } else if (object->pending < waiting && object->pending < HB_MAX_SIGNALS) {
        object->signals[object->pending++] = ++hb.clock;
    } else if (object->pending < waiting) {
        /* So many signals at once: this one goes to whoever waits longest. */
        struct hb_thread *first = NULL;
        for (uint32_t id = 0; id < hb.thread_count; id++) {
            struct hb_thread *thread = &hb.threads[id];
            if (waits_for(thread, cond) && (!first || thread->waits_since < first->waits_since))
                first = thread;
        }
        if (first)
            first->woken = true;
    }
    hb_after(me, all ? HB_K_BROADCAST : HB_K_SIGNAL, cond, pc, waiting);
    return 0;
}

HB_HOOK int pthread_cond_signal(pthread_cond_t *cond)
{
    struct hb_thread *me = hb_controlled();
    if (!me) {
        hb_observe(HB_K_SIGNAL, cond, HB_PC);
        return REAL_COND(pthread_cond_signal)(cond);
    }
    return signal_cond(me, cond, false, HB_PC);
}

HB_HOOK int pthread_cond_broadcast(pthread_cond_t *cond)
{
    struct hb_thread *me = hb_controlled();
    if (!me) {
        hb_observe(HB_K_BROADCAST, cond, HB_PC);
        return REAL_COND(pthread_cond_broadcast)(cond);
    }
    return signal_cond(me, cond, true, HB_PC);
}

HB_HOOK int pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attributes)
{
    if (hb_controlled())
        hb_forget(cond);
    return REAL_COND(pthread_cond_init)(cond, attributes);
}

HB_HOOK int pthread_cond_destroy(pthread_cond_t *cond)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL_COND(pthread_cond_destroy)(cond);
    /* The real one waits for waiters that it does not have. */
    hb_forget(cond);
    return 0;
}
