/* Exhaustive search: each action is a choice of its own, and the page is told what it touches.
 *
 * heisenbed gives the first steps of a schedule and a set of threads that are asleep then: what they
 * are about to do was searched already. They sleep until somebody touches what they would touch.
 * A schedule ends where all who can go on are asleep: another one comes to the same.
 *
 * A step is one action with what follows it up to the next, which nobody sees. So what a step
 * touches is known before it is taken, and an action whose effect comes before its turn elsewhere
 * (an unlock, a signal) has a turn before it here as well (hb_before).
 *
 * While there is one thread only, nothing is told: all of it comes before everything else.
 */
#include "await.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* So many actions in a row that bring nothing new are a loop that waits for others. */
#define PATIENCE_PLAIN 16
#define PATIENCE_ATOMIC 8
#define PATIENCE_POLITE 2
#define ROUNDS 8
/* After so many steps another thread goes on, if none of them must be preferred. */
#define MOST_IN_A_ROW 2000

static uint64_t asleep;
static struct hb_transition *current;
static uint32_t runner, run_length;

static struct {
    uint64_t pc, address, value, strangers;
    uint16_t kind;
} rounds[HB_MAX_EXPLORED][ROUNDS];
static uint32_t next_round[HB_MAX_EXPLORED], stale[HB_MAX_EXPLORED], drawn[HB_MAX_EXPLORED];

void hb_explore_begin(void)
{
    hb.exploring = hb.config->flags & HB_EXPLORE;
    if (hb.exploring)
        hb.exploration->instrumented = hb_files_seen();
    atexit(hb_explore_last);
}

static bool others_are_left(const struct hb_thread *me)
{
    for (uint32_t id = 0; id < hb.thread_count; id++) {
        const struct hb_thread *thread = &hb.threads[id];
        if (thread != me && !thread->finished && !thread->serves)
            return true;
    }
    return false;
}

/* The end of the process is the end of all: no step may be exchanged with it. Whoever is left may
 * still go on between the last of what is torn down at the exit and the end itself. */
void hb_explore_last(void)
{
    struct hb_thread *me = hb_controlled();
    if (me && (hb.exploring ? hb.thread_count > 1 : others_are_left(me)))
        hb_turn(me, (struct hb_action){.kind = HB_K_END, .deadline = HB_NEVER});
}

HB_HOOK _Noreturn void quick_exit(int status)
{
    hb_explore_last();
    REAL(quick_exit)(status);
    __builtin_unreachable();
}

void hb_explore_limit(uint32_t limit)
{
    if (hb.exploring)
        hb.exploration->limits |= limit;
}

/* ---- What is touched ---- */

static struct hb_touching touch_of(const struct hb_action *action)
{
    struct hb_touching touch = {.address = (uint64_t)(uintptr_t)action->address, .size = 4};
    if (action->after)
        return touch;
    touch.advances = action->deadline != HB_NEVER;
    touch.touch = HB_TOUCH_WRITE;
    switch (action->kind) {
    case HB_K_NONE:
    case HB_K_FENCE:
    case HB_K_YIELD:
        touch.touch = HB_TOUCH_NOTHING;
        break;
    case HB_K_SLEEP:
        if (!touch.address)
            touch.touch = HB_TOUCH_NOTHING;
        break;
    case HB_K_READ:
    case HB_K_ATOMIC_LOAD:
        touch.touch = HB_TOUCH_READ;
        /* fall through */
    case HB_K_WRITE:
    case HB_K_ATOMIC_STORE:
    case HB_K_ATOMIC_UPDATE:
        if (action->word) /* Else it stands for an object. */
            touch.size = action->word > UINT32_MAX ? UINT32_MAX : (uint32_t)action->word;
        break;
    case HB_K_CREATE:
        touch.address = HB_OF_THREADS;
        break;
    case HB_K_END:
        if (!touch.address)
            touch.touch = HB_TOUCH_ALL;
        break;
    case HB_K_CONNECT:
        if (!action->with) /* The tracking server is heisenbed, and says nothing by itself. */
            hb_explore_limit(HB_L_CONNECTS);
        /* fall through */
    case HB_K_SEND:
    case HB_K_RECEIVE:
    case HB_K_POLL:
    case HB_K_ACCEPT:
        touch.address = HB_OF_IO;
        break;
    case HB_K_CANCEL:
    case HB_K_KILL:
    case HB_K_FORK:
    case HB_K_EXEC:
    case HB_K_OUTSIDE:
        touch.touch = HB_TOUCH_ALL;
        break;
    case HB_K_WAIT:
    case HB_K_FUTEX_WAKE:
        touch.with = (uint64_t)(uintptr_t)action->with;
        break;
    default:
        break;
    }
    return touch;
}

