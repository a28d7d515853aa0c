/* The driver: loads a target (../../client/src/target.h) and does a workload's operations with it,
 * a thread of the workload in a thread of its own. It is started by heisenbed, with the runtime
 * preloaded or without, and may be ended by whatever the target does.
 *
 * What it knows of a target is what it gave and got: the ledger holds each address that is handed
 * out against the others. An address counts as taken from when `allocate` returns until
 * `deallocate` is called, so that no correct target overlaps, however its threads run.
 */
#ifndef HEISENBED_DRIVER_H
#define HEISENBED_DRIVER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stdint.h>

#include "target.h"

/* How a process ends that has done its operations. Who ends it in their midst ends it otherwise. */
#define PLAN_DONE 85

#define MEMORIES 4u
#define MAX_PARTS 8u

/* ---- The plan: what heisenbed wrote (src/native/target/plan.rs says the same) ---- */

#define PLAN_MAGIC UINT64_C(0x31306e616c706268)

enum plan_flag {
    PLAN_EARLY = 1, /* Buffers are published as soon as they have an address. */
    PLAN_NEXT = 2,  /* Sequential: one thread does all operations, thread by thread in turn. */
};

enum op_what { OP_ALLOCATE = 1, OP_RELEASE, OP_AWAIT_OTHERS, OP_CLOSE, OP_THROW };
enum op_kind { KIND_OWNED, KIND_PREALLOCATED, KIND_CIRCULAR, KIND_MESH };

struct op {
    uint8_t what, kind, memory, parts, releases;
    uint8_t shared; /* Several threads use the slot. */
    uint16_t device;
    uint32_t slot, epoch;
    uint64_t size;
};

struct plan_head {
    uint64_t magic;
    uint32_t flags, threads, devices, slots;
    uint64_t size[MEMORIES];
    uint64_t whole[MEMORIES]; /* The largest buffer that a new memory has room for; 0: not known. */
    uint64_t alignment;
    uint32_t socket_bytes, options_bytes;
};

struct plan {
    struct plan_head head;
    char *socket, *options;
    uint64_t *counts;
    struct op **ops;
};

/* NULL, and why, where the file is no plan. */
struct plan *plan_read(const char *path, const char **why);
struct plan *plan_parse(const unsigned char *bytes, uint64_t length, const char **why);
void plan_free(struct plan *plan);
struct hb_target_config plan_config(const struct plan *plan);

/* ---- The ledger: what is handed out ---- */

void ledger_begin(const struct plan *plan, const struct hb_target *target);
/* The caller's thread, and its operation. */
extern __thread uint32_t ledger_thread, ledger_op;
void ledger_add(uint32_t device, uint32_t memory, uint64_t address, uint64_t size);
void ledger_remove(uint32_t device, uint32_t memory, uint64_t address);
void ledger_close_device(uint32_t device);
/* Around each call of the target, and what is noted of it: whether it was the only one. */
uint64_t ledger_enter(void);
bool ledger_leave(uint64_t entered);
/* The same of a call that got this buffer: it must be where the target's policy says. */
void ledger_placed(uint32_t device, uint32_t memory, uint64_t address, uint64_t size,
                   uint64_t entered);
/* The call that entered so found no room; it leaves by this. */
void ledger_no_room(uint32_t device, uint32_t memory, uint64_t size, uint64_t entered);
uint64_t ledger_live_bytes(uint32_t device, uint32_t memory);
/* When no call runs: the target's own view, and whether memory is whole where nothing is live. */
void ledger_rest(void *state);
/* Whether a new target is to be asked for what this one refuses, and its answer. */
bool ledger_is_stuck(void);
void ledger_when_new(void *state);

/* ---- Operations ---- */

/* One schedule: open, all threads, checks, close. */
void operations_run(const struct plan *plan, const struct hb_target *target);
/* What went wrong, its kind first: does not return. */
_Noreturn void fail(const char *kind, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
const char *memory_name(uint32_t memory);

/* ---- What it can do ---- */

int about(const struct plan *plan, const struct hb_target *target, const char *answer);

/* ---- The runtime, where it is there ---- */

extern void hb_run_await(bool (*can)(void *), void *with, void *object) __attribute__((weak));
extern void hb_run_publish(void *object) __attribute__((weak));
extern void hb_run_target_op(uint32_t thread, uint32_t number) __attribute__((weak));
extern void hb_run_fail(const char *text) __attribute__((weak));
extern void hb_run_op(uint32_t what, const void *buffer) __attribute__((weak));
/* What `extract` goes by: as hb_op_begin, hb_op_publish and hb_op_end of truth.h. */
enum { MARK_ALLOCATES = 1, MARK_RELEASES, MARK_ENDS, MARK_PUBLISHES };

static inline void mark(uint32_t what, const void *handle)
{
    if (hb_run_op)
        hb_run_op(what, handle);
}

extern void hb_run_opens(bool opens) __attribute__((weak));
/* The target is about to be opened or closed, or has been. */
static inline void opens(bool is_so)
{
    if (hb_run_opens)
        hb_run_opens(is_so);
}

extern void hb_run_calls(const char *what) __attribute__((weak));
/* What is called of the target outside of operations; empty when that is over. */
static inline void asks(const char *what)
{
    if (hb_run_calls)
        hb_run_calls(what);
}

extern void hb_run_settle(void) __attribute__((weak));
extern bool hb_run_begins_anew(void) __attribute__((weak));
extern void hb_run_park(void) __attribute__((weak));
extern bool hb_run_start(uint32_t id) __attribute__((weak));
extern void hb_run_join(uint32_t id) __attribute__((weak));
extern uint32_t hb_run_last_thread(void) __attribute__((weak));
extern bool hb_run_again(void) __attribute__((weak));
extern uint32_t hb_run_annotations(void) __attribute__((weak));
extern void hb_run_live(uint32_t device, uint32_t memory, uint64_t bytes) __attribute__((weak));

#endif
