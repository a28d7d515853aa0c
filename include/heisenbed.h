/* heisenbed: send tracking messages from C and C++.
 *
 * Generated from client/src/ffi.rs, truth.h and target.h; don't edit. docs/client.md says how to link
 * and where the calls go.
 *
 * No function throws, raises SIGPIPE or ends the process. Sizes are in bytes.
 */

#ifndef HEISENBED_H
#define HEISENBED_H

#include <stdint.h>

// Wait while the socket's buffer is full.
#define HB_BLOCKING 0

// Drop a message when the socket's buffer is full (MSG_DONTWAIT): HB_STATUS_DROPPED, counted.
#define HB_DONTWAIT 1

// hb_buffer.sequence: the message has no sequence number; the server takes it when it comes.
#define HB_UNSTAMPED 0

// hb_buffer.sequence: take the next number as the message is sent. Right only while the caller
// holds its allocator's lock for that device; else take it there with hb_stamp and send later.
#define HB_STAMP_NOW UINT64_MAX

// hb_buffer.thread: number the threads in the order of their first message.
#define HB_THIS_THREAD UINT32_MAX

// What became of a call.
typedef enum hb_status {
  // Done. For a message: the kernel has taken it.
  HB_STATUS_OK = 0,
  // The socket's buffer was full and the client doesn't wait: the message is lost, and counted.
  // Its sequence number, if it had one, stays missing, and a sequenced server will say so.
  HB_STATUS_DROPPED = 1,
  // A null pointer, unknown flags, a device beyond 65535, an unknown memory, or an allocation of
  // size 0.
  HB_STATUS_BAD_ARGUMENT = 2,
  // Nobody listens at the path.
  HB_STATUS_NO_SERVER = 3,
  // The system refused the connection: permissions, file descriptors, or a path of more than 107
  // bytes.
  HB_STATUS_CANNOT_CONNECT = 4,
  // The server is gone; the client can only be closed.
  HB_STATUS_CLOSED = 5,
  // The answer didn't come in time or can't be read. The connection is broken by this (a late
  // answer would pass for a later one): the client can only be closed.
  HB_STATUS_NO_ANSWER = 6,
  // The client was connected by the process that this one was forked from; connect anew.
  HB_STATUS_FORKED = 7,
  // A defect of this library; please report it.
  HB_STATUS_INTERNAL = 8,
} hb_status;

// Address spaces, for hb_buffer.memory.
typedef enum hb_memory {
  // Device DRAM.
  HB_MEMORY_DRAM = 0,
  // On-core SRAM.
  HB_MEMORY_L1 = 1,
  // The small L1 region.
  HB_MEMORY_L1_SMALL = 2,
  // The region for recorded command traces.
  HB_MEMORY_TRACE = 3,
} hb_memory;

// One connection to a tracking server. Every function but hb_close may be called from any thread
// at any time.
typedef struct hb_client hb_client;

// One buffer in one message.
typedef struct hb_buffer {
  // The device, from 0 to 65535.
  uint32_t device;
  // One of hb_memory.
  uint32_t memory;
  // The address that the allocator handed out.
  uint64_t address;
  // The size in bytes; at a release it is not looked at.
  uint64_t size_bytes;
  // Which life of the address this is: a number that the allocator counts up at every
  // allocation, the same at the release. 0 when it has none.
  uint64_t generation;
  // From hb_stamp, or HB_UNSTAMPED, or HB_STAMP_NOW.
  uint64_t sequence;
  // The caller's number of the thread, or HB_THIS_THREAD.
  uint32_t thread;
} hb_buffer;

