// Planted: a lost wake-up. The waiter looks at the flag in one section and waits in another one;
// the signal comes in between.
// Fewest preemptions: 2, of main before its section and of the waiter between its two.
// Failure: deadlock.
#include "../threads.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t set = PTHREAD_COND_INITIALIZER;
static int flag; // under the mutex

static void *await(void *unused) {
    (void)unused;
#ifdef FIXED
    pthread_mutex_lock(&mutex);
    while (!flag) {
        pthread_cond_wait(&set, &mutex);
    }
    pthread_mutex_unlock(&mutex);
#else
    pthread_mutex_lock(&mutex);
    int seen = flag;
    pthread_mutex_unlock(&mutex);
    if (!seen) {
        pthread_mutex_lock(&mutex);
        pthread_cond_wait(&set, &mutex);
        pthread_mutex_unlock(&mutex);
    }
#endif
    return NULL;
}

int main(void) {
    pthread_t waiter = start(await, NULL);
    pthread_mutex_lock(&mutex);
    flag = 1;
    pthread_cond_signal(&set);
    pthread_mutex_unlock(&mutex);
    join(waiter);
    return 0;
}
