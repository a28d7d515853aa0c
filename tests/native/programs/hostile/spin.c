// Hostile: two threads that never end: -DHOW= PURE (no call at all), SYSCALL (a raw system call),
// YIELD, TRYLOCK (of a lock that main holds), SLEEP, FLAG (reads one unchanged word).
// Ends: never; who starts it has to end it.
#include "../threads.h"
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PURE, SYSCALL, YIELD, TRYLOCK, SLEEP, FLAG };

#ifndef HOW
#define HOW PURE
#endif

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int flag;

static void *spin(void *unused) {
    (void)unused;
    struct timespec moment = {0, 1000000};
    volatile unsigned long turns = 0;
    while (!flag) {
        switch (HOW) {
        case PURE:
            for (;;) {
                turns++;
            }
            break;
        case SYSCALL:
            syscall(SYS_getppid);
            break;
        case YIELD:
            sched_yield();
            break;
        case TRYLOCK:
            pthread_mutex_trylock(&mutex);
            break;
        case SLEEP:
            nanosleep(&moment, NULL);
            break;
        case FLAG:
            break;
        }
    }
    return NULL;
}

int main(void) {
    pthread_mutex_lock(&mutex);
    pthread_t one = start(spin, NULL);
    pthread_t other = start(spin, NULL);
    join(one);
    join(other);
    return 0;
}
