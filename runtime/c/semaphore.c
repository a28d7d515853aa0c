/* Semaphores keep their state where glibc keeps it: whether one can be taken is read from its own
 * memory, and taking it is the real call, which then does not wait.
 */
#include "runtime.h"

#include <errno.h>
#include <semaphore.h>

static bool can_take(const struct hb_thread *thread)
{
    int value = 0;
    REAL(sem_getvalue)(thread->next.address, &value);
    return value > 0;
}

static int take_semaphore(struct hb_thread *me, sem_t *semaphore, int64_t deadline, uint64_t pc)
{
    hb_enter(me, HB_K_SEM_WAIT, semaphore, pc);
    enum hb_turn how = hb_turn(me, (struct hb_action){.kind = HB_K_SEM_WAIT,
                                                      .address = semaphore,
                                                      .pc = pc,
                                                      .can = can_take,
                                                      .deadline = deadline,
                                                      .cancellable = true,
                                                      .signals = deadline == HB_NEVER
                                                                     ? HB_RESTARTED
                                                                     : HB_ENDS});
    int result = 0;
    if (how == HB_CAN)
        result = REAL(sem_trywait)(semaphore);
    int refused = how == HB_TIMED_OUT ? ETIMEDOUT : how == HB_INTERRUPTED ? EINTR : 0;
    hb_record(me, HB_K_SEM_WAIT, semaphore, pc, (uint32_t)refused);
    if (how == HB_CANCELLED)
        pthread_testcancel();
    if (refused) {
        errno = refused;
        result = -1;
    }
    return result;
}

HB_HOOK int sem_wait(sem_t *semaphore)
{
    struct hb_thread *me = hb_controlled();
    return me ? take_semaphore(me, semaphore, HB_NEVER, HB_PC) : REAL(sem_wait)(semaphore);
}

HB_HOOK int sem_timedwait(sem_t *semaphore, const struct timespec *at)
{
    /* The real one refuses what is no time, before anything else. */
    struct hb_thread *me = hb_is_time(at) ? hb_controlled() : NULL;
    return me ? take_semaphore(me, semaphore, hb_deadline(CLOCK_REALTIME, at), HB_PC)
              : REAL(sem_timedwait)(semaphore, at);
}

HB_HOOK int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *at)
{
    struct hb_thread *me = hb_is_time(at) ? hb_controlled() : NULL;
    return me ? take_semaphore(me, semaphore, hb_deadline(clock, at), HB_PC)
              : REAL(sem_clockwait)(semaphore, clock, at);
}

HB_HOOK int sem_trywait(sem_t *semaphore)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(sem_trywait)(semaphore);
    hb_turn(me, (struct hb_action){.kind = HB_K_SEM_WAIT,
                                   .address = semaphore,
                                   .pc = HB_PC,
                                   .deadline = HB_NEVER});
    int result = REAL(sem_trywait)(semaphore);
    int refused = result ? errno : 0;
    hb_record(me, HB_K_SEM_WAIT, semaphore, HB_PC, (uint32_t)refused);
    if (result)
        hb_let_others(me, HB_K_YIELD, HB_PC);
    errno = refused;
    return result;
}

HB_HOOK int sem_post(sem_t *semaphore)
{
    struct hb_thread *me = hb_controlled();
    if (me)
        hb_before(me, HB_K_SEM_POST, semaphore, NULL, HB_PC);
    int result = REAL(sem_post)(semaphore);
    if (me)
        hb_after(me, HB_K_SEM_POST, semaphore, HB_PC, (uint32_t)result);
    return result;
}

HB_HOOK int sem_getvalue(sem_t *semaphore, int *value)
{
    struct hb_thread *me = hb_controlled();
    if (me)
        hb_before(me, HB_K_READ, semaphore, NULL, HB_PC);
    return REAL(sem_getvalue)(semaphore, value);
}

HB_HOOK int sem_init(sem_t *semaphore, int shared, unsigned value)
{
    if (shared)
        hb_foreign_share();
    if (hb_controlled())
        hb_forget(semaphore);
    return REAL(sem_init)(semaphore, shared, value);
}
