
/* ---- Your allocator and your lifecycle code, for heisenbed's workloads ----
 *
 * A target is a shared library that exports
 *
 *     const struct hb_target *hb_target_v1(void);
 *
 * `heisenbed stress --target LIB` and `heisenbed run --target LIB` load it in a process of its own
 * and drive it with every scenario and every imported workload (docs/targets.md). Functions that a target doesn't have are NULL.
 */
#include <stddef.h>

#define HB_TARGET_ABI 1

/* What a target can do beyond own buffers: bits of `abilities`. */
enum hb_target_ability {
    /* `deallocate` may be called more than once for a handle, also by two threads at a time: the
     * second call must have no effect. The handle stays good until `forget`. */
    HB_TARGET_SHARED_RELEASE = 1,
    /* It calls `hb_target_config.publish` in the midst of `allocate`, when it is asked to. */
    HB_TARGET_PUBLISHES_EARLY = 2,
    /* Its tracking client sends messages to the socket that `hb_target_config.socket` names. */
    HB_TARGET_TRACKS = 4,
    /* Addresses are where it pleases, as those of `malloc` are, not within `size` bytes of each
     * other. */
    HB_TARGET_SCATTERED = 8,
    /* It keeps some of what was released for who released it, or for buffers of that size (caches
     * of threads, slabs): others may find no room where nothing is live. Without it whatever was
     * released must be there for everybody. */
    HB_TARGET_CACHES = 16,
    /* With HB_TARGET_CACHES: `check` gives back what was kept, so that memory is whole then. */
    HB_TARGET_TRIMS = 32
};

/* Flags of `allocate`. */
enum hb_target_flag {
    /* A circular buffer: reported by messages of its own, where the target has such. */
    HB_TARGET_CIRCULAR = 1,
    /* A buffer at the address `*address`, which somebody else owns: neither its allocation nor its
     * release concerns the allocator. */
    HB_TARGET_PREALLOCATED = 2,
    /* Make the buffer known by `publish` as soon as it has an address. */
    HB_TARGET_PUBLISH_EARLY = 4
};

/* What the calls return. */
enum hb_target_status {
    HB_TARGET_OK = 0,
    /* No room. An allocation that finds none is no failure of the target, unless there is room. */
    HB_TARGET_NO_MEMORY = 1,
    /* The target can't do that: heisenbed asks once, says so, and doesn't ask again. */
    HB_TARGET_UNSUPPORTED = 2,
    /* Something is wrong: the run ends there, and it is a failure. */
    HB_TARGET_FAILED = 3
};

/* How memory is to be. Sizes in bytes; a memory of size 0 is not asked for. */
struct hb_target_config {
    uint32_t abi;       /* HB_TARGET_ABI */
    uint32_t devices;   /* numbered from 0 */
    uint64_t size[4];   /* of each memory of each device, by HB_MEMORY_…; addresses begin where the
                         * target likes, and lie within so many bytes */
    uint64_t alignment; /* what addresses must be a multiple of; a power of two */
    const char *socket; /* the tracking socket; NULL where nothing is tracked */
    const char *options; /* what `--target-options` said; "" else; for switches of your own */
    /* For HB_TARGET_PUBLISH_EARLY: `handle` and `address` are known from here on. */
    void (*publish)(void *context, void *handle, uint64_t address);
};

struct hb_target_totals {
    uint64_t live_bytes;   /* what is handed out now */
    uint64_t live_buffers;
    uint64_t largest_free; /* the largest buffer for which there is room; UINT64_MAX: not known */
};

/* All functions but `open` and `close` are called by several threads at a time. */
struct hb_target {
    uint32_t abi;       /* HB_TARGET_ABI */
    uint32_t abilities; /* of hb_target_ability */
    const char *name;
    /* How it places buffers: "best-fit", "first-fit" and "top-down" use any hole that is large
     * enough; "any-hole" any that is four times as large and 4 KB more (buddies, bins); NULL, or
     * "bump": it may be that memory is used again only when nothing is live (a ring). */
    const char *policy;

    /* A target as if the process were new; NULL where it can't be: `why` says it. */
    void *(*open)(const struct hb_target_config *config, char *why, size_t why_size);
    /* `context` is for `publish`. `*address` is set with HB_TARGET_OK. */
    int (*allocate)(void *target, uint32_t device, uint32_t memory, uint64_t size, uint32_t flags,
                    void *context, void **handle, uint64_t *address);
    int (*deallocate)(void *target, void *handle);
    /* After the last use of a handle; what was not deallocated is not taken back by it. */
    void (*forget)(void *target, void *handle);
    /* Everything is given back, live buffers too, so that the next `open` finds nothing. */
    void (*close)(void *target);

    /* One buffer over several devices, `first` to `first + count - 1`: an address on each. */
    int (*allocate_mesh)(void *target, uint32_t first, uint32_t count, uint32_t memory,
                         uint64_t size, uint32_t flags, void *context, void **handle,
                         uint64_t *addresses);
    /* A device is closed: what is live on it is given back. */
    int (*close_device)(void *target, uint32_t device);
    /* The target's own invariants, when no other call runs: HB_TARGET_OK or HB_TARGET_FAILED. */
    int (*check)(void *target, char *why, size_t why_size);
    /* What it believes to be live, when no other call runs. */
    int (*totals)(void *target, uint32_t device, uint32_t memory, struct hb_target_totals *totals);
};

