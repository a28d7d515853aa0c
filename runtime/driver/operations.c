/* The operations of a plan, done with a target by as many threads as it has.
 *
 * A slot holds one buffer at a time. An operation waits until what it needs was done by others (see
 * src/scenario/op.rs); only slots that several threads use are seen to be waited for.
 */
#include "driver.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct slot {
    uint32_t epoch;    /* Of what is in it, or was last. */
    uint32_t releases; /* Left to be done; 0: the next epoch may begin. */
    bool gone;         /* Taken out of the ledger, or never in it. */
    bool failed;       /* There was no room. */
    bool handled;      /* It has a handle that was not forgotten. */
    const struct op *op;
    void *handle;
    uint64_t addresses[MAX_PARTS];
};

/* A part of this thread's operation, while `allocate` runs. */
struct request {
    struct slot *slot;
    const struct op *op;
    bool published;
};

struct worker {
    pthread_t thread;
    uint32_t number, id; /* Of the workload, and of the runtime. */
    bool parked;
};

static const struct plan *plan;
static const struct hb_target *target;
static void *state;
static struct slot *slots;
static uint32_t slot_room;
static struct worker *workers;
static uint32_t worker_room;
static uint32_t threads_left;
static bool has_thrown, begins_anew;

const char *memory_name(uint32_t memory)
{
    static const char *const NAMES[MEMORIES] = {"dram", "l1", "l1-small", "trace"};
    return memory < MEMORIES ? NAMES[memory] : "?";
}

void fail(const char *kind, const char *format, ...)
{
    char text[480];
    int length = snprintf(text, sizeof text, "%s: ", kind);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + length, sizeof text - (size_t)length, format, arguments);
    va_end(arguments);
    if (hb_run_fail)
        hb_run_fail(text);
    dprintf(2, "%s\n", text);
    _exit(86);
}

/* ---- Waiting ---- */

static void await(bool (*can)(void *), void *with, void *object, bool shared)
{
    if (shared && hb_run_await)
        hb_run_await(can, with, object);
    else if (!can(with))
        fail("target-failed", "the plan has an operation that nothing comes before");
}

/* Others see what follows. */
static void publish(struct slot *slot, const struct op *op)
{
    if (op->shared && hb_run_publish)
        hb_run_publish(slot);
}

struct need {
    struct slot *slot;
    uint32_t epoch;
};

static bool is_free(void *given)
{
    const struct need *need = given;
    return __atomic_load_n(&need->slot->epoch, __ATOMIC_ACQUIRE) + 1 == need->epoch &&
           __atomic_load_n(&need->slot->releases, __ATOMIC_ACQUIRE) == 0;
}

static bool is_there(void *given)
{
    const struct need *need = given;
    return __atomic_load_n(&need->slot->epoch, __ATOMIC_ACQUIRE) >= need->epoch;
}

static bool others_ended(void *unused)
{
    (void)unused;
    return __atomic_load_n(&threads_left, __ATOMIC_ACQUIRE) <= 1;
}

/* ---- Allocate ---- */

/* Devices in a row: a buffer that begins near the last one begins earlier. */
static uint32_t first_device(const struct op *op)
{
    uint32_t devices = plan->head.devices;
    return op->device + op->parts > devices ? devices - op->parts : op->device;
}

static uint32_t device_of(const struct op *op, uint32_t part)
{
    return first_device(op) + part;
}

static bool is_owned(const struct op *op) { return op->kind != KIND_PREALLOCATED; }

/* The buffer is known from here on. */
static void open_slot(struct request *request, void *handle, const uint64_t *addresses)
{
    const struct op *op = request->op;
    struct slot *slot = request->slot;
    for (uint32_t part = 0; part < op->parts; part++) {
        slot->addresses[part] = addresses[part];
        if (is_owned(op))
            ledger_add(device_of(op, part), op->memory, addresses[part], op->size);
    }
    publish(slot, op);
    slot->handle = handle;
    slot->handled = true;
    slot->op = op;
    slot->gone = !is_owned(op);
    slot->failed = false;
    __atomic_store_n(&slot->releases, op->releases, __ATOMIC_RELEASE);
    __atomic_store_n(&slot->epoch, op->epoch, __ATOMIC_RELEASE);
    request->published = true;
}

static void on_publish(void *context, void *handle, uint64_t address)
{
    struct request *request = context;
    if (request && !request->published)
        mark(MARK_PUBLISHES, handle);
    if (request && !request->published && request->op->parts == 1)
        open_slot(request, handle, &address);
}

static void refuse(const struct op *op, int status)
{
    const char *what = op->kind == KIND_MESH ? "allocate_mesh" : "allocate";
    if (status == HB_TARGET_UNSUPPORTED)
        fail("target-failed", "%s says that it cannot do what it could when it was asked first",
             what);
    fail("target-failed", "thread %u's operation %u: %s returned %d", ledger_thread, ledger_op,
         what, status);
}

