/* What orders the actions of threads: a vector clock for each thread, and one for each object by
 * which one thread tells another. An edge too many hides a race in some schedules; one too few is
 * a false alarm. So where it cannot be known who told whom, all are taken to have told.
 */
#include "race.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct hb_races *hb_races;
bool hb_racing;

static uint32_t clocks[HB_MAX_THREADS][HB_MAX_THREADS];
/* What a release fence has covered, and what an acquire fence would take over. */
static uint32_t fenced[HB_MAX_THREADS][HB_MAX_THREADS];
static uint32_t loaded[HB_MAX_THREADS][HB_MAX_THREADS];
static bool has_fenced[HB_MAX_THREADS], has_loaded[HB_MAX_THREADS];
/* The atomic that a thread is about to access was written by it is not known whom. */
static bool is_surprised[HB_MAX_THREADS];
/* The round of a barrier that a thread has arrived for. */
static uint64_t arrived[HB_MAX_THREADS];

/* ---- Memory ---- */

#define LEAST_ROOM ((size_t)8 << 20)

static unsigned char *room;
static size_t room_size, room_used;

static bool make_room(void)
{
    for (room_size = HB_RACE_ROOM; room_size >= LEAST_ROOM; room_size /= 4) {
        void *made = mmap(NULL, room_size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (made == MAP_FAILED)
            continue;
        madvise(made, room_size, MADV_NOHUGEPAGE);
        room = made;
        room_used = 8; /* Number 0 is nothing. */
        return true;
    }
    return false;
}

void *hb_race_room(size_t size)
{
    size = (size + 7) & ~(size_t)7;
    if (!room || size > room_size - room_used) {
        hb_race_stop(HB_RACES_MEMORY);
        return NULL;
    }
    void *made = room + room_used;
    room_used += size;
    return made;
}

uint32_t hb_race_number(const void *made)
{
    return (uint32_t)(((const unsigned char *)made - room) >> 3);
}

void *hb_race_at(uint32_t number) { return room + ((size_t)number << 3); }

void hb_race_stop(enum hb_races_stopped why)
{
    hb_racing = false;
    hb_races->look = 0;
    hb_races->stopped = why;
}

/* Accesses before this one are before whatever comes: they need not be known. */
void hb_race_begin(void)
{
    hb_racing = true;
    if (!make_room()) {
        hb_race_stop(HB_RACES_MEMORY);
        return;
    }
    for (uint32_t id = 0; id < hb.thread_count; id++)
        clocks[id][id] = 1;
}

/* ---- Clocks of objects ---- */

/* What an address stands for. One of user space has no more than 56 bits. */
enum { AT_OBJECT, AT_READERS, AT_FUTEX, AT_BARRIER, AT_DESCRIPTOR };
#define KEY(what, address) ((uint64_t)(uintptr_t)(address) | (uint64_t)(what) << 57 | 1ull << 56)
#define ALL_DESCRIPTORS KEY(AT_DESCRIPTOR, 0)
#define OUTSIDE KEY(AT_DESCRIPTOR, 1)

struct sync {
    uint64_t key;
    uint32_t clock; /* Its number. */
    uint16_t length;
    uint16_t owner; /* Who stored it last, plus one. */
    uint64_t value; /* Of an atomic, if it is known. */
    bool is_known;
};

static struct sync *syncs;
static uint32_t sync_bits, sync_count;

static struct sync *sync_place(struct sync *table, uint32_t bits, uint64_t key)
{
    uint32_t at = (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - bits));
    while (table[at].key && table[at].key != key)
        at = (at + 1) & ((1u << bits) - 1);
    return &table[at];
}

static struct sync *find(uint64_t key)
{
    if (!syncs)
        return NULL;
    struct sync *sync = sync_place(syncs, sync_bits, key);
    return sync->key ? sync : NULL;
}

