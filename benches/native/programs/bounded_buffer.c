// Idiom: a bounded buffer with one condition variable for "not full" and "not empty".
// Bug: pthread_cond_signal can wake a thread that waits for the other condition; it sleeps again,
// and the wake-up is lost.
// Fewest preemptions: 0, only an order of those who are woken.
// Failure: deadlock: all who are left wait for the condition variable.
#include "common.h"

#ifndef ITEMS
#define ITEMS 2
#endif
#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef CONSUMERS
#define CONSUMERS 2
#endif
enum { CAPACITY = 1 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int filled; // under the mutex

static void wake(void) {
#ifdef FIXED
    pthread_cond_broadcast(&changed);
#else
    pthread_cond_signal(&changed);
#endif
}

static void *produce(void *unused) {
    (void)unused;
    for (int i = 0; i < ITEMS; i++) {
        pthread_mutex_lock(&mutex);
        while (filled == CAPACITY) {
            pthread_cond_wait(&changed, &mutex);
        }
        filled++;
        wake();
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *consume(void *unused) {
    (void)unused;
    for (int i = 0; i < ITEMS; i++) {
        pthread_mutex_lock(&mutex);
        while (filled == 0) {
            pthread_cond_wait(&changed, &mutex);
        }
        filled--;
        wake();
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

int main(void) {
    pthread_t threads[PRODUCERS + CONSUMERS];
    for (int i = 0; i < PRODUCERS; i++) {
        threads[i] = start(produce, NULL);
    }
    for (int i = 0; i < CONSUMERS; i++) {
        threads[PRODUCERS + i] = start(consume, NULL);
    }
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++) {
        join(threads[i]);
    }
    assert(filled == 0);
    return 0;
}
