/* A target of which every simpler run hangs. Its check fails where four calls of allocate were
 * interrupted, each by the beginning of another one. `options` is a path: where fewer were, check
 * says so in that file, by a byte, and does not come to an end. */
#include "heisenbed.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { ENOUGH = 4 };

struct interrupted {
    pthread_mutex_t lock;
    int running, interruptions;
    uint64_t next;
    const char *hangs;
};

static void *open_(const struct hb_target_config *config, char *why, size_t why_size)
{
    (void)why, (void)why_size;
    struct interrupted *target = calloc(1, sizeof *target);
    pthread_mutex_init(&target->lock, NULL);
    target->next = config->alignment;
    target->hangs = config->options[0] == '/' ? config->options : NULL;
    return target;
}

static int allocate(void *state, uint32_t device, uint32_t memory, uint64_t size, uint32_t flags,
                    void *context, void **handle, uint64_t *address)
{
    struct interrupted *target = state;
    (void)device, (void)context;
    if (memory != HB_MEMORY_L1 || flags)
        return HB_TARGET_UNSUPPORTED;
    pthread_mutex_lock(&target->lock);
    target->interruptions += target->running++ > 0;
    *address = target->next;
    target->next += (size + 4095) / 4096 * 4096;
    pthread_mutex_unlock(&target->lock);
    pthread_mutex_lock(&target->lock);
    target->running--;
    pthread_mutex_unlock(&target->lock);
    *handle = state;
    return HB_TARGET_OK;
}

static int deallocate(void *state, void *handle)
{
    (void)state, (void)handle;
    return HB_TARGET_OK;
}

static int check(void *state, char *why, size_t why_size)
{
    struct interrupted *target = state;
    if (target->interruptions >= ENOUGH) {
        snprintf(why, why_size, "interrupted");
        return HB_TARGET_FAILED;
    }
    if (!target->hangs)
        return HB_TARGET_OK;
    FILE *file = fopen(target->hangs, "a");
    if (file) {
        fputc('.', file);
        fclose(file);
    }
    for (volatile int forever = 1; forever;)
        ;
    return HB_TARGET_OK;
}

static void close_(void *state)
{
    struct interrupted *target = state;
    pthread_mutex_destroy(&target->lock);
    free(target);
}

const struct hb_target *hb_target_v1(void)
{
    static const struct hb_target TARGET = {
        .abi = HB_TARGET_ABI,
        .abilities = HB_TARGET_SCATTERED,
        .name = "interrupted",
        .policy = "bump",
        .open = open_,
        .allocate = allocate,
        .deallocate = deallocate,
        .close = close_,
        .check = check,
    };
    return &TARGET;
}
