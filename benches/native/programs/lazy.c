// Idiom: lazy initialisation in two halves by whoever comes; settings must be read before.
// Bug: nothing makes the thread that reads the settings run before both halves are done.
// Fewest preemptions: 0, only an order: the reader of the settings last.
// Failure: an assertion in that thread: abort.
#include "common.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int halves; // bit 0 and bit 1, under the mutex

static void *initialise(void *bit) {
    pthread_mutex_lock(&mutex);
    halves |= *(const int *)bit;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void *read_settings(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    assert(halves != 3);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

int main(void) {
    static int bits[2] = {1, 2};
    pthread_t reader = start(read_settings, NULL);
#ifdef FIXED
    join(reader);
#endif
    pthread_t one = start(initialise, &bits[0]);
    pthread_t other = start(initialise, &bits[1]);
#ifndef FIXED
    join(reader);
#endif
    join(one);
    join(other);
    return 0;
}
