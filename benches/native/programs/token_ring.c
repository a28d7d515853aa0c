// Idiom: a token ring. Three threads hand a number on, each under the lock; a fourth compares.
// Bug: the comparison is right only before the first or after the last hand-over, and nothing
// makes it wait.
// Fewest preemptions: 0, only an order: the fourth between the first and the third.
// Failure: an assertion in the fourth thread: abort.
#include "common.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int station[3]; // under the mutex
#ifdef FIXED
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static int turn; // under the mutex: who may go on
#endif

static void enter(int place) {
    pthread_mutex_lock(&mutex);
#ifdef FIXED
    while (turn != place) {
        pthread_cond_wait(&moved, &mutex);
    }
#else
    (void)place;
#endif
}

static void leave(void) {
#ifdef FIXED
    turn++;
    pthread_cond_broadcast(&moved);
#endif
    pthread_mutex_unlock(&mutex);
}

static void *pass(void *position) {
    int here = *(const int *)position;
    enter(here);
    station[here] = here == 0 ? (station[2] + 1) % 4 : station[here - 1];
    leave();
    return NULL;
}

static void *compare(void *unused) {
    (void)unused;
    enter(3);
    assert(station[0] == station[1] && station[1] == station[2]);
    leave();
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
