/* Threads: how they begin and end, wait for each other, and are cancelled. */
#include "race.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void hb_first_turn(struct hb_thread *me);

/* Nothing of the thread is left: neither it nor anybody who may ask for it. */
static bool is_over(const struct hb_thread *thread)
{
    return thread->id != 0 && thread->used && thread->finished && !thread->serves &&
           (thread->joined || thread->detached);
}

/* A detached thread that has ended may still be on its way out. */
static void wait_until_gone(const struct hb_thread *thread)
{
    long process = hb_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
    struct timespec span = {.tv_nsec = 100000};
    while (!thread->joined && hb_syscall(SYS_tgkill, process, thread->tid, 0, 0, 0, 0) == 0)
        hb_syscall(SYS_nanosleep, (long)&span, 0, 0, 0, 0, 0);
}

/* When all numbers were given out, one of a thread that is over is given again, in turn. Where
 * races are looked for, of one whose end the creator knows of: what it did is then before all that
 * the new one does, as it is for one thread. */
static struct hb_thread *thread_again(struct hb_thread *creator)
{
    static uint32_t last;
    bool some_over = false;
    for (uint32_t round = 0; round < HB_MAX_THREADS; round++) {
        last = (last + 1) % HB_MAX_THREADS;
        struct hb_thread *thread = &hb.threads[last];
        some_over |= is_over(thread);
        if (!is_over(thread) ||
            (hb_racing && !hb_race_knows(creator, last, hb_race_epoch(thread))))
            continue;
        wait_until_gone(thread);
        hb_forget(thread);
        *thread = (struct hb_thread){.id = last,
                                     .used = true,
                                     .steps = thread->steps,
                                     .alternate = thread->joined ? thread->alternate : NULL};
        return thread;
    }
    if (!some_over)
        hb_end(HB_TOO_MUCH, creator,
               "more than 1,024 threads (of those that have ended, the ones that were joined or "
               "detached do not count)");
    hb_race_stop(HB_RACES_THREADS);
    return thread_again(creator);
}

struct hb_thread *hb_new_thread(struct hb_thread *creator)
{
    if (hb.thread_count >= HB_MAX_THREADS)
        return thread_again(creator);
    struct hb_thread *thread = &hb.threads[hb.thread_count];
    *thread = (struct hb_thread){.id = hb.thread_count, .used = true};
    hb.thread_count++;
    hb.result->threads = hb.thread_count;
    return thread;
}

static pthread_key_t end_key;
static bool have_end_key;

/* The last of a thread's key destructors, as far as that can be arranged: it comes back as long as
 * glibc goes round, and the thread has ended when it comes no more. */
static void end_thread(void *value)
{
    struct hb_thread *me = value;
    if (++me->ending < 4) {
        pthread_setspecific(end_key, me);
        return;
    }
    if (hb_controlled() == me)
        hb_finish(me);
}

/* The main thread comes under control. */
void hb_begin_main(void)
{
    if (!have_end_key)
        have_end_key = pthread_key_create(&end_key, end_thread) == 0;
    struct hb_thread *me = hb_new_thread(NULL);
    me->tid = (int)hb_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
    me->handle = pthread_self();
    hb_signals_begin(me, NULL);
    hb_cores_begin(me, NULL);
    hb_self = me;
    hb.current = me->id;
    pthread_setspecific(end_key, me);
}

static void *run_thread(void *argument)
{
    struct hb_thread *me = argument;
    me->tid = (int)hb_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
    if (hb.mode != HB_CONTROL)
        return me->start(me->argument);
    extern void hb_alternate_stack(void *space);
    hb_alternate_stack(me->alternate);
    hb_first_turn(me);
    hb_self = me;
    pthread_setspecific(end_key, me);
    hb_record(me, HB_K_START, me, (uint64_t)(uintptr_t)me->start, 0);
    me->next.kind = HB_K_NONE;
    hb_signals_come(me);
    return me->start(me->argument);
}

struct observed {
    void *(*start)(void *);
    void *argument;
};

static void *run_observed(void *argument)
{
    struct observed own = *(struct observed *)argument;
    free(argument);
    extern void hb_observe_thread(void);
    hb_observe_thread();
    hb_observe(HB_K_START, (void *)(uintptr_t)own.start, 0);
    return own.start(own.argument);
}

