/* Targets: what the driver asks of the runtime (../driver/driver.h), beside what programs call.
 *
 * A process runs one schedule after another: when the target was closed, heisenbed is told, writes
 * the next plan into the page, and all of the runtime's state begins anew. The driver's threads are
 * parked meanwhile. To who looks at steps and events, each schedule is as if the process were new:
 * creating, starting, ending and joining a thread are the same actions in the same order.
 *
 * That is not done where more would have to begin anew: with races (shadow memory), in an
 * exhaustive search, and where a thread of the target's is left over. Then the process ends, and
 * the next schedule has another one.
 */
#include "race.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

void hb_first_turn(struct hb_thread *me);

struct wait {
    bool (*can)(void *);
    void *with;
};

static bool can_go_on(const struct hb_thread *thread)
{
    const struct wait *wait = thread->next.with;
    return wait->can(wait->with);
}

/* Waits until `can`, which says what others do to `object`. */
HB_HOOK void hb_run_await(bool (*can)(void *), void *with, void *object)
{
    struct hb_thread *me = hb_controlled();
    if (!me) {
        for (uint32_t round = 0; !can(with); round++) {
            if (round < 64) {
                hb_syscall(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
                continue;
            }
            struct timespec span = {.tv_nsec = 20000};
            hb_syscall(SYS_nanosleep, (long)&span, 0, 0, 0, 0, 0);
        }
        return;
    }
    if (hb.exploring || !can(with)) {
        struct wait wait = {can, with};
        hb_turn(me, (struct hb_action){.kind = HB_K_AWAIT,
                                       .address = object,
                                       .pc = HB_PC,
                                       .can = can_go_on,
                                       .with = &wait,
                                       .deadline = HB_NEVER});
    }
    hb_race_acquire(me, object);
    hb_record(me, HB_K_AWAIT, object, HB_PC, 0);
}

/* The caller is about to do to `object` what others may wait for. */
HB_HOOK void hb_run_publish(void *object)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return;
    hb_before(me, HB_K_PUBLISH, object, NULL, HB_PC);
    hb_race_release(me, object);
    hb_record(me, HB_K_PUBLISH, object, HB_PC, 0);
}

/* What the driver knows of all threads' buffers. */
static char ledger;

/* The caller, thread `thread` of the workload (from 1), begins its operation with this number.
 * Where nobody controls threads, theirs are another numbering.
 *
 * Others may come before: else no thread would ever have a buffer while another one runs, unless it
 * were in the midst of an operation. What the driver then notes of its buffer it notes for all. */
HB_HOOK void hb_run_target_op(uint32_t thread, uint32_t number)
{
    struct hb_thread *me = hb_controlled();
    if (!me) {
        hb_observe(HB_K_OP, (void *)(uintptr_t)((uint64_t)thread << 32 | number), HB_PC);
        return;
    }
    hb_turn(me, (struct hb_action){.kind = HB_K_OP,
                                   .address = hb.exploring ? &ledger : NULL,
                                   .pc = HB_PC,
                                   .deadline = HB_NEVER});
    hb_record(me, HB_K_OP, NULL, HB_PC, number);
}

/* What the target did is wrong: the schedule ends here. */
HB_HOOK void hb_run_fail(const char *text)
{
    if (hb.mode == HB_OFF)
        return;
    hb_end(HB_ALLOCATOR, hb_self, text);
}

/* The driver opens or closes a target, or has done so. */
HB_HOOK void hb_run_opens(bool opens) { hb.opens = opens && hb_controlled(); }

/* What the driver calls of the target outside of operations: said of a schedule that does not end.
 * Empty when that is over. */
HB_HOOK void hb_run_calls(const char *what)
{
    if (hb_controlled())
        hb_say(what);
}

/* All operations were done: what the target says from here on is nobody's business. */
HB_HOOK void hb_run_settle(void) { hb_track_settle(); }

/* ---- One schedule after another ---- */

/* Whether the process may run more than one. */
HB_HOOK bool hb_run_begins_anew(void)
{
    return hb_controlled() && !hb.exploring && hb.config->flags & HB_AGAIN;
}

