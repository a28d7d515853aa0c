// Hostile: the process ends while locks are held and others wait for them: -DHOW= QUICK (_exit),
// GROUP (the raw system call), EXIT (exit, with a handler that takes another lock), SIGNAL (SIGKILL
// to itself).
// Ends: exit 3; SIGNAL: signal 9.
#include "../threads.h"
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { QUICK, GROUP, EXIT, SIGNAL };

#ifndef HOW
#define HOW QUICK
#endif

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mutex_at_exit = PTHREAD_MUTEX_INITIALIZER;

static void *wait_for(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void *end(void *unused) {
    (void)unused;
    switch (HOW) {
    case QUICK:
        _exit(3);
    case GROUP:
        syscall(SYS_exit_group, 3);
        break;
    case EXIT:
        exit(3);
    case SIGNAL:
        kill(getpid(), SIGKILL);
        break;
    }
    return NULL;
}

static void at_exit(void) {
    pthread_mutex_lock(&mutex_at_exit);
    pthread_mutex_unlock(&mutex_at_exit);
}

int main(void) {
    atexit(at_exit);
    pthread_mutex_lock(&mutex);
    start(wait_for, NULL);
    start(wait_for, NULL);
    join(start(end, NULL));
    return 0;
}
