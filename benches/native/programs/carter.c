// Idiom: two classes of users of one resource; the first of a class takes it, the last gives it
// back, and the counts have a lock of their own. Two more threads do nothing.
// Bug: the resource is waited for with the counts' lock held, which its holder needs to give it
// back.
// Fewest preemptions: 1, of the holder between its two sections.
// Failure: deadlock.
#include "common.h"

static pthread_mutex_t counts = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t resource = PTHREAD_MUTEX_INITIALIZER;
static int users[2]; // under counts

static void *use(void *class) {
    int *mine = &users[*(const int *)class];
#ifdef FIXED
    // The resource first, then the counts, in both sections.
    pthread_mutex_lock(&resource);
    pthread_mutex_lock(&counts);
    (*mine)++;
    pthread_mutex_unlock(&counts);
    pthread_mutex_lock(&counts);
    (*mine)--;
    pthread_mutex_unlock(&counts);
    pthread_mutex_unlock(&resource);
#else
    pthread_mutex_lock(&counts);
    if (++*mine == 1) {
        pthread_mutex_lock(&resource);
    }
    pthread_mutex_unlock(&counts);
    pthread_mutex_lock(&counts);
    if (--*mine == 0) {
        pthread_mutex_unlock(&resource);
    }
    pthread_mutex_unlock(&counts);
#endif
    return NULL;
}

static void *idle(void *unused) {
    return unused;
}

int main(void) {
    static int classes[2] = {0, 1};
    pthread_t threads[4];
    threads[0] = start(use, &classes[0]);
    threads[1] = start(use, &classes[1]);
    threads[2] = start(idle, NULL);
    threads[3] = start(idle, NULL);
    for (int i = 0; i < 4; i++) {
        join(threads[i]);
    }
    return 0;
}