/* The caller has done its part of this schedule; it comes back when it is started in the next. */
HB_HOOK void hb_run_park(void)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return;
    me->rests = true;
    bool first = !me->swift.hosted && hb_swift_can(me);
    hb_finish(me);
    if (first)
        hb_swift_rest(me);
    else if (!me->swift.hosted)
        hb_first_turn(me);
    hb_record(me, HB_K_START, me, (uint64_t)(uintptr_t)me->start, 0);
    me->next.kind = HB_K_NONE;
}

/* Starts a parked thread, which must have the same number as before. */
HB_HOOK bool hb_run_start(uint32_t id)
{
    struct hb_thread *me = hb_controlled();
    if (!me || id != hb.thread_count || id >= HB_MAX_THREADS)
        return false;
    struct hb_thread *made = &hb.threads[id];
    *made = (struct hb_thread){
        .id = id,
        .used = true,
        .tid = made->tid,
        .handle = made->handle,
        .start = made->start,
        .argument = made->argument,
        .alternate = made->alternate,
        .swift = made->swift,
        .next = {.kind = HB_K_START,
                 .address = made,
                 .pc = (uint64_t)(uintptr_t)made->start,
                 .deadline = HB_NEVER},
    };
    hb.thread_count++;
    hb.result->threads = hb.thread_count;
    hb_sampler_next(made->id, made->next.pc, (uint64_t)(uintptr_t)made);
    hb_after(me, HB_K_CREATE, made, HB_PC, made->id);
    return true;
}

/* Waits until it is parked. */
HB_HOOK void hb_run_join(uint32_t id)
{
    struct hb_thread *me = hb_controlled();
    if (!me || id >= hb.thread_count)
        return;
    struct hb_thread *other = &hb.threads[id];
    hb_turn(me, (struct hb_action){.kind = HB_K_JOIN,
                                   .address = other,
                                   .pc = HB_PC,
                                   .can = hb_has_ended,
                                   .with = other,
                                   .deadline = HB_NEVER,
                                   .cancellable = true});
    hb_record(me, HB_K_JOIN, other, HB_PC, 0);
}

/* The number of the thread that the caller made last. */
HB_HOOK uint32_t hb_run_last_thread(void) { return hb.thread_count - 1; }

#define MOST_OBJECTS 16384u

static uint64_t processor_us(void)
{
    struct rusage used = {0};
    getrusage(RUSAGE_SELF, &used);
    return (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

/* The schedule is over; whether there is another one for this process. */
HB_HOOK bool hb_run_again(void)
{
    struct hb_thread *me = hb_controlled();
    if (!me || !hb_run_begins_anew() || hb_racing || hb.result->access_count ||
        hb_object_count() > MOST_OBJECTS)
        return false;
    for (uint32_t id = 0; id < hb.thread_count; id++)
        if (&hb.threads[id] != me && !hb.threads[id].finished && !hb.threads[id].serves)
            return false;
    uint64_t used = processor_us();
    if (hb_syscall(SYS_sendto, hb.turns, (long)&used, sizeof used, MSG_NOSIGNAL, 0, 0) !=
        (long)sizeof used)
        return false;
    char command = 0;
    long got;
    do
        got = hb_syscall(SYS_recvfrom, hb.turns, (long)&command, 1, 0, 0, 0);
    while (got == -4);
    if (got != 1 || command != HB_DO_AGAIN) {
        hb.mode = HB_OFF;
        return false;
    }
    hb.era++;
    hb_cores_again();
    hb_track_again();
    *me = (struct hb_thread){.id = 0,
                             .used = true,
                             .tid = me->tid,
                             .handle = me->handle,
                             .alternate = me->alternate,
                             .swift = me->swift};
    hb_swift_begin(me);
    hb.thread_count = 1;
    hb.result->threads = 1;
    hb.current = 0;
    hb_begin_schedule();
    __atomic_store_n(&hb.result->started, 1, __ATOMIC_RELEASE);
    return true;
}