static bool overlap(uint64_t one, uint32_t size, uint64_t other, uint32_t other_size)
{
    return one < other + other_size && other < one + size;
}

static bool looks_at_the_clock(const struct hb_touching *touch)
{
    return touch->touch == HB_TOUCH_WRITE && touch->address == HB_OF_CLOCK;
}

bool hb_explore_conflict(const struct hb_touching *one, const struct hb_touching *other)
{
    if ((one->advances && looks_at_the_clock(other)) ||
        (other->advances && looks_at_the_clock(one)))
        return true;
    if (one->touch == HB_TOUCH_NOTHING || other->touch == HB_TOUCH_NOTHING)
        return false;
    if (one->touch == HB_TOUCH_ALL || other->touch == HB_TOUCH_ALL)
        return true;
    if ((one->with && overlap(one->with, 4, other->address, other->size)) ||
        (other->with && overlap(other->with, 4, one->address, one->size)) ||
        (one->with && other->with && overlap(one->with, 4, other->with, 4)))
        return true;
    return (one->touch == HB_TOUCH_WRITE || other->touch == HB_TOUCH_WRITE) &&
           overlap(one->address, one->size, other->address, other->size);
}

static bool frees(uint16_t kind)
{
    return kind == HB_K_UNLOCK || kind == HB_K_SPIN_UNLOCK || kind == HB_K_ONCE_DONE ||
           kind == HB_K_WAIT || kind == HB_K_END || kind == HB_K_CREATE;
}

static struct hb_transition told(const struct hb_thread *thread, const struct hb_touching *touch)
{
    const struct hb_action *next = &thread->next;
    bool blocks = (next->can && next->deadline == HB_NEVER && !next->spurious &&
                   !(next->cancellable && thread->cancelled)) ||
                  thread->awaits;
    return (struct hb_transition){
        .thread = (uint16_t)thread->id,
        .kind = next->kind,
        .flags = (uint8_t)((blocks ? HB_T_BLOCKS : 0) |
                           (!next->after && frees(next->kind) ? HB_T_FREES : 0) |
                           (touch->advances ? HB_T_ADVANCES : 0)),
        .touch = touch->touch,
        .size = touch->size,
        .step = hb.result->steps,
        .address = touch->address,
        .with = touch->with,
    };
}

static struct hb_transition *transitions(void)
{
    return (struct hb_transition *)((unsigned char *)hb.config + HB_AT_TRANSITIONS);
}

static struct hb_transition *add(void)
{
    uint32_t at = hb.exploration->transitions;
    if (at >= HB_MAX_TRANSITIONS)
        hb_end(HB_TOO_MUCH, NULL, "a schedule of more than 131,072 steps: too many for an "
                                  "exhaustive search");
    hb.exploration->transitions = at + 1;
    return &transitions()[at];
}

static void wake(const struct hb_touching *touch)
{
    for (uint32_t id = 0; asleep && id < hb.thread_count; id++) {
        if (!(asleep >> id & 1))
            continue;
        struct hb_touching next = touch_of(&hb.threads[id].next);
        if (hb_explore_conflict(touch, &next))
            asleep &= ~(UINT64_C(1) << id);
    }
}

static struct hb_transition *pending(uint32_t thread)
{
    return (struct hb_transition *)((unsigned char *)hb.config + HB_AT_PENDING) + thread;
}

void hb_explore_pending(const struct hb_thread *thread)
{
    if (thread->id >= HB_MAX_EXPLORED)
        hb_end(HB_TOO_MUCH, NULL, "more than 64 threads: too many for an exhaustive search");
    struct hb_touching touch = touch_of(&thread->next);
    struct hb_transition *slot = pending(thread->id);
    *slot = told(thread, &touch);
    slot->flags |= HB_T_PENDING;
}

