// Idiom: a resource with a status word that says whether it was released already.
// Bug: the status is looked at and set without a lock, so two threads release it.
// Fewest preemptions: 1, between the look and the store of either thread.
// Failure: the C library finds the second free of one block: abort.
#include "common.h"

enum { LIVE, RELEASED };

static shared_int status = LIVE;
static char *block;
#ifdef FIXED
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
#endif

static void *release(void *unused) {
    (void)unused;
#ifdef FIXED
    pthread_mutex_lock(&mutex);
#endif
    if (status == LIVE) {
        status = RELEASED;
        free(block);
    }
#ifdef FIXED
    pthread_mutex_unlock(&mutex);
#endif
    return NULL;
}

int main(void) {
    // Large enough for no cache of a thread, and not at the heap's end: the second free is found.
    block = malloc(4000);
    char *after = malloc(4000);
    if (block == NULL || after == NULL) {
        return 70;
    }
    pthread_t one = start(release, NULL);
    pthread_t other = start(release, NULL);
    join(one);
    join(other);
    free(after);
    return 0;
}
