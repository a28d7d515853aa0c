/* Exhaustive search: threads that wait in a loop until another thread changes something.
 *
 * A thread that is at the same instruction with the same stack and the same registers as before, has
 * since then only looked at memory, and would find there what it found, does the same for ever: no
 * schedule in which it goes round once more differs from one in which it does not. It waits, like
 * somebody who waits for a lock, until a step of another thread changes what it looks at. Where
 * nobody is left to take one, it would go round for ever.
 *
 * Looks are loads, stores and atomic updates that change nothing (a lock that is taken, an exchange
 * that fails), fences and `sched_yield`. Whatever else a thread does begins all anew. Registers are those that
 * survive a call: at a hook the others hold nothing. What a library that was not built by
 * `heisenbed cc` keeps to itself is not seen, and memory that it writes is not either.
 *
 * Only on x86-64; elsewhere explore.c holds such loops back by rounds, and says so.
 */
#include "await.h"

#include <string.h>
#include <unwind.h>

#define LOOKS 32u
#define PLACES 8u
#define MOST_STACK (64u * 1024)

struct look {
    uint64_t pc, address, state;
    uint32_t size;
    uint16_t kind;
    bool changed; /* By another thread, since. */
};

static struct {
    struct look looks[LOOKS]; /* In turn. */
    uint32_t count;           /* All there were since something else was done. */
    struct look next;
    bool has_next;
    struct look places[PLACES]; /* Of a thread that waits. */
    uint32_t place_count;
} loops[HB_MAX_EXPLORED];

/* A store or an update whose turn came: what was there before it. */
static struct {
    bool is_open;
    uint32_t thread, size;
    uint64_t address, before;
} update;

/* ---- Where a thread is ---- */

#ifdef __x86_64__
struct state {
    uint64_t pc, digest;
    uintptr_t low, high;
};

