// Planted: a read lock is taken again by its holder, of a lock that lets writers go first.
// Fewest preemptions: 1, of the reader between its two locks.
// Failure: deadlock: the reader waits for the writer that waits for the reader.
#define _GNU_SOURCE
#include "../threads.h"

static pthread_rwlock_t lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

static void *read_twice(void *unused) {
    (void)unused;
    pthread_rwlock_rdlock(&lock);
#ifdef FIXED
    pthread_rwlock_unlock(&lock);
#endif
    pthread_rwlock_rdlock(&lock);
    pthread_rwlock_unlock(&lock);
#ifndef FIXED
    pthread_rwlock_unlock(&lock);
#endif
    return NULL;
}

static void *write_once(void *unused) {
    (void)unused;
    pthread_rwlock_wrlock(&lock);
    pthread_rwlock_unlock(&lock);
    return NULL;
}

int main(void) {
    pthread_t reader = start(read_twice, NULL);
    pthread_t writer = start(write_once, NULL);
    join(reader);
    join(writer);
    return 0;
}
