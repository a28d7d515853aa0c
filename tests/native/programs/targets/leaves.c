/* A target that ends the process in the midst of its operations, as if all were well: `leaves` by
 * exit, `vanishes` by _exit, `unseen` by a system call. A path: each open makes a process, which
 * says in that file who it is, and stays. */
#include <heisenbed.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t next;
static int allocations, leaves, vanishes, unseen;

static void stay(const char *path)
{
    if (fork() != 0)
        return;
    FILE *file = fopen(path, "a");
    if (file) {
        fprintf(file, "%d\n", (int)getpid());
        fclose(file);
    }
    for (;;)
        pause();
}

static void *open_(const struct hb_target_config *config, char *why, size_t why_size)
{
    (void)why, (void)why_size;
    next = 4096;
    allocations = 0;
    leaves = strcmp(config->options, "leaves") == 0;
    vanishes = strcmp(config->options, "vanishes") == 0;
    unseen = strcmp(config->options, "unseen") == 0;
    if (config->options[0] == '/')
        stay(config->options);
    return &next;
}

static int allocate(void *target, uint32_t device, uint32_t memory, uint64_t size, uint32_t flags,
                    void *context, void **handle, uint64_t *address)
{
    (void)target, (void)device, (void)flags, (void)context;
    if (memory != HB_MEMORY_L1 || flags)
        return HB_TARGET_UNSUPPORTED;
    if (__atomic_add_fetch(&allocations, 1, __ATOMIC_SEQ_CST) == 3) {
        if (leaves)
            exit(0);
        if (vanishes)
            _exit(0);
        if (unseen)
            syscall(SYS_exit_group, 0);
    }
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
