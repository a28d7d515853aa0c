// Hostile: 3,000 threads, two at a time; with -DDETACHED nobody joins the second of each two.
// Ends: exit 0.
#include "../threads.h"
#include <semaphore.h>

enum { PAIRS = 1500 };

static sem_t done;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int count; // under the mutex

static void *work(void *unused) {
    pthread_mutex_lock(&mutex);
    count++;
    pthread_mutex_unlock(&mutex);
    sem_post(&done);
    return unused;
}

int main(void) {
    sem_init(&done, 0, 0);
    for (int pair = 0; pair < PAIRS; pair++) {
        pthread_t first = start(work, NULL);
        pthread_t second = start(work, NULL);
        join(first);
#ifdef DETACHED
        assert(pthread_detach(second) == 0);
#else
        join(second);
#endif
        sem_wait(&done);
        sem_wait(&done);
    }
    assert(count == 2 * PAIRS);
    return 0;
}