static void add_word(struct state *state, uint64_t word)
{
    state->digest = (state->digest ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    state->digest ^= state->digest >> 29;
}

static _Unwind_Reason_Code see_frame(struct _Unwind_Context *context, void *given)
{
    /* rbx, rbp, r12 to r15, as DWARF numbers them. */
    static const int KEPT[] = {3, 6, 12, 13, 14, 15};
    struct state *state = given;
    if (!state->low) {
        if (_Unwind_GetIP(context) != state->pc)
            return _URC_NO_REASON;
        state->low = _Unwind_GetCFA(context);
        for (unsigned at = 0; at < sizeof KEPT / sizeof *KEPT; at++)
            add_word(state, _Unwind_GetGR(context, KEPT[at]));
    }
    state->high = _Unwind_GetCFA(context);
    return _URC_NO_REASON;
}

/* Stack and registers of the caller of a hook, as a number; 0 where they cannot be told. */
static uint64_t state_at(struct hb_thread *me, uint64_t pc)
{
    struct state state = {.pc = pc, .digest = 1};
    bool before = me->busy;
    me->busy = true;
    _Unwind_Backtrace(see_frame, &state);
    me->busy = before;
    if (!state.low || state.high < state.low || state.high - state.low > MOST_STACK)
        return 0;
    for (uintptr_t at = state.low; at + 8 <= state.high; at += 8)
        add_word(&state, *(const uint64_t *)at);
    return state.digest | 1;
}
#else
static uint64_t state_at(struct hb_thread *me, uint64_t pc)
{
    (void)me;
    (void)pc;
    return 0;
}
#endif

/* ---- What others change ---- */

static uint64_t value_at(uint64_t address, uint32_t size)
{
    uint64_t value = 0;
    memcpy(&value, (const void *)(uintptr_t)address, size > 8 ? 8 : size);
    return value;
}

static bool is_touched(const struct look *look, const struct hb_touching *touch)
{
    struct hb_touching read = {
        .address = look->address, .size = look->size, .touch = HB_TOUCH_READ};
    return hb_explore_conflict(&read, touch);
}

static void tell_others(uint32_t thread, const struct hb_touching *touch)
{
    for (uint32_t id = 0; id < hb.thread_count && id < HB_MAX_EXPLORED; id++) {
        if (id == thread)
            continue;
        for (uint32_t at = 0; at < LOOKS && at < loops[id].count; at++)
            loops[id].looks[at].changed |= is_touched(&loops[id].looks[at], touch);
        bool wakes = false;
        for (uint32_t at = 0; hb.threads[id].awaits && at < loops[id].place_count; at++)
            wakes |= is_touched(&loops[id].places[at], touch);
        if (wakes) {
            hb.threads[id].awaits = false;
            hb_explore_pending(&hb.threads[id]);
        }
    }
}

void hb_await_settle(void)
{
    if (!update.is_open)
        return;
    update.is_open = false;
    if (value_at(update.address, update.size) == update.before)
        return;
    struct hb_touching touch = {
        .address = update.address, .size = update.size, .touch = HB_TOUCH_WRITE};
    loops[update.thread].count = 0;
    tell_others(update.thread, &touch);
}

static bool is_look(const struct hb_action *action)
{
    switch (action->kind) {
    case HB_K_READ:
    case HB_K_ATOMIC_LOAD:
        return action->word && action->word < UINT32_MAX;
    case HB_K_WRITE:
    case HB_K_ATOMIC_STORE:
    case HB_K_ATOMIC_UPDATE:
        return action->word && action->word <= 8;
    default:
        return false;
    }
}

void hb_await_step(const struct hb_thread *taken, const struct hb_touching *touch)
{
    uint32_t id = taken->id;
    if (id >= HB_MAX_EXPLORED)
        return;
    if (loops[id].has_next) {
        loops[id].looks[loops[id].count++ % LOOKS] = loops[id].next;
        loops[id].has_next = false;
    }
    if (is_look(&taken->next) && touch->touch == HB_TOUCH_WRITE) {
        /* Whether it changes anything is known when it was made. */
        update.is_open = true;
        update.thread = id;
        update.address = touch->address;
        update.size = touch->size;
        update.before = value_at(touch->address, touch->size);
    } else if (touch->touch != HB_TOUCH_NOTHING && touch->touch != HB_TOUCH_READ) {
        tell_others(id, touch);
    }
}

/* ---- Whoever asks ---- */

/* The looks since the thread was here before, if nothing came of them. */
static bool has_been_here(uint32_t id, const struct look *here)
{
    loops[id].place_count = 0;
    uint32_t count = loops[id].count;
    for (uint32_t back = 1; back <= count && back <= LOOKS; back++) {
        const struct look *look = &loops[id].looks[(count - back) % LOOKS];
        if (look->changed)
            return false;
        bool known = false;
        for (uint32_t at = 0; at < loops[id].place_count; at++)
            known |= loops[id].places[at].address == look->address &&
                     loops[id].places[at].size == look->size;
        if (!known && loops[id].place_count == PLACES)
            return false;
        if (!known)
            loops[id].places[loops[id].place_count++] = *look;
        if (look->pc == here->pc && look->address == here->address &&
            look->size == here->size && look->kind == here->kind && look->state == here->state)
            return true;
    }
    return false;
}

void hb_await_asks(struct hb_thread *me)
{
    uint32_t id = me->id;
    const struct hb_action *next = &me->next;
    hb_await_settle();
    if (hb.thread_count <= 1)
        memset(loops, 0, sizeof loops);
    if (hb.thread_count <= 1 || id >= HB_MAX_EXPLORED)
        return;
    loops[id].has_next = false;
    if (next->kind == HB_K_YIELD || next->kind == HB_K_FENCE)
        return;
    uint64_t state = !next->after && is_look(next) ? state_at(me, next->pc) : 0;
    if (!state) {
        loops[id].count = 0;
        return;
    }
    loops[id].next = (struct look){.pc = next->pc,
                                   .address = (uint64_t)(uintptr_t)next->address,
                                   .state = state,
                                   .size = (uint32_t)next->word,
                                   .kind = next->kind};
    loops[id].has_next = true;
    me->awaits = has_been_here(id, &loops[id].next);
}

bool hb_await_looks_at_several(const struct hb_thread *thread)
{
    return thread->awaits && loops[thread->id].place_count > 1;
}
