/* Loads and stores of programs that were compiled with -fsanitize=thread, as `heisenbed cc` does.
 *
 * An access is a choice only if its instruction was ever seen to touch memory that two threads
 * touch, one of them writing: the others only count as steps. Which instructions those are is
 * learnt from schedule to schedule, in the page. So decisions, which count all steps, mean the same
 * whatever was learnt before.
 */
#include "race.h"

#include <string.h>

#define GRANULES (1u << 16)
#define PROBES 16u
#define PLACES 8u
#define PATIENCE_ATOMIC 4
#define PATIENCE_PLAIN 32
#define MOST_UNBROKEN (1u << 16)

/* Who touched eight bytes of memory last. Where all entries that it may have are taken, the first is
 * driven out, and missed in this schedule only. Addresses differ from run to run, so there are
 * many entries: what is learnt must not depend on which of them collide. */
static struct granule {
    uint64_t address;
    uint64_t places[PLACES]; /* From where one thread touched it, while it was the only one. */
    uint32_t thread;
    unsigned char place_count;
    bool written, shared;
} granules[GRANULES];

static unsigned char *hot_bits(void) { return (unsigned char *)hb.config + HB_AT_HOT; }

static uint32_t place_of(uint64_t pc)
{
    return (uint32_t)((hb_place(pc) * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - HB_HOT_BITS));
}

static bool is_hot(uint64_t pc)
{
    uint32_t at = place_of(pc);
    return hot_bits()[at / 8] >> (at % 8) & 1;
}

static void make_hot(uint64_t pc)
{
    uint32_t at = place_of(pc);
    hot_bits()[at / 8] |= (unsigned char)(1 << (at % 8));
}

/* If it turns out to be shared, all of these were accesses to shared memory. */
static void remember(struct granule *granule, uint64_t pc)
{
    uint32_t count = granule->place_count;
    for (uint32_t at = 0; at < count; at++)
        if (granule->places[at] == pc)
            return;
    if (count < PLACES) {
        granule->places[granule->place_count++] = pc;
    } else { /* The oldest goes. */
        memmove(granule->places, granule->places + 1, (PLACES - 1) * sizeof pc);
        granule->places[PLACES - 1] = pc;
    }
}

/* Whether other threads touch this memory, too; learns it if it is new. */
static void learn(struct hb_thread *me, uint64_t address, bool writes, uint64_t pc)
{
    uint64_t key = address >> 3;
    uint32_t first = (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - 16));
    struct granule *granule = &granules[first];
    for (uint32_t at = 0; at < PROBES; at++) {
        struct granule *other = &granules[(first + at) % GRANULES];
        if (other->address == key || other->address == 0) {
            granule = other;
            break;
        }
    }
    if (granule->address != key)
        *granule = (struct granule){.address = key, .thread = me->id};
    if (granule->thread != me->id && (writes || granule->written)) {
        granule->shared = true;
        for (uint32_t at = 0; at < granule->place_count; at++)
            make_hot(granule->places[at]);
        granule->place_count = 0;
    }
    if (granule->shared)
        make_hot(pc);
    else
        remember(granule, pc);
    granule->thread = me->id;
    granule->written |= writes;
}

/* A loop that reads the same again and again waits for another thread. */
static bool waits_in_a_loop(struct hb_thread *me, uint64_t address, unsigned size, uint64_t pc,
                            uint32_t patience)
{
    uint64_t value = 0;
    memcpy(&value, (const void *)(uintptr_t)address, size > 8 ? 8 : size);
    __typeof__(me->spin[0]) *spin = &me->spin[(pc >> 2) & 3];
    if (spin->pc == pc && spin->address == address && spin->value == value)
        return ++spin->count >= patience;
    spin->pc = pc;
    spin->address = address;
    spin->value = value;
    spin->count = 0;
    return false;
}

static bool is_load(unsigned kind) { return kind == HB_K_READ || kind == HB_K_ATOMIC_LOAD; }

