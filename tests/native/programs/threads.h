// What the test programs share: threads that must start, and assertions that stay.
#ifndef PROGRAMS_THREADS_H
#define PROGRAMS_THREADS_H

#undef NDEBUG
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
