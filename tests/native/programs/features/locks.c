// Features: every kind of lock, condition variable, semaphore, barrier, once and key, in C.
// Each section prints a line, the same in every schedule; locks.c.out has them.
// Ends: exit 0.
// The errors of error-checking and robust mutexes are asked for here: no misuse.
#define _GNU_SOURCE
#include "features.h"
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

// ---- Mutexes ------------------------------------------------------------------------------------

static pthread_mutex_t shared_mutex = PTHREAD_MUTEX_INITIALIZER;
static int shared_count;

static void *count_to_100(void *unused) {
    (void)unused;
    for (int i = 0; i < 100; i++) {
        pthread_mutex_lock(&shared_mutex);
        shared_count++;
        pthread_mutex_unlock(&shared_mutex);
    }
    return NULL;
}

static void *try_lock(void *mutex) {
    return (void *)(intptr_t)pthread_mutex_trylock(mutex);
}

static void *timed_lock(void *mutex) {
    struct timespec at = soon(CLOCK_REALTIME);
    return (void *)(intptr_t)pthread_mutex_timedlock(mutex, &at);
}

static void *clock_lock(void *mutex) {
    struct timespec at = soon(CLOCK_MONOTONIC);
    return (void *)(intptr_t)pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &at);
}

static void *unlock(void *mutex) {
    return (void *)(intptr_t)pthread_mutex_unlock(mutex);
}

static void *lock_and_end(void *mutex) {
    return (void *)(intptr_t)pthread_mutex_lock(mutex);
}

static void init_mutex(pthread_mutex_t *mutex, int type, int robust) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, type);
    pthread_mutexattr_setrobust(&attributes, robust);
    pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

