// Planted: who finds a lock taken does without, and its share is lost; the other holds it for
// nothing that is visible. Of a mutex, a spin lock, a read-write lock and a semaphore, and of a
// mutex that is waited for a while only.
// Fewest preemptions: 1, of the holder.
// Failure: abort.
#define _GNU_SOURCE
#include "../threads.h"
#include <semaphore.h>
#include <time.h>

#if defined SPIN
static pthread_spinlock_t lock;
#define MAKE() pthread_spin_init(&lock, 0)
#define TAKE() pthread_spin_lock(&lock)
#define TRY() pthread_spin_trylock(&lock)
#define GIVE() pthread_spin_unlock(&lock)
#elif defined READ_WRITE
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
#define MAKE() 0
#define TAKE() pthread_rwlock_wrlock(&lock)
#define TRY() pthread_rwlock_trywrlock(&lock)
#define GIVE() pthread_rwlock_unlock(&lock)
#elif defined SEMAPHORE
static sem_t lock;
#define MAKE() sem_init(&lock, 0, 1)
#define TAKE() sem_wait(&lock)
#define TRY() sem_trywait(&lock)
#define GIVE() sem_post(&lock)
#else
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
#define MAKE() 0
#define TAKE() pthread_mutex_lock(&lock)
#ifdef TIMED
static int take_in_time(void) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec++;
    return pthread_mutex_timedlock(&lock, &at);
}
#define TRY() take_in_time()
#else
#define TRY() pthread_mutex_trylock(&lock)
#endif
#define GIVE() pthread_mutex_unlock(&lock)
#endif

static int count; // under the lock

static void *holds(void *unused) {
    TAKE();
    count++;
    GIVE();
    return unused;
}

static void *tries(void *unused) {
#ifdef FIXED
    while (TRY() != 0) {
    }
#else
    if (TRY() != 0)
        return unused;
#endif
    count++;
    GIVE();
    return unused;
}

int main(void) {
    assert(MAKE() == 0);
    pthread_t one = start(holds, NULL), other = start(tries, NULL);
    join(one);
    join(other);
    assert(count == 2);
    return 0;
}
