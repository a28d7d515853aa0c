/* A correct target, or one that does what is none of an allocator's business: `prints` to stdout and
 * `reads` from stdin at each allocation, ends the process at the first one (`ends`, `ends-badly`),
 * counts without a lock how often more than two buffers were live (`counts`).
 */
#include <heisenbed.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t next, end;
static int live, times;
static const char *does;
static char options[32];

static void *open_(const struct hb_target_config *config, char *why, size_t why_size)
{
    (void)why, (void)why_size;
    next = 4096;
    end = 4096 + config->size[HB_MEMORY_L1];
    live = times = 0;
    snprintf(options, sizeof options, "%s", config->options);
    does = options;
    return &next;
}

static int allocate(void *target, uint32_t device, uint32_t memory, uint64_t size, uint32_t flags,
                    void *context, void **handle, uint64_t *address)
{
    (void)target, (void)device, (void)context;
    if (memory != HB_MEMORY_L1 || flags)
        return HB_TARGET_UNSUPPORTED;
    if (strcmp(does, "prints") == 0) {
        printf("allocate(%llu): a line as the logs of runtimes have many\n",
               (unsigned long long)size);
        fflush(stdout);
    }
    char byte;
    if (strcmp(does, "reads") == 0 && read(0, &byte, 1) < 0)
        return HB_TARGET_FAILED;
    if (strcmp(does, "ends") == 0)
        exit(0);
    if (strcmp(does, "ends-badly") == 0)
        exit(7);
    pthread_mutex_lock(&mutex);
    uint64_t taken = (size + 255) / 256 * 256;
    int fits = taken <= end - next;
    int many = 0;
    if (fits) {
        *address = next;
        next += taken;
        many = ++live > 2;
    }
    pthread_mutex_unlock(&mutex);
    if (!fits)
        return HB_TARGET_NO_MEMORY;
    if (many && strcmp(does, "counts") == 0)
        times++;
    *handle = malloc(1);
    return HB_TARGET_OK;
}

static int deallocate(void *target, void *handle)
{
    (void)target;
    pthread_mutex_lock(&mutex);
    live--;
    pthread_mutex_unlock(&mutex);
    free(handle);
    return HB_TARGET_OK;
}

static void close_(void *target) { (void)target; }

const struct hb_target *hb_target_v1(void)
{
    static const struct hb_target TABLE = {
        .abi = HB_TARGET_ABI,
        .abilities = HB_TARGET_CACHES,
        .name = "talks",
        .open = open_,
        .allocate = allocate,
        .deallocate = deallocate,
        .close = close_,
    };
    return &TABLE;
}
