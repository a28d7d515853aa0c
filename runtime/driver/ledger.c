/* What is handed out, of each memory of each device: the checks that any allocator must pass. */
#include "driver.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

struct life {
    uint64_t begin, end;
    uint32_t thread, op;
};

#define MOST_GONE 64u

/* So many sizes that were refused are tried again in the end. */
#define MOST_REFUSED 8u

struct space {
    struct life *lives; /* Ascending. */
    uint64_t count, room;
    uint64_t live_bytes;
    uint64_t lowest, highest; /* Of all that was ever handed out. */
    uint64_t first, apart;    /* The first address, and what all others are multiples of from it. */
    struct life gone[MOST_GONE]; /* The last that were released. */
    uint32_t gone_count;
    uint64_t refused[MOST_REFUSED]; /* Sizes, each once. */
    uint32_t refused_count;
    bool used, closed;
};

static const struct plan *plan;
static const struct hb_target *target;
static struct space *spaces;
static uint32_t space_count;
static bool scattered, exact, fills_holes, keeps, trims;
static enum { ANYWHERE, BEST_FIT, FIRST_FIT, TOP_DOWN } policy;
/* What was refused and is refused again where nothing is live; size 0: nothing. */
static struct {
    uint32_t device, memory;
    uint64_t size;
} stuck;
static int lock;
/* Calls that run now, in the lowest bits, and all that ever began: in one word, or whoever began
 * between the two would be seen as neither. */
static uint64_t calls;
#define CALL_BITS 16

__thread uint32_t ledger_thread, ledger_op;

static void take_lock(void)
{
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
        sched_yield();
}

static void give_lock(void) { __atomic_store_n(&lock, 0, __ATOMIC_RELEASE); }

void ledger_begin(const struct plan *of, const struct hb_target *with)
{
    plan = of;
    target = with;
    uint32_t wanted = plan->head.devices * MEMORIES;
    if (wanted > space_count) {
        spaces = realloc(spaces, wanted * sizeof *spaces);
        if (!spaces)
            fail("target-failed", "no memory for the driver's own tables");
        memset(spaces + space_count, 0, (wanted - space_count) * sizeof *spaces);
        space_count = wanted;
    }
    for (uint32_t at = 0; at < space_count; at++) {
        struct space *space = &spaces[at];
        space->count = space->live_bytes = space->highest = space->apart = 0;
        space->lowest = UINT64_MAX;
        space->gone_count = space->refused_count = 0;
        space->used = space->closed = false;
    }
    stuck.size = 0;
    scattered = target->abilities & HB_TARGET_SCATTERED;
    const char *says = target->policy ? target->policy : "";
    policy = strcmp(says, "best-fit") == 0    ? BEST_FIT
             : strcmp(says, "first-fit") == 0 ? FIRST_FIT
             : strcmp(says, "top-down") == 0  ? TOP_DOWN
                                              : ANYWHERE;
    keeps = target->abilities & HB_TARGET_CACHES;
    /* What is handed out of what was kept goes by no such policy. */
    if (keeps)
        policy = ANYWHERE;
    exact = policy != ANYWHERE;
    fills_holes = exact || strcmp(says, "any-hole") == 0;
    trims = target->abilities & HB_TARGET_TRIMS;
    calls = 0;
}

static struct space *space_of(uint32_t device, uint32_t memory)
{
    return &spaces[device * MEMORIES + memory];
}

