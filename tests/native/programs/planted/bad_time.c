// Planted: a time is made by adding nanoseconds, and not brought below a second again: such a wait
// is refused and does not wait.
// Fewest preemptions: 0.
// Failure: abort.
#include "../threads.h"
#include <errno.h>
#include <semaphore.h>
#include <time.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;

static struct timespec in_a_second(void) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += 1000000000;
#ifdef FIXED
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
#endif
    return at;
}

static void *wait_long(void *unused) {
    struct timespec at = in_a_second();
    pthread_mutex_lock(&mutex);
    int came = pthread_cond_timedwait(&cond, &mutex, &at);
    pthread_mutex_unlock(&mutex);
    int taken = sem_timedwait(&semaphore, &at) == 0 ? 0 : errno;
    assert(came != EINVAL || taken != EINVAL);
    return unused;
}

int main(void) {
    sem_init(&semaphore, 0, 0);
    join(start(wait_long, NULL));
    return 0;
}
