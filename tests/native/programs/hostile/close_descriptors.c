// Hostile: closes all descriptors from FIRST on (0 or 3), as a daemon does, and goes on.
// Ends: exit 0.
#include "../threads.h"
#include <unistd.h>

#ifndef FIRST
#define FIRST 3
#endif

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int turns; // under the mutex

static void *work(void *unused) {
    (void)unused;
    for (int i = 0; i < 3; i++) {
        pthread_mutex_lock(&mutex);
        turns++;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

int main(void) {
    pthread_t before = start(work, NULL);
    for (int i = FIRST; i < 1024; i++) {
        close(i);
    }
    pthread_t after = start(work, NULL);
    join(before);
    join(after);
    return turns == 6 ? 0 : 1;
}
