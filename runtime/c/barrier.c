/* Barriers, modelled whole: their real functions would wait inside. */
#include "runtime.h"

static bool barrier_is_open(const struct hb_thread *thread)
{
    struct hb_object *barrier = hb_find(thread->next.address);
    return barrier && barrier->round != (uint32_t)thread->next.word;
}

HB_HOOK int pthread_barrier_init(pthread_barrier_t *address,
                                 const pthread_barrierattr_t *attributes, unsigned count)
{
    int result = REAL(pthread_barrier_init)(address, attributes, count);
    if (hb_controlled() && result == 0) {
        hb_forget(address);
        struct hb_object *barrier = hb_object(address);
        barrier->needed = count;
        barrier->modelled = true;
    }
    return result;
}

HB_HOOK int pthread_barrier_destroy(pthread_barrier_t *address)
{
    if (!hb_controlled())
        return REAL(pthread_barrier_destroy)(address);
    /* Who is on the way out of it needs it no more; the real one waits for them. */
    for (uint32_t id = 0; id < hb.thread_count; id++) {
        struct hb_thread *thread = &hb.threads[id];
        if (!thread->finished && thread->next.kind == HB_K_BARRIER_LEAVE &&
            thread->next.address == address && barrier_is_open(thread))
            thread->next.can = NULL;
    }
    hb_forget(address);
    return 0;
}

HB_HOOK int pthread_barrier_wait(pthread_barrier_t *address)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(pthread_barrier_wait)(address);
    uint64_t pc = HB_PC;
    hb_turn(me, (struct hb_action){
                    .kind = HB_K_BARRIER, .address = address, .pc = pc, .deadline = HB_NEVER});
    struct hb_object *barrier = hb_object(address);
    hb_record(me, HB_K_BARRIER, address, pc, barrier->count);
    if (!barrier->modelled || ++barrier->count >= barrier->needed) {
        barrier->count = 0;
        barrier->round++;
        hb_after(me, HB_K_BARRIER_LEAVE, address, pc, 1);
        return PTHREAD_BARRIER_SERIAL_THREAD;
    }
    hb_turn(me, (struct hb_action){.kind = HB_K_BARRIER_LEAVE,
                                   .address = address,
                                   .pc = pc,
                                   .can = barrier_is_open,
                                   .word = barrier->round,
                                   .deadline = HB_NEVER});
    hb_record(me, HB_K_BARRIER_LEAVE, address, pc, 0);
    return 0;
}
