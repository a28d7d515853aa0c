/* Turns: who goes on, and how it is told. */
#include "race.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct hb_state hb;
__thread struct hb_thread *hb_self __attribute__((tls_model("initial-exec")));

static void ask(struct hb_thread *me, const struct hb_action *given);
static void choose(struct hb_thread *me);
static bool leave_turn(void);
static bool ready(struct hb_thread *thread);
static void hand_over(struct hb_thread *me, uint32_t next);
static void wait_for_turn(struct hb_thread *me);
static uint32_t draw(struct hb_thread *me, const uint32_t *able, uint32_t count);
static uint32_t follow(struct hb_thread *me, const uint32_t *able, uint32_t count);
static uint32_t nobody_is_ready(struct hb_thread *me);
static void note_step(uint32_t thread);
static void go(struct hb_thread *thread);

/* Held for a moment by who leaves control or comes back, and by who finds nobody to go on. */
static uint32_t outside_lock;

static void lock_outside(void)
{
    while (__atomic_exchange_n(&outside_lock, 1, __ATOMIC_ACQUIRE))
        hb_syscall(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

static void unlock_outside(void) { __atomic_store_n(&outside_lock, 0, __ATOMIC_RELEASE); }

/* ---- What hooks ask for ---- */

enum hb_turn hb_turn(struct hb_thread *me, struct hb_action action)
{
    ask(me, &action);
    while (me->signals > 0 && me->how != HB_CANCELLED) {
        enum hb_turn how = me->how;
        enum hb_interruptible ends = hb_signals_come(me);
        /* Their handlers may have let others go on. */
        me->next = action;
        bool can = !action.can || action.can(me);
        me->next.kind = HB_K_NONE;
        if (can)
            me->how = HB_CAN;
        else if (how != HB_INTERRUPTED && how != HB_CAN)
            me->how = how;
        else if (ends != HB_GOES_ON && action.signals >= ends)
            me->how = HB_INTERRUPTED;
        else
            ask(me, &action);
    }
    if (me->how == HB_CANCELLED)
        hb_race_acquire(me, me);
    return me->how;
}

static void ask(struct hb_thread *me, const struct hb_action *given)
{
    struct hb_action action = *given;
    me->next = action;
    me->early = false;
    if (action.deadline != HB_NEVER || action.spurious)
        me->early = hb.exploring || hb_sampler_bits() % 100 < hb.config->early_percent;
    if (hb.exploring)
        hb_explore_asks(me);
    if (hb.config->flags & HB_STACKS)
        me->depth = (uint32_t)hb_stack(me->frames, HB_MAX_FRAMES);
    me->asking = true;
    hb_sampler_next(me->id, action.pc, (uint64_t)(uintptr_t)action.address);
    choose(me);
    me->asking = false;
    me->next.kind = HB_K_NONE;
}

void hb_after(struct hb_thread *me, uint16_t kind, void *address, uint64_t pc, uint32_t value)
{
    hb_record(me, kind, address, pc, value);
    struct hb_action action = {
        .kind = kind, .address = address, .pc = pc, .deadline = HB_NEVER, .after = true};
    hb_turn(me, action);
}

/* So many of the times that a thread would let others go first it does not, in a hasty schedule. */
#define HASTE 48u

/* One schedule of eight is hasty: what comes after a number of tries (a futex, a lock that sleeps)
 * is come to only by who is not interrupted in them. */
void hb_draw_haste(void)
{
    const struct hb_config *config = hb.config;
    uint64_t mixed = (config->seed ^ config->index * UINT64_C(0xbf58476d1ce4e5b9)) *
                     UINT64_C(0x9e3779b97f4a7c15);
    hb.hasty = config->index > 0 && config->strategy != HB_FIRST && mixed >> 61 == 0;
}

bool hb_lets_others(struct hb_thread *me)
{
    return hb.exploring || hb.following || !hb.hasty || me->tries++ >= HASTE;
}

void hb_let_others(struct hb_thread *me, uint16_t kind, uint64_t pc)
{
    if (hb_lets_others(me)) {
        me->yielded = !hb.exploring;
        me->polite = true;
        hb_sampler_falls(me->id);
    }
    hb_record(me, kind, NULL, pc, 0);
    struct hb_action action = {.kind = kind, .pc = pc, .deadline = HB_NEVER};
    hb_turn(me, action);
}

void hb_count(struct hb_thread *me)
{
    /* A decision that ends within steps that are no choice ends here all the same. */
    if (hb.following && hb.decision_left == 0) {
        struct hb_action action = {.kind = HB_K_YIELD, .deadline = HB_NEVER};
        hb_turn(me, action);
        return;
    }
    if (hb.following)
        hb.decision_left--;
    note_step(me->id);
}

void hb_finish(struct hb_thread *me)
{
    if (me->swift.hosted && !me->rests)
        hb_swift_leave();
    hb_before(me, HB_K_END, me, NULL, 0);
    hb_record(me, HB_K_END, me, 0, 0);
    me->finished = true;
    if (hb.exploring)
        hb_explore_ends(me);
    hb_sampler_ended(me->id);
    choose(me);
}

void hb_record(struct hb_thread *me, uint16_t kind, void *address, uint64_t pc, uint32_t value)
{
    struct hb_result *result = hb.result;
    if (hb_racing)
        hb_race_order(me, kind, address, value);
    if (hb.exploring)
        hb_explore_record(me, kind, address);
    uint32_t at = result->events++;
    if (at >= HB_MAX_EVENTS)
        return;
    struct hb_event *event = &hb.events[at];
    struct hb_object *object =
        address && kind != HB_K_READ && kind != HB_K_WRITE && kind != HB_K_OP && kind != HB_K_MARK ? hb_object(address)
                                                                              : NULL;
    *event = (struct hb_event){
        .kind = kind,
        .thread = (uint16_t)(me->id | (hb.mark ? HB_AFTER_PREEMPTION : 0)),
        .object = object ? object->id : kind == HB_K_OP ? (uint32_t)me->steps : HB_NOBODY,
        .pc = pc,
        .address = (uint64_t)(uintptr_t)address,
        .value = value,
        .stack = UINT32_MAX,
    };
    hb.mark = false;
    if (hb.config->flags & HB_STACKS && result->stacks < HB_MAX_STACKS) {
        uint64_t *frames = hb.stacks[result->stacks];
        int depth = hb_stack(frames, HB_MAX_FRAMES);
        memset(frames + depth, 0, (HB_MAX_FRAMES - (size_t)depth) * sizeof *frames);
        event->stack = result->stacks++;
    }
}

/* ---- Who goes on ---- */

static void choose(struct hb_thread *me)
{
    static uint32_t able[HB_MAX_THREADS];
    uint32_t count, waiting_politely;
    if (hb.exploring && hb.decision_left == 0 && hb.decision >= hb.config->decisions)
        hb.following = false;
    hb_track_seep(me);
    if (hb.exploring)
        hb_await_settle();
again:
    count = waiting_politely = 0;
    if (hb.result->steps >= hb.config->max_steps)
        hb_end(HB_LIVELOCK, me, "");
    for (uint32_t id = 0; id < hb.thread_count; id++) {
        struct hb_thread *thread = &hb.threads[id];
        if (thread->finished || !ready(thread))
            continue;
        bool lets_others = thread->yielded || (thread->slow && thread->passed++ < HB_PATIENCE);
        if (lets_others && !hb.following) {
            waiting_politely++;
            continue;
        }
        able[count++] = id;
    }
    uint32_t could = count + waiting_politely;
    if (count == 0 && waiting_politely) {
        for (uint32_t id = 0; id < hb.thread_count; id++) {
            struct hb_thread *thread = &hb.threads[id];
            if (!thread->finished && (thread->yielded || thread->slow) && ready(thread))
                able[count++] = id;
        }
    }
    uint32_t next = hb.following ? follow(me, able, count) : draw(me, able, count);
    if (next == HB_NOBODY) {
        if (!leave_turn())
            goto again;
        if (!me->finished && !me->inside)
            wait_for_turn(me);
        return;
    }
    hb.result->others = could > 0 ? could - 1 : 0;
    hb.preempts = false;
    for (uint32_t at = 0; at < count; at++)
        hb.preempts |= able[at] == me->id && !me->yielded && !(hb.exploring && me->polite);
    if (hb.exploring)
        hb_explore_step(&hb.threads[next], able, count, hb.preempts);
    hb.preempts &= next != me->id;
    hb.mark |= hb.preempts;
    go(&hb.threads[next]);
    if (hb.threads[next].serves) {
        hb_track_take(&hb.threads[next]);
        goto again;
    }
    hand_over(me, next);
}

/* Only somebody who is outside can go on: it takes the turn when it comes back. False: it is back
 * already. */
static bool leave_turn(void)
{
    bool left = true;
    lock_outside();
    for (uint32_t id = 0; id < hb.thread_count; id++)
        left &= hb.threads[id].finished || !ready(&hb.threads[id]);
    if (left)
        hb.current = HB_NOBODY;
    unlock_outside();
    return left;
}

/* Whether the thread's next action can be taken now, or it may give up waiting for it. */
static bool ready(struct hb_thread *thread)
{
    if (thread->inside)
        return false;
    if (thread->signals > 0)
        return true;
    if (thread->awaits)
        return false;
    const struct hb_action *next = &thread->next;
    if (!next->can || next->can(thread))
        return true;
    if (next->cancellable && thread->cancelled)
        return true;
    return thread->early;
}

/* Settles how the turn came to it, and what that means for the others. */
static void go(struct hb_thread *thread)
{
    const struct hb_action *next = &thread->next;
    if (next->cancellable && thread->cancelled)
        thread->how = HB_CANCELLED;
    else if (!next->can || next->can(thread))
        thread->how = HB_CAN;
    else if (thread->signals > 0)
        thread->how = HB_INTERRUPTED;
    else if (next->deadline != HB_NEVER) {
        thread->how = HB_TIMED_OUT;
        if (hb.now < next->deadline)
            hb.now = next->deadline;
    } else
        thread->how = HB_SPURIOUSLY;
    uint32_t id = thread->id;
    note_step(id);
    hb_sampler_took(id);
    for (uint32_t other = 0; other < hb.thread_count; other++) {
        struct hb_thread *waiting = &hb.threads[other];
        if (other == id || waiting->finished)
            continue;
        waiting->yielded = false;
        if (next->address && waiting->next.address == next->address &&
            !(next->kind == HB_K_READ && waiting->next.kind == HB_K_READ))
            hb_sampler_depends(other);
    }
    thread->yielded = thread->polite = thread->awaits = false;
    /* Where steps are exchanged, a clock that counts them would tell. */
    hb.now += hb.exploring ? 0 : 1000;
}

/* From here on every other so many steps are fair, whatever the sampler says: it may starve somebody
 * for whom the others wait in loops, and what it would call a livelock is none of the program's. */
#define UNFAIR_STEPS 20000u
#define FAIR_WINDOW 1024u

/* The thread that the sampler picks of those that can go on. */
static uint32_t draw(struct hb_thread *me, const uint32_t *able, uint32_t count)
{
    if (count == 0)
        return nobody_is_ready(me);
    if (hb.exploring)
        return hb_explore_pick(able, count, me->id);
    if (count == 1)
        return able[0];
    uint64_t steps = hb.result->steps;
    if (steps < UNFAIR_STEPS || steps / FAIR_WINDOW % 2)
        return hb_sampler_pick(able, count, me->id);
    /* Not in turn: threads that back off from each other would do so for ever in step. */
    return able[hb_sampler_bits() % count];
}

/* The thread that a decision names; if it cannot, and need not, one that is drawn. */
static uint32_t follow(struct hb_thread *me, const uint32_t *able, uint32_t count)
{
    while (hb.decision_left == 0) {
        if (hb.decision >= hb.config->decisions || hb.decision >= HB_MAX_DECISIONS) {
            hb.following = false;
            return draw(me, able, count);
        }
        hb.decision_left = hb.decisions[hb.decision++].count;
    }
    uint32_t wanted = hb.decisions[hb.decision - 1].thread;
    bool possible = false;
    for (uint32_t at = 0; at < count; at++)
        possible |= able[at] == wanted;
    struct hb_thread *thread = wanted < hb.thread_count ? &hb.threads[wanted] : NULL;
    if (!possible && thread && !thread->finished && !thread->inside &&
        (thread->next.deadline != HB_NEVER || thread->next.spurious))
        possible = true; /* It gave up waiting. */
    if (!possible && thread && !thread->finished && thread->awaits)
        possible = true; /* Once more round its loop. */
    if (!possible && thread && !thread->finished && !thread->inside && thread->next.outside &&
        !hb_inner_waits(me, thread))
        possible = nobody_is_ready(me) == wanted;
    if (possible) {
        hb.decision_left--;
        return wanted;
    }
    if (hb.config->flags & HB_STRICT)
        hb_end(HB_STRAYED, thread, "");
    hb.decision_left = 0;
    return draw(me, able, count);
}

/* Whether nobody can go on, and what they wait for can only come from each other. */
static bool nobody_outside(struct hb_thread *me)
{
    for (uint32_t id = 0; id < hb.thread_count; id++) {
        const struct hb_thread *thread = &hb.threads[id];
        if (!thread->finished && !thread->serves && (thread->inside || thread->next.outside) &&
            !hb_inner_waits(me, thread))
            return false;
    }
    /* Only now: something may have come from a thread that is gone since. */
    for (uint32_t id = 0; id < hb.thread_count; id++)
        if (!hb.threads[id].finished && ready(&hb.threads[id]))
            return false;
    return true;
}

/* Nobody can: time leaps to the first deadline, or something from outside must come; else it is a
 * deadlock. */
static uint32_t nobody_is_ready(struct hb_thread *me)
{
    for (uint32_t rounds = 0;;) {
        uint32_t first = HB_NOBODY, outside = 0, unfinished = 0;
        for (uint32_t id = 0; id < hb.thread_count; id++) {
            const struct hb_thread *thread = &hb.threads[id];
            if (thread->finished || thread->serves)
                continue;
            unfinished++;
            if (thread->inside || thread->next.outside)
                outside++;
            if (!thread->inside && thread->next.deadline != HB_NEVER &&
                (first == HB_NOBODY || thread->next.deadline < hb.threads[first].next.deadline))
                first = id;
        }
        if (first != HB_NOBODY)
            return first;
        if (unfinished == 0)
            return HB_NOBODY;
        if (outside > 0 && nobody_outside(me))
            outside = 0;
        /* A handler may post a semaphore: a signal comes from outside, too. */
        bool signals_come = hb.signals_come || (hb.handles_signals && hb.result->children > 0);
        if (outside == 0 && !signals_come && !hb_foreign_may_help(me, &rounds)) {
            bool loops = false;
            for (uint32_t id = 0; id < hb.thread_count; id++)
                loops |= !hb.threads[id].finished && hb.threads[id].awaits;
            if (loops)
                hb_end(HB_LIVELOCK, me, "a thread waits in a loop for what nobody will do");
            hb_end(HB_DEADLOCK, me, "");
        }
        /* Something from outside: a descriptor, or a call that was left to the system. */
        hb_note_waiting();
        hb_explore_limit(HB_L_OUTSIDE);
        hb.result->waits_outside = 1;
        struct pollfd fds[64];
        uint32_t owners[64], polled = 0, inside = 0;
        for (uint32_t id = 0; id < hb.thread_count; id++) {
            const struct hb_thread *thread = &hb.threads[id];
            inside += !thread->finished && thread->inside;
            if (thread->finished || thread->inside || !thread->next.outside || polled >= 60)
                continue;
            uint32_t added = hb_poll_for(thread, &fds[polled], 64 - polled);
            for (uint32_t at = 0; at < added; at++)
                owners[polled + at] = id;
            polled += added;
        }
        if (polled == 0 && inside)
            return HB_NOBODY;
        struct timespec slice = {.tv_nsec = 2000000};
        bool looks_again = inside || polled == 0 || signals_come;
        hb_syscall(SYS_ppoll, (long)fds, polled, looks_again ? (long)&slice : 0, 0, 8, 0);
        hb.result->waits_outside = 0;
        for (uint32_t at = 0; at < polled; at++)
            if (ready(&hb.threads[owners[at]]))
                return owners[at];
        for (uint32_t id = 0; id < hb.thread_count; id++)
            if (!hb.threads[id].finished && ready(&hb.threads[id]))
                return id;
    }
}

static void note_step(uint32_t thread)
{
    struct hb_result *result = hb.result;
    result->steps++;
    hb.threads[thread].steps++;
    result->thread_steps[thread] = hb.threads[thread].steps;
    uint32_t last = result->taken;
    if (last > 0 && last <= HB_MAX_DECISIONS &&
        (hb.taken[last - 1].thread & ~HB_PREEMPTED) == thread) {
        hb.taken[last - 1].count++;
        return;
    }
    if (last < HB_MAX_DECISIONS)
        hb.taken[last] = (struct hb_decision){
            .thread = thread | (hb.preempts ? HB_PREEMPTED : 0), .count = 1};
    result->taken++;
}

/* ---- Handing over ---- */

static void hand_over(struct hb_thread *me, uint32_t next)
{
    hb.current = next;
    if (next == me->id)
        return;
    struct hb_thread *other = &hb.threads[next];
    if (hb_swift_hand_over(me, other))
        return;
    /* Read before: once the other one goes on, a target's thread may begin anew. */
    bool waits = !me->finished && !me->inside;
    __atomic_store_n(&other->turn, 1, __ATOMIC_RELEASE);
    hb_syscall(SYS_futex, (long)&other->turn, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
    if (waits)
        wait_for_turn(me);
}

static void wait_for_turn(struct hb_thread *me)
{
    while (!__atomic_load_n(&me->turn, __ATOMIC_ACQUIRE))
        hb_syscall(SYS_futex, (long)&me->turn, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0);
    __atomic_store_n(&me->turn, 0, __ATOMIC_RELAXED);
    if (hb.exploring)
        hb_explore_settle();
}

/* A thread that was just made waits for its first turn. */
void hb_first_turn(struct hb_thread *me)
{
    wait_for_turn(me);
}

/* ---- Outside ---- */

void hb_outside_begin(struct hb_thread *me, uint16_t kind, uint64_t pc)
{
    hb_swift_leave();
    hb_record(me, kind, NULL, pc, 0);
    hb.result->outside++;
    lock_outside();
    me->inside = true;
    me->next = (struct hb_action){.kind = kind, .pc = pc, .deadline = HB_NEVER, .outside = true};
    unlock_outside();
    /* The others go on; whoever is chosen gets the turn, and this thread does not wait for it. */
    choose(me);
}

void hb_outside_end(struct hb_thread *me)
{
    lock_outside();
    me->inside = false;
    bool take = hb.current == HB_NOBODY;
    if (take) {
        go(me);
        hb.current = me->id;
    }
    unlock_outside();
    if (!take)
        wait_for_turn(me);
    me->next.kind = HB_K_NONE;
    hb_race_acquire_all(me);
}

void hb_come_back(struct hb_thread **inside)
{
    int kept = errno;
    hb_outside_end(*inside);
    errno = kept;
}

/* ---- The end ---- */

void hb_note_waiting(void)
{
    struct hb_result *result = hb.result;
    uint32_t count = 0;
    for (uint32_t id = 0; id < hb.thread_count && count < HB_MAX_WAITING; id++) {
        struct hb_thread *thread = &hb.threads[id];
        if (thread->finished || thread->serves || thread->next.kind == HB_K_NONE)
            continue;
        const struct hb_action *next = &thread->next;
        struct hb_object *object = next->address ? hb_object(next->address) : NULL;
        struct hb_waiting *wait = &result->waits[count++];
        *wait = (struct hb_waiting){
            .kind = next->kind,
            .thread = (uint16_t)id,
            .object = object ? object->id : HB_NOBODY,
            .address = (uint64_t)(uintptr_t)next->address,
            .pc = next->pc,
            .holder = hb_holder(thread),
            .stack = thread->depth,
        };
        memcpy(wait->frames, thread->frames, sizeof wait->frames);
    }
    result->waiting = count;
}

void hb_say(const char *text)
{
    char *said = hb.result->text;
    size_t length = 0;
    while (text[length] && length < sizeof hb.result->text - 1)
        length++;
    memcpy(said, text, length);
    said[length] = 0;
}

void hb_end(enum hb_outcome outcome, struct hb_thread *culprit, const char *text)
{
    struct hb_result *result = hb.result;
    hb_note_waiting();
    result->culprit = culprit ? culprit->id : HB_NOBODY;
    hb_say(text);
    __atomic_store_n(&result->outcome, outcome, __ATOMIC_RELEASE);
    hb_syscall(SYS_exit_group, 86, 0, 0, 0, 0, 0);
    __builtin_unreachable();
}

_Noreturn void hb_sampler_panicked(void)
{
    hb_end(HB_TOO_MUCH, NULL, "a sampler broke an invariant of its own");
}
