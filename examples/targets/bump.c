/* The smallest target: addresses go up, and start again when everything was given back. */
#include "heisenbed.h"
#include <stdlib.h>

struct space { uint64_t next, live; };
struct bump { struct hb_target_config config; struct space *spaces; };

static void *bump_open(const struct hb_target_config *config, char *why, size_t why_size)
{
    (void)why, (void)why_size;
    struct bump *bump = malloc(sizeof *bump);
    *bump = (struct bump){*config, calloc(config->devices * 4, sizeof(struct space))};
    return bump;
}

static int bump_allocate(void *target, uint32_t device, uint32_t memory, uint64_t size,
                         uint32_t flags, void *context, void **handle, uint64_t *address)
{
    struct bump *bump = target;
    struct space *space = &bump->spaces[device * 4 + memory];
    uint64_t unit = bump->config.alignment, needed = (size + unit - 1) / unit * unit;
    (void)context;
    if (flags)
        return HB_TARGET_UNSUPPORTED;
    if (needed > bump->config.size[memory] - space->next)
        return HB_TARGET_NO_MEMORY;
    *address = space->next;
    space->next += needed; /* Two threads may be here: that is the race to be found. */
    space->live++;
    *handle = space;
    return HB_TARGET_OK;
}

static int bump_deallocate(void *target, void *handle)
{
    struct space *space = handle;
    (void)target;
    if (--space->live == 0)
        space->next = 0;
    return HB_TARGET_OK;
}

static void bump_close(void *target)
{
    free(((struct bump *)target)->spaces);
    free(target);
}

const struct hb_target *hb_target_v1(void)
{
    static const struct hb_target TARGET = {
        .abi = HB_TARGET_ABI, .name = "bump", .policy = "bump", .open = bump_open,
        .allocate = bump_allocate, .deallocate = bump_deallocate, .close = bump_close,
    };
    return &TARGET;
}