/* A step is about to be taken: `how` it is told. */
void hb_explore_step(const struct hb_thread *taken, const uint32_t *able, uint32_t count,
                     bool costs)
{
    if (hb.handles_signals)
        hb_explore_limit(HB_L_SIGNALS);
    run_length = taken->id == runner ? run_length + 1 : 0;
    runner = taken->id;
    if (hb.thread_count <= 1)
        return;
    if (hb.exploration->asleep && hb.result->steps == hb.exploration->asleep_from)
        asleep = hb.exploration->asleep;
    const struct hb_action *next = &taken->next;
    struct hb_touching touch = touch_of(next);
    /* A wait with a time that need not wait leaves the clock alone. */
    touch.advances &= next->can && !next->can(taken);
    current = add();
    *current = told(taken, &touch);
    current->flags |= costs ? HB_T_COSTS : 0;
    for (uint32_t at = 0; at < count; at++)
        current->able |= UINT64_C(1) << (able[at] % 64);
    for (uint32_t id = 0; id < hb.thread_count && id < HB_MAX_EXPLORED; id++)
        if (hb.threads[id].yielded && !hb.threads[id].finished)
            current->held |= UINT64_C(1) << id;
    current->held &= ~current->able;
    if (current->held)
        hb_explore_limit(HB_L_HELD);
    /* What wakes one of these need not conflict with its next step, only with one after it. */
    for (uint32_t id = 0; id < hb.thread_count && id < HB_MAX_EXPLORED; id++)
        if (!hb.threads[id].finished && hb_await_looks_at_several(&hb.threads[id]))
            current->held |= UINT64_C(1) << id;
    current->asleep = asleep;
    pending(taken->id)->flags = 0;
    wake(&touch);
    hb_await_step(taken, &touch);
}

void hb_explore_record(struct hb_thread *me, uint16_t kind, void *address)
{
    /* The new thread's first step comes after. */
    if (kind != HB_K_CREATE || !current)
        return;
    struct hb_touching touch = {
        .address = (uint64_t)(uintptr_t)address, .size = 4, .touch = HB_TOUCH_WRITE};
    struct hb_transition *extra = add();
    *extra = told(me, &touch);
    extra->kind = kind;
    extra->flags = HB_T_EXTRA | HB_T_FREES;
}

/* ---- Who goes on, where nothing was decided ---- */

/* Whoever runs, and else the first; those who wait only for time, or let others go, come last. */
uint32_t hb_explore_pick(const uint32_t *able, uint32_t count, uint32_t who_ran)
{
    uint32_t best = HB_NOBODY, best_rank = UINT32_MAX;
    if (hb.exploration->asleep && hb.result->steps == hb.exploration->asleep_from)
        asleep = hb.exploration->asleep;
    for (uint32_t at = 0; at < count; at++) {
        const struct hb_thread *thread = &hb.threads[able[at]];
        if (thread->id < 64 && asleep >> thread->id & 1)
            continue;
        bool early = thread->next.can && !thread->next.can(thread);
        bool runs = thread->id == who_ran && run_length < MOST_IN_A_ROW;
        uint32_t rank = (early ? 4 : 0) + (thread->polite ? 2 : 0) + (runs ? 0 : 1);
        if (rank < best_rank) {
            best = thread->id;
            best_rank = rank;
        }
    }
    if (best == HB_NOBODY)
        hb_end(HB_ASLEEP, NULL, "");
    return best;
}

/* ---- Threads that end ---- */

static int ending;

void hb_explore_ends(const struct hb_thread *me) { ending = me->tid; }

/* A thread that has ended gives back memory on its way out: only then does the next one go on, so
 * that what that one gets is the same each time. Not for ever: a destructor may come yet that waits
 * for something. */