static void allocate(const struct op *op)
{
    struct slot *slot = &slots[op->slot];
    struct need need = {slot, op->epoch};
    await(is_free, &need, slot, op->shared);
    struct request request = {slot, op, false};
    uint32_t flags = 0;
    uint64_t addresses[MAX_PARTS] = {0};
    void *handle = NULL;
    if (op->kind == KIND_CIRCULAR)
        flags |= HB_TARGET_CIRCULAR;
    if (op->kind == KIND_PREALLOCATED) {
        flags |= HB_TARGET_PREALLOCATED;
        addresses[0] = (plan->head.alignment ? plan->head.alignment : 1) * (1 + (uint64_t)op->slot);
    }
    if (plan->head.flags & PLAN_EARLY)
        flags |= HB_TARGET_PUBLISH_EARLY;
    uint64_t entered = ledger_enter();
    mark(MARK_ALLOCATES, NULL);
    int status =
        op->kind == KIND_MESH
            ? target->allocate_mesh(state, first_device(op), op->parts, op->memory, op->size, flags,
                                    &request, &handle, addresses)
            : target->allocate(state, op->device, op->memory, op->size, flags, &request, &handle,
                               addresses);
    mark(MARK_ENDS, handle);
    if (status == HB_TARGET_OK) {
        bool published = request.published;
        if (!published)
            open_slot(&request, handle, addresses);
        if (op->parts == 1 && is_owned(op) && !published)
            ledger_placed(op->device, op->memory, addresses[0], op->size, entered);
        else
            ledger_leave(entered);
        return;
    }
    if (status != HB_TARGET_NO_MEMORY)
        refuse(op, status);
    if (request.published)
        fail("target-failed", "a buffer was published, and then there was no room for it");
    if (op->parts == 1 && is_owned(op))
        ledger_no_room(op->device, op->memory, op->size, entered);
    else
        ledger_leave(entered);
    publish(slot, op);
    slot->op = op;
    slot->failed = slot->gone = true;
    slot->handled = false;
    __atomic_store_n(&slot->releases, op->releases, __ATOMIC_RELEASE);
    __atomic_store_n(&slot->epoch, op->epoch, __ATOMIC_RELEASE);
}

/* ---- Release ---- */

static void forget(struct slot *slot)
{
    if (slot->handled && target->forget)
        target->forget(state, slot->handle);
    slot->handled = false;
}

/* The addresses are nobody's from here on. */
static void take_out(struct slot *slot)
{
    if (__atomic_exchange_n(&slot->gone, true, __ATOMIC_ACQ_REL))
        return;
    for (uint32_t part = 0; part < slot->op->parts; part++)
        ledger_remove(device_of(slot->op, part), slot->op->memory, slot->addresses[part]);
}

static void release(const struct op *op)
{
    struct slot *slot = &slots[op->slot];
    struct need need = {slot, op->epoch};
    await(is_there, &need, slot, op->shared);
    if (!slot->failed) {
        uint64_t entered = ledger_enter();
        take_out(slot);
        mark(MARK_RELEASES, slot->handle);
        int status = target->deallocate(state, slot->handle);
        mark(MARK_ENDS, slot->handle);
        ledger_leave(entered);
        if (status != HB_TARGET_OK)
            fail("target-failed", "thread %u's operation %u: deallocate returned %d",
                 ledger_thread, ledger_op, status);
    }
    publish(slot, op);
    if (__atomic_load_n(&slot->releases, __ATOMIC_ACQUIRE) == 1)
        forget(slot);
    __atomic_fetch_sub(&slot->releases, 1, __ATOMIC_ACQ_REL);
}

static void close_device(const struct op *op)
{
    uint64_t entered = ledger_enter();
    ledger_close_device(op->device);
    int status = target->close_device(state, op->device);
    ledger_leave(entered);
    if (status != HB_TARGET_OK)
        fail("target-failed", "close_device returned %d", status);
}

/* ---- Threads ---- */

/* False: the thread ends here. */
static bool act(const struct op *op)
{
    switch (op->what) {
    case OP_ALLOCATE:
        allocate(op);
        return true;
    case OP_RELEASE:
        release(op);
        return true;
    case OP_AWAIT_OTHERS:
        await(others_ended, NULL, &threads_left, true);
        return true;
    case OP_CLOSE:
        close_device(op);
        return true;
    default:
        __atomic_store_n(&has_thrown, true, __ATOMIC_RELAXED);
        return false;
    }
}

static void do_all(uint32_t thread)
{
    ledger_thread = thread + 1;
    for (uint64_t at = 0; at < plan->counts[thread]; at++) {
        ledger_op = (uint32_t)at;
        if (hb_run_target_op)
            hb_run_target_op(thread + 1, (uint32_t)at);
        if (!act(&plan->ops[thread][at]))
            break;
    }
    if (hb_run_publish)
        hb_run_publish(&threads_left);
    __atomic_fetch_sub(&threads_left, 1, __ATOMIC_ACQ_REL);
}