HB_HOOK int pthread_create(pthread_t *handle, const pthread_attr_t *attributes,
                           void *(*start)(void *), void *argument)
{
    struct hb_thread *me = hb_controlled();
    uint64_t pc = HB_PC;
    hb_symbols_patch();
    if (!me && (hb.mode == HB_OBSERVE || hb.mode == HB_PERTURB)) {
        struct observed *own = malloc(sizeof *own);
        if (!own)
            return EAGAIN;
        *own = (struct observed){start, argument};
        hb_observe(HB_K_CREATE, (void *)(uintptr_t)start, pc);
        int result = REAL(pthread_create)(handle, attributes, run_observed, own);
        if (result)
            free(own);
        return result;
    }
    if (!me)
        return REAL(pthread_create)(handle, attributes, start, argument);
    hb_swift_leave();
    hb_before(me, HB_K_CREATE, NULL, NULL, pc);
    struct hb_thread *made = hb_new_thread(me);
    hb_signals_begin(made, me);
    hb_cores_begin(made, me);
    made->start = start;
    made->argument = argument;
    made->next = (struct hb_action){.kind = HB_K_START, .address = made, .deadline = HB_NEVER};
    made->next.pc = (uint64_t)(uintptr_t)start;
    /* By the creator, in its turn: where memory is mapped depends on who maps first. */
    extern void *hb_alternate_space(void);
    if (!made->alternate)
        made->alternate = hb_alternate_space();
    int state = PTHREAD_CREATE_JOINABLE;
    if (attributes)
        pthread_attr_getdetachstate(attributes, &state);
    made->detached = state == PTHREAD_CREATE_DETACHED;
    hb_race_note_stack(made, attributes);
    int result = REAL(pthread_create)(&made->handle, attributes, run_thread, made);
    if (result) {
        hb.result->refused++;
        made->finished = true;
        made->joined = true;
        /* The next one gets its number. */
        if (made->id == hb.thread_count - 1)
            hb.result->threads = --hb.thread_count;
        hb_record(me, HB_K_CREATE, made, pc, (uint32_t)result);
        return result;
    }
    *handle = made->handle;
    if (hb.exploring)
        hb_explore_pending(made);
    hb_sampler_next(made->id, made->next.pc, (uint64_t)(uintptr_t)made);
    hb_after(me, HB_K_CREATE, made, pc, made->id);
    return 0;
}

struct hb_thread *hb_thread_of(pthread_t handle)
{
    for (uint32_t id = hb.thread_count; id-- > 0;) {
        struct hb_thread *thread = &hb.threads[id];
        bool is_gone = thread->joined || (thread->finished && thread->detached);
        if (thread->used && !is_gone && pthread_equal(thread->handle, handle))
            return thread;
    }
    return NULL;
}

struct hb_thread *hb_thread_with_tid(int tid)
{
    for (uint32_t id = 0; id < hb.thread_count; id++)
        if (hb.threads[id].used && !hb.threads[id].finished && hb.threads[id].tid == tid)
            return &hb.threads[id];
    return NULL;
}

bool hb_has_ended(const struct hb_thread *thread)
{
    return ((const struct hb_thread *)thread->next.with)->finished;
}

static int join(struct hb_thread *me, pthread_t handle, void **value, int64_t deadline, bool try,
                uint64_t pc)
{
    struct hb_thread *other = hb_thread_of(handle);
    if (!other)
        return REAL(pthread_join)(handle, value);
    if (other == me)
        return EDEADLK;
    if (other->detached)
        return EINVAL;
    enum hb_turn how = hb_turn(me, (struct hb_action){.kind = HB_K_JOIN,
                                                      .address = other,
                                                      .pc = pc,
                                                      .can = try ? NULL : hb_has_ended,
                                                      .with = other,
                                                      .deadline = deadline,
                                                      .cancellable = true});
    int result = how == HB_TIMED_OUT ? ETIMEDOUT : 0;
    if (how == HB_CAN && !other->finished)
        result = EBUSY;
    else if (how == HB_CAN) {
        other->joined = true;
        /* It has nothing left to do but to leave. */
        result = REAL(pthread_join)(handle, value);
    }
    hb_record(me, HB_K_JOIN, other, pc, (uint32_t)result);
    if (how == HB_CANCELLED)
        pthread_testcancel();
    if (result == EBUSY)
        hb_let_others(me, HB_K_YIELD, pc);
    return result;
}

HB_HOOK int pthread_join(pthread_t handle, void **value)
{
    struct hb_thread *me = hb_controlled();
    if (!me) {
        int result = REAL(pthread_join)(handle, value);
        hb_observe(HB_K_JOIN, NULL, HB_PC);
        return result;
    }
    return join(me, handle, value, HB_NEVER, false, HB_PC);
}

