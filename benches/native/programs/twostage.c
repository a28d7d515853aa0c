// Idiom: two-stage locking. N - 1 threads set one value under one lock and then a second value,
// which follows from the first, under another; the last thread reads both the same way.
// Bug: the reader can come between the stages. Any thread that finishes both hides it.
// Fewest preemptions: 1, of the first writer between its stages.
// Failure: an assertion in the reader: abort.
#include "common.h"

#ifndef N
#define N 2
#endif

static pthread_mutex_t first_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t second_lock = PTHREAD_MUTEX_INITIALIZER;
static int first_value;  // under first_lock
static int second_value; // under second_lock

static void *set(void *unused) {
    (void)unused;
    pthread_mutex_lock(&first_lock);
    first_value = 1;
#ifndef FIXED
    pthread_mutex_unlock(&first_lock);
#endif
    pthread_mutex_lock(&second_lock);
    second_value = 2;
    pthread_mutex_unlock(&second_lock);
#ifdef FIXED
    pthread_mutex_unlock(&first_lock);
#endif
    return NULL;
}

static void *check(void *unused) {
    (void)unused;
    pthread_mutex_lock(&first_lock);
    int first = first_value;
    pthread_mutex_unlock(&first_lock);
    if (first == 0) {
        return NULL;
    }
    pthread_mutex_lock(&second_lock);
    int second = second_value;
    pthread_mutex_unlock(&second_lock);
    assert(second == first + 1);
    return NULL;
}

int main(void) {
    pthread_t writers[N - 1];
    for (int i = 0; i < N - 1; i++) {
        writers[i] = start(set, NULL);
    }
    join(start(check, NULL));
    for (int i = 0; i < N - 1; i++) {
        join(writers[i]);
    }
    return 0;
}
