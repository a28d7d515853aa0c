// Hostile: starts itself again, three times, from a thread while others wait for locks.
// Ends: exit 0, and counts.
#include "../threads.h"
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int times;
static char *name;

static void *wait_for(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void *again(void *unused) {
    (void)unused;
    char next[16];
    snprintf(next, sizeof next, "%d", times + 1);
    execl("/proc/self/exe", name, next, (char *)NULL);
    exit(70);
}

int main(int count, char **arguments) {
    name = arguments[0];
    times = count > 1 ? atoi(arguments[1]) : 0;
    printf("time %d\n", times);
    fflush(stdout);
    if (times == 3) {
        return 0;
    }
    pthread_mutex_lock(&mutex);
    start(wait_for, NULL);
    join(start(again, NULL));
    return 70;
}
