// Planted: a data race. Two threads add to a plain word without a lock, and no check notices.
// Fewest preemptions: 0, the race is there in every schedule.
// Failure: data-race, where loads and stores are instrumented; none otherwise.
#include "../threads.h"

static int word;
#ifdef FIXED
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
#endif

static void *add(void *unused) {
    (void)unused;
#ifdef FIXED
    pthread_mutex_lock(&mutex);
#endif
    word++;
#ifdef FIXED
    pthread_mutex_unlock(&mutex);
#endif
    return NULL;
}

int main(void) {
    pthread_t one = start(add, NULL);
    pthread_t other = start(add, NULL);
    join(one);
    join(other);
    return word == 0;
}
