// What the programs of features share: names of errors, deadlines, and what a thread returned.
#ifndef PROGRAMS_FEATURES_H
#define PROGRAMS_FEATURES_H

#include "../threads.h"
#include <errno.h>
#include <stdint.h>
#include <time.h>

// The name of an error, for the few that are expected here.
static inline const char *name(int error) {
    switch (error) {
    case 0:
        return "ok";
    case EBUSY:
        return "EBUSY";
    case EDEADLK:
        return "EDEADLK";
    case EPERM:
        return "EPERM";
    case EAGAIN:
        return "EAGAIN";
    case EOWNERDEAD:
        return "EOWNERDEAD";
    case ENOTRECOVERABLE:
        return "ENOTRECOVERABLE";
    case ETIMEDOUT:
        return "ETIMEDOUT";
    default:
        return strerror(error);
    }
}

// A few milliseconds from now.
static inline struct timespec soon(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    at.tv_nsec += 3000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    return at;
}

static inline int error_of(int result) {
    return result == 0 ? 0 : errno;
}

// What a thread that runs `body` returns.
static inline int in_thread(void *(*body)(void *), void *argument) {
    void *result = NULL;
    pthread_join(start(body, argument), &result);
    return (int)(intptr_t)result;
}

#endif
