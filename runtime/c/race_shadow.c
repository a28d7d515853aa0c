/* Who touched which bytes: for eight bytes of memory a list of cells, one for each access that a
 * later one may still race with. Nothing is driven out, so that what is found does not depend on
 * where memory is.
 */
#include "race.h"

#include <string.h>

/* Eight bytes, 512 of them in a page, 512 pages in a chunk. */
#define GRANULE_BITS 3
#define PAGE_BITS 12
#define CHUNK_BITS 21
#define PAGE_GRANULES (1u << (PAGE_BITS - GRANULE_BITS))
#define CHUNK_PAGES (1u << (CHUNK_BITS - PAGE_BITS))

struct cell {
    uint32_t next;
    uint32_t epoch;
    uint64_t pc;
    uint32_t step;
    uint16_t thread;
    uint8_t mask; /* Which of the eight bytes. */
    uint8_t kind; /* Of enum hb_kind, and PART. */
};

#define PART 0x80u

struct page {
    uint32_t cells[PAGE_GRANULES];
};

struct chunk {
    uint64_t number;
    struct page *pages[CHUNK_PAGES];
};

static struct chunk **chunks;
static uint32_t chunk_bits, chunk_count;
static uint32_t unused; /* Cells that were given back. */
static uint64_t stack_sizes[HB_MAX_THREADS];

#define CACHED 64
static struct {
    uint64_t number;
    struct page *page;
} cache[CACHED];

/* ---- Where cells are ---- */

static struct chunk **chunk_place(struct chunk **table, uint32_t bits, uint64_t number)
{
    uint32_t at = (uint32_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - bits));
    while (table[at] && table[at]->number != number)
        at = (at + 1) & ((1u << bits) - 1);
    return &table[at];
}

static struct chunk *find_chunk(uint64_t number)
{
    return chunks ? *chunk_place(chunks, chunk_bits, number) : NULL;
}

static struct chunk *make_chunk(uint64_t number)
{
    if (!chunks || chunk_count * 2 >= 1u << chunk_bits) {
        uint32_t bits = chunks ? chunk_bits + 1 : 6;
        struct chunk **larger = hb_race_room(sizeof *larger << bits);
        if (!larger)
            return NULL;
        for (uint32_t at = 0; chunks && at < 1u << chunk_bits; at++)
            if (chunks[at])
                *chunk_place(larger, bits, chunks[at]->number) = chunks[at];
        chunks = larger;
        chunk_bits = bits;
    }
    struct chunk **place = chunk_place(chunks, chunk_bits, number);
    if (!*place) {
        struct chunk *made = hb_race_room(sizeof *made);
        if (!made)
            return NULL;
        made->number = number;
        *place = made;
        chunk_count++;
    }
    return *place;
}

/* The list of eight bytes; NULL if there is no memory left. */
static uint32_t *list_of(uint64_t address)
{
    uint64_t number = address >> PAGE_BITS;
    __typeof__(cache[0]) *cached = &cache[number % CACHED];
    if (!cached->page || cached->number != number) {
        struct chunk *chunk = find_chunk(address >> CHUNK_BITS);
        if (!chunk)
            chunk = make_chunk(address >> CHUNK_BITS);
        if (!chunk)
            return NULL;
        struct page **page = &chunk->pages[number % CHUNK_PAGES];
        if (!*page)
            *page = hb_race_room(sizeof **page);
        if (!*page)
            return NULL;
        cached->number = number;
        cached->page = *page;
    }
    return &cached->page->cells[(address >> GRANULE_BITS) % PAGE_GRANULES];
}

static struct cell *cell_at(uint32_t number) { return hb_race_at(number); }

static void give_back(uint32_t *link)
{
    uint32_t number = *link;
    struct cell *cell = cell_at(number);
    *link = cell->next;
    cell->next = unused;
    unused = number;
}

static struct cell *take_cell(void)
{
    if (!unused)
        return hb_race_room(sizeof(struct cell));
    struct cell *cell = cell_at(unused);
    unused = cell->next;
    return cell;
}

/* ---- What races ---- */

static uint16_t kind_of(const struct cell *cell) { return cell->kind & ~PART; }

static bool is_atomic(uint16_t kind) { return kind != HB_K_READ && kind != HB_K_WRITE; }

