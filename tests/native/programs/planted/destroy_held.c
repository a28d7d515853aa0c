// Planted: main destroys a mutex when the thread has begun with its section, not when it is done.
// Fewest preemptions: 1, of the thread between its post and its unlock.
// Failure: lock-misuse (destroy while held); none when run free.
#include "../threads.h"
#include <semaphore.h>

static pthread_mutex_t mutex;
static sem_t begun;

static void *hold(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    sem_post(&begun);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

int main(void) {
    pthread_mutex_init(&mutex, NULL);
    sem_init(&begun, 0, 0);
    pthread_t holder = start(hold, NULL);
    sem_wait(&begun);
#ifdef FIXED
    join(holder);
#endif
    pthread_mutex_destroy(&mutex);
#ifndef FIXED
    join(holder);
#endif
    sem_destroy(&begun);
    return 0;
}
