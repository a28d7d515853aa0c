/* What is known of the objects that threads act on, by address. */
#include "runtime.h"

#define OBJECTS (1u << 16)

static struct hb_object objects[OBJECTS];

static struct hb_object *place(void *address)
{
    uint64_t hash = (uint64_t)(uintptr_t)address * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t at = (uint32_t)(hash >> 48);
    while (objects[at].address && objects[at].address != address)
        at = (at + 1) % OBJECTS;
    return &objects[at];
}

struct hb_object *hb_find(void *address)
{
    struct hb_object *object = place(address);
    return object->address ? object : NULL;
}

static uint32_t object_count;

uint32_t hb_object_count(void) { return object_count; }

struct hb_object *hb_object(void *address)
{
    struct hb_object *object = place(address);
    if (object->address) {
        /* It outlived a schedule: it has its number by when it is first used in this one. */
        if (object->era != hb.era) {
            object->id = hb.result->objects++;
            object->era = hb.era;
        }
        return object;
    }
    if (object_count >= OBJECTS / 2)
        hb_end(HB_TOO_MUCH, NULL, "more than 32,768 locks and other objects");
    object_count++;
    *object = (struct hb_object){.address = address,
                                 .id = hb.result->objects++,
                                 .holder = HB_NOBODY,
                                 .era = hb.era};
    return object;
}

/* The object ends: what has its address next is another one. */
void hb_forget(void *address)
{
    struct hb_thread *me = hb.exploring ? hb_controlled() : NULL;
    if (me)
        hb_before(me, HB_K_DESTROY, address, NULL, HB_PC);
    struct hb_object *object = hb_find(address);
    if (!object)
        return;
    /* One that was left of an earlier schedule is as if it had never been. */
    bool is_known = object->era == hb.era;
    *object = (struct hb_object){.address = address,
                                 .id = is_known ? hb.result->objects++ : HB_NOBODY,
                                 .holder = HB_NOBODY,
                                 .era = is_known ? hb.era : hb.era - 1};
}

bool hb_is_tried(const struct hb_thread *me, const void *address)
{
    for (uint32_t id = 0; id < hb.thread_count; id++) {
        const struct hb_thread *other = &hb.threads[id];
        const struct hb_action *next = &other->next;
        if (other == me || other->finished)
            continue;
        switch (next->kind) {
        case HB_K_FORK:
            return true;
        case HB_K_LOCK:
        case HB_K_TRY_LOCK:
        case HB_K_SPIN_LOCK:
        case HB_K_READ_LOCK:
        case HB_K_WRITE_LOCK:
        case HB_K_SEM_WAIT:
            if (next->address == address && (!next->can || next->deadline != HB_NEVER))
                return true;
            break;
        default:
            break;
        }
    }
    return false;
}
