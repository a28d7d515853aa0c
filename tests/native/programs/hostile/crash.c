// Hostile: SIGSEGV at a place where a runtime may hold state: -DWHERE= one of the places below.
// Ends: signal 11, in every schedule.
#include "../threads.h"
#include <signal.h>
#include <unistd.h>
#include <sys/wait.h>

enum { LOCKED, START, KEY, HANDLER, ATEXIT, ONCE, CLEANUP, WAITED, CONSTRUCTOR, DESTRUCTOR };

#ifndef WHERE
#define WHERE LOCKED
#endif

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int flag; // under the mutex

static void crash(void) {
    volatile int *volatile nowhere = NULL; // or the compiler drops the store
    *nowhere = 1;
}

static void crash_of(void *unused) {
    (void)unused;
    crash();
}

static void on_signal(int number) {
    (void)number;
    crash();
}

static void *bystander(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    flag = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void *body(void *unused) {
    (void)unused;
    pthread_key_t key;
    pthread_once_t once = PTHREAD_ONCE_INIT;
    switch (WHERE) {
    case START:
        crash();
        break;
    case LOCKED:
        pthread_mutex_lock(&mutex);
        crash();
        break;
    case KEY:
        pthread_key_create(&key, crash_of);
        pthread_setspecific(key, &mutex);
        break;
    case HANDLER:
        signal(SIGUSR1, on_signal);
        pthread_kill(pthread_self(), SIGUSR1);
        break;
    case ONCE:
        pthread_once(&once, crash);
        break;
    case CLEANUP:
        pthread_cleanup_push(crash_of, NULL);
        pthread_exit(NULL);
        pthread_cleanup_pop(0);
        break;
    case WAITED:
        pthread_mutex_lock(&mutex);
        while (!flag) {
            pthread_cond_wait(&changed, &mutex);
        }
        crash();
        break;
    default:
        break;
    }
    return NULL;
}

__attribute__((constructor)) static void first(void) {
    if (WHERE == CONSTRUCTOR) {
        crash();
    }
}

__attribute__((destructor)) static void last(void) {
    if (WHERE == DESTRUCTOR) {
        crash();
    }
}

int main(void) {
    if (WHERE == ATEXIT) {
        atexit(crash);
    }
    pthread_t other = start(bystander, NULL);
    pthread_t thread = start(body, NULL);
    join(thread);
    join(other);
    return 0;
}
