/* Read-write locks, modelled whole: their real functions would wait inside. */
#include "race.h"
#include "runtime.h"

#include <errno.h>

/* A lock that prefers writers lets nobody else read while one waits, not even who reads already. */
static bool prefers_writers(const pthread_rwlock_t *lock)
{
    return lock->__data.__flags == PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP;
}

static bool can_read(const struct hb_thread *thread)
{
    struct hb_object *lock = hb_find(thread->next.address);
    return !lock || (lock->holder == HB_NOBODY && lock->needed == 0);
}

static bool can_write(const struct hb_thread *thread)
{
    struct hb_object *lock = hb_find(thread->next.address);
    return !lock || (lock->holder == HB_NOBODY && lock->count == 0);
}

static int lock_rw(struct hb_thread *me, pthread_rwlock_t *address, bool write, int64_t deadline,
                   uint64_t pc)
{
    uint16_t kind = write ? HB_K_WRITE_LOCK : HB_K_READ_LOCK;
    struct hb_object *lock = hb_object(address);
    int result = 0;
    if (lock->holder == me->id)
        result = EDEADLK;
    else {
        /* That it begins to wait is a step of its own: others may have come before it. */
        bool announced = false, waits = true;
        if (write && prefers_writers(address)) {
            hb_turn(me, (struct hb_action){
                            .kind = kind, .address = address, .pc = pc, .deadline = HB_NEVER});
            lock = hb_object(address);
            announced = waits = lock->holder != HB_NOBODY || lock->count > 0;
            lock->needed += announced;
        }
        enum hb_turn how = HB_CAN;
        if (waits)
            how = hb_turn(me, (struct hb_action){.kind = kind,
                                                 .address = address,
                                                 .pc = pc,
                                                 .can = write ? can_write : can_read,
                                                 .deadline = deadline});
        lock = hb_object(address);
        lock->needed -= announced;
        if (how == HB_TIMED_OUT)
            result = ETIMEDOUT;
        else if (write)
            lock->holder = me->id;
        else
            lock->count++;
    }
    hb_record(me, kind, address, pc, (uint32_t)result);
    return result;
}

static int try_rw(struct hb_thread *me, pthread_rwlock_t *address, bool write, uint64_t pc)
{
    uint16_t kind = write ? HB_K_WRITE_LOCK : HB_K_READ_LOCK;
    hb_turn(me,
            (struct hb_action){.kind = kind, .address = address, .pc = pc, .deadline = HB_NEVER});
    struct hb_object *lock = hb_object(address);
    int result = 0;
    if (lock->holder != HB_NOBODY || (write ? lock->count > 0 : lock->needed > 0))
        result = EBUSY;
    else if (write)
        lock->holder = me->id;
    else
        lock->count++;
    hb_record(me, kind, address, pc, (uint32_t)result);
    if (result)
        hb_let_others(me, HB_K_YIELD, pc);
    return result;
}

#define RW_LOCK(name, write, deadline, parameters, arguments)                                      \
    HB_HOOK int name parameters                                                                    \
    {                                                                                              \
        struct hb_thread *me = hb_controlled();                                                    \
        if (!me)                                                                                   \
            return REAL(name) arguments;                                                           \
        return lock_rw(me, lock, write, deadline, HB_PC);                                          \
    }

RW_LOCK(pthread_rwlock_rdlock, false, HB_NEVER, (pthread_rwlock_t * lock), (lock))
RW_LOCK(pthread_rwlock_wrlock, true, HB_NEVER, (pthread_rwlock_t * lock), (lock))
RW_LOCK(pthread_rwlock_timedrdlock, false, hb_deadline(CLOCK_REALTIME, at),
        (pthread_rwlock_t * lock, const struct timespec *at), (lock, at))
RW_LOCK(pthread_rwlock_timedwrlock, true, hb_deadline(CLOCK_REALTIME, at),
        (pthread_rwlock_t * lock, const struct timespec *at), (lock, at))
RW_LOCK(pthread_rwlock_clockrdlock, false, hb_deadline(clock, at),
        (pthread_rwlock_t * lock, clockid_t clock, const struct timespec *at), (lock, clock, at))
RW_LOCK(pthread_rwlock_clockwrlock, true, hb_deadline(clock, at),
        (pthread_rwlock_t * lock, clockid_t clock, const struct timespec *at), (lock, clock, at))

HB_HOOK int pthread_rwlock_tryrdlock(pthread_rwlock_t *lock)
{
    struct hb_thread *me = hb_controlled();
    return me ? try_rw(me, lock, false, HB_PC) : REAL(pthread_rwlock_tryrdlock)(lock);
}

HB_HOOK int pthread_rwlock_trywrlock(pthread_rwlock_t *lock)
{
    struct hb_thread *me = hb_controlled();
    return me ? try_rw(me, lock, true, HB_PC) : REAL(pthread_rwlock_trywrlock)(lock);
}

HB_HOOK int pthread_rwlock_unlock(pthread_rwlock_t *address)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(pthread_rwlock_unlock)(address);
    hb_before(me, HB_K_RW_UNLOCK, address, NULL, HB_PC);
    struct hb_object *lock = hb_object(address);
    me->next = (struct hb_action){
        .kind = HB_K_RW_UNLOCK, .address = address, .pc = HB_PC, .deadline = HB_NEVER};
    bool writes = lock->holder == me->id;
    if (writes)
        lock->holder = HB_NOBODY;
    else if (lock->holder == HB_NOBODY && lock->count > 0)
        lock->count--;
    else
        hb_end(HB_MISUSE, me,
               lock->holder == HB_NOBODY ? "unlocks a read-write lock that nobody holds"
                                         : "unlocks a read-write lock that another thread holds");
    hb_race_unlock_rw(me, address, writes);
    hb_after(me, HB_K_RW_UNLOCK, address, HB_PC, 0);
    return 0;
}

HB_HOOK int pthread_rwlock_init(pthread_rwlock_t *lock, const pthread_rwlockattr_t *attributes)
{
    if (hb_controlled())
        hb_forget(lock);
    return REAL(pthread_rwlock_init)(lock, attributes);
}

HB_HOOK int pthread_rwlock_destroy(pthread_rwlock_t *lock)
{
    struct hb_thread *me = hb_controlled();
    if (me) {
        hb_before(me, HB_K_DESTROY, lock, NULL, HB_PC);
        struct hb_object *object = hb_object(lock);
        me->next = (struct hb_action){
            .kind = HB_K_DESTROY, .address = lock, .pc = HB_PC, .deadline = HB_NEVER};
        if (object->holder != HB_NOBODY || object->count > 0)
            hb_end(HB_MISUSE, me, "destroys a read-write lock that is held");
        hb_forget(lock);
    }
    return REAL(pthread_rwlock_destroy)(lock);
}
