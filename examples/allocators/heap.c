/* A target around a heap in C: malloc and free of whatever library the target's options name, which
 * is loaded beside the process's own. Without options it is the system's.
 *
 *     cc -g -O1 -fPIC -shared -I include examples/allocators/heap.c -o heap.so
 *     heisenbed stress --target ./heap.so --target-options libjemalloc.so.2 --perturb
 */
#define _GNU_SOURCE
#include "heisenbed.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct heap {
    struct hb_target_config config;
    int (*allocate)(void **, size_t, size_t);
    void (*release)(void *);
    _Atomic uint64_t *live; /* Four a device: a heap has no end of its own. */
};

struct buffer {
    void *at;
    uint64_t size;
    _Atomic uint64_t *live;
};

static void *heap_open(const struct hb_target_config *config, char *why, size_t why_size)
{
    struct heap *heap = calloc(1, sizeof *heap);
    *heap = (struct heap){.config = *config, .allocate = posix_memalign, .release = free};
    heap->live = calloc(config->devices * 4, sizeof *heap->live);
    if (!*config->options)
        return heap;
    /* Its symbols are those of the process's own heap: each must stay with its library. */
    void *library = dlopen(config->options, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (library) {
        heap->allocate = (int (*)(void **, size_t, size_t))dlsym(library, "posix_memalign");
        heap->release = (void (*)(void *))dlsym(library, "free");
        if (heap->allocate && heap->release)
            return heap;
    }
    snprintf(why, why_size, "--target-options: %s", library ? "it is no heap" : dlerror());
    free(heap->live);
    free(heap);
    return NULL;
}

static int heap_allocate(void *target, uint32_t device, uint32_t memory, uint64_t size,
                         uint32_t flags, void *context, void **handle, uint64_t *address)
{
    struct heap *heap = target;
    _Atomic uint64_t *live = &heap->live[device * 4 + memory];
    uint64_t limit = heap->config.size[memory];
    (void)context;
    if (flags)
        return HB_TARGET_UNSUPPORTED;
    if (size > limit || atomic_fetch_add(live, size) > limit - size) {
        if (size <= limit)
            atomic_fetch_sub(live, size);
        return HB_TARGET_NO_MEMORY;
    }
    void *at = NULL;
    if (heap->allocate(&at, heap->config.alignment, size) != 0) {
        atomic_fetch_sub(live, size);
        return HB_TARGET_NO_MEMORY;
    }
    struct buffer *buffer = malloc(sizeof *buffer);
    *buffer = (struct buffer){at, size, live};
    /* What is written must be there in the end, whoever else was given memory. */
    if (size >= 16) {
        memcpy(at, &size, 8);
        memcpy((char *)at + size - 8, &at, 8);
    }
    *handle = buffer;
    *address = (uint64_t)(uintptr_t)at;
    return HB_TARGET_OK;
}

static int heap_deallocate(void *target, void *handle)
{
    struct heap *heap = target;
    struct buffer *buffer = handle;
    if (buffer->size >= 16 && (memcmp(buffer->at, &buffer->size, 8) != 0 ||
                               memcmp((char *)buffer->at + buffer->size - 8, &buffer->at, 8) != 0))
        return HB_TARGET_FAILED;
    heap->release(buffer->at);
    atomic_fetch_sub(buffer->live, buffer->size);
    return HB_TARGET_OK;
}

static void heap_forget(void *target, void *handle)
{
    (void)target;
    free(handle);
}

/* What is live still is the process's: it has no list. */
static void heap_close(void *target)
{
    struct heap *heap = target;
    free(heap->live);
    free(heap);
}

const struct hb_target *hb_target_v1(void)
{
    static const struct hb_target TARGET = {
        .abi = HB_TARGET_ABI,
        .abilities = HB_TARGET_SCATTERED | HB_TARGET_CACHES,
        .name = "heap",
        .open = heap_open,
        .allocate = heap_allocate,
        .deallocate = heap_deallocate,
        .forget = heap_forget,
        .close = heap_close,
    };
    return &TARGET;
}