/* The first that ends beyond `address`. */
static uint64_t find(const struct space *space, uint64_t address)
{
    uint64_t low = 0, high = space->count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (space->lives[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The largest number that both are multiples of. */
static uint64_t common(uint64_t one, uint64_t other)
{
    while (other) {
        uint64_t rest = one % other;
        one = other;
        other = rest;
    }
    return one;
}

/* Life number `at` is new. What was released in its hole before says nothing of what is left there:
 * its header may be where another buffer was. */
static void forget_gone(struct space *space, uint64_t at)
{
    uint64_t from = at ? space->lives[at - 1].end : 0;
    uint64_t to = at + 1 < space->count ? space->lives[at + 1].begin : UINT64_MAX;
    for (uint32_t one = 0; one < space->gone_count && one < MOST_GONE; one++) {
        struct life *gone = &space->gone[one];
        if (gone->begin >= from && gone->end <= to)
            gone->end = gone->begin;
    }
}

void ledger_add(uint32_t device, uint32_t memory, uint64_t address, uint64_t size)
{
    struct space *space = space_of(device, memory);
    const char *name = memory_name(memory);
    uint64_t alignment = plan->head.alignment, end;
    if (alignment && address % alignment)
        fail("misaligned",
             "thread %u's operation %u got an address in %s of device %u that is no multiple of "
             "%llu: it is %llu bytes off",
             ledger_thread, ledger_op, name, device, (unsigned long long)alignment,
             (unsigned long long)(address % alignment));
    if (__builtin_add_overflow(address, size, &end))
        fail("out-of-bounds", "thread %u's operation %u got %llu bytes in %s of device %u that go "
             "beyond the end of all addresses",
             ledger_thread, ledger_op, (unsigned long long)size, name, device);
    take_lock();
    if (space->count == space->room) {
        space->room = space->room ? 2 * space->room : 64;
        space->lives = realloc(space->lives, space->room * sizeof *space->lives);
        if (!space->lives)
            fail("target-failed", "no memory for the driver's own tables");
    }
    uint64_t at = find(space, address);
    if (size && at < space->count && space->lives[at].begin < end) {
        struct life other = space->lives[at];
        give_lock();
        fail("overlap",
             "the %llu bytes that thread %u's operation %u got in %s of device %u overlap the %llu "
             "that thread %u got by its operation %u and still has",
             (unsigned long long)size, ledger_thread, ledger_op, name, device,
             (unsigned long long)(other.end - other.begin), other.thread, other.op);
    }
    memmove(space->lives + at + 1, space->lives + at, (space->count - at) * sizeof *space->lives);
    space->lives[at] = (struct life){address, end, ledger_thread, ledger_op};
    space->count++;
    space->live_bytes += size;
    forget_gone(space, at);
    if (space->lowest == UINT64_MAX)
        space->first = address;
    space->apart = common(space->apart, address > space->first ? address - space->first
                                                               : space->first - address);
    space->used = true;
    if (address < space->lowest)
        space->lowest = address;
    if (end > space->highest)
        space->highest = end;
    uint64_t span = space->highest - space->lowest;
    give_lock();
    if (!scattered && span > plan->head.size[memory])
        fail("out-of-bounds",
             "with thread %u's operation %u, addresses in %s of device %u are %llu bytes apart: "
             "the memory has %llu",
             ledger_thread, ledger_op, name, device, (unsigned long long)span,
             (unsigned long long)plan->head.size[memory]);
}

void ledger_remove(uint32_t device, uint32_t memory, uint64_t address)
{
    struct space *space = space_of(device, memory);
    take_lock();
    uint64_t at = find(space, address);
    if (at < space->count && space->lives[at].begin == address) {
        space->live_bytes -= space->lives[at].end - space->lives[at].begin;
        space->gone[space->gone_count++ % MOST_GONE] = space->lives[at];
        space->count--;
        memmove(space->lives + at, space->lives + at + 1,
                (space->count - at) * sizeof *space->lives);
    }
    give_lock();
}

void ledger_close_device(uint32_t device)
{
    take_lock();
    for (uint32_t memory = 0; memory < MEMORIES; memory++) {
        struct space *space = space_of(device, memory);
        space->count = space->live_bytes = 0;
        space->closed = true;
    }
    give_lock();
}

/* The lowest bit: no other call ran. */
uint64_t ledger_enter(void)
{
    uint64_t now =
        __atomic_add_fetch(&calls, (UINT64_C(1) << CALL_BITS) + 1, __ATOMIC_SEQ_CST);
    bool first = now % (UINT64_C(1) << CALL_BITS) == 1;
    return now >> CALL_BITS << 1 | first;
}

bool ledger_leave(uint64_t entered)
{
    uint64_t before = __atomic_fetch_sub(&calls, 1, __ATOMIC_SEQ_CST);
    bool alone = before >> CALL_BITS == entered >> 1;
    return alone && entered & 1;
}

/* Where what was handed out ends. Who does not say exactly how it places buffers may take the next
 * power of two for each, as buddies do. */
static uint64_t end_of(const struct life *life)
{
    uint64_t size = life->end - life->begin, taken = 1;
    if (exact || size > UINT64_MAX / 4)
        return life->end;
    while (taken < size)
        taken *= 2;
    return life->begin > UINT64_MAX - taken ? life->end : life->begin + taken;
}

/* The largest hole between the lowest and the highest address that were ever handed out: all of
 * that is memory. */
static uint64_t largest_hole(const struct space *space)
{
    uint64_t largest = 0, from = space->lowest;
    for (uint64_t at = 0; at < space->count; at++) {
        if (space->lives[at].begin > from && space->lives[at].begin - from > largest)
            largest = space->lives[at].begin - from;
        from = end_of(&space->lives[at]);
    }
    return space->highest > from && space->highest - from > largest ? space->highest - from
                                                                    : largest;
}

/* What a buffer takes is a multiple of the alignment, or of what its allocator cuts memory into:
 * then all addresses are so far apart. */
static uint64_t grain_of(const struct space *space)
{
    uint64_t unit = plan->head.alignment ? plan->head.alignment : 1;
    return space->apart % unit ? unit : space->apart > unit ? space->apart : unit;
}

static uint64_t rounded(const struct space *space, uint64_t bytes)
{
    uint64_t unit = grain_of(space);
    return bytes > UINT64_MAX - unit ? bytes : (bytes + unit - 1) / unit * unit;
}

/* Where the next one may begin. */
static uint64_t end_within(const struct space *space, uint64_t end)
{
    uint64_t unit = grain_of(space);
    return end <= space->first ? space->first - (space->first - end) / unit * unit
                               : space->first + rounded(space, end - space->first);
}

/* How much less than what lies between two buffers may be free there: headers are before or behind
 * a buffer, and what would be too small to be kept is not cut off one. */
#define LEAST_BESIDE 256u
#define UNITS_BESIDE 8u

static uint64_t most_beside(void)
{
    uint64_t units = UNITS_BESIDE * (uint64_t)plan->head.alignment;
    return units > LEAST_BESIDE ? units : LEAST_BESIDE;
}

/* Whether a buffer of `size` has room from `from` to `to` for sure: there is more than enough, or
 * one that was not smaller was there. */
static bool surely_fits(const struct space *space, uint64_t from, uint64_t to, uint64_t size)
{
    if (to <= from || to - from < size)
        return false;
    if (to - from >= rounded(space, size) + most_beside())
        return true;
    for (uint32_t at = 0; at < space->gone_count && at < MOST_GONE; at++) {
        const struct life *gone = &space->gone[at];
        if (gone->begin >= from && gone->end <= to && gone->end - gone->begin >= size)
            return true;
    }
    return false;
}

/* A hole that the policy puts before the one in which life number `own` is; 0: there is none. Only
 * what lies between addresses that were handed out is known to be memory. So a hole at its edge may
 * go on, unless all of the memory was handed out: it fits, but nobody knows how much would be left
 * over there. */
static uint64_t better_hole(const struct space *space, uint32_t memory, uint64_t own)
{
    bool edges = space->highest - space->lowest >= plan->head.size[memory];
    const struct life *lives = space->lives;
    uint64_t count = space->count, size = lives[own].end - lives[own].begin;
    uint64_t own_from = own ? end_within(space, lives[own - 1].end) : space->lowest;
    uint64_t own_to = own + 1 < count ? lives[own + 1].begin : space->highest;
    for (uint64_t at = 0; at <= count; at++) {
        uint64_t from = at ? end_within(space, lives[at - 1].end) : space->lowest;
        uint64_t to = at < count ? lives[at].begin : space->highest;
        if (!surely_fits(space, from, to, size))
            continue;
        uint64_t hole = to - from;
        bool is_own = at == own || at == own + 1; /* Of its own hole. */
        bool ends = edges || (at > 0 && at < count);
        if (policy == FIRST_FIT ? at <= own
            : policy == TOP_DOWN ? at > own
                                 : ends && !is_own && own_to > own_from &&
                                       hole + most_beside() < own_to - own_from)
            return hole;
    }
    return 0;
}

void ledger_placed(uint32_t device, uint32_t memory, uint64_t address, uint64_t size,
                   uint64_t entered)
{
    struct space *space = space_of(device, memory);
    uint64_t hole = 0;
    take_lock();
    uint64_t own = find(space, address);
    /* Of one address nobody can tell how much a buffer takes. */
    if (policy != ANYWHERE && !scattered && size && space->apart && own < space->count &&
        space->lives[own].begin == address)
        hole = better_hole(space, memory, own);
    give_lock();
    /* Whoever comes beside may have had that hole for a moment. */
    if (!ledger_leave(entered) || !hole)
        return;
    fail("misplaced",
         "thread %u's operation %u got %llu bytes in %s of device %u that are not where %s puts "
         "them: %llu in a row were free %s",
         ledger_thread, ledger_op, (unsigned long long)size, memory_name(memory), device,
         target->policy, (unsigned long long)hole,
         policy == FIRST_FIT  ? "below"
         : policy == TOP_DOWN ? "above"
                              : "where less would have been left over");
}

static void note_refused(struct space *space, uint64_t size)
{
    for (uint32_t at = 0; at < space->refused_count; at++)
        if (space->refused[at] == size)
            return;
    if (space->refused_count < MOST_REFUSED)
        space->refused[space->refused_count++] = size;
}

void ledger_no_room(uint32_t device, uint32_t memory, uint64_t size, uint64_t entered)
{
    struct space *space = space_of(device, memory);
    uint64_t whole = plan->head.whole[memory];
    take_lock();
    bool empty = space->count == 0 && !space->closed;
    uint64_t hole = space->used && !scattered && fills_holes ? largest_hole(space) : 0;
    uint64_t taken = rounded(space, size);
    if (size <= whole)
        note_refused(space, size);
    give_lock();
    /* What was looked at is what there was during the call, if nobody else came since it began. */
    if (!ledger_leave(entered) || keeps)
        return;
    if (empty && whole && size <= whole)
        fail("exhausted",
             "thread %u's operation %u found no room for %llu bytes in %s of device %u, where "
             "nothing is live; when it was new it had room for %llu",
             ledger_thread, ledger_op, (unsigned long long)size, memory_name(memory), device,
             (unsigned long long)whole);
    /* What an allocator needs beside a buffer is its own affair: unless it says exactly how it
     * places buffers, four times as much must be enough. */
    uint64_t needed = exact ? taken + most_beside() : 4 * taken + 4096;
    if (hole >= needed)
        fail("exhausted",
             "thread %u's operation %u found no room for %llu bytes in %s of device %u, where %llu "
             "in a row are free",
             ledger_thread, ledger_op, (unsigned long long)size, memory_name(memory), device,
             (unsigned long long)hole);
}

uint64_t ledger_live_bytes(uint32_t device, uint32_t memory)
{
    return space_of(device, memory)->live_bytes;
}

static void compare_totals(void *state, uint32_t device, uint32_t memory)
{
    const struct space *space = space_of(device, memory);
    struct hb_target_totals said = {.largest_free = UINT64_MAX};
    asks("totals, which are asked for after the workload");
    int status = target->totals(state, device, memory, &said);
    asks("");
    if (status == HB_TARGET_UNSUPPORTED)
        return;
    if (status != HB_TARGET_OK)
        fail("target-failed", "totals returned %d", status);
    /* What it adds to a buffer for alignment may count. */
    if (said.live_buffers == space->count && said.live_bytes >= space->live_bytes &&
        (said.live_bytes == 0) == (space->live_bytes == 0))
        return;
    fail("wrong-totals",
         "%s of device %u: the target believes that %llu bytes in %llu buffers are live; it has "
         "handed out %llu in %llu",
         memory_name(memory), device, (unsigned long long)said.live_bytes,
         (unsigned long long)said.live_buffers, (unsigned long long)space->live_bytes,
         (unsigned long long)space->count);
}

static _Noreturn void no_room_when_empty(uint32_t device, uint32_t memory, uint64_t size)
{
    fail("fragmented",
         "everything in %s of device %u was released, and there is no room for %llu bytes: "
         "when it was new there was%s",
         memory_name(memory), device, (unsigned long long)size,
         keeps ? "" : " (a target that keeps what was released says HB_TARGET_CACHES)");
}

/* Whether a buffer of that size has room where nothing is live. */
static bool has_room(void *state, uint32_t device, uint32_t memory, uint64_t size)
{
    uint64_t address = 0;
    void *handle = NULL;
    mark(MARK_ALLOCATES, NULL);
    asks("the last allocate, after everything was released");
    int status = target->allocate(state, device, memory, size, 0, NULL, &handle, &address);
    mark(MARK_ENDS, handle);
    if (status == HB_TARGET_NO_MEMORY) {
        asks("");
        return false;
    }
    if (status != HB_TARGET_OK)
        fail("target-failed", "allocate returned %d at the end", status);
    ledger_add(device, memory, address, size);
    ledger_remove(device, memory, address);
    mark(MARK_RELEASES, handle);
    if (target->deallocate(state, handle) != HB_TARGET_OK)
        fail("target-failed", "deallocate failed at the end");
    asks("");
    mark(MARK_ENDS, handle);
    if (target->forget)
        target->forget(state, handle);
    return true;
}

/* A size may be refused by a new target, too: a slab of it needs more than all there is. */
void ledger_when_new(void *state)
{
    if (has_room(state, stuck.device, stuck.memory, stuck.size))
        no_room_when_empty(stuck.device, stuck.memory, stuck.size);
}

bool ledger_is_stuck(void) { return stuck.size != 0; }

static void expect_sound(void *state)
{
    char why[400] = "";
    asks("check, which is asked after the workload");
    int sound = target->check ? target->check(state, why, sizeof why) : HB_TARGET_OK;
    asks("");
    if (sound == HB_TARGET_FAILED) {
        why[sizeof why - 1] = 0;
        fail("invariant", "the target's own check: %s", why);
    }
    if (sound != HB_TARGET_OK && sound != HB_TARGET_UNSUPPORTED)
        fail("target-failed", "check returned %d", sound);
}

/* Memory is whole, and what was refused when others were live is not refused any more. */
static void expect_room(void *state, uint32_t device, uint32_t memory)
{
    const struct space *space = space_of(device, memory);
    if (!has_room(state, device, memory, plan->head.whole[memory]))
        no_room_when_empty(device, memory, plan->head.whole[memory]);
    for (uint32_t at = 0; at < space->refused_count && !stuck.size; at++) {
        /* What it keeps of the buffer before is given back by that. */
        if (trims)
            expect_sound(state);
        if (!has_room(state, device, memory, space->refused[at])) {
            stuck.device = device;
            stuck.memory = memory;
            stuck.size = space->refused[at];
        }
    }
    if (trims && space->refused_count)
        expect_sound(state);
}

void ledger_rest(void *state)
{
    expect_sound(state);
    for (uint32_t device = 0; device < plan->head.devices; device++) {
        for (uint32_t memory = 0; memory < MEMORIES; memory++) {
            struct space *space = space_of(device, memory);
            if (!space->used || space->closed)
                continue;
            if (target->totals)
                compare_totals(state, device, memory);
            if (space->count == 0 && plan->head.whole[memory] && (!keeps || trims))
                expect_room(state, device, memory);
        }
    }
}