/* With room for the clocks of all threads; NULL if there is no memory left. */
static struct sync *make(uint64_t key)
{
    if (!syncs || sync_count * 2 >= 1u << sync_bits) {
        uint32_t bits = syncs ? sync_bits + 1 : 9;
        struct sync *larger = hb_race_room(sizeof *larger << bits);
        if (!larger)
            return NULL;
        for (uint32_t at = 0; syncs && at < 1u << sync_bits; at++)
            if (syncs[at].key)
                *sync_place(larger, bits, syncs[at].key) = syncs[at];
        syncs = larger;
        sync_bits = bits;
    }
    struct sync *sync = sync_place(syncs, sync_bits, key);
    if (sync->length < hb.thread_count) {
        uint32_t length = 4;
        while (length < hb.thread_count)
            length *= 2;
        uint32_t *clock = hb_race_room(length * sizeof *clock);
        if (!clock)
            return NULL;
        if (sync->length)
            memcpy(clock, hb_race_at(sync->clock), sync->length * sizeof *clock);
        sync_count += !sync->key;
        sync->key = key;
        sync->clock = hb_race_number(clock);
        sync->length = (uint16_t)length;
    }
    return sync;
}

static void join_clock(uint32_t *into, const uint32_t *from, uint32_t length)
{
    for (uint32_t at = 0; at < length; at++)
        if (into[at] < from[at])
            into[at] = from[at];
}

static uint32_t shorter(const struct sync *sync)
{
    return sync->length < HB_MAX_THREADS ? sync->length : HB_MAX_THREADS;
}

static void acquire(const struct hb_thread *me, uint64_t key)
{
    struct sync *sync = find(key);
    if (sync)
        join_clock(clocks[me->id], hb_race_at(sync->clock), shorter(sync));
}

static void release(const struct hb_thread *me, uint64_t key)
{
    struct sync *sync = make(key);
    if (!sync)
        return;
    join_clock(hb_race_at(sync->clock), clocks[me->id], hb.thread_count);
    clocks[me->id][me->id]++;
}

void hb_race_acquire(struct hb_thread *me, const void *address)
{
    if (hb_racing)
        acquire(me, KEY(AT_OBJECT, address));
}

void hb_race_release(struct hb_thread *me, const void *address)
{
    if (hb_racing)
        release(me, KEY(AT_OBJECT, address));
}

void hb_race_acquire_all(struct hb_thread *me)
{
    if (!hb_racing)
        return;
    for (uint32_t id = 0; id < hb.thread_count; id++) {
        join_clock(clocks[me->id], clocks[id], hb.thread_count);
        if (id != me->id)
            clocks[id][id]++;
    }
}

uint32_t hb_race_epoch(const struct hb_thread *me) { return clocks[me->id][me->id]; }

bool hb_race_knows(const struct hb_thread *me, uint32_t thread, uint32_t epoch)
{
    return clocks[me->id][thread] >= epoch;
}

/* ---- Actions ---- */

/* Both ends of a pipe are one file; of sockets it is not known which belong together. */
static uint64_t descriptor(const void *object)
{
    struct stat about;
    int fd = (int)(uintptr_t)object - 1;
    if (fstat(fd, &about) != 0 || !S_ISFIFO(about.st_mode))
        return ALL_DESCRIPTORS;
    return KEY(AT_DESCRIPTOR, (about.st_ino & UINT64_C(0xffffffffffff)) << 4 | 2);
}

static uint64_t barrier_round(void *address)
{
    /* Rounds that are far apart may share one: the earlier is over by then. */
    struct hb_object *barrier = hb_object(address);
    return KEY(AT_BARRIER, (uintptr_t)address + (barrier->round & 7));
}

/* Which of both it was is known by the lock: it may have been taken before anything was noted here.
 * Readers tell writers, not each other. */
void hb_race_unlock_rw(struct hb_thread *me, const void *address, bool writes)
{
    if (hb_racing)
        release(me, KEY(writes ? AT_OBJECT : AT_READERS, address));
}

/* Of whoever arrived before anything was noted it is not known for which round. */
static void leave_barrier(struct hb_thread *me)
{
    if (arrived[me->id])
        acquire(me, arrived[me->id]);
    else
        hb_race_acquire_all(me);
    arrived[me->id] = 0;
}