static void mutexes(void) {
    pthread_t one = start(count_to_100, NULL), other = start(count_to_100, NULL);
    join(one);
    join(other);
    printf("mutex: %d\n", shared_count);

    pthread_mutex_lock(&shared_mutex);
    printf("held: try %s", name(in_thread(try_lock, &shared_mutex)));
    printf(", timed %s", name(in_thread(timed_lock, &shared_mutex)));
    printf(", clock %s\n", name(in_thread(clock_lock, &shared_mutex)));
    pthread_mutex_unlock(&shared_mutex);

    pthread_mutex_t mutex;
    init_mutex(&mutex, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED);
    pthread_mutex_lock(&mutex);
    printf("recursive: lock %s", name(pthread_mutex_lock(&mutex)));
    printf(", try %s", name(pthread_mutex_trylock(&mutex)));
    pthread_mutex_unlock(&mutex);
    pthread_mutex_unlock(&mutex);
    printf(", in another thread %s\n", name(in_thread(try_lock, &mutex)));
    pthread_mutex_unlock(&mutex);
    pthread_mutex_destroy(&mutex);

    init_mutex(&mutex, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED);
    pthread_mutex_lock(&mutex);
    printf("errorcheck: lock %s", name(pthread_mutex_lock(&mutex)));
    printf(", unlock in another thread %s", name(in_thread(unlock, &mutex)));
    pthread_mutex_unlock(&mutex);
    printf(", unlock twice %s\n", name(pthread_mutex_unlock(&mutex)));
    pthread_mutex_destroy(&mutex);

    init_mutex(&mutex, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
    in_thread(lock_and_end, &mutex);
    printf("robust: %s", name(pthread_mutex_lock(&mutex)));
    printf(", consistent %s", name(pthread_mutex_consistent(&mutex)));
    pthread_mutex_unlock(&mutex);
    in_thread(lock_and_end, &mutex);
    printf(", again %s", name(pthread_mutex_lock(&mutex)));
    pthread_mutex_unlock(&mutex);
    printf(", given up %s\n", name(pthread_mutex_lock(&mutex)));
    pthread_mutex_destroy(&mutex);

    init_mutex(&mutex, PTHREAD_MUTEX_ADAPTIVE_NP, PTHREAD_MUTEX_STALLED);
    pthread_mutex_lock(&mutex);
    printf("adaptive: try %s\n", name(in_thread(try_lock, &mutex)));
    pthread_mutex_unlock(&mutex);
    pthread_mutex_destroy(&mutex);
}

// ---- Read-write locks ---------------------------------------------------------------------------

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static int rw_value;

static void *write_many(void *unused) {
    (void)unused;
    for (int i = 0; i < 20; i++) {
        pthread_rwlock_wrlock(&rwlock);
        rw_value++;
        pthread_rwlock_unlock(&rwlock);
    }
    return NULL;
}

static void *read_many(void *unused) {
    (void)unused;
    int last = 0, sorted = 1;
    for (int i = 0; i < 20; i++) {
        pthread_rwlock_rdlock(&rwlock);
        sorted = sorted && last <= rw_value;
        last = rw_value;
        pthread_rwlock_unlock(&rwlock);
    }
    return (void *)(intptr_t)sorted;
}

static void *try_read(void *lock) {
    int error = pthread_rwlock_tryrdlock(lock);
    if (error == 0) {
        pthread_rwlock_unlock(lock);
    }
    return (void *)(intptr_t)error;
}

static void *try_write(void *lock) {
    int error = pthread_rwlock_trywrlock(lock);
    if (error == 0) {
        pthread_rwlock_unlock(lock);
    }
    return (void *)(intptr_t)error;
}

static void *timed_read(void *lock) {
    struct timespec at = soon(CLOCK_REALTIME);
    return (void *)(intptr_t)pthread_rwlock_timedrdlock(lock, &at);
}

static void *timed_write(void *lock) {
    struct timespec at = soon(CLOCK_REALTIME);
    return (void *)(intptr_t)pthread_rwlock_timedwrlock(lock, &at);
}

static void *clock_read(void *lock) {
    struct timespec at = soon(CLOCK_MONOTONIC);
    return (void *)(intptr_t)pthread_rwlock_clockrdlock(lock, CLOCK_MONOTONIC, &at);
}

static void *clock_write(void *lock) {
    struct timespec at = soon(CLOCK_MONOTONIC);
    return (void *)(intptr_t)pthread_rwlock_clockwrlock(lock, CLOCK_MONOTONIC, &at);
}

static void rwlocks(void) {
    pthread_t writers[2] = {start(write_many, NULL), start(write_many, NULL)};
    int sorted = in_thread(read_many, NULL);
    join(writers[0]);
    join(writers[1]);
    printf("rwlock: %d, readers %s\n", rw_value, sorted ? "sorted" : "unsorted");

    pthread_rwlock_rdlock(&rwlock);
    printf("read-held: try read %s", name(in_thread(try_read, &rwlock)));
    printf(", try write %s", name(in_thread(try_write, &rwlock)));
    printf(", timed write %s", name(in_thread(timed_write, &rwlock)));
    printf(", clock write %s\n", name(in_thread(clock_write, &rwlock)));
    pthread_rwlock_unlock(&rwlock);

    pthread_rwlock_wrlock(&rwlock);
    printf("write-held: try read %s", name(in_thread(try_read, &rwlock)));
    printf(", timed read %s", name(in_thread(timed_read, &rwlock)));
    printf(", clock read %s\n", name(in_thread(clock_read, &rwlock)));
    pthread_rwlock_unlock(&rwlock);
    pthread_rwlock_destroy(&rwlock);
}

// ---- Condition variables ------------------------------------------------------------------------

static pthread_mutex_t cond_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int cond_turn;

static void *alternate(void *side) {
    int mine = *(const int *)side;
    for (int i = 0; i < 10; i++) {
        pthread_mutex_lock(&cond_mutex);
        while (cond_turn % 2 != mine) {
            pthread_cond_wait(&cond, &cond_mutex);
        }
        cond_turn++;
        pthread_cond_signal(&cond);
        pthread_mutex_unlock(&cond_mutex);
    }
    return NULL;
}

static void *await_100(void *unused) {
    (void)unused;
    pthread_mutex_lock(&cond_mutex);
    while (cond_turn < 100) {
        pthread_cond_wait(&cond, &cond_mutex);
    }
    pthread_mutex_unlock(&cond_mutex);
    return NULL;
}

// Waits for what comes by the clock's own deadlines, however often those pass before.
static void *await_200(void *clock) {
    pthread_mutex_lock(&cond_mutex);
    while (cond_turn < 200) {
        struct timespec at = soon(*(clockid_t *)clock);
        pthread_cond_clockwait(&cond, &cond_mutex, *(clockid_t *)clock, &at);
    }
    pthread_mutex_unlock(&cond_mutex);
    return NULL;
}

static void set_turn(int turn) {
    pthread_mutex_lock(&cond_mutex);
    cond_turn = turn;
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&cond_mutex);
}

static void conditions(void) {
    static int sides[2] = {0, 1};
    pthread_t one = start(alternate, &sides[0]), other = start(alternate, &sides[1]);
    join(one);
    join(other);
    printf("cond: %d turns\n", cond_turn);

    pthread_t waiters[3];
    for (int i = 0; i < 3; i++) {
        waiters[i] = start(await_100, NULL);
    }
    set_turn(100);
    for (int i = 0; i < 3; i++) {
        join(waiters[i]);
    }
    static clockid_t clocks[2] = {CLOCK_REALTIME, CLOCK_MONOTONIC};
    one = start(await_200, &clocks[0]);
    other = start(await_200, &clocks[1]);
    set_turn(200);
    join(one);
    join(other);

    // Nobody signals: only the time ends these.
    int errors[3] = {0, 0, 0};
    pthread_mutex_lock(&cond_mutex);
    struct timespec at = soon(CLOCK_REALTIME);
    while (errors[0] == 0) {
        errors[0] = pthread_cond_timedwait(&cond, &cond_mutex, &at);
    }
    at = soon(CLOCK_MONOTONIC);
    while (errors[1] == 0) {
        errors[1] = pthread_cond_clockwait(&cond, &cond_mutex, CLOCK_MONOTONIC, &at);
    }
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_t monotonic;
    pthread_cond_init(&monotonic, &attributes);
    at = soon(CLOCK_MONOTONIC);
    while (errors[2] == 0) {
        errors[2] = pthread_cond_timedwait(&monotonic, &cond_mutex, &at);
    }
    pthread_mutex_unlock(&cond_mutex);
    pthread_cond_destroy(&monotonic);
    pthread_condattr_destroy(&attributes);
    printf("cond: timed %s", name(errors[0]));
    printf(", clock %s, monotonic %s\n", name(errors[1]), name(errors[2]));
}

