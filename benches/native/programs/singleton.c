// Idiom: lazy creation of a single instance, looked for under the lock and created outside of it.
// Bug: two threads find none and create one each; who took the first one works on its own copy.
// Fewest preemptions: 1, between looking and storing.
// Failure: an assertion that there was one creation: abort.
#include "common.h"

enum { THREADS = 2 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int *instance; // under the mutex
static int created;   // under the mutex

static void *use(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    int *mine = instance;
#ifndef FIXED
    pthread_mutex_unlock(&mutex);
#endif
    if (mine == NULL) {
        mine = calloc(1, sizeof *mine);
#ifndef FIXED
        pthread_mutex_lock(&mutex);
#endif
        instance = mine;
        created++;
#ifndef FIXED
        pthread_mutex_unlock(&mutex);
#endif
    }
#ifdef FIXED
    pthread_mutex_unlock(&mutex);
#endif
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        threads[i] = start(use, NULL);
    }
    for (int i = 0; i < THREADS; i++) {
        join(threads[i]);
    }
    assert(created == 1);
    free(instance);
    return 0;
}