static void *work(void *given)
{
    struct worker *worker = given;
    for (;;) {
        do_all(worker->number);
        if (!begins_anew)
            return NULL;
        hb_run_park();
    }
}

/* The next operation that can be done, of each thread in turn. */
static void do_in_turn(void)
{
    uint64_t *at = calloc(plan->head.threads + 1, sizeof *at);
    bool progress = true;
    while (at && progress) {
        progress = false;
        for (uint32_t thread = 0; thread < plan->head.threads; thread++) {
            if (at[thread] >= plan->counts[thread])
                continue;
            const struct op *op = &plan->ops[thread][at[thread]];
            struct need need = {&slots[op->slot], op->epoch};
            bool can = op->what == OP_ALLOCATE  ? is_free(&need)
                       : op->what == OP_RELEASE ? is_there(&need)
                                                : true;
            if (op->what == OP_AWAIT_OTHERS)
                for (uint32_t other = 0; other < plan->head.threads; other++)
                    can &= other == thread || at[other] >= plan->counts[other];
            if (!can)
                continue;
            ledger_thread = thread + 1;
            ledger_op = (uint32_t)at[thread];
            progress = true;
            if (op->what == OP_AWAIT_OTHERS || act(op))
                at[thread]++;
            else
                at[thread] = plan->counts[thread];
        }
    }
    free(at);
}

static void do_at_once(void)
{
    begins_anew = hb_run_begins_anew && hb_run_begins_anew();
    for (uint32_t number = 0; number < plan->head.threads; number++) {
        struct worker *worker = &workers[number];
        worker->number = number;
        if (worker->parked) {
            if (!hb_run_start(worker->id))
                fail("target-failed", "it makes another number of threads in each schedule");
            continue;
        }
        if (pthread_create(&worker->thread, NULL, work, worker) != 0)
            fail("target-failed", "no thread for the workload");
        if (begins_anew) {
            worker->parked = true;
            worker->id = hb_run_last_thread();
        }
    }
    for (uint32_t number = 0; number < plan->head.threads; number++) {
        if (begins_anew)
            hb_run_join(workers[number].id);
        else
            pthread_join(workers[number].thread, NULL);
    }
}

/* ---- A schedule ---- */

static void make_room(void)
{
    if (plan->head.slots > slot_room) {
        free(slots);
        slots = calloc(plan->head.slots, sizeof *slots);
        slot_room = plan->head.slots;
    } else if (slots)
        memset(slots, 0, slot_room * sizeof *slots);
    if (plan->head.threads > worker_room) {
        free(workers);
        workers = calloc(plan->head.threads, sizeof *workers);
        worker_room = plan->head.threads;
    }
    if ((plan->head.slots && !slots) || (plan->head.threads && !workers))
        fail("target-failed", "no memory for the driver's own tables");
}

struct hb_target_config plan_config(const struct plan *of)
{
    struct hb_target_config config = {
        .abi = HB_TARGET_ABI,
        .devices = of->head.devices,
        .alignment = of->head.alignment,
        .socket = of->head.socket_bytes ? of->socket : NULL,
        .options = of->options,
        .publish = on_publish,
    };
    memcpy(config.size, of->head.size, sizeof config.size);
    return config;
}

static void open_target(void)
{
    struct hb_target_config config = plan_config(plan);
    char why[400] = "";
    opens(true);
    state = target->open(&config, why, sizeof why);
    opens(false);
    why[sizeof why - 1] = 0;
    if (!state)
        fail("target-failed", "open: %s", why);
}

static void close_target(void)
{
    asks("close");
    target->close(state);
    asks("");
    state = NULL;
}

void operations_run(const struct plan *of, const struct hb_target *with)
{
    plan = of;
    target = with;
    make_room();
    ledger_begin(plan, target);
    has_thrown = false;
    threads_left = plan->head.threads;
    ledger_thread = 0;
    open_target();
    if (plan->head.flags & PLAN_NEXT)
        do_in_turn();
    else
        do_at_once();
    ledger_thread = 0;
    if (!has_thrown)
        ledger_rest(state);
    bool tells = target->abilities & HB_TARGET_TRACKS && hb_run_live &&
                 hb_run_annotations() == 0;
    for (uint32_t device = 0; tells && device < plan->head.devices; device++)
        for (uint32_t memory = 0; memory < MEMORIES; memory++)
            hb_run_live(device, memory, ledger_live_bytes(device, memory));
    if (hb_run_settle)
        hb_run_settle();
    for (uint32_t slot = 0; slot < plan->head.slots; slot++)
        forget(&slots[slot]);
    close_target();
    if (ledger_is_stuck()) {
        open_target();
        ledger_when_new(state);
        close_target();
    }
}
