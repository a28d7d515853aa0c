// Idiom: the wrong lock. One thread uses the data's lock, OTHERS threads use another one.
// Bug: the two locks don't exclude each other, so the first thread sees its value change.
// Fewest preemptions: 1, of the first thread between its load and its check, or of another one
// between its load and its store.
// Failure: an assertion in the first thread: abort.
#include "common.h"

#ifndef OTHERS
#define OTHERS 7
#endif

static pthread_mutex_t data_lock = PTHREAD_MUTEX_INITIALIZER;
#ifndef FIXED
static pthread_mutex_t other_lock = PTHREAD_MUTEX_INITIALIZER;
#endif
static shared_int value;

static void *right(void *unused) {
    (void)unused;
    pthread_mutex_lock(&data_lock);
    int before = value;
    value = value + 1;
    assert(value == before + 1);
    pthread_mutex_unlock(&data_lock);
    return NULL;
}

static void *wrong(void *unused) {
    (void)unused;
#ifdef FIXED
    pthread_mutex_t *lock = &data_lock;
#else
    pthread_mutex_t *lock = &other_lock;
#endif
    pthread_mutex_lock(lock);
    value = value + 1;
    pthread_mutex_unlock(lock);
    return NULL;
}

int main(void) {
    pthread_t others[OTHERS];
    pthread_t first = start(right, NULL);
    for (int i = 0; i < OTHERS; i++) {
        others[i] = start(wrong, NULL);
    }
    join(first);
    for (int i = 0; i < OTHERS; i++) {
        join(others[i]);
    }
    return 0;
}
