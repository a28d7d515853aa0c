// Hostile: 500 threads that are alive at once, each with a section of its own.
// Ends: exit 0.
#include "../threads.h"

enum { THREADS = 500 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all = PTHREAD_COND_INITIALIZER;
static int here; // under the mutex

static void *meet(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    if (++here == THREADS) {
        pthread_cond_broadcast(&all);
    }
    while (here < THREADS) {
        pthread_cond_wait(&all, &mutex);
    }
    pthread_mutex_unlock(&mutex);
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 1 << 16);
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], &attributes, meet, NULL) != 0) {
            return 70;
        }
    }
    for (int i = 0; i < THREADS; i++) {
        join(threads[i]);
    }
    printf("%d threads\n", here);
    return 0;
}
