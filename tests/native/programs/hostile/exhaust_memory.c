// Hostile: two threads allocate until nothing is left of the 256 MB that the program allows
// itself, and go on with locks and a new thread then.
// Ends: exit 0.
#include "../threads.h"
#include <sys/resource.h>

enum { BLOCK = 1 << 16 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int blocks; // under the mutex

static void *exhaust(void *unused) {
    (void)unused;
    // Both are there before either takes memory: how much is left for a stack differs.
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    for (char *block; (block = malloc(BLOCK)) != NULL;) {
        block[0] = 1;
        pthread_mutex_lock(&mutex);
        blocks++;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *nothing(void *unused) {
    return unused;
}

int main(void) {
    struct rlimit limit = {256l << 20, 256l << 20};
    if (setrlimit(RLIMIT_AS, &limit) != 0) {
        return 70;
    }
    pthread_mutex_lock(&mutex);
    pthread_t one = start(exhaust, NULL);
    pthread_t other = start(exhaust, NULL);
    pthread_mutex_unlock(&mutex);
    join(one);
    join(other);
    pthread_t late;
    if (pthread_create(&late, NULL, nothing, NULL) == 0) {
        join(late);
    }
    return blocks == 0;
}
