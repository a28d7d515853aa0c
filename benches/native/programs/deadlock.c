// Idiom: lock order. Two threads take two locks in opposite orders.
// Bug: each holds one and waits for the other's.
// Fewest preemptions: 1, between the two locks of either thread.
// Failure: deadlock.
#include "common.h"

static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t b = PTHREAD_MUTEX_INITIALIZER;
static int counter; // under both

static void *forward(void *unused) {
    (void)unused;
    pthread_mutex_lock(&a);
    pthread_mutex_lock(&b);
    counter++;
    pthread_mutex_unlock(&b);
    pthread_mutex_unlock(&a);
    return NULL;
}

static void *backward(void *unused) {
    (void)unused;
#ifdef FIXED
    pthread_mutex_lock(&a);
    pthread_mutex_lock(&b);
    counter--;
    pthread_mutex_unlock(&b);
    pthread_mutex_unlock(&a);
#else
    pthread_mutex_lock(&b);
    pthread_mutex_lock(&a);
    counter--;
    pthread_mutex_unlock(&a);
    pthread_mutex_unlock(&b);
#endif
    return NULL;
}

int main(void) {
    pthread_t one = start(forward, NULL);
    pthread_t other = start(backward, NULL);
    join(one);
    join(other);
    return 0;
}