static bool is_write(uint16_t kind) { return kind != HB_K_READ && kind != HB_K_ATOMIC_LOAD; }

static bool conflict(uint16_t one, uint16_t other)
{
    return (is_write(one) || is_write(other)) && !(is_atomic(one) && is_atomic(other));
}

/* Whatever races with the old one races with the new one, too. */
static bool stands_for(uint16_t new, uint16_t old)
{
    return (is_write(new) || !is_write(old)) && (!is_atomic(new) || is_atomic(old));
}

static struct hb_race_access access_of(const struct cell *cell)
{
    return (struct hb_race_access){
        .pc = cell->pc,
        .step = cell->step,
        .thread = cell->thread,
        .kind = kind_of(cell),
        .size = (uint16_t)(__builtin_popcount(cell->mask) | (cell->kind & PART ? HB_RACE_RANGE : 0)),
    };
}

static void report(const struct cell *before, const struct cell *now, uint64_t granule)
{
    uint32_t kept = hb_races->count < HB_MAX_RACES ? hb_races->count : HB_MAX_RACES;
    for (uint32_t at = 0; at < kept; at++) {
        const struct hb_race *known = &hb_races->races[at];
        if ((known->first.pc == before->pc && known->second.pc == now->pc) ||
            (known->first.pc == now->pc && known->second.pc == before->pc))
            return;
    }
    if (kept == HB_MAX_RACES) {
        hb_races->count++;
        return;
    }
    hb_races->races[kept] = (struct hb_race){
        .address = (granule << GRANULE_BITS) + (uint64_t)__builtin_ctz(before->mask & now->mask),
        .first = access_of(before),
        .second = access_of(now),
    };
    hb_races->count = kept + 1;
}

static void check(const struct hb_thread *me, const struct cell *now, uint64_t granule)
{
    uint32_t *list = list_of(granule << GRANULE_BITS);
    if (!list)
        return;
    uint16_t kind = kind_of(now);
    for (uint32_t *link = list; *link;) {
        struct cell *cell = cell_at(*link);
        bool own = cell->thread == now->thread;
        uint16_t old = kind_of(cell);
        /* Since then the others were held against that one, and will be. */
        if (own && cell->epoch == now->epoch && (cell->mask & now->mask) == now->mask &&
            stands_for(old, kind))
            return;
        bool ordered = own || hb_race_knows(me, cell->thread, cell->epoch);
        if (!ordered && cell->mask & now->mask && conflict(kind, old))
            report(cell, now, granule);
        if (ordered && (cell->mask & now->mask) == cell->mask && stands_for(kind, old))
            give_back(link);
        else
            link = &cell->next;
    }
    struct cell *made = take_cell();
    if (!made)
        return;
    *made = *now;
    made->next = *list;
    *list = hb_race_number(made);
}

static void watch(struct hb_thread *me, const struct cell *now, uint64_t address, bool recorded)
{
    for (int at = 0; at < 2; at++) {
        if (hb_races->watch[at] != now->step || hb_races->seen[at])
            continue;
        if (!recorded)
            hb_record(me, kind_of(now), (void *)(uintptr_t)address, now->pc,
                      (uint32_t)__builtin_popcount(now->mask));
        recorded = true;
        hb_races->seen[at] = hb.result->events;
    }
}

void hb_race_begin(void);

void hb_race_access(struct hb_thread *me, uint16_t kind, uint64_t address, uint64_t size,
                    uint64_t pc, bool recorded)
{
    if (!hb_racing) {
        if (!hb_races || !hb_races->look || hb.thread_count < 2)
            return;
        hb_race_begin();
    }
    /* At the lowest addresses there is no memory: such an access fails, and touches nothing. */
    if (!hb_racing || me->asking || size == 0 || address + size < address || address < 4096)
        return;
    struct cell now = {
        .epoch = hb_race_epoch(me),
        .pc = pc,
        .step = (uint32_t)hb.result->steps,
        .thread = (uint16_t)me->id,
        .kind = (uint8_t)(kind | (size > 8 ? PART : 0)),
    };
    watch(me, &now, address, recorded);
    uint64_t end = address + size;
    for (uint64_t granule = address >> GRANULE_BITS; granule << GRANULE_BITS < end; granule++) {
        uint64_t begins = granule << GRANULE_BITS;
        unsigned first = begins < address ? (unsigned)(address - begins) : 0;
        unsigned last = end - begins < 8 ? (unsigned)(end - begins) : 8;
        now.mask = (uint8_t)((0xffu << first) & (0xffu >> (8 - last)));
        check(me, &now, granule);
        if (!hb_racing)
            return;
    }
}

