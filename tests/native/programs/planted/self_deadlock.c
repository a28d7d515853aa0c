// Planted: a self-deadlock. A function locks a normal mutex that its caller holds, but only when
// the other thread came first.
// Fewest preemptions: 1, of main before its section.
// Failure: lock-misuse (a thread waits for its own lock); a hang when run free.
#include "../threads.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int pending; // under the mutex

static void *add(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    pending++;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void flush(void) {
#ifndef FIXED
    pthread_mutex_lock(&mutex);
#endif
    pending = 0;
#ifndef FIXED
    pthread_mutex_unlock(&mutex);
#endif
}

int main(void) {
    pthread_t helper = start(add, NULL);
    pthread_mutex_lock(&mutex);
    if (pending > 0) {
        flush();
    }
    pthread_mutex_unlock(&mutex);
    join(helper);
    return 0;
}