// ---- Semaphores, barriers, spin locks, once, keys -----------------------------------------------

static sem_t semaphore;

static void *post_5(void *unused) {
    (void)unused;
    for (int i = 0; i < 5; i++) {
        sem_post(&semaphore);
    }
    return NULL;
}

static void semaphores(void) {
    sem_init(&semaphore, 0, 0);
    pthread_t poster = start(post_5, NULL);
    for (int i = 0; i < 5; i++) {
        sem_wait(&semaphore);
    }
    join(poster);
    int value = -1;
    sem_getvalue(&semaphore, &value);
    printf("sem: value %d, try %s", value, name(error_of(sem_trywait(&semaphore))));
    struct timespec at = soon(CLOCK_REALTIME);
    printf(", timed %s", name(error_of(sem_timedwait(&semaphore, &at))));
    at = soon(CLOCK_MONOTONIC);
    printf(", clock %s", name(error_of(sem_clockwait(&semaphore, CLOCK_MONOTONIC, &at))));
    sem_post(&semaphore);
    at = soon(CLOCK_REALTIME);
    printf(", timed when posted %s\n", name(error_of(sem_timedwait(&semaphore, &at))));
    sem_destroy(&semaphore);

    char path[64];
    snprintf(path, sizeof path, "/features-%d", (int)getpid());
    sem_t *named = sem_open(path, O_CREAT | O_EXCL, 0600, 1);
    if (named == SEM_FAILED) {
        puts("named sem: ok");
        return;
    }
    int taken = error_of(sem_wait(named));
    sem_close(named);
    sem_unlink(path);
    printf("named sem: %s\n", name(taken));
}

static pthread_barrier_t barrier;
static _Atomic int serial;

static void *meet(void *unused) {
    (void)unused;
    for (int i = 0; i < 4; i++) {
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
            serial++;
        }
    }
    return NULL;
}

static pthread_spinlock_t spin;
static int spin_count;

static void *spin_20(void *unused) {
    (void)unused;
    for (int i = 0; i < 20; i++) {
        pthread_spin_lock(&spin);
        spin_count++;
        pthread_spin_unlock(&spin);
    }
    return NULL;
}

static void *try_spin(void *unused) {
    (void)unused;
    return (void *)(intptr_t)pthread_spin_trylock(&spin);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_count;

static void initialise(void) {
    sched_yield();
    once_count++;
}

static void *call_once_here(void *unused) {
    (void)unused;
    pthread_once(&once, initialise);
    return NULL;
}

static pthread_key_t keys[2];
static _Atomic int destroyed[2];

static void destroy_first(void *value) {
    // Sets the other one again: a second round of destructors.
    if (destroyed[0]++ % 2 == 0) {
        pthread_setspecific(keys[1], value);
    }
}

static void destroy_second(void *value) {
    (void)value;
    destroyed[1]++;
}

static void *use_keys(void *value) {
    pthread_setspecific(keys[0], value);
    return pthread_getspecific(keys[0]) == value ? NULL : value;
}

static void three(void *(*body)(void *)) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        threads[i] = start(body, NULL);
    }
    for (int i = 0; i < 3; i++) {
        join(threads[i]);
    }
}

static void others(void) {
    pthread_barrier_init(&barrier, NULL, 3);
    three(meet);
    printf("barrier: %d serial of 4 rounds\n", serial);
    pthread_barrier_destroy(&barrier);

    pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
    three(spin_20);
    pthread_spin_lock(&spin);
    printf("spin: %d, try %s\n", spin_count, name(in_thread(try_spin, NULL)));
    pthread_spin_unlock(&spin);
    pthread_spin_destroy(&spin);

    three(call_once_here);
    printf("once: %d\n", once_count);

    pthread_key_create(&keys[0], destroy_first);
    pthread_key_create(&keys[1], destroy_second);
    in_thread(use_keys, &keys);
    printf("keys: destroyed %d and %d\n", destroyed[0], destroyed[1]);
    pthread_key_delete(keys[0]);
    pthread_key_delete(keys[1]);
}

int main(void) {
    mutexes();
    rwlocks();
    conditions();
    semaphores();
    others();
    return 0;
}
