// Planted: a use after free. Main frees a block that a thread still reads. The block is so large
// that the C library unmaps it.
// Fewest preemptions: 0, only an order: the free before the read.
// Failure: crash (SIGSEGV) in the reading thread.
#include "../threads.h"

enum { SIZE = 1 << 22 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char *block; // the pointer is set before the thread starts

static void *use(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    volatile char *last = block + SIZE - 1;
    *last = 1;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

int main(void) {
    block = malloc(SIZE);
    if (block == NULL) {
        return 70;
    }
    pthread_t user = start(use, NULL);
#ifdef FIXED
    join(user);
#endif
    pthread_mutex_lock(&mutex);
    free(block);
    pthread_mutex_unlock(&mutex);
#ifndef FIXED
    join(user);
#endif
    return 0;
}