// Bytes that are live on a device, as the server sees it.
typedef struct hb_totals {
  // In DRAM.
  uint64_t dram_bytes;
  // In L1, circular buffers not included.
  uint64_t l1_bytes;
  // In L1_SMALL.
  uint64_t l1_small_bytes;
  // In TRACE.
  uint64_t trace_bytes;
  // In circular buffers.
  uint64_t cb_bytes;
  // In kernels.
  uint64_t kernel_bytes;
} hb_totals;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Connects to the tracking server at path and announces heisenbed's own message layout. On
// success *client is a client that hb_close must get, else NULL. flags: HB_BLOCKING or
// HB_DONTWAIT.
//
// A child of fork() can't use its parent's client (HB_STATUS_FORKED); it connects for itself. As
// with every function that allocates, it may do so only when no other thread was in hb_connect at
// the fork.
//
// What must hold:
// path is NULL or a string that ends in 0; client is NULL or may be written to.
enum hb_status hb_connect(const char *path, struct hb_client **client, uint32_t flags);

// Takes the next sequence number of a device. Call it inside the critical section in which the
// allocator hands out or takes back the address: the numbers then have the order of the
// allocator's history, and the messages may be sent in any order from any thread. Each number must
// be sent once. Clients of one process to one server count together.
//
// What must hold:
// client is NULL or open; sequence is NULL or may be written to.
enum hb_status hb_stamp(const struct hb_client *client, uint32_t device, uint64_t *sequence);

// Says that a buffer exists: after the allocator handed out its address.
//
// What must hold:
// client is NULL or open; buffer is NULL or may be read.
enum hb_status hb_alloc(const struct hb_client *client, const struct hb_buffer *buffer);

// Says that a buffer is gone.
//
// What must hold:
// As hb_alloc.
enum hb_status hb_free(const struct hb_client *client, const struct hb_buffer *buffer);

// Says that a circular buffer exists. Circular buffers are counted apart from buffers, also at the
// same address.
//
// What must hold:
// As hb_alloc.
enum hb_status hb_cb_alloc(const struct hb_client *client, const struct hb_buffer *buffer);

// Says that a circular buffer is gone.
//
// What must hold:
// As hb_alloc.
enum hb_status hb_cb_free(const struct hb_client *client, const struct hb_buffer *buffer);

// Asks the server for a device's totals and waits up to timeout_ms (at least 1) for the answer.
// The server has then seen every message that was sent before on this client.
//
// What must hold:
// client is NULL or open; totals is NULL or may be written to.
enum hb_status hb_query_totals(const struct hb_client *client,
                               uint32_t device,
                               uint32_t timeout_ms,
                               struct hb_totals *totals);

// How many messages this client dropped; 0 for NULL.
//
// What must hold:
// client is NULL or open.
uint64_t hb_dropped_count(const struct hb_client *client);

// Closes the connection; what was sent before still arrives. NULL is allowed. No other thread may
// be using the client, nor use it after.
//
// What must hold:
// client is NULL or open, and nobody else's.
void hb_close(struct hb_client *client);

// A status in words. The text is static.
const char *hb_error_text(uint32_t status);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* ---- What your allocator does, for `heisenbed run --tracking` ----
 *
 * Call these inside the critical section in which the allocator hands out or takes back an address.
 * heisenbed then says whether what the tracking server reconstructs from your messages is what the
 * allocator did, in every schedule that it tries (docs/native.md). They are part of this header
 * alone: nothing is to be linked, and in a program that heisenbed does not run each of them is a
 * test of a pointer. HB_NO_TRUTH before the include makes them empty.
 *
 *   device    from 0
 *   memory    HB_MEMORY_DRAM 0, HB_MEMORY_L1 1, HB_MEMORY_L1_SMALL 2, HB_MEMORY_TRACE 3
 *   size      what the ALLOC message says, in bytes
 */
#if defined(__GNUC__) && defined(__ELF__) && !defined(HB_NO_TRUTH)

#ifdef __cplusplus
extern "C" {
#endif
extern void hb_run_truth_alloc(uint32_t device, uint32_t memory, uint64_t address,
                               uint64_t size) __attribute__((weak));
extern void hb_run_truth_free(uint32_t device, uint32_t memory, uint64_t address)
    __attribute__((weak));
extern void hb_run_truth_totals(uint32_t device, uint32_t memory, uint64_t bytes)
    __attribute__((weak));
#ifdef __cplusplus
} /* extern "C" */
#endif

