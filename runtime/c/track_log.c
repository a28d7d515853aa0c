/* The log of what was sent to the tracking server, and of what the allocator says that it does. */
#include "track.h"

#include <string.h>
#include <sys/syscall.h>

/* Threads in parallel append to one log. Under control nobody is descheduled in here. */
static uint32_t log_lock;

void hb_track_lock(void)
{
    while (__atomic_exchange_n(&log_lock, 1, __ATOMIC_ACQUIRE))
        hb_syscall(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

void hb_track_unlock(void) { __atomic_store_n(&log_lock, 0, __ATOMIC_RELEASE); }

bool hb_track_settled;

bool hb_track_is_on(void) { return hb.track && hb.track->enabled && !hb_track_settled; }

uint16_t hb_track_caller(void)
{
    struct hb_thread *me = hb_self;
    return (uint16_t)(me ? me->id : hb.mode == HB_CONTROL ? UINT16_MAX : hb_observer());
}

uint64_t hb_track_padded(uint64_t bytes) { return (bytes + 7) & ~UINT64_C(7); }

struct hb_track_record *hb_track_room_for(uint64_t bytes)
{
    if (hb_track_settled)
        return NULL;
    uint64_t used = hb.track_head->used;
    if (used > HB_TRACK_LOG_BYTES ||
        sizeof(struct hb_track_record) + hb_track_padded(bytes) > HB_TRACK_LOG_BYTES - used) {
        hb.track_head->full = 1;
        return NULL;
    }
    return (struct hb_track_record *)(hb.track_log + used);
}

uint32_t hb_track_append(struct hb_track_record *record)
{
    hb.track_head->used += sizeof *record + hb_track_padded(record->bytes);
    return hb.track_head->records++;
}

uint32_t hb_track_note(struct hb_track_record given, const void *payload)
{
    struct hb_track_record *record = hb_track_room_for(given.bytes);
    if (!record)
        return UINT32_MAX;
    *record = given;
    if (given.bytes)
        memcpy(record + 1, payload, given.bytes);
    return hb_track_append(record);
}

/* ---- Truth ---- */

void hb_track_truth(uint16_t kind, uint32_t device, uint32_t memory, uint64_t address,
                    uint64_t size, uint64_t pc)
{
    if (!hb_track_is_on() || hb.mode == HB_OFF)
        return;
    hb_track_lock();
    uint32_t number = hb_track_note((struct hb_track_record){.kind = kind,
                                                             .thread = hb_track_caller(),
                                                             .conn = device,
                                                             .memory = memory,
                                                             .a = address,
                                                             .b = size},
                                    NULL);
    hb_track_unlock();
    struct hb_thread *me = hb_controlled();
    if (me)
        hb_record(me, HB_K_TRUTH, NULL, pc, number);
}

static uint32_t annotations;

/* How often the allocator itself said what it does, in this process. */
HB_HOOK uint32_t hb_run_annotations(void) { return annotations; }

/* What is live when all is over, of a target that says nothing of it. */
HB_HOOK void hb_run_live(uint32_t device, uint32_t memory, uint64_t bytes)
{
    hb_track_truth(HB_T_TOTAL, device, memory, bytes, 1, HB_PC);
}

HB_HOOK void hb_run_truth_alloc(uint32_t device, uint32_t memory, uint64_t address, uint64_t size)
{
    annotations++;
    hb_track_truth(HB_T_ALLOC, device, memory, address, size, HB_PC);
}

HB_HOOK void hb_run_truth_free(uint32_t device, uint32_t memory, uint64_t address)
{
    hb_track_truth(HB_T_FREE, device, memory, address, 0, HB_PC);
}

HB_HOOK void hb_run_truth_totals(uint32_t device, uint32_t memory, uint64_t bytes)
{
    hb_track_truth(HB_T_TOTAL, device, memory, bytes, 0, HB_PC);
}

/* ---- Operations ---- */

void hb_track_op(uint32_t what, const void *buffer, uint64_t pc)
{
    struct hb_thread *me = hb.config && hb.config->flags & HB_OPS ? hb_controlled() : NULL;
    bool begins = what == HB_OP_ALLOCATES || what == HB_OP_RELEASES;
    if (!me || !(me->in_op || begins))
        return;
    me->in_op += begins;
    me->in_op -= what == HB_OP_ENDS;
    hb_record(me, HB_K_MARK, (void *)(uintptr_t)buffer, pc, what);
}

HB_HOOK void hb_run_op(uint32_t what, const void *buffer) { hb_track_op(what, buffer, HB_PC); }
