/* Mutexes, and who holds what a thread waits for.
 *
 * They keep their state where glibc keeps it: whether one can be taken is read from its own memory,
 * and taking it is the real call, which then does not wait.
 */
#include "mutex.h"
#include "race.h"

#include <errno.h>
#include <sys/syscall.h>

/* Refuses what others take for granted: the program gets an error instead of a surprise. */
#define IS_CHECKED(mutex)                                                                          \
    (HB_MUTEX_KIND(mutex) == PTHREAD_MUTEX_RECURSIVE ||                                            \
     HB_MUTEX_KIND(mutex) == PTHREAD_MUTEX_ERRORCHECK || (mutex)->__data.__kind & ROBUST)
#define ROBUST 16
#define OWNER_DIED 0x40000000

/* Of a robust mutex: the thread that ended with it, if it did. The system says so in the mutex only
 * when that thread is gone altogether, some time after it gave up its turn for good. */
static struct hb_thread *dead_owner(const pthread_mutex_t *mutex)
{
    if (!(mutex->__data.__kind & ROBUST) ||
        __atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED) == 0)
        return NULL;
    struct hb_thread *dead = NULL;
    for (uint32_t id = 0; id < hb.thread_count; id++) {
        struct hb_thread *thread = &hb.threads[id];
        if (thread->tid != mutex->__data.__owner)
            continue;
        if (!thread->finished)
            return NULL;
        dead = thread;
    }
    return dead;
}

int hb_mutex_take(struct hb_thread *me, pthread_mutex_t *mutex, int (*real)(pthread_mutex_t *))
{
    struct hb_thread *dead = dead_owner(mutex);
    /* Not for ever: somebody may have killed the thread in another way. */
    for (int round = 0; dead && round < 2000; round++) {
        if (__atomic_load_n(&mutex->__data.__lock, __ATOMIC_ACQUIRE) & OWNER_DIED)
            break;
        struct timespec span = {.tv_nsec = 20000};
        hb_syscall(SYS_nanosleep, (long)&span, 0, 0, 0, 0, 0);
    }
    int result = real(mutex);
    /* What it did before it died is before what its heir does. */
    if (result == EOWNERDEAD && dead && hb_racing)
        hb_race_order(me, HB_K_JOIN, dead, 0);
    return result;
}

bool hb_mutex_is_free(const pthread_mutex_t *mutex, const struct hb_thread *thread)
{
    int word = __atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED);
    if (word == 0 || word & OWNER_DIED || dead_owner(mutex))
        return true;
    /* Its own: counted, or refused. A normal one waits for itself, for ever. */
    return mutex->__data.__owner == thread->tid &&
           (HB_MUTEX_KIND(mutex) == PTHREAD_MUTEX_RECURSIVE ||
            HB_MUTEX_KIND(mutex) == PTHREAD_MUTEX_ERRORCHECK);
}

bool hb_mutex_can_lock(const struct hb_thread *thread)
{
    return hb_mutex_is_free(thread->next.address, thread);
}

static uint32_t thread_of(int tid)
{
    for (uint32_t id = 0; id < hb.thread_count; id++)
        if (hb.threads[id].tid == tid)
            return id;
    return HB_NOBODY;
}

uint32_t hb_holder(const struct hb_thread *thread)
{
    const struct hb_action *next = &thread->next;
    const pthread_mutex_t *mutex = next->kind == HB_K_LOCK ? next->address
                                   : next->kind == HB_K_WAKE ? next->with
                                                             : NULL;
    if (mutex)
        return mutex->__data.__lock ? thread_of(mutex->__data.__owner) : HB_NOBODY;
    if (next->kind == HB_K_JOIN && next->with)
        return ((struct hb_thread *)next->with)->id;
    struct hb_object *object = next->address ? hb_find(next->address) : NULL;
    return object ? object->holder : HB_NOBODY;
}

