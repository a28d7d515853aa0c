/* Locks, condition variables, semaphores, barriers, once.
 *
 * Mutexes, semaphores and spin locks keep their state where glibc keeps it: whether one can be
 * taken is read from its own memory, and taking it is the real call, which then does not wait.
 * Condition variables, barriers and once are modelled whole: their real functions would wait
 * inside.
 */
#include "race.h"

#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <string.h>
#include <sys/syscall.h>

/* ---- Mutexes ---- */

#define KIND(mutex) ((mutex)->__data.__kind & 3)
/* Refuses what others take for granted: the program gets an error instead of a surprise. */
#define IS_CHECKED(mutex)                                                                          \
    (KIND(mutex) == PTHREAD_MUTEX_RECURSIVE || KIND(mutex) == PTHREAD_MUTEX_ERRORCHECK ||          \
     (mutex)->__data.__kind & ROBUST)
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

/* Takes it, or tries to, as `real` does. */
static int take_mutex(struct hb_thread *me, pthread_mutex_t *mutex, int (*real)(pthread_mutex_t *))
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

static bool mutex_is_free(const pthread_mutex_t *mutex, const struct hb_thread *thread)
{
    int word = __atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED);
    if (word == 0 || word & OWNER_DIED || dead_owner(mutex))
        return true;
    /* Its own: counted, or refused. A normal one waits for itself, for ever. */
    return mutex->__data.__owner == thread->tid &&
           (KIND(mutex) == PTHREAD_MUTEX_RECURSIVE || KIND(mutex) == PTHREAD_MUTEX_ERRORCHECK);
}

static bool can_lock(const struct hb_thread *thread)
{
    return mutex_is_free(thread->next.address, thread);
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
    if (deadline == HB_NEVER && KIND(mutex) != PTHREAD_MUTEX_RECURSIVE &&
        KIND(mutex) != PTHREAD_MUTEX_ERRORCHECK && mutex->__data.__lock != 0 &&
        mutex->__data.__owner == me->tid) {
        me->next = (struct hb_action){
            .kind = HB_K_LOCK, .address = mutex, .pc = pc, .deadline = HB_NEVER};
        hb_end(HB_MISUSE, me, "locks a mutex that it holds itself, and waits for ever");
    }
    enum hb_turn how = hb_turn(me, (struct hb_action){.kind = HB_K_LOCK,
                                                      .address = mutex,
                                                      .pc = pc,
                                                      .can = can_lock,
                                                      .deadline = deadline});
    int result = how == HB_TIMED_OUT ? ETIMEDOUT : take_mutex(me, mutex, REAL(pthread_mutex_lock));
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
    int result = take_mutex(me, mutex, REAL(pthread_mutex_trylock));
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

static void check_unlock(struct hb_thread *me, pthread_mutex_t *mutex)
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
    check_unlock(me, mutex);
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

/* ---- Read-write locks ---- */

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
    if (lock->holder == me->id)
        lock->holder = HB_NOBODY;
    else if (lock->holder == HB_NOBODY && lock->count > 0)
        lock->count--;
    else
        hb_end(HB_MISUSE, me,
               lock->holder == HB_NOBODY ? "unlocks a read-write lock that nobody holds"
                                         : "unlocks a read-write lock that another thread holds");
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

/* ---- Condition variables ---- */

/* A signal goes to one of those who waited when it was given; whoever of them gets the turn first
 * takes it. */
static bool is_signalled(const struct hb_thread *thread)
{
    struct hb_object *cond = hb_find(thread->next.address);
    return thread->woken ||
           (cond && cond->pending && cond->signals[cond->pending - 1] > thread->waits_since);
}

static bool can_wake(const struct hb_thread *thread)
{
    return is_signalled(thread) && mutex_is_free(thread->next.with, thread);
}

static bool waits_for(const struct hb_thread *thread, void *cond)
{
    return !thread->finished && !thread->woken && thread->next.kind == HB_K_WAKE &&
           thread->next.address == cond;
}

/* How many wait for a signal that was not promised to them. */
static uint32_t waiters(void *cond, const struct hb_thread *but)
{
    uint32_t count = 0;
    for (uint32_t id = 0; id < hb.thread_count; id++)
        count += &hb.threads[id] != but && waits_for(&hb.threads[id], cond);
    return count;
}

static void take_signal(struct hb_object *cond, struct hb_thread *me)
{
    if (me->woken) {
        me->woken = false;
        return;
    }
    for (uint32_t at = 0; at < cond->pending; at++) {
        if (cond->signals[at] <= me->waits_since)
            continue;
        memmove(&cond->signals[at], &cond->signals[at + 1],
                (cond->pending - at - 1) * sizeof cond->signals[0]);
        cond->pending--;
        return;
    }
}

/* Signals for which nobody is left. */
static void drop_signals(struct hb_object *cond, const struct hb_thread *but)
{
    uint32_t left = waiters(cond->address, but);
    while (cond->pending > left)
        take_signal(cond, &(struct hb_thread){.waits_since = 0});
}

static int wait_cond(struct hb_thread *me, pthread_cond_t *cond, pthread_mutex_t *mutex,
                     int64_t deadline, uint64_t pc)
{
    hb_before(me, HB_K_WAIT, cond, mutex, pc);
    me->next = (struct hb_action){
        .kind = HB_K_WAIT, .address = mutex, .pc = pc, .deadline = HB_NEVER};
    check_unlock(me, mutex);
    me->waits_since = ++hb.clock;
    hb_object(cond);
    hb_record(me, HB_K_WAIT, cond, pc, 0);
    hb_race_release(me, mutex);
    /* Recursive locks: given up whole, taken back whole. */
    unsigned depth = KIND(mutex) == PTHREAD_MUTEX_RECURSIVE ? mutex->__data.__count : 1;
    for (unsigned at = 0; at < depth; at++) {
        int refused = REAL(pthread_mutex_unlock)(mutex);
        if (refused)
            return refused;
    }
    enum hb_turn how = hb_turn(me, (struct hb_action){.kind = HB_K_WAKE,
                                                      .address = cond,
                                                      .pc = pc,
                                                      .can = hb.exploring ? is_signalled : can_wake,
                                                      .deadline = deadline,
                                                      .with = mutex,
                                                      .cancellable = true,
                                                      .spurious = hb.config->flags & HB_SPURIOUS});
    struct hb_object *object = hb_object(cond);
    if (how == HB_CAN)
        take_signal(object, me);
    else {
        me->woken = false;
        drop_signals(object, me);
    }
    if (hb.exploring || !mutex_is_free(mutex, me))
        hb_turn(me, (struct hb_action){.kind = HB_K_LOCK,
                                       .address = mutex,
                                       .pc = pc,
                                       .can = can_lock,
                                       .deadline = HB_NEVER});
    int result = 0;
    for (unsigned at = 0; at < depth; at++)
        result = take_mutex(me, mutex, REAL(pthread_mutex_lock));
    hb_race_acquire(me, mutex);
    if (how == HB_TIMED_OUT)
        result = ETIMEDOUT;
    hb_record(me, HB_K_WAKE, cond, pc, (uint32_t)result);
    if (how == HB_CANCELLED)
        pthread_testcancel();
    return result;
}

HB_HOOK int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    struct hb_thread *me = hb_controlled();
    if (!me) {
        hb_observe(HB_K_WAIT, cond, HB_PC);
        return REAL_COND(pthread_cond_wait)(cond, mutex);
    }
    return wait_cond(me, cond, mutex, HB_NEVER, HB_PC);
}

