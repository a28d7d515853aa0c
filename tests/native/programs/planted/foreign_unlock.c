// Planted: a thread unlocks a mutex that main locked, as if it were a semaphore.
// Fewest preemptions: 0, in every schedule.
// Failure: lock-misuse (unlock by another thread); none when run free.
#include "../threads.h"
#include <semaphore.h>

#ifdef FIXED
static sem_t ready;
#else
static pthread_mutex_t ready = PTHREAD_MUTEX_INITIALIZER;
#endif

static void *tell(void *unused) {
    (void)unused;
#ifdef FIXED
    sem_post(&ready);
#else
    pthread_mutex_unlock(&ready);
#endif
    return NULL;
}

int main(void) {
#ifdef FIXED
    sem_init(&ready, 0, 0);
    pthread_t teller = start(tell, NULL);
    sem_wait(&ready);
#else
    pthread_mutex_lock(&ready);
    pthread_t teller = start(tell, NULL);
    pthread_mutex_lock(&ready);
#endif
    join(teller);
    return 0;
}
