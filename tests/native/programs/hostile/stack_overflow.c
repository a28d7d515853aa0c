// Hostile: recursion without end, in main or (-DTHREAD) in a thread that holds a lock.
// Ends: signal 11.
#include "../threads.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static volatile int endless = 1; // the compiler warns of a recursion that it sees no end of

static int deeper(volatile char *above) {
    volatile char here[4096];
    here[0] = above[0];
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    if (!endless) {
        return 0;
    }
    return deeper(here) + here[0];
}

static void *overflow(void *unused) {
    (void)unused;
    volatile char bottom[1] = {1};
    return deeper(bottom) == 0 ? NULL : unused;
}

int main(void) {
#ifdef THREAD
    join(start(overflow, NULL));
#else
    overflow(NULL);
#endif
    return 0;
}
