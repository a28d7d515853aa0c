/* A target: an allocator that keeps a list of pieces for each memory of each device, with planted
 * faults. `options` names one of them; without, it is the correct twin.
 *
 *   off-by-one     two free neighbours are made one, and one unit is lost
 *   misaligned     sizes are rounded to 8 bytes, not to the alignment
 *   no-lock        allocate looks for room before it takes the lock
 *   leak           an allocation that finds no room keeps what it had taken
 *   stale-header   a released buffer's header is written after the lock was given back
 *   self-deadlock, crash: where two buffers are live
 *   keeps-state    something is left over when it is closed, which the next open sees
 *   wrong-totals   it does not count every release
 *   first-fit, last-fit, worst-fit   it takes another hole than its policy says
 *   other-end      it takes the other end of the right hole
 *   endless-totals its list is a circle to who counts, from the second buffer on
 *   lost-wakeup    the second allocation waits for a release, and may miss it
 *   crash-at-once  where the first buffer is released
 *   crash-preallocated   where it is asked for a buffer that does not own its memory
 *   uses-freed     of two neighbours the header of one is given back before it is read
 *
 * ARENA_POLICY is what it declares, and does without a fault: first-fit, best-fit or top-down;
 * ARENA_GRAIN what all sizes are rounded to, where that is more than the alignment; ARENA_HEADER
 * what is kept before each buffer, and of what is not more than ARENA_REST no piece is made.
 */
#include "heisenbed.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef ARENA_ABI
#define ARENA_ABI HB_TARGET_ABI
#endif
/* The memories that it has, and what it says that it can do. */
#ifndef ARENA_HAS
#define ARENA_HAS 15u
#endif
#ifndef ARENA_ABILITIES
#define ARENA_ABILITIES 0
#endif
#ifndef ARENA_POLICY
#define ARENA_POLICY "first-fit"
#endif

#ifndef ARENA_GRAIN
#define ARENA_GRAIN 1u
#endif

#ifndef ARENA_HEADER
#define ARENA_HEADER 0u
#endif
#ifndef ARENA_REST
#define ARENA_REST 0u
#endif

enum fault {
    NONE,
    OFF_BY_ONE,
    MISALIGNED,
    NO_LOCK,
    LEAK,
    STALE_HEADER,
    SELF_DEADLOCK,
    CRASH,
    KEEPS_STATE,
    WRONG_TOTALS,
    FIRST_FIT,
    LAST_FIT,
    WORST_FIT,
    OTHER_END,
    LOST_WAKEUP,
    ENDLESS_TOTALS,
    USES_FREED,
    CRASH_AT_ONCE,
    CRASH_PREALLOCATED,
};

/* Which of the holes it takes. */
enum fit { FIRST, LAST, BEST, WORST };

/* A piece of memory, free or not; they follow one another without gaps. */
struct piece {
    uint64_t begin, size;
    struct piece *next, *previous;
    int is_live;
};

struct space {
    pthread_mutex_t lock;
    struct piece *first;
    uint64_t live_bytes, live_buffers;
};

struct arena {
    enum fault fault;
    enum fit fit;
    int from_top;
    uint32_t devices;
    uint64_t alignment;
    struct space *spaces;
    pthread_mutex_t gate;
    pthread_cond_t freed;
    int allocations, released;
};

struct handle {
    struct space *space;
    struct piece *piece;
    uint64_t asked;
};

static unsigned allocations_ever;

static enum fault fault_named(const char *options)
{
    static const char *const NAMES[] = {"",          "off-by-one",    "misaligned", "no-lock",
                                        "leak",      "stale-header",  "self-deadlock", "crash",
                                        "keeps-state", "wrong-totals", "first-fit", "last-fit",
                                        "worst-fit", "other-end",    "lost-wakeup",
                                        "endless-totals", "uses-freed", "crash-at-once",
                                        "crash-preallocated"};
    for (unsigned at = 0; at < sizeof NAMES / sizeof *NAMES; at++)
        if (strcmp(options, NAMES[at]) == 0)
            return (enum fault)at;
    return NONE;
}

static enum fit fit_of(enum fault fault)
{
    switch (fault) {
    case FIRST_FIT:
        return FIRST;
    case LAST_FIT:
        return LAST;
    case WORST_FIT:
        return WORST;
    default:
        break;
    }
    if (strcmp(ARENA_POLICY, "best-fit") == 0)
        return BEST;
    return strcmp(ARENA_POLICY, "top-down") == 0 ? LAST : FIRST;
}