void hb_explore_settle(void)
{
    if (!ending)
        return;
    long process = hb_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
    for (int round = 0; round < 2000; round++) {
        if (hb_syscall(SYS_tgkill, process, ending, 0, 0, 0, 0) < 0)
            break;
        if (round < 200) {
            hb_syscall(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
        } else {
            struct timespec span = {.tv_nsec = 50000};
            hb_syscall(SYS_nanosleep, (long)&span, 0, 0, 0, 0, 0);
        }
    }
    ending = 0;
}

/* ---- Loops that wait for others ---- */

static uint64_t value_at(const struct hb_action *action)
{
    uint64_t value = 0;
    if (action->kind == HB_K_READ || action->kind == HB_K_ATOMIC_LOAD ||
        action->kind == HB_K_ATOMIC_UPDATE)
        memcpy(&value, action->address, action->word > 8 ? 8 : action->word);
    return value;
}

/* Whether something may come of it, so that doing it again is no waiting: all but to look, to try
 * in vain, and to let others go. */
static bool gets_on(const struct hb_action *action)
{
    switch (action->kind) {
    case HB_K_READ:
    case HB_K_ATOMIC_LOAD:
    case HB_K_ATOMIC_UPDATE:
    case HB_K_FENCE:
    case HB_K_YIELD:
    case HB_K_SLEEP:
    case HB_K_TRY_LOCK:
    case HB_K_POLL:
        return false;
    default:
        return action->deadline == HB_NEVER && (action->can || action->kind != HB_K_SEM_WAIT);
    }
}

/* Whoever does the same again and again, and sees the same, while nobody else does anything, waits
 * for others: it is held back until one of them took a step. Where that is known for certain,
 * await.c has said so before. */
void hb_explore_asks(struct hb_thread *me)
{
    hb_await_asks(me);
    hb_explore_pending(me);
    const struct hb_action *next = &me->next;
    uint32_t id = me->id;
    if (next->after || hb.thread_count <= 1 || me->awaits)
        return;
    if (gets_on(next)) {
        memset(rounds[id], 0, sizeof rounds[id]);
        stale[id] = 0;
        return;
    }
    uint64_t strangers = hb.result->steps - me->steps, value = value_at(next);
    uint64_t address = (uint64_t)(uintptr_t)next->address;
    for (uint32_t at = 0; at < ROUNDS; at++) {
        if (rounds[id][at].pc != next->pc || rounds[id][at].address != address ||
            rounds[id][at].kind != next->kind)
            continue;
        bool same = rounds[id][at].value == value && rounds[id][at].strangers == strangers;
        stale[id] = same ? stale[id] + 1 : 0;
        rounds[id][at].value = value;
        rounds[id][at].strangers = strangers;
        bool polite = next->kind == HB_K_YIELD || next->deadline != HB_NEVER;
        uint32_t patience = polite                      ? PATIENCE_POLITE
                            : next->kind == HB_K_READ ? PATIENCE_PLAIN
                                                      : PATIENCE_ATOMIC;
        me->yielded |= same && stale[id] >= patience;
        return;
    }
    stale[id] = 0;
    uint32_t slot = next_round[id]++ % ROUNDS;
    rounds[id][slot].pc = next->pc;
    rounds[id][slot].address = address;
    rounds[id][slot].kind = next->kind;
    rounds[id][slot].value = value;
    rounds[id][slot].strangers = strangers;
}

/* ---- Memory ---- */

void hb_explore_access(struct hb_thread *me, unsigned kind, void *address, uint64_t size,
                       uint64_t pc)
{
    hb.result->access_count++;
    if (hb.thread_count <= 1) {
        hb_count(me);
        return;
    }
    hb_turn(me, (struct hb_action){.kind = (uint16_t)kind,
                                   .address = address,
                                   .pc = pc,
                                   .word = size,
                                   .deadline = HB_NEVER});
    hb_record(me, (uint16_t)kind, address, pc, (uint32_t)size);
}

/* Memory that is given back is written, as far as others are concerned. */
void hb_explore_gives_back(void *memory, uint64_t size, uint64_t pc)
{
    struct hb_thread *me = hb.exploration->instrumented ? hb_controlled() : NULL;
    if (me && size > 0)
        hb_explore_access(me, HB_K_WRITE, memory, size, pc);
}

/* ---- Random numbers ---- */

/* Of each thread its own: who draws first makes no difference. */
uint64_t hb_explore_bits(struct hb_thread *me)
{
    uint32_t id = me ? me->id % HB_MAX_EXPLORED : 0;
    uint64_t z = hb.config->seed * UINT64_C(0x9e3779b97f4a7c15) + id;
    z = z * UINT64_C(0xd1342543de82ef95) + ++drawn[id];
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
