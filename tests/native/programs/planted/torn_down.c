// Planted: a thread goes on while the exit of the process tears down what it uses.
// Fewest preemptions: 1, of main, after the last of the handlers.
// Failure: abort.
#include "../threads.h"
#include <stdatomic.h>

static atomic_int is_there = 1;
static pthread_t worker;

static void tear_down(void) {
#ifdef FIXED
    join(worker);
#endif
    atomic_store(&is_there, 0);
}

static void *work(void *unused) {
    (void)unused;
    assert(atomic_load(&is_there));
    return NULL;
}

int main(void) {
    atexit(tear_down);
    worker = start(work, NULL);
    return 0;
}
