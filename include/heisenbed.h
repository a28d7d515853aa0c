/* heisenbed: send tracking messages from C and C++.
 *
 * Generated from client/src/ffi.rs and client/src/truth.h; don't edit. docs/client.md says how to link
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

#endif  /* HEISENBED_H */