static void create(const struct hb_thread *me, const struct hb_thread *made)
{
    memcpy(clocks[made->id], clocks[me->id], hb.thread_count * sizeof(uint32_t));
    /* After what one did that had the same number before. */
    clocks[made->id][made->id]++;
    clocks[me->id][me->id]++;
    if (has_loaded[made->id])
        memset(loaded[made->id], 0, sizeof loaded[made->id]);
    has_loaded[made->id] = has_fenced[made->id] = is_surprised[made->id] = false;
}

void hb_race_order(struct hb_thread *me, uint16_t kind, void *address, uint32_t value)
{
    uint64_t key = KEY(AT_OBJECT, address);
    bool done = value == 0;
    switch (kind) {
    case HB_K_CREATE:
        create(me, address);
        break;
    case HB_K_JOIN:
        if (done)
            join_clock(clocks[me->id], clocks[((struct hb_thread *)address)->id],
                       hb.thread_count);
        break;
    case HB_K_END:
        hb_race_forget_stack(me);
        break;
    case HB_K_CANCEL:
    case HB_K_SPIN_UNLOCK:
    case HB_K_ONCE_DONE:
    case HB_K_SIGNAL:
    case HB_K_BROADCAST:
        release(me, key);
        break;
    case HB_K_UNLOCK:
    case HB_K_SEM_POST:
        if (done)
            release(me, key);
        break;
    case HB_K_LOCK:
    case HB_K_TRY_LOCK:
    case HB_K_SPIN_LOCK:
    case HB_K_READ_LOCK:
        if (done || value == EOWNERDEAD)
            acquire(me, key);
        break;
    case HB_K_WRITE_LOCK:
        if (done) {
            acquire(me, key);
            acquire(me, KEY(AT_READERS, address));
        }
        break;
    case HB_K_SEM_WAIT:
        if (done) {
            acquire(me, key);
            /* A handler of a thread that waits outside may have posted it. */
            acquire(me, OUTSIDE);
        }
        break;
    case HB_K_WAKE:
    case HB_K_ONCE:
        if (done || value == EOWNERDEAD || kind == HB_K_ONCE)
            acquire(me, key);
        break;
    case HB_K_BARRIER:
        arrived[me->id] = barrier_round(address);
        release(me, arrived[me->id]);
        break;
    case HB_K_BARRIER_LEAVE:
        leave_barrier(me);
        break;
    case HB_K_FUTEX_WAKE:
        release(me, KEY(AT_FUTEX, address));
        break;
    case HB_K_FUTEX_WAIT:
        if (!done) {
            acquire(me, KEY(AT_FUTEX, address));
            acquire(me, key);
        }
        break;
    case HB_K_SEND:
    case HB_K_CONNECT:
        release(me, descriptor(address));
        release(me, ALL_DESCRIPTORS);
        break;
    case HB_K_RECEIVE:
    case HB_K_ACCEPT:
        if ((int32_t)value >= 0)
            acquire(me, descriptor(address));
        /* Nothing is left, as its other end was closed: by whom, the descriptor does not say. */
        if (done)
            acquire(me, ALL_DESCRIPTORS);
        break;
    case HB_K_POLL:
        if ((int32_t)value > 0)
            acquire(me, ALL_DESCRIPTORS);
        break;
    case HB_K_OUTSIDE:
        release(me, OUTSIDE);
        break;
    default:
        break;
    }
}

/* ---- Atomics ---- */

static bool acquires(int order)
{
    return order == __ATOMIC_CONSUME || order == __ATOMIC_ACQUIRE || order == __ATOMIC_ACQ_REL ||
           order == __ATOMIC_SEQ_CST;
}

static bool releases(int order)
{
    return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static uint64_t value_at(uint64_t address, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, (const void *)(uintptr_t)address, size < 8 ? size : 8);
    return value;
}

void hb_race_before_atomic(struct hb_thread *me, uint64_t address, unsigned size)
{
    if (!hb_racing)
        return;
    struct sync *sync = find(KEY(AT_OBJECT, address));
    is_surprised[me->id] = sync && sync->is_known && sync->value != value_at(address, size) &&
                           !hb_race_is_written(address, size);
}