static int lock_mutex(struct hb_thread *me, pthread_mutex_t *mutex, int64_t deadline, uint64_t pc)
{
    if (deadline == HB_NEVER && HB_MUTEX_KIND(mutex) != PTHREAD_MUTEX_RECURSIVE &&
        HB_MUTEX_KIND(mutex) != PTHREAD_MUTEX_ERRORCHECK && mutex->__data.__lock != 0 &&
        mutex->__data.__owner == me->tid) {
        me->next = (struct hb_action){
            .kind = HB_K_LOCK, .address = mutex, .pc = pc, .deadline = HB_NEVER};
        hb_end(HB_MISUSE, me, "locks a mutex that it holds itself, and waits for ever");
    }
    enum hb_turn how = hb_turn(me, (struct hb_action){.kind = HB_K_LOCK,
                                                      .address = mutex,
                                                      .pc = pc,
                                                      .can = hb_mutex_can_lock,
                                                      .deadline = deadline});
    int result =
        how == HB_TIMED_OUT ? ETIMEDOUT : hb_mutex_take(me, mutex, REAL(pthread_mutex_lock));
    hb_record(me, HB_K_LOCK, mutex, pc, (uint32_t)result);
    return result;
}

HB_HOOK int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    struct hb_thread *me = hb_controlled();
    if (!me) {
        hb_observe(HB_K_LOCK, mutex, HB_PC);
        return REAL(pthread_mutex_lock)(mutex);
    }
    return lock_mutex(me, mutex, HB_NEVER, HB_PC);
}

HB_HOOK int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    struct hb_thread *me = hb_controlled();
    if (!me) {
        hb_observe(HB_K_TRY_LOCK, mutex, HB_PC);
        return REAL(pthread_mutex_trylock)(mutex);
    }
    hb_turn(me, (struct hb_action){
                    .kind = HB_K_TRY_LOCK, .address = mutex, .pc = HB_PC, .deadline = HB_NEVER});
    int result = hb_mutex_take(me, mutex, REAL(pthread_mutex_trylock));
    hb_record(me, HB_K_TRY_LOCK, mutex, HB_PC, (uint32_t)result);
    /* Loops that try again and again must let the holder go on. */
    if (result == EBUSY)
        hb_let_others(me, HB_K_YIELD, HB_PC);
    return result;
}

HB_HOOK int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *at)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(pthread_mutex_timedlock)(mutex, at);
    return lock_mutex(me, mutex, hb_deadline(CLOCK_REALTIME, at), HB_PC);
}

HB_HOOK int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock,
                                    const struct timespec *at)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(pthread_mutex_clocklock)(mutex, clock, at);
    return lock_mutex(me, mutex, hb_deadline(clock, at), HB_PC);
}

void hb_mutex_check_unlock(struct hb_thread *me, pthread_mutex_t *mutex)
{
    if (IS_CHECKED(mutex))
        return;
    if (mutex->__data.__lock == 0)
        hb_end(HB_MISUSE, me, "unlocks a mutex that nobody holds");
    if (mutex->__data.__owner != me->tid)
        hb_end(HB_MISUSE, me, "unlocks a mutex that another thread holds");
}

HB_HOOK int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    struct hb_thread *me = hb_controlled();
    if (!me) {
        hb_observe(HB_K_UNLOCK, mutex, HB_PC);
        return REAL(pthread_mutex_unlock)(mutex);
    }
    hb_before(me, HB_K_UNLOCK, mutex, NULL, HB_PC);
    me->next.address = mutex;
    me->next.pc = HB_PC;
    me->next.kind = HB_K_UNLOCK;
    hb_mutex_check_unlock(me, mutex);
    int result = REAL(pthread_mutex_unlock)(mutex);
    hb_after(me, HB_K_UNLOCK, mutex, HB_PC, (uint32_t)result);
    return result;
}

HB_HOOK int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    if (hb_controlled())
        hb_forget(mutex);
    return REAL(pthread_mutex_init)(mutex, attributes);
}

HB_HOOK int pthread_mutex_destroy(pthread_mutex_t *mutex)
{
    struct hb_thread *me = hb_controlled();
    if (me) {
        hb_before(me, HB_K_DESTROY, mutex, NULL, HB_PC);
        me->next = (struct hb_action){
            .kind = HB_K_DESTROY, .address = mutex, .pc = HB_PC, .deadline = HB_NEVER};
        if (mutex->__data.__lock != 0)
            hb_end(HB_MISUSE, me, "destroys a mutex that is held");
        hb_record(me, HB_K_DESTROY, mutex, HB_PC, 0);
        hb_forget(mutex);
    }
    return REAL(pthread_mutex_destroy)(mutex);
}
