// Three threads write three marks each, one after another under a mutex. One of the 1,680 orders
// fails; the twin looks for one that cannot be.
#include "../threads.h"

enum { MARKS = 3, THREADS = 3 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int order[MARKS * THREADS];
static int count;

static void *mark(void *who) {
    for (int i = 0; i < MARKS; i++) {
        pthread_mutex_lock(&mutex);
        order[count++] = *(const int *)who;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

int main(void) {
    static const int names[THREADS] = {0, 1, 2};
#ifdef FIXED
    static const int wanted[MARKS * THREADS] = {1, 0, 2, 2, 0, 1, 0, 0, 2};
#else
    static const int wanted[MARKS * THREADS] = {1, 0, 2, 2, 0, 1, 0, 1, 2};
#endif
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        threads[i] = start(mark, (void *)&names[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        join(threads[i]);
    }
    assert(memcmp(order, wanted, sizeof order) != 0);
    return 0;
}
