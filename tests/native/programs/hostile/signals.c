// Hostile: signals to itself, to a thread, blocked ones taken by sigwait, an alarm that interrupts
// a sleep, a handler that posts a semaphore, a crash that is handled by a jump.
// Ends: exit 0, with the same lines in every schedule.
#define _GNU_SOURCE
#include "../threads.h"
#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t handled;
static sem_t posted;
static sigjmp_buf back;

static void on_signal(int number) {
    (void)number;
    handled++;
    sem_post(&posted);
}

static void on_alarm(int number) {
    (void)number;
}

static void on_crash(int number) {
    (void)number;
    siglongjmp(back, 1);
}

static void *wait_for_post(void *unused) {
    (void)unused;
    while (sem_wait(&posted) != 0 && errno == EINTR) {
    }
    return NULL;
}

static void *take(void *set) {
    int number = 0;
    sigwait(set, &number);
    return number == SIGUSR2 ? set : NULL;
}

int main(void) {
    sem_init(&posted, 0, 0);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);

    raise(SIGUSR1);
    printf("to itself: %d\n", (int)handled);
    sem_wait(&posted);

    pthread_t waiter = start(wait_for_post, NULL);
    pthread_kill(waiter, SIGUSR1);
    join(waiter);
    printf("to a thread: %d\n", (int)handled);

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_t taker = start(take, &set);
    kill(getpid(), SIGUSR2);
    void *taken = NULL;
    pthread_join(taker, &taken);
    printf("sigwait: %s\n", taken == &set ? "SIGUSR2" : "another");

    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, NULL);
    struct itimerval soon = {{0, 20000}, {0, 20000}};
    setitimer(ITIMER_REAL, &soon, NULL);
    struct timespec long_time = {3600, 0};
    int interrupted = nanosleep(&long_time, NULL);
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
    // Where time is virtual the sleep may be over first.
    printf("alarm: %s\n", interrupted == 0 || errno == EINTR ? "awake" : "error");

    action.sa_handler = on_crash;
    sigaction(SIGSEGV, &action, NULL);
    if (sigsetjmp(back, 1) == 0) {
        volatile int *volatile nowhere = NULL; // or the compiler drops the store
        *nowhere = 1;
        puts("no crash");
    } else {
        puts("handled crash");
    }
    return 0;
}