/* The clock of a condition variable is a bit of its own. */
static clockid_t clock_of(const pthread_cond_t *cond)
{
    return cond->__data.__wrefs & 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

HB_HOOK int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                   const struct timespec *at)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL_COND(pthread_cond_timedwait)(cond, mutex, at);
    if (!hb_is_time(at))
        return EINVAL;
    return wait_cond(me, cond, mutex, hb_deadline(clock_of(cond), at), HB_PC);
}

HB_HOOK int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
                                   const struct timespec *at)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(pthread_cond_clockwait)(cond, mutex, clock, at);
    if (!hb_is_time(at))
        return EINVAL;
    return wait_cond(me, cond, mutex, hb_deadline(clock, at), HB_PC);
}

static int signal_cond(struct hb_thread *me, pthread_cond_t *cond, bool all, uint64_t pc)
{
    hb_before(me, all ? HB_K_BROADCAST : HB_K_SIGNAL, cond, NULL, pc);
    struct hb_object *object = hb_object(cond);
    uint32_t waiting = waiters(cond, NULL);
    if (all) {
        for (uint32_t id = 0; id < hb.thread_count; id++)
            hb.threads[id].woken |= waits_for(&hb.threads[id], cond);
        object->pending = 0;
    } else if (object->pending < waiting && object->pending < HB_MAX_SIGNALS) {
        object->signals[object->pending++] = ++hb.clock;
    } else if (object->pending < waiting) {
        /* So many signals at once: this one goes to whoever waits longest. */
        struct hb_thread *first = NULL;
        for (uint32_t id = 0; id < hb.thread_count; id++) {
            struct hb_thread *thread = &hb.threads[id];
            if (waits_for(thread, cond) && (!first || thread->waits_since < first->waits_since))
                first = thread;
        }
        if (first)
            first->woken = true;
    }
    hb_after(me, all ? HB_K_BROADCAST : HB_K_SIGNAL, cond, pc, waiting);
    return 0;
}