static struct piece *piece_of(uint64_t begin, uint64_t size)
{
    struct piece *piece = calloc(1, sizeof *piece);
    piece->begin = begin;
    piece->size = size;
    return piece;
}

static void *arena_open(const struct hb_target_config *config, char *why, size_t why_size)
{
    if (config->abi != HB_TARGET_ABI) {
        snprintf(why, why_size, "version %u", config->abi);
        return NULL;
    }
    struct arena *arena = calloc(1, sizeof *arena);
    arena->fault = fault_named(config->options);
    arena->fit = fit_of(arena->fault);
    arena->from_top = (strcmp(ARENA_POLICY, "top-down") == 0) != (arena->fault == OTHER_END);
    arena->devices = config->devices;
    arena->alignment = config->alignment < ARENA_GRAIN ? ARENA_GRAIN : config->alignment;
    pthread_mutex_init(&arena->gate, NULL);
    pthread_cond_init(&arena->freed, NULL);
    arena->spaces = calloc(config->devices * 4, sizeof *arena->spaces);
    for (uint32_t at = 0; at < config->devices * 4; at++) {
        struct space *space = &arena->spaces[at];
        pthread_mutex_init(&space->lock, NULL);
        uint64_t size = config->size[at % 4] / arena->alignment * arena->alignment;
        space->first = piece_of(arena->alignment, size);
    }
    return arena;
}

static uint64_t rounded(const struct arena *arena, uint64_t size)
{
    uint64_t unit = arena->fault == MISALIGNED ? 8 : arena->alignment;
    return (size + unit - 1) / unit * unit;
}

static int is_better(enum fit fit, const struct piece *piece, const struct piece *found)
{
    switch (fit) {
    case LAST:
        return 1;
    case BEST:
        return piece->size < found->size;
    case WORST:
        return piece->size > found->size;
    default:
        return 0;
    }
}

static struct piece *find(const struct arena *arena, const struct space *space, uint64_t size)
{
    struct piece *found = NULL;
    for (struct piece *piece = space->first; piece; piece = piece->next)
        if (!piece->is_live && piece->size >= size &&
            (!found || is_better(arena->fit, piece, found)))
            found = piece;
    return found;
}

/* What is taken of a free piece; the rest stays free. */
static struct piece *split(const struct arena *arena, struct piece *piece, uint64_t size)
{
    if (piece->size - size <= ARENA_REST)
        return piece;
    uint64_t low = arena->from_top ? piece->size - size : size;
    struct piece *rest = piece_of(piece->begin + low, piece->size - low);
    rest->next = piece->next;
    rest->previous = piece;
    if (rest->next)
        rest->next->previous = rest;
    piece->next = rest;
    piece->size = low;
    return arena->from_top ? rest : piece;
}

static void join(const struct arena *arena, struct piece *left)
{
    struct piece *right = left->next;
    if (arena->fault == USES_FREED)
        free(right);
    left->size += right->size - (arena->fault == OFF_BY_ONE ? arena->alignment : 0);
    left->next = right->next;
    if (left->next)
        left->next->previous = left;
    if (arena->fault != USES_FREED)
        free(right);
}

/* What comes between the look and the wait is missed. */
static void wait_for_a_release(struct arena *arena)
{
    pthread_mutex_lock(&arena->gate);
    int waits = arena->allocations++ == 1 && !arena->released;
    pthread_mutex_unlock(&arena->gate);
    if (!waits)
        return;
    pthread_mutex_lock(&arena->gate);
    pthread_cond_wait(&arena->freed, &arena->gate);
    pthread_mutex_unlock(&arena->gate);
}

static void tell_of_a_release(struct arena *arena)
{
    pthread_mutex_lock(&arena->gate);
    arena->released = 1;
    pthread_cond_signal(&arena->freed);
    pthread_mutex_unlock(&arena->gate);
}

