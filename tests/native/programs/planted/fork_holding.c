// Planted: a child of fork has a copy of a lock that another thread held, and nobody to give it up.
// Fewest preemptions: 2, of main before the fork, and of that thread.
// Failure: abort.
#include "../threads.h"
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int count; // under the mutex

static void *counts(void *unused) {
    pthread_mutex_lock(&mutex);
    count++;
    pthread_mutex_unlock(&mutex);
    return unused;
}

int main(void) {
    pthread_t thread = start(counts, NULL);
#ifdef FIXED
    pthread_mutex_lock(&mutex);
#endif
    pid_t child = fork();
#ifdef FIXED
    pthread_mutex_unlock(&mutex);
#endif
    if (child == 0)
        _exit(pthread_mutex_trylock(&mutex) == 0 ? 0 : 1);
    int status;
    assert(waitpid(child, &status, 0) == child);
    assert(status == 0);
    join(thread);
    return 0;
}