HB_HOOK int pthread_cond_signal(pthread_cond_t *cond)
{
    struct hb_thread *me = hb_controlled();
    if (!me) {
        hb_observe(HB_K_SIGNAL, cond, HB_PC);
        return REAL_COND(pthread_cond_signal)(cond);
    }
    return signal_cond(me, cond, false, HB_PC);
}

HB_HOOK int pthread_cond_broadcast(pthread_cond_t *cond)
{
    struct hb_thread *me = hb_controlled();
    if (!me) {
        hb_observe(HB_K_BROADCAST, cond, HB_PC);
        return REAL_COND(pthread_cond_broadcast)(cond);
    }
    return signal_cond(me, cond, true, HB_PC);
}

HB_HOOK int pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attributes)
{
    if (hb_controlled())
        hb_forget(cond);
    return REAL_COND(pthread_cond_init)(cond, attributes);
}

HB_HOOK int pthread_cond_destroy(pthread_cond_t *cond)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL_COND(pthread_cond_destroy)(cond);
    /* The real one waits for waiters that it does not have. */
    hb_forget(cond);
    return 0;
}

/* ---- Semaphores ---- */

static bool can_take(const struct hb_thread *thread)
{
    int value = 0;
    REAL(sem_getvalue)(thread->next.address, &value);
    return value > 0;
}