static int arena_allocate(void *target, uint32_t device, uint32_t memory, uint64_t size,
                          uint32_t flags, void *context, void **handle, uint64_t *address)
{
    struct arena *arena = target;
    struct space *space = &arena->spaces[device * 4 + memory];
    (void)context;
    if (arena->fault == CRASH_PREALLOCATED && flags & HB_TARGET_PREALLOCATED)
        *(volatile char *)8 = 0;
    if (flags & ~(uint32_t)HB_TARGET_CIRCULAR || !(ARENA_HAS >> memory & 1))
        return HB_TARGET_UNSUPPORTED;
    if (arena->fault == LOST_WAKEUP)
        wait_for_a_release(arena);
    uint64_t needed = rounded(arena, size + ARENA_HEADER);
    struct piece *found = NULL;
    if (arena->fault == NO_LOCK)
        found = find(arena, space, needed);
    pthread_mutex_lock(&space->lock);
    if (arena->fault == KEEPS_STATE && allocations_ever++ % 7 == 3) {
        pthread_mutex_unlock(&space->lock);
        pthread_mutex_lock(&space->lock);
    }
    if (arena->fault != NO_LOCK)
        found = find(arena, space, needed);
    if (found) {
        found = split(arena, found, needed);
        found->is_live = 1;
        space->live_bytes += size;
        space->live_buffers++;
    } else if (arena->fault == LEAK) {
        struct piece *some = find(arena, space, arena->alignment);
        if (some)
            split(arena, some, arena->alignment)->is_live = 1;
    }
    pthread_mutex_unlock(&space->lock);
    if (!found)
        return HB_TARGET_NO_MEMORY;
    struct handle *made = malloc(sizeof *made);
    *made = (struct handle){space, found, size};
    *handle = made;
    *address = found->begin + ARENA_HEADER;
    return HB_TARGET_OK;
}

static int arena_deallocate(void *target, void *given)
{
    struct arena *arena = target;
    struct handle *handle = given;
    struct space *space = handle->space;
    struct piece *piece = handle->piece;
    pthread_mutex_lock(&space->lock);
    int others = space->live_buffers > 1;
    if (arena->fault == SELF_DEADLOCK && others)
        pthread_mutex_lock(&space->lock);
    if ((arena->fault == CRASH && others) || arena->fault == CRASH_AT_ONCE)
        *(volatile char *)8 = 0;
    piece->is_live = 0;
    if (piece->next && !piece->next->is_live)
        join(arena, piece);
    if (piece->previous && !piece->previous->is_live) {
        piece = piece->previous;
        join(arena, piece);
    }
    space->live_bytes -= arena->fault == WRONG_TOTALS && others ? 0 : handle->asked;
    space->live_buffers--;
    pthread_mutex_unlock(&space->lock);
    if (arena->fault == STALE_HEADER)
        piece->is_live = 0; /* Who has it by now loses it. */
    if (arena->fault == LOST_WAKEUP)
        tell_of_a_release(arena);
    return HB_TARGET_OK;
}

static void arena_forget(void *target, void *handle)
{
    (void)target;
    free(handle);
}

static void arena_close(void *target)
{
    struct arena *arena = target;
    for (uint32_t at = 0; at < arena->devices * 4; at++) {
        struct piece *piece = arena->spaces[at].first;
        while (piece) {
            struct piece *next = piece->next;
            free(piece);
            piece = next;
        }
        pthread_mutex_destroy(&arena->spaces[at].lock);
    }
    pthread_cond_destroy(&arena->freed);
    pthread_mutex_destroy(&arena->gate);
    free(arena->spaces);
    free(arena);
}

static int arena_check(void *target, char *why, size_t why_size)
{
    struct arena *arena = target;
    for (uint32_t at = 0; at < arena->devices * 4; at++)
        for (struct piece *piece = arena->spaces[at].first; piece; piece = piece->next)
            if (arena->fault == NONE && piece->next &&
                piece->begin + piece->size != piece->next->begin) {
                snprintf(why, why_size, "there is a gap after a piece");
                return HB_TARGET_FAILED;
            }
    return HB_TARGET_OK;
}

static int arena_totals(void *target, uint32_t device, uint32_t memory,
                        struct hb_target_totals *totals)
{
    struct arena *arena = target;
    struct space *space = &arena->spaces[device * 4 + memory];
    while (arena->fault == ENDLESS_TOTALS && space->live_buffers > 1)
        __asm__ volatile("" ::: "memory");
    totals->live_bytes = space->live_bytes;
    totals->live_buffers = space->live_buffers;
    totals->largest_free = UINT64_MAX;
    return HB_TARGET_OK;
}

const struct hb_target *hb_target_v1(void)
{
    static const struct hb_target TARGET = {
        .abi = ARENA_ABI,
        .abilities = ARENA_ABILITIES,
        .name = "arena",
        .policy = ARENA_POLICY,
        .open = arena_open,
        .allocate = arena_allocate,
        .deallocate = arena_deallocate,
        .forget = arena_forget,
        .close = arena_close,
        .check = arena_check,
        .totals = arena_totals,
    };
    return &TARGET;
}
