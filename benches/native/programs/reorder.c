// Idiom: reorder. N - 1 threads write two words that belong together, the last thread reads them.
// Bug: no lock, so the reader can see the first word new and the second one old. Any writer that
// finishes hides it, and the reader starts last.
// Fewest preemptions: 1, of the reader between its reads, or of the first writer between its
// writes.
// Failure: an assertion in the reader: abort.
#include "common.h"

#ifndef N
#define N 3
#endif

#ifdef FIXED
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
#define LOCK() pthread_mutex_lock(&mutex)
#define UNLOCK() pthread_mutex_unlock(&mutex)
#else
#define LOCK() ((void)0)
#define UNLOCK() ((void)0)
#endif

static shared_int a;
static shared_int b;

static void *set(void *unused) {
    (void)unused;
    LOCK();
    a = 1;
    b = -1;
    UNLOCK();
    return NULL;
}

static void *check(void *unused) {
    (void)unused;
    LOCK();
    int whole = (a == 0 && b == 0) || (a == 1 && b == -1);
    UNLOCK();
    assert(whole);
    return NULL;
}

int main(void) {
    pthread_t writers[N - 1];
    for (int i = 0; i < N - 1; i++) {
        writers[i] = start(set, NULL);
    }
    pthread_t reader = start(check, NULL);
    for (int i = 0; i < N - 1; i++) {
        join(writers[i]);
    }
    join(reader);
    return 0;
}