HB_HOOK int pthread_tryjoin_np(pthread_t handle, void **value)
{
    struct hb_thread *me = hb_controlled();
    return me ? join(me, handle, value, HB_NEVER, true, HB_PC)
              : REAL(pthread_tryjoin_np)(handle, value);
}

HB_HOOK int pthread_timedjoin_np(pthread_t handle, void **value, const struct timespec *at)
{
    struct hb_thread *me = hb_controlled();
    return me ? join(me, handle, value, hb_deadline(CLOCK_REALTIME, at), false, HB_PC)
              : REAL(pthread_timedjoin_np)(handle, value, at);
}

HB_HOOK int pthread_clockjoin_np(pthread_t handle, void **value, clockid_t clock,
                                 const struct timespec *at)
{
    struct hb_thread *me = hb_controlled();
    return me ? join(me, handle, value, hb_deadline(clock, at), false, HB_PC)
              : REAL(pthread_clockjoin_np)(handle, value, clock, at);
}

HB_HOOK int pthread_detach(pthread_t handle)
{
    struct hb_thread *me = hb_controlled();
    struct hb_thread *other = me ? hb_thread_of(handle) : NULL;
    if (other) {
        hb_before(me, HB_K_DETACH, other, NULL, HB_PC);
        other->detached = true;
        hb_record(me, HB_K_DETACH, other, HB_PC, 0);
    }
    return REAL(pthread_detach)(handle);
}

HB_HOOK int pthread_cancel(pthread_t handle)
{
    struct hb_thread *me = hb_controlled();
    struct hb_thread *other = me ? hb_thread_of(handle) : NULL;
    if (!other || other == me)
        return REAL(pthread_cancel)(handle);
    hb_swift_leave();
    hb_before(me, HB_K_CANCEL, other, NULL, HB_PC);
    if (other->finished)
        return 0;
    /* The real request first: then the thread meets it where it next asks for cancellation. */
    int result = REAL(pthread_cancel)(handle);
    other->cancelled = true;
    hb_after(me, HB_K_CANCEL, other, HB_PC, (uint32_t)result);
    return result;
}

/* Cancelled anywhere, a thread would lose its turn without a word: it is cancelled at its next
 * visible action instead that is a cancellation point, or lets others go on. */
HB_HOOK int pthread_setcanceltype(int type, int *before)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(pthread_setcanceltype)(type, before);
    if (type != PTHREAD_CANCEL_DEFERRED && type != PTHREAD_CANCEL_ASYNCHRONOUS)
        return EINVAL;
    if (before)
        *before = me->cancelled_anywhere ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED;
    me->cancelled_anywhere = type == PTHREAD_CANCEL_ASYNCHRONOUS;
    return 0;
}

HB_HOOK int sched_yield(void)
{
    struct hb_thread *me = hb_controlled();
    if (me)
        hb_let_others(me, HB_K_YIELD, HB_PC);
    else
        hb_syscall(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    if (me && me->cancelled_anywhere && me->cancelled)
        pthread_testcancel();
    return 0;
}

/* ---- C11 ---- */

#include <threads.h>

struct c11_start {
    thrd_start_t start;
    void *argument;
};

static void *run_c11(void *given)
{
    struct c11_start own = *(struct c11_start *)given;
    free(given);
    return (void *)(intptr_t)own.start(own.argument);
}

HB_HOOK int thrd_create(thrd_t *handle, thrd_start_t start, void *argument)
{
    struct c11_start *own = malloc(sizeof *own);
    if (!own)
        return thrd_nomem;
    *own = (struct c11_start){start, argument};
    int result = pthread_create((pthread_t *)handle, NULL, run_c11, own);
    if (result)
        free(own);
    return result == 0 ? thrd_success : result == EAGAIN ? thrd_nomem : thrd_error;
}

HB_HOOK int thrd_join(thrd_t handle, int *value)
{
    void *result = NULL;
    int refused = pthread_join((pthread_t)handle, &result);
    if (value)
        *value = (int)(intptr_t)result;
    return refused ? thrd_error : thrd_success;
}

HB_HOOK int thrd_detach(thrd_t handle)
{
    return pthread_detach((pthread_t)handle) ? thrd_error : thrd_success;
}

HB_HOOK void thrd_yield(void) { sched_yield(); }
