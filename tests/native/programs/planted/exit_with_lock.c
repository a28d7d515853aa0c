// Planted: a thread ends with a lock held, by a return in the middle of its section.
// Fewest preemptions: 0, only an order: main's request to stop before the thread's section.
// Failure: deadlock: main waits for a lock whose holder is gone.
#include "../threads.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int stopping; // under the mutex

static void *work(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    if (stopping) {
#ifdef FIXED
        pthread_mutex_unlock(&mutex);
#endif
        return NULL;
    }
    pthread_mutex_unlock(&mutex);
    return NULL;
}

int main(void) {
    pthread_t worker = start(work, NULL);
    pthread_mutex_lock(&mutex);
    stopping = 1;
    pthread_mutex_unlock(&mutex);
    join(worker);
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    return 0;
}
