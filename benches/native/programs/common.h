// What the programs share: threads that must start, and words that threads share without a lock.
#ifndef PROGRAMS_COMMON_H
#define PROGRAMS_COMMON_H

// An assertion is how most programs fail: it stays, whatever the build.
#undef NDEBUG
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A word that threads read and write without a lock. Plain by default: a data race, and one that
// the compiler can't remove. With -DATOMIC_SHARED the same loads and stores are atomic, so a race
// detector stays silent and only the program's own check fails. `x = x + 1` is a load and a store
// in both.
#ifdef ATOMIC_SHARED
typedef _Atomic int shared_int;
#else
typedef volatile int shared_int;
#endif

static inline pthread_t start(void *(*body)(void *), void *argument) {
    pthread_t thread;
    int error = pthread_create(&thread, NULL, body, argument);
    if (error != 0) {
        fprintf(stderr, "pthread_create: %s\n", strerror(error));
        exit(70);
    }
    return thread;
}

static inline void join(pthread_t thread) {
    int error = pthread_join(thread, NULL);
    if (error != 0) {
        fprintf(stderr, "pthread_join: %s\n", strerror(error));
        exit(70);
    }
}

#endif
