/* A target that ends the process in the midst of its operations, as if all were well. */
#include <heisenbed.h>
#include <stdlib.h>
#include <string.h>

static uint64_t next;
static int allocations, leaves;

static void *open_(const struct hb_target_config *config, char *why, size_t why_size)
{
    (void)why, (void)why_size;
    next = 4096;
    allocations = 0;
    leaves = strcmp(config->options, "leaves") == 0;
    return &next;
}

static int allocate(void *target, uint32_t device, uint32_t memory, uint64_t size, uint32_t flags,
                    void *context, void **handle, uint64_t *address)
{
    (void)target, (void)device, (void)flags, (void)context;
    if (memory != HB_MEMORY_L1 || flags)
        return HB_TARGET_UNSUPPORTED;
    if (__atomic_add_fetch(&allocations, 1, __ATOMIC_SEQ_CST) == 3 && leaves)
        exit(0);
    *address = __atomic_fetch_add(&next, (size + 4095) / 4096 * 4096, __ATOMIC_SEQ_CST);
    *handle = (void *)(uintptr_t)*address;
    return HB_TARGET_OK;
}

static int deallocate(void *target, void *handle)
{
    (void)target, (void)handle;
    return HB_TARGET_OK;
}

static void close_(void *target) { (void)target; }

const struct hb_target *hb_target_v1(void)
{
    static const struct hb_target TARGET = {
        .abi = HB_TARGET_ABI,
        .abilities = HB_TARGET_SCATTERED,
        .name = "leaves",
        .policy = "bump",
        .open = open_,
        .allocate = allocate,
        .deallocate = deallocate,
        .close = close_,
    };
    return &TARGET;
}
