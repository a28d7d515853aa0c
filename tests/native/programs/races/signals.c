// Signals that threads of a program send each other, one case a word. Those of the table CORRECT
// are right in every schedule; the others fail in some.
#define _GNU_SOURCE
#include "../threads.h"
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static int value, seen;
static volatile sig_atomic_t got;
static sem_t posted, acknowledged, over;
static int ends[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void handle(int number, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    assert(sigaction(number, &action, NULL) == 0);
}

static void block(int number) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    assert(pthread_sigmask(SIG_BLOCK, &one, NULL) == 0);
}

static void wait_for(sem_t *semaphore) {
    while (sem_wait(semaphore) != 0)
        assert(errno == EINTR);
}

static void notes(int number) {
    (void)number;
    got = 1;
}

static void posts(int number) {
    (void)number;
    seen = value;
    sem_post(&posted);
}

static void *is_posted(void *unused) {
    (void)unused;
    wait_for(&posted);
    assert(seen == 42);
    return NULL;
}

// What is done before the signal is sent is before its handler.
static void send(pthread_t other) {
    value = 42;
    assert(pthread_kill(other, SIGUSR1) == 0);
}

static void early(void) {
    handle(SIGUSR1, posts, 0);
    pthread_t other = start(is_posted, NULL);
    send(other);
    join(other);
}

static void *is_posted_late(void *unused) {
    (void)unused;
    wait_for(&posted);
    return NULL;
}

// Not correct: what is done after the signal was sent is not.
static void late(void) {
    handle(SIGUSR1, posts, 0);
    pthread_t other = start(is_posted_late, NULL);
    assert(pthread_kill(other, SIGUSR1) == 0);
    value = 42;
    join(other);
}

static void counts(int number, siginfo_t *info, void *context) {
    (void)context;
    assert(number == SIGRTMIN && info->si_code == SI_QUEUE && info->si_pid == getpid());
    value = value * 10 + info->si_value.sival_int;
    sem_post(&posted);
}

static void *is_counted(void *unused) {
    (void)unused;
    for (int at = 0; at < 3; at++)
        wait_for(&posted);
    assert(value == 123);
    return NULL;
}

static void queued(void) {
    struct sigaction action = {.sa_sigaction = counts, .sa_flags = SA_SIGINFO};
    assert(sigaction(SIGRTMIN, &action, NULL) == 0);
    pthread_t other = start(is_counted, NULL);
    for (int at = 1; at <= 3; at++)
        assert(pthread_sigqueue(other, SIGRTMIN, (union sigval){.sival_int = at}) == 0);
    join(other);
}

static void *reads(void *unused) {
    (void)unused;
    char byte;
    while (!got)
        assert(read(ends[0], &byte, 1) == -1 && errno == EINTR);
    return NULL;
}

// Not correct: the signal may come just before the read.
static void interrupted_read(void) {
    handle(SIGUSR1, notes, 0);
    pthread_t other = start(reads, NULL);
    send(other);
    join(other);
}

static void *reads_on(void *unused) {
    (void)unused;
    char byte;
    assert(read(ends[0], &byte, 1) == 1);
    return NULL;
}

// A read that is restarted after the handler.
static void restarted_read(void) {
    handle(SIGUSR1, notes, SA_RESTART);
    pthread_t other = start(reads_on, NULL);
    send(other);
    assert(write(ends[1], "x", 1) == 1);
    join(other);
}

static void *polls(void *unused) {
    (void)unused;
    sigset_t open;
    pthread_sigmask(SIG_SETMASK, NULL, &open);
    sigdelset(&open, SIGUSR1);
    struct pollfd one = {.fd = ends[0], .events = POLLIN};
    while (!got)
        assert(ppoll(&one, 1, NULL, &open) == -1 && errno == EINTR);
    return NULL;
}

static void *suspends(void *unused) {
    (void)unused;
    sigset_t open;
    pthread_sigmask(SIG_SETMASK, NULL, &open);
    sigdelset(&open, SIGUSR1);
    while (!got)
        assert(sigsuspend(&open) == -1 && errno == EINTR);
    return NULL;
}

// Blocked but while it is waited for: it is never lost.
static void let_through(void *(*body)(void *)) {
    handle(SIGUSR1, notes, 0);
    block(SIGUSR1);
    pthread_t other = start(body, NULL);
    send(other);
    join(other);
}