bool hb_race_is_written(uint64_t address, uint64_t size)
{
    uint64_t end = address + size;
    for (uint64_t at = address & ~UINT64_C(7); hb_racing && at < end; at += 8) {
        const uint32_t *list = list_of(at);
        for (uint32_t number = list ? *list : 0; number; number = cell_at(number)->next)
            if (kind_of(cell_at(number)) == HB_K_WRITE)
                return true;
    }
    return false;
}

/* ---- What ends ---- */

static void forget_in(uint32_t *list, uint8_t mask)
{
    for (uint32_t *link = list; *link;) {
        struct cell *cell = cell_at(*link);
        cell->mask &= (uint8_t)~mask;
        if (cell->mask)
            link = &cell->next;
        else
            give_back(link);
    }
}

static void forget_in_page(struct page *page, uint64_t begin, uint64_t end)
{
    for (uint64_t at = begin; at < end; at = (at | 7) + 1) {
        uint32_t *list = &page->cells[(at >> GRANULE_BITS) % PAGE_GRANULES];
        if (!*list)
            continue;
        unsigned first = at & 7;
        unsigned last = end - (at & ~UINT64_C(7)) < 8 ? (unsigned)(end & 7) : 8;
        forget_in(list, (uint8_t)((0xffu << first) & (0xffu >> (8 - last))));
    }
}

static void forget_in_chunk(struct chunk *chunk, uint64_t begin, uint64_t end)
{
    uint64_t base = chunk->number << CHUNK_BITS;
    if (begin < base)
        begin = base;
    if (end > base + (UINT64_C(1) << CHUNK_BITS))
        end = base + (UINT64_C(1) << CHUNK_BITS);
    for (uint64_t at = begin; at < end;) {
        uint64_t next = (at | ((UINT64_C(1) << PAGE_BITS) - 1)) + 1;
        struct page *page = chunk->pages[(at >> PAGE_BITS) % CHUNK_PAGES];
        if (page)
            forget_in_page(page, at, next < end ? next : end);
        at = next;
    }
}

void hb_race_forget(uint64_t begin, uint64_t size)
{
    uint64_t end = begin + size;
    if (!hb_racing || !chunks || size == 0 || end < begin)
        return;
    uint64_t first = begin >> CHUNK_BITS, last = (end - 1) >> CHUNK_BITS;
    if (last - first >= chunk_count) {
        for (uint32_t at = 0; at < 1u << chunk_bits; at++)
            if (chunks[at] && chunks[at]->number >= first && chunks[at]->number <= last)
                forget_in_chunk(chunks[at], begin, end);
        return;
    }
    for (uint64_t number = first; number <= last; number++) {
        struct chunk *chunk = find_chunk(number);
        if (chunk)
            forget_in_chunk(chunk, begin, end);
    }
}

/* ---- Stacks of threads ---- */

/* Of glibc: what it keeps of a thread is at the upper end of the thread's stack. */
#ifdef __x86_64__
#define THREAD_BYTES 4096
#else
#define THREAD_BYTES 65536 /* With its thread-local variables. */
#endif

void hb_race_note_stack(const struct hb_thread *made, const pthread_attr_t *attributes)
{
    static size_t usual;
    size_t size = 0;
    if (attributes)
        pthread_attr_getstacksize(attributes, &size);
    else if (!usual) {
        pthread_attr_t fresh;
        if (pthread_attr_init(&fresh) == 0) {
            pthread_attr_getstacksize(&fresh, &usual);
            pthread_attr_destroy(&fresh);
        }
    }
    stack_sizes[made->id] = size ? size : usual;
}

/* Called by the thread itself. Another one may get this memory next. */
void hb_race_forget_stack(const struct hb_thread *me)
{
    if (!stack_sizes[me->id])
        return;
    uint64_t end = (uint64_t)pthread_self() + THREAD_BYTES;
    hb_race_forget(end - stack_sizes[me->id] - THREAD_BYTES, stack_sizes[me->id] + THREAD_BYTES);
}
