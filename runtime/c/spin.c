/* Spin locks, modelled whole: their real functions would wait inside. */
#include "runtime.h"

#include <errno.h>

/* glibc on x86: 1 is free; elsewhere 0 is. Its own functions tell, by trying. */
static bool can_spin(const struct hb_thread *thread)
{
    struct hb_object *lock = hb_find(thread->next.address);
    return !lock || lock->holder == HB_NOBODY;
}

HB_HOOK int pthread_spin_lock(pthread_spinlock_t *lock)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(pthread_spin_lock)(lock);
    hb_object((void *)lock);
    hb_turn(me, (struct hb_action){.kind = HB_K_SPIN_LOCK,
                                   .address = (void *)lock,
                                   .pc = HB_PC,
                                   .can = can_spin,
                                   .deadline = HB_NEVER});
    hb_object((void *)lock)->holder = me->id;
    hb_record(me, HB_K_SPIN_LOCK, (void *)lock, HB_PC, 0);
    return 0;
}

HB_HOOK int pthread_spin_trylock(pthread_spinlock_t *lock)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(pthread_spin_trylock)(lock);
    hb_turn(me, (struct hb_action){.kind = HB_K_SPIN_LOCK,
                                   .address = (void *)lock,
                                   .pc = HB_PC,
                                   .deadline = HB_NEVER});
    struct hb_object *object = hb_object((void *)lock);
    int result = object->holder == HB_NOBODY ? 0 : EBUSY;
    if (result == 0)
        object->holder = me->id;
    hb_record(me, HB_K_SPIN_LOCK, (void *)lock, HB_PC, (uint32_t)result);
    if (result)
        hb_let_others(me, HB_K_YIELD, HB_PC);
    return result;
}

HB_HOOK int pthread_spin_unlock(pthread_spinlock_t *lock)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(pthread_spin_unlock)(lock);
    hb_before(me, HB_K_SPIN_UNLOCK, (void *)lock, NULL, HB_PC);
    hb_object((void *)lock)->holder = HB_NOBODY;
    hb_after(me, HB_K_SPIN_UNLOCK, (void *)lock, HB_PC, 0);
    return 0;
}

HB_HOOK int pthread_spin_init(pthread_spinlock_t *lock, int shared)
{
    if (hb_controlled())
        hb_forget((void *)lock);
    return REAL(pthread_spin_init)(lock, shared);
}
