// Planted: an ABBA deadlock over two locks that stand in one array.
// Fewest preemptions: 1, between the two locks of either thread.
// Failure: deadlock: each thread holds the lock that the other one waits for.
#include "../threads.h"

static pthread_mutex_t locks[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};

static void *take(void *order) {
    int first = *(const int *)order;
#ifdef FIXED
    first = 0;
#endif
    pthread_mutex_lock(&locks[first]);
    pthread_mutex_lock(&locks[1 - first]);
    pthread_mutex_unlock(&locks[1 - first]);
    pthread_mutex_unlock(&locks[first]);
    return NULL;
}

int main(void) {
    static int orders[2] = {0, 1};
    pthread_t one = start(take, &orders[0]);
    pthread_t other = start(take, &orders[1]);
    join(one);
    join(other);
    return 0;
}
