// Hostile by how it is built: linked statically (-static), where no library is preloaded, or with
// nothing at all to control.
// Ends: exit 0.
#include "../threads.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int turns; // under the mutex

static void *work(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    turns++;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

int main(void) {
    pthread_t one = start(work, NULL);
    pthread_t other = start(work, NULL);
    join(one);
    join(other);
    return turns == 2 ? 0 : 1;
}