static int take_semaphore(struct hb_thread *me, sem_t *semaphore, int64_t deadline, uint64_t pc)
{
    enum hb_turn how = hb_turn(me, (struct hb_action){.kind = HB_K_SEM_WAIT,
                                                      .address = semaphore,
                                                      .pc = pc,
                                                      .can = can_take,
                                                      .deadline = deadline,
                                                      .cancellable = true});
    int result = 0;
    if (how == HB_CAN)
        result = REAL(sem_trywait)(semaphore);
    hb_record(me, HB_K_SEM_WAIT, semaphore, pc, how == HB_TIMED_OUT ? ETIMEDOUT : 0);
    if (how == HB_CANCELLED)
        pthread_testcancel();
    if (how == HB_TIMED_OUT) {
        errno = ETIMEDOUT;
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
    if (hb_controlled())
        hb_forget(semaphore);
    return REAL(sem_init)(semaphore, shared, value);
}

/* ---- Barriers ---- */

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

/* ---- Spin locks ---- */

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

/* ---- Once ---- */

enum { ONCE_RUNS = 1, ONCE_DONE = 2 };

static bool once_is_settled(const struct hb_thread *thread)
{
    struct hb_object *once = hb_find(thread->next.address);
    return !once || once->count != ONCE_RUNS;
}

/* Whether the caller is to run the initialisation. */
static bool begin_once(struct hb_thread *me, void *address, uint64_t pc)
{
    struct hb_object *once = hb_object(address);
    /* Its own memory says that it is not done: what was done was another one, that had this place
     * before. */
    if (once->count == ONCE_DONE) {
        hb_forget(address);
        once = hb_object(address);
    }
    hb_turn(me, (struct hb_action){.kind = HB_K_ONCE,
                                   .address = address,
                                   .pc = pc,
                                   .can = once_is_settled,
                                   .deadline = HB_NEVER});
    once = hb_object(address);
    bool mine = once->count != ONCE_DONE;
    if (mine) {
        once->count = ONCE_RUNS;
        once->holder = me->id;
    }
    hb_record(me, HB_K_ONCE, address, pc, mine);
    return mine;
}

static void end_once(struct hb_thread *me, void *address, bool done, uint64_t pc)
{
    hb_before(me, HB_K_ONCE_DONE, address, NULL, pc);
    struct hb_object *once = hb_object(address);
    once->count = done ? ONCE_DONE : 0;
    once->holder = HB_NOBODY;
    hb_after(me, HB_K_ONCE_DONE, address, pc, done);
}

struct once_frame {
    struct hb_thread *me;
    pthread_once_t *control;
    uint64_t pc;
    bool done;
};

/* Also when an exception leaves it: then the next caller runs it again. */
static void leave_once(struct once_frame *frame)
{
    hb_before(frame->me, HB_K_ONCE_DONE, frame->control, NULL, frame->pc);
    if (frame->done)
        *frame->control = 2; /* What glibc writes, for its own fast path. */
    end_once(frame->me, frame->control, frame->done, frame->pc);
}

/* What is done once in a process, while the driver's only thread opens a target, is no action: the
 * next schedule of the process has none of it. */
static bool opens_alone(void) { return hb.opens && !hb.exploring && hb.thread_count == 1; }

static void come_back(struct hb_thread **me) { (*me)->busy = false; }

static int once_aside(struct hb_thread *me, pthread_once_t *control, void (*routine)(void))
{
    __attribute__((cleanup(come_back))) struct hb_thread *aside = me;
    aside->busy = true;
    return REAL(pthread_once)(control, routine);
}

HB_HOOK int pthread_once(pthread_once_t *control, void (*routine)(void))
{
    struct hb_thread *me = hb_controlled();
    if (me && opens_alone())
        return once_aside(me, control, routine);
    if (!me)
        return REAL(pthread_once)(control, routine);
    hb_before(me, HB_K_ONCE, control, NULL, HB_PC);
    if (*control == 2)
        hb_race_acquire(me, control);
    if (*control == 2 || !begin_once(me, control, HB_PC))
        return 0;
    __attribute__((cleanup(leave_once))) struct once_frame frame = {me, control, HB_PC, false};
    routine();
    frame.done = true;
    return 0;
}

/* The guard of a function's static variable (Itanium C++ ABI): its first byte says that it is
 * done. */
HB_HOOK int __cxa_guard_acquire(uint64_t *guard)
{
    struct hb_thread *me = hb_controlled();
    if (me)
        hb_before(me, HB_K_ONCE, guard, NULL, HB_PC);
    if (__atomic_load_n((unsigned char *)guard, __ATOMIC_ACQUIRE)) {
        if (me)
            hb_race_acquire(me, guard);
        return 0;
    }
    if (!me) {
        int (*real)(uint64_t *) = (int (*)(uint64_t *))hb_real("__cxa_guard_acquire", NULL);
        return real ? real(guard) : 1;
    }
    if (!opens_alone())
        return begin_once(me, guard, HB_PC);
    me->busy = true; /* Until this one is released, or aborted. */
    me->aside = guard;
    return 1;
}

/* The static variable that was made aside is made. */
static bool leaves_aside(uint64_t *guard, bool done)
{
    struct hb_thread *me = hb_self;
    if (!me || me->aside != guard)
        return false;
    __atomic_store_n((unsigned char *)guard, done, __ATOMIC_RELEASE);
    me->aside = NULL;
    me->busy = false;
    return true;
}

HB_HOOK void __cxa_guard_release(uint64_t *guard)
{
    if (leaves_aside(guard, true))
        return;
    struct hb_thread *me = hb_controlled();
    struct hb_object *once = me ? hb_find(guard) : NULL;
    if (!once || once->count != ONCE_RUNS) {
        void (*real)(uint64_t *) = (void (*)(uint64_t *))hb_real("__cxa_guard_release", NULL);
        if (real)
            real(guard);
        else
            __atomic_store_n((unsigned char *)guard, 1, __ATOMIC_RELEASE);
        return;
    }
    hb_before(me, HB_K_ONCE_DONE, guard, NULL, HB_PC);
    __atomic_store_n((unsigned char *)guard, 1, __ATOMIC_RELEASE);
    end_once(me, guard, true, HB_PC);
}

HB_HOOK void __cxa_guard_abort(uint64_t *guard)
{
    if (leaves_aside(guard, false))
        return;
    struct hb_thread *me = hb_controlled();
    struct hb_object *once = me ? hb_find(guard) : NULL;
    if (once && once->count == ONCE_RUNS) {
        end_once(me, guard, false, HB_PC);
        return;
    }
    void (*real)(uint64_t *) = (void (*)(uint64_t *))hb_real("__cxa_guard_abort", NULL);
    if (real)
        real(guard);
}

/* ---- C11 ---- */

#include <threads.h>

static int c11(int result)
{
    return result == 0           ? thrd_success
           : result == EBUSY     ? thrd_busy
           : result == ETIMEDOUT ? thrd_timedout
                                 : thrd_error;
}

HB_HOOK int mtx_lock(mtx_t *mutex) { return c11(pthread_mutex_lock((pthread_mutex_t *)mutex)); }

HB_HOOK int mtx_trylock(mtx_t *mutex)
{
    return c11(pthread_mutex_trylock((pthread_mutex_t *)mutex));
}

HB_HOOK int mtx_timedlock(mtx_t *restrict mutex, const struct timespec *restrict at)
{
    return c11(pthread_mutex_timedlock((pthread_mutex_t *)mutex, at));
}

HB_HOOK int mtx_unlock(mtx_t *mutex)
{
    return c11(pthread_mutex_unlock((pthread_mutex_t *)mutex));
}

HB_HOOK int cnd_wait(cnd_t *cond, mtx_t *mutex)
{
    return c11(pthread_cond_wait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex));
}

HB_HOOK int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex,
                          const struct timespec *restrict at)
{
    return c11(pthread_cond_timedwait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex, at));
}

HB_HOOK int cnd_signal(cnd_t *cond) { return c11(pthread_cond_signal((pthread_cond_t *)cond)); }

HB_HOOK int cnd_broadcast(cnd_t *cond)
{
    return c11(pthread_cond_broadcast((pthread_cond_t *)cond));
}

HB_HOOK void call_once(once_flag *control, void (*routine)(void))
{
    pthread_once((pthread_once_t *)control, routine);
}