/* Whether it was recorded. */
static bool act(struct hb_thread *me, unsigned kind, void *address, unsigned size, uint64_t pc)
{
    if (hb.exploring) {
        hb_explore_access(me, kind, address, size, pc);
        return hb.thread_count > 1;
    }
    bool atomic = kind != HB_K_READ && kind != HB_K_WRITE;
    uint64_t at = (uint64_t)(uintptr_t)address;
    bool waits = false;
    if (kind == HB_K_FENCE)
        at = 0;
    else if (is_load(kind) || kind == HB_K_ATOMIC_UPDATE)
        /* An update that finds the same each time has changed nothing: a lock of the program's. */
        waits = waits_in_a_loop(me, at, size, pc, atomic ? PATIENCE_ATOMIC : PATIENCE_PLAIN);
    else if (atomic || is_hot(pc)) /* What is written for nobody else is no progress. */
        memset(me->spin, 0, sizeof me->spin);
    hb.result->access_count++;
    if (at)
        learn(me, at, !is_load(kind), pc);
    bool choice = atomic || waits || is_hot(pc) || ++me->unbroken > MOST_UNBROKEN;
    if (!choice) {
        hb_count(me);
        if (me->in_op && kind != HB_K_FENCE)
            hb_record(me, (uint16_t)kind, address, pc, size);
        return false;
    }
    if ((waits && hb_lets_others(me)) || me->unbroken > MOST_UNBROKEN) {
        me->yielded = true;
        hb_sampler_falls(me->id);
    }
    me->unbroken = 0;
    hb_turn(me, (struct hb_action){
                    .kind = (uint16_t)kind, .address = address, .pc = pc, .deadline = HB_NEVER});
    hb_record(me, (uint16_t)kind, address, pc, size);
    return true;
}

static bool is_plain(unsigned kind) { return kind == HB_K_READ || kind == HB_K_WRITE; }

static void note_atomic(struct hb_thread *me, unsigned kind, void *address, unsigned size,
                        uint64_t pc, int order)
{
    uint64_t at = (uint64_t)(uintptr_t)address;
    hb_race_learn(me, (uint16_t)kind, at, order);
    if (kind != HB_K_FENCE)
        hb_race_access(me, (uint16_t)kind, at, size, pc, true);
    hb_race_tell(me, (uint16_t)kind, at, size, order);
}

/* Files of the program that said that their accesses are seen: of a program's own while a schedule
 * begins, of a target's library before all of them. */
static uint32_t said;

uint32_t hb_files_seen(void) { return said; }

static bool is_said(unsigned kind)
{
    if (kind != HB_K_NONE)
        return false;
    said++;
    if (hb.exploring)
        hb.exploration->instrumented = said;
    return true;
}

/* Before an access. Of atomics no more is told by this one: they are as strong as can be. */
HB_HOOK void hb_access_v1(unsigned kind, void *address, unsigned size, uint64_t pc)
{
    struct hb_thread *me = hb_controlled();
    if (is_said(kind) || !me)
        return;
    bool recorded = act(me, kind, address, size, pc);
    if (is_plain(kind))
        hb_race_access(me, (uint16_t)kind, (uint64_t)(uintptr_t)address, size, pc, recorded);
    else
        note_atomic(me, kind, address, size, pc, __ATOMIC_SEQ_CST);
}

/* Before an access. hb_atomic_v2 follows each atomic one. */
HB_HOOK void hb_access_v2(unsigned kind, void *address, size_t size, uint64_t pc)
{
    struct hb_thread *me = hb_controlled();
    if (is_said(kind) || !me)
        return;
    unsigned shown = size < UINT32_MAX ? (unsigned)size : UINT32_MAX;
    bool recorded = act(me, kind, address, shown, pc);
    if (is_plain(kind))
        hb_race_access(me, (uint16_t)kind, (uint64_t)(uintptr_t)address, size, pc, recorded);
    else if (kind != HB_K_FENCE)
        hb_race_before_atomic(me, (uint64_t)(uintptr_t)address, shown);
}

/* After an atomic access, when it is known what came of it: one that exchanges nothing is a load. */
HB_HOOK void hb_atomic_v2(unsigned kind, void *address, unsigned size, uint64_t pc, int order)
{
    struct hb_thread *me = hb_controlled();
    if (me)
        note_atomic(me, kind, address, size, pc, order & 0xf);
}

/* What annotations of a program say of its own synchronisation. */
HB_HOOK void hb_order_v2(void *address, bool releases)
{
    struct hb_thread *me = hb_controlled();
    if (me && releases)
        hb_race_release(me, address);
    else if (me)
        hb_race_acquire(me, address);
}