static void *pauses(void *unused) {
    (void)unused;
    while (!got)
        pause();
    return NULL;
}

// Not correct: the signal may come just before the pause.
static void paused(void) {
    handle(SIGUSR1, notes, 0);
    pthread_t other = start(pauses, NULL);
    send(other);
    join(other);
}

static void *sleeps(void *unused) {
    (void)unused;
    struct timespec span = {.tv_sec = 5}, left;
    if (nanosleep(&span, &left) != 0)
        assert(errno == EINTR && got && left.tv_sec <= 5);
    return NULL;
}

static void interrupted_sleep(void) {
    handle(SIGUSR1, notes, SA_RESTART);
    pthread_t other = start(sleeps, NULL);
    send(other);
    join(other);
}

static void *locks(void *unused) {
    (void)unused;
    assert(pthread_mutex_lock(&lock) == 0);
    assert(value == 42);
    pthread_mutex_unlock(&lock);
    return NULL;
}

// A lock goes on being waited for after the handler.
static void locked(void) {
    handle(SIGUSR1, notes, 0);
    pthread_mutex_lock(&lock);
    pthread_t other = start(locks, NULL);
    send(other);
    pthread_mutex_unlock(&lock);
    join(other);
}

static volatile sig_atomic_t resumed;

static void resume(int number) {
    (void)number;
    resumed = 1;
}

// As collectors of garbage stop the threads of a program.
static void suspend(int number) {
    (void)number;
    int before = errno;
    sigset_t open;
    sigfillset(&open);
    sigdelset(&open, SIGUSR2);
    resumed = 0;
    sem_post(&acknowledged);
    while (!resumed)
        sigsuspend(&open);
    errno = before;
}

static void *mutates(void *unused) {
    (void)unused;
    for (int at = 0; at < 3; at++) {
        pthread_mutex_lock(&lock);
        value++;
        pthread_mutex_unlock(&lock);
    }
    wait_for(&over);
    return NULL;
}

static void collected(void) {
    struct sigaction action = {.sa_handler = suspend};
    sigfillset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = resume;
    sigaction(SIGUSR2, &action, NULL);
    pthread_t other = start(mutates, NULL);
    for (int at = 0; at < 2; at++) {
        pthread_kill(other, SIGUSR1);
        wait_for(&acknowledged);
        int before = value;
        sched_yield();
        assert(value == before);
        pthread_kill(other, SIGUSR2);
    }
    sem_post(&over);
    join(other);
}

static void locks_in_handler(int number) {
    (void)number;
    pthread_mutex_lock(&lock);
    value++;
    pthread_mutex_unlock(&lock);
}

static void *holds(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    value++;
    pthread_mutex_unlock(&lock);
    return NULL;
}

// Not correct: the thread may have the lock that its handler takes.
static void locking_handler(void) {
    handle(SIGUSR1, locks_in_handler, 0);
    pthread_t other = start(holds, NULL);
    pthread_kill(other, SIGUSR1);
    join(other);
}

// The process's signal goes to the thread that lets it through.
static void to_process(void) {
    handle(SIGUSR1, posts, 0);
    pthread_t other = start(is_posted, NULL);
    block(SIGUSR1);
    value = 42;
    assert(kill(getpid(), SIGUSR1) == 0);
    join(other);
}

int main(int count, char **words) {
    assert(count == 2 && pipe(ends) == 0);
    sem_init(&posted, 0, 0);
    sem_init(&acknowledged, 0, 0);
    sem_init(&over, 0, 0);
#define CASE(word, call)                                                                           \
    if (strcmp(words[1], word) == 0) {                                                             \
        call;                                                                                      \
        return 0;                                                                                  \
    }
    CASE("early", early())
    CASE("late", late())
    CASE("queued", queued())
    CASE("read", interrupted_read())
    CASE("restarted", restarted_read())
    CASE("ppoll", let_through(polls))
    CASE("sigsuspend", let_through(suspends))
    CASE("pause", paused())
    CASE("sleep", interrupted_sleep())
    CASE("lock", locked())
    CASE("collector", collected())
    CASE("locking-handler", locking_handler())
    CASE("process", to_process())
    return 2;
}