/* The function, if it is there. Code that is not position-independent would take a weak function
 * that is not there at link time for one that never is. */
#ifdef __x86_64__
#define HB_TRUTH_FIND(found, name)                                                                 \
    __asm__(".weak " #name "\n\tmovq " #name "@GOTPCREL(%%rip), %0" : "=r"(found))
#else
#define HB_TRUTH_FIND(found, name) ((found) = name)
#endif

/* The allocator hands out `address`. */
static inline void hb_truth_alloc(uint32_t device, uint32_t memory, uint64_t address, uint64_t size)
{
    void (*found)(uint32_t, uint32_t, uint64_t, uint64_t);
    HB_TRUTH_FIND(found, hb_run_truth_alloc);
    if (found)
        found(device, memory, address, size);
}

/* The allocator takes `address` back. */
static inline void hb_truth_free(uint32_t device, uint32_t memory, uint64_t address)
{
    void (*found)(uint32_t, uint32_t, uint64_t);
    HB_TRUTH_FIND(found, hb_run_truth_free);
    if (found)
        found(device, memory, address);
}

/* So many bytes are live, as the allocator counts: for those that tell no more of themselves. What
 * was said last of each device and memory is compared when the program ends. */
static inline void hb_truth_totals(uint32_t device, uint32_t memory, uint64_t bytes)
{
    void (*found)(uint32_t, uint32_t, uint64_t);
    HB_TRUTH_FIND(found, hb_run_truth_totals);
    if (found)
        found(device, memory, bytes);
}

#else

static inline void hb_truth_alloc(uint32_t device, uint32_t memory, uint64_t address, uint64_t size)
{
    (void)device, (void)memory, (void)address, (void)size;
}

static inline void hb_truth_free(uint32_t device, uint32_t memory, uint64_t address)
{
    (void)device, (void)memory, (void)address;
}

static inline void hb_truth_totals(uint32_t device, uint32_t memory, uint64_t bytes)
{
    (void)device, (void)memory, (void)bytes;
}

#endif

/* ---- Where an operation begins and ends, for `heisenbed extract` and `run --conforms` ----
 *
 * Around whatever allocates or releases one buffer: what stands between begin and end is what your
 * code does to allocate, or to release (docs/reported.md). As above, they need no library, and are
 * a test of a pointer in a program that heisenbed does not run.
 *
 *   buffer    the same for all operations on one buffer: its handle. Of an allocation it may be
 *             known at the end only
 */
enum hb_op {
    HB_OP_ALLOCATE = 1,
    HB_OP_RELEASE = 2
};

#if defined(__GNUC__) && defined(__ELF__) && !defined(HB_NO_TRUTH)

#ifdef __cplusplus
extern "C" {
#endif
extern void hb_run_op(uint32_t what, const void *buffer) __attribute__((weak));
#ifdef __cplusplus
} /* extern "C" */
#endif

static inline void hb_op_mark(uint32_t what, const void *buffer)
{
    void (*found)(uint32_t, const void *);
    HB_TRUTH_FIND(found, hb_run_op);
    if (found)
        found(what, buffer);
}

#else

static inline void hb_op_mark(uint32_t what, const void *buffer)
{
    (void)what, (void)buffer;
}

#endif

/* The calling thread begins to allocate or to release a buffer; NULL: it has no handle yet. */
static inline void hb_op_begin(enum hb_op what, const void *buffer)
{
    hb_op_mark((uint32_t)what, buffer);
}

/* It is done. */
static inline void hb_op_end(const void *buffer) { hb_op_mark(3, buffer); }

/* In the midst of an allocation: other threads can get at the buffer from here on. Without it they
 * can when the allocation has ended. */
static inline void hb_op_publish(const void *buffer) { hb_op_mark(4, buffer); }


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

#endif  /* HEISENBED_H */
