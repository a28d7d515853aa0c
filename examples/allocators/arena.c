/* A target around an allocator in C that has an end: apr_rmm of the Apache Portable Runtime, which
 * hands out pieces of a memory that it is given, and keeps its lists in there.
 *
 *     apt-get install libaprutil1-dev
 *     cc -g -O1 -fPIC -shared -I include $(apu-1-config --includes) $(apr-1-config --includes) \
 *         examples/allocators/arena.c $(apu-1-config --link-ld) -lapr-1 -o arena.so
 *     heisenbed stress --target ./arena.so --perturb
 */
#define _GNU_SOURCE
#include "heisenbed.h"

#include <apr_anylock.h>
#include <apr_general.h>
#include <apr_rmm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* One memory, with a lock of its own, which apr_rmm takes for each call. */
struct place {
    void *at;
    size_t size;
    apr_rmm_t *pieces;
    apr_anylock_t lock;
};

struct arena {
    apr_pool_t *pool;
    uint64_t alignment;
    uint32_t count;
    struct place places[]; /* Four a device. */
};

struct buffer {
    apr_rmm_t *pieces;
    apr_rmm_off_t offset;
    uint64_t *at, size;
};

static void arena_close(void *target)
{
    struct arena *arena = target;
    for (uint32_t at = 0; at < arena->count; at++) {
        struct place *place = &arena->places[at];
        if (place->lock.lock.tm)
            apr_thread_mutex_destroy(place->lock.lock.tm);
        if (place->at)
            munmap(place->at, place->size);
    }
    apr_pool_destroy(arena->pool);
    free(arena);
    apr_terminate();
}

static int make(struct place *place, uint64_t size, apr_pool_t *pool)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return -1;
    place->at = at;
    place->size = size;
    place->lock.type = apr_anylock_threadmutex;
    return apr_thread_mutex_create(&place->lock.lock.tm, APR_THREAD_MUTEX_DEFAULT, pool) ||
           apr_rmm_init(&place->pieces, &place->lock, at, size, pool);
}

static void *arena_open(const struct hb_target_config *config, char *why, size_t why_size)
{
    uint32_t count = config->devices * 4;
    struct arena *arena = calloc(1, sizeof *arena + count * sizeof *arena->places);
    if (!arena || apr_initialize() || apr_pool_create(&arena->pool, NULL)) {
        snprintf(why, why_size, "no memory pool");
        free(arena);
        return NULL;
    }
    arena->alignment = config->alignment ? config->alignment : 1;
    arena->count = count;
    for (uint32_t at = 0; at < count; at++) {
        if (!config->size[at % 4] || !make(&arena->places[at], config->size[at % 4], arena->pool))
            continue;
        snprintf(why, why_size, "no memory %u of device %u", at % 4, at / 4);
        arena_close(arena);
        return NULL;
    }
    return arena;
}

static int arena_allocate(void *target, uint32_t device, uint32_t memory, uint64_t size,
                          uint32_t flags, void *context, void **handle, uint64_t *address)
{
    struct arena *arena = target;
    struct place *place = &arena->places[device * 4 + memory];
    (void)context;
    if (flags || !place->pieces)
        return HB_TARGET_UNSUPPORTED;
    if (size > place->size)
        return HB_TARGET_NO_MEMORY;
    /* It aligns to eight bytes: there is room for more in each piece. */
    apr_rmm_off_t offset = apr_rmm_malloc(place->pieces, size + arena->alignment - 1);
    if (!offset)
        return HB_TARGET_NO_MEMORY;
    uint64_t at = (uint64_t)(uintptr_t)apr_rmm_addr_get(place->pieces, offset);
    at = (at + arena->alignment - 1) / arena->alignment * arena->alignment;
    struct buffer *buffer = malloc(sizeof *buffer);
    *buffer = (struct buffer){place->pieces, offset, (uint64_t *)(uintptr_t)at, size};
    /* What is written must be there in the end, whatever the allocator writes into its lists. */
    if (size >= 8)
        memcpy(buffer->at, &offset, 8);
    *handle = buffer;
    *address = at;
    return HB_TARGET_OK;
}

static int arena_deallocate(void *target, void *handle)
{
    struct buffer *buffer = handle;
    (void)target;
    if (buffer->size >= 8 && memcmp(buffer->at, &buffer->offset, 8) != 0)
        return HB_TARGET_FAILED;
    return apr_rmm_free(buffer->pieces, buffer->offset) ? HB_TARGET_FAILED : HB_TARGET_OK;
}

static void arena_forget(void *target, void *handle)
{
    (void)target;
    free(handle);
}

const struct hb_target *hb_target_v1(void)
{
    static const struct hb_target TARGET = {
        .abi = HB_TARGET_ABI,
        .name = "apr_rmm",
        .policy = "any-hole",
        .open = arena_open,
        .allocate = arena_allocate,
        .deallocate = arena_deallocate,
        .forget = arena_forget,
        .close = arena_close,
    };
    return &TARGET;
}
