// Idiom: locks of one's own, on which threads spin: by an exchange, and by a compare-exchange with
// its expected word in memory.
// Bug: a sum is read under the lock and written after it. Who spins must not starve who holds the
// lock: no schedule is a livelock.
// Fewest preemptions: 1, between the release and the write.
// Failure: an assertion of the sum: abort.
#include "common.h"
#include <stdatomic.h>

enum { THREADS = 3, ROUNDS = 2 };

static atomic_int first, second;
static shared_int sum;

static void take_first(void) {
    while (atomic_exchange(&first, 1)) {
    }
}

static void take_second(void) {
    int expected = 0;
    while (!atomic_compare_exchange_strong(&second, &expected, 1)) {
        expected = 0;
    }
}

static void *add(void *unused) {
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        take_first();
        take_second();
        int seen = sum;
#ifndef FIXED
        atomic_store(&second, 0);
        atomic_store(&first, 0);
        sum = seen + 1;
#else
        sum = seen + 1;
        atomic_store(&second, 0);
        atomic_store(&first, 0);
#endif
        take_second();
        atomic_store(&second, 0);
    }
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        threads[i] = start(add, NULL);
    }
    for (int i = 0; i < THREADS; i++) {
        join(threads[i]);
    }
    assert(sum == THREADS * ROUNDS);
    return 0;
}
