// Idiom: a token ring. Three threads hand a number on, each under the lock; a fourth compares the
// three copies when all were handed on.
// Bug: nothing makes a thread wait for the one before it in the ring.
// Fewest preemptions: 0, only an order: a later station before an earlier one, the fourth last.
// Failure: an assertion in the fourth thread: abort.
#include "common.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int station[3]; // under the mutex
static int passed;     // under the mutex: how many stations have handed on
#ifdef FIXED
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
#endif

static void *pass(void *position) {
    int here = *(const int *)position;
    pthread_mutex_lock(&mutex);
#ifdef FIXED
    while (passed != here) {
        pthread_cond_wait(&moved, &mutex);
    }
#endif
    station[here] = here == 0 ? (station[2] + 1) % 4 : station[here - 1];
    passed++;
#ifdef FIXED
    pthread_cond_broadcast(&moved);
#endif
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void *compare(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    if (passed == 3) {
        assert(station[0] == station[1] && station[1] == station[2]);
    }
    pthread_mutex_unlock(&mutex);
    return NULL;
}

int main(void) {
    static int positions[3] = {0, 1, 2};
    pthread_t threads[4];
    for (int i = 0; i < 3; i++) {
        threads[i] = start(pass, &positions[i]);
    }
    threads[3] = start(compare, NULL);
    for (int i = 0; i < 4; i++) {
        join(threads[i]);
    }
    return 0;
}
