// Planted: two deadlocks over locks taken in opposite order. One is easy; the other needs that each
// thread has seen the other one arrive.
// Fewest preemptions: 1 for the easy one, 2 for the rare one.
// Failure: deadlock: a smaller schedule of the rare one must not become the easy one.
#include "../threads.h"

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t easy[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static pthread_mutex_t rare[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static int arrived;

static int count(int more) {
    pthread_mutex_lock(&gate);
    arrived += more;
    int seen = arrived;
    pthread_mutex_unlock(&gate);
    return seen;
}

static void take_both(pthread_mutex_t *locks, int first) {
#ifdef FIXED
    first = 0;
#endif
    pthread_mutex_lock(&locks[first]);
    pthread_mutex_lock(&locks[1 - first]);
    pthread_mutex_unlock(&locks[1 - first]);
    pthread_mutex_unlock(&locks[first]);
}

static void *work(void *argument) {
    int number = *(const int *)argument;
    count(1);
    take_both(easy, number);
    if (count(0) == 2)
        take_both(rare, number);
    return NULL;
}

int main(void) {
    static int numbers[2] = {0, 1};
    pthread_t one = start(work, &numbers[0]);
    pthread_t other = start(work, &numbers[1]);
    join(one);
    join(other);
    return 0;
}
