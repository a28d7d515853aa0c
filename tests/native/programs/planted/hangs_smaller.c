// Fails where two threads take turns often, after a second of work. Simpler forms, in which they
// take turns a few times, hang; hardly any drawn schedule is one of these.
// Failure: abort.
#include "../threads.h"
#include <time.h>

enum { SECTIONS = 8 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char order[2 * SECTIONS]; // under the mutex
static int used;                 // under the mutex

static void *append(void *name) {
    for (int section = 0; section < SECTIONS; section++) {
        pthread_mutex_lock(&mutex);
        order[used++] = *(const char *)name;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

// clock() is the processor's time, also where others are virtual.
static void work_for_a_second(void) {
    clock_t end = clock() + CLOCKS_PER_SEC;
    while (clock() < end) {
    }
}

int main(void) {
    pthread_t left = start(append, "l"), right = start(append, "r");
    join(left);
    join(right);
    int changes = 0;
    for (int at = 1; at < used; at++) {
        changes += order[at] != order[at - 1];
    }
    for (volatile int hangs = changes == 2 || changes == 3; hangs;) {
    }
    if (changes > 5) {
        work_for_a_second();
        abort();
    }
    return 0;
}
