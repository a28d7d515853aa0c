// Planted: whoever takes a robust mutex over from a dead thread does not put in order what that one
// left.
// Fewest preemptions: 0, only an order: the thread that dies comes first.
// Failure: abort.
#include "../threads.h"
#include <errno.h>

static pthread_mutex_t mutex;
static int in_work; // under the mutex

static void *die_at_work(void *unused) {
    (void)unused;
    int taken = pthread_mutex_lock(&mutex);
    assert(taken == 0);
    in_work = 1;
    return NULL;
}

static void *work(void *unused) {
    (void)unused;
    if (pthread_mutex_lock(&mutex) == EOWNERDEAD) {
        pthread_mutex_consistent(&mutex);
#ifdef FIXED
        in_work = 0;
#endif
    }
    assert(!in_work);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

int main(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&mutex, &attributes);
    pthread_t dies = start(die_at_work, NULL);
    pthread_t heir = start(work, NULL);
    join(dies);
    join(heir);
    return 0;
}