/* Anybody may have written it, after whatever they did. */
static void learn_from_all(struct hb_thread *me, int order)
{
    is_surprised[me->id] = false;
    if (acquires(order)) {
        hb_race_acquire_all(me);
        return;
    }
    has_loaded[me->id] = true;
    for (uint32_t id = 0; id < hb.thread_count; id++) {
        join_clock(loaded[me->id], clocks[id], hb.thread_count);
        if (id != me->id)
            clocks[id][id]++;
    }
}

static void load(const struct hb_thread *me, uint64_t key, int order)
{
    struct sync *sync = find(key);
    if (!sync)
        return;
    if (acquires(order)) {
        join_clock(clocks[me->id], hb_race_at(sync->clock), shorter(sync));
        return;
    }
    has_loaded[me->id] = true;
    join_clock(loaded[me->id], hb_race_at(sync->clock), shorter(sync));
}

/* A store begins anew: who reads it learns of nothing that was stored there before. */
static void store(const struct hb_thread *me, uint64_t key, int order)
{
    struct sync *sync = find(key);
    bool fence = has_fenced[me->id];
    if (!releases(order) && !fence) {
        /* After a release of its own it is part of that, as C++ had it before C++20. */
        if (sync && sync->owner != me->id + 1)
            memset(hb_race_at(sync->clock), 0, sync->length * sizeof(uint32_t));
        return;
    }
    sync = make(key);
    if (!sync)
        return;
    uint32_t *clock = hb_race_at(sync->clock);
    if (releases(order)) {
        memcpy(clock, clocks[me->id], hb.thread_count * sizeof *clock);
        clocks[me->id][me->id]++;
    } else if (sync->owner == me->id + 1)
        join_clock(clock, fenced[me->id], hb.thread_count);
    else
        memcpy(clock, fenced[me->id], hb.thread_count * sizeof *clock);
    sync->owner = (uint16_t)(me->id + 1);
}

static void update(const struct hb_thread *me, uint64_t key, int order)
{
    if (!releases(order) && !has_fenced[me->id])
        return;
    struct sync *sync = make(key);
    if (!sync)
        return;
    uint32_t *clock = hb_race_at(sync->clock);
    if (releases(order)) {
        join_clock(clock, clocks[me->id], hb.thread_count);
        clocks[me->id][me->id]++;
        sync->owner = (uint16_t)(me->id + 1);
    } else
        join_clock(clock, fenced[me->id], hb.thread_count);
}

static void fence(const struct hb_thread *me, int order)
{
    uint32_t *own = clocks[me->id];
    if (acquires(order) && has_loaded[me->id])
        join_clock(own, loaded[me->id], HB_MAX_THREADS);
    if (releases(order)) {
        memcpy(fenced[me->id], own, hb.thread_count * sizeof *own);
        has_fenced[me->id] = true;
        own[me->id]++;
    }
}

void hb_race_learn(struct hb_thread *me, uint16_t kind, uint64_t address, int order)
{
    if (!hb_racing || (kind != HB_K_ATOMIC_LOAD && kind != HB_K_ATOMIC_UPDATE))
        return;
    if (is_surprised[me->id])
        learn_from_all(me, order);
    load(me, KEY(AT_OBJECT, address), order);
}

void hb_race_tell(struct hb_thread *me, uint16_t kind, uint64_t address, unsigned size, int order)
{
    if (!hb_racing)
        return;
    uint64_t key = KEY(AT_OBJECT, address);
    is_surprised[me->id] = false;
    if (kind == HB_K_FENCE) {
        fence(me, order);
        return;
    }
    if (kind == HB_K_ATOMIC_STORE)
        store(me, key, order);
    else if (kind == HB_K_ATOMIC_UPDATE)
        update(me, key, order);
    struct sync *sync = make(key);
    if (sync) {
        sync->value = value_at(address, size);
        sync->is_known = true;
    }
}
