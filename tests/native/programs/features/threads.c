// Features: C11 threads, joins of every form, cancellation, time, signals and fork, in C.
// Each section prints a line, the same in every schedule; threads.c.out has them.
// Ends: exit 0.
#define _GNU_SOURCE
#include "features.h"
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

// ---- C11 threads --------------------------------------------------------------------------------

static mtx_t c_mutex;
static cnd_t c_cond;
static int c_value;
static once_flag c_once = ONCE_FLAG_INIT;
static tss_t c_key;
static _Atomic int c_destroyed;

static void c_initialise(void) {
    c_value = 10;
}

static void c_destroy(void *value) {
    (void)value;
    c_destroyed++;
}

static int c_raise(void *unused) {
    (void)unused;
    call_once(&c_once, c_initialise);
    tss_set(c_key, &c_value);
    mtx_lock(&c_mutex);
    c_value++;
    cnd_signal(&c_cond);
    cnd_broadcast(&c_cond);
    mtx_unlock(&c_mutex);
    thrd_yield();
    return tss_get(c_key) == &c_value ? 7 : 8;
}

static int c_held(void *unused) {
    (void)unused;
    struct timespec at = soon(CLOCK_REALTIME);
    int busy = mtx_trylock(&c_mutex) == thrd_busy;
    return busy && mtx_timedlock(&c_mutex, &at) == thrd_timedout ? 1 : 0;
}

static int c_leave(void *done) {
    sem_post(done);
    thrd_exit(0);
}

static void c11(void) {
    mtx_init(&c_mutex, mtx_timed);
    cnd_init(&c_cond);
    tss_create(&c_key, c_destroy);
    call_once(&c_once, c_initialise);
    thrd_t threads[2];
    int results[2];
    thrd_create(&threads[0], c_raise, NULL);
    thrd_create(&threads[1], c_raise, NULL);
    mtx_lock(&c_mutex);
    while (c_value < 12) {
        cnd_wait(&c_cond, &c_mutex);
    }
    struct timespec at = soon(CLOCK_REALTIME);
    int timed;
    while ((timed = cnd_timedwait(&c_cond, &c_mutex, &at)) == thrd_success) {
    }
    mtx_unlock(&c_mutex);
    thrd_join(threads[0], &results[0]);
    thrd_join(threads[1], &results[1]);
    printf("C11: %d, results %d %d", c_value, results[0], results[1]);
    printf(", timed %s", timed == thrd_timedout ? "out" : "?");
    mtx_lock(&c_mutex);
    int held;
    thrd_create(&threads[0], c_held, NULL);
    thrd_join(threads[0], &held);
    mtx_unlock(&c_mutex);
    printf(", held %s, destroyed %d\n", held ? "yes" : "no", c_destroyed);

    mtx_t recursive;
    mtx_init(&recursive, mtx_plain | mtx_recursive);
    mtx_lock(&recursive);
    int again = mtx_lock(&recursive) == thrd_success;
    mtx_unlock(&recursive);
    mtx_unlock(&recursive);
    mtx_destroy(&recursive);
    sem_t done;
    sem_init(&done, 0, 0);
    thrd_t left;
    thrd_create(&left, c_leave, &done);
    thrd_detach(left);
    sem_wait(&done);
    struct timespec moment = {0, 1000000};
    thrd_sleep(&moment, NULL);
    printf("C11: recursive %s, same %s\n", again ? "yes" : "no",
           thrd_equal(thrd_current(), thrd_current()) ? "yes" : "no");
    tss_delete(c_key);
    cnd_destroy(&c_cond);
    mtx_destroy(&c_mutex);
}

// ---- Ends of threads ----------------------------------------------------------------------------

static sem_t ended;

static void *leave_value(void *value) {
    pthread_exit(value);
}

static sem_t left, asked;

static void *detach_self(void *unused) {
    (void)unused;
    pthread_detach(pthread_self());
    sem_post(&left);
    return NULL;
}

static void *answer(void *unused) {
    (void)unused;
    sem_wait(&asked);
    sem_post(&left);
    return NULL;
}

static void *await_end(void *unused) {
    (void)unused;
    sem_wait(&ended);
    return NULL;
}

static void joins(void) {
    sem_init(&ended, 0, 0);
    static int value;
    sem_init(&left, 0, 0);
    sem_init(&asked, 0, 0);
    void *result = NULL;
    pthread_join(start(leave_value, &value), &result);
    printf("exit: %s", result == &value ? "value" : "?");
    start(detach_self, NULL);
    sem_wait(&left);
    pthread_t detached = start(answer, NULL);
    int error = pthread_detach(detached);
    sem_post(&asked);
    sem_wait(&left);
    printf(", detach %s\n", name(error));
}

static pthread_mutex_t cancel_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static sem_t ready;
static int cleaned;

static void clean(void *unused) {
    (void)unused;
    cleaned++;
}

static void clean_lock(void *mutex) {
    cleaned++;
    pthread_mutex_unlock(mutex);
}

static void *wait_for_ever(void *unused) {
    (void)unused;
    pthread_mutex_lock(&cancel_mutex);
    pthread_cleanup_push(clean_lock, &cancel_mutex);
    sem_post(&ready);
    for (;;) {
        pthread_cond_wait(&never, &cancel_mutex);
    }
    pthread_cleanup_pop(1);
    return NULL;
}

static void *sleep_for_ever(void *unused) {
    (void)unused;
    pthread_cleanup_push(clean, NULL);
    sem_post(&ready);
    for (;;) {
        sleep(3600);
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void *refuse_once(void *unused) {
    (void)unused;
    int old;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    sem_post(&ready);
    sem_wait(&ended); // posted after the cancellation
    cleaned += 10;
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    for (;;) {
        pthread_testcancel();
        sched_yield();
    }
    return NULL;
}

static const char *cancelled(void *(*body)(void *)) {
    pthread_t thread = start(body, NULL);
    sem_wait(&ready);
    pthread_cancel(thread);
    sem_post(&ended);
    void *result = NULL;
    pthread_join(thread, &result);
    if (body != refuse_once) {
        sem_wait(&ended);
    }
    return result == PTHREAD_CANCELED ? "yes" : "no";
}

static void cancels(void) {
    sem_init(&ready, 0, 0);
    printf("cancel: in cond_wait %s", cancelled(wait_for_ever));
    printf(", lock free %s", name(pthread_mutex_trylock(&cancel_mutex)));
    printf(", in sleep %s", cancelled(sleep_for_ever));
    printf(", disabled first %s", cancelled(refuse_once));
    printf(", cleaned %d\n", cleaned);
}

static void timed_joins(void) {
    pthread_t thread = start(await_end, NULL);
    printf("join: try %s", name(pthread_tryjoin_np(thread, NULL)));
    struct timespec at = soon(CLOCK_REALTIME);
    printf(", timed %s", name(pthread_timedjoin_np(thread, NULL, &at)));
    at = soon(CLOCK_MONOTONIC);
    printf(", clock %s", name(pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &at)));
    sem_post(&ended);
    int error;
    do {
        sched_yield();
        error = pthread_tryjoin_np(thread, NULL);
    } while (error == EBUSY);
    printf(", ended %s\n", name(error));
}

// ---- Time ---------------------------------------------------------------------------------------

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void times(void) {
    double before = seconds(CLOCK_MONOTONIC);
    struct timespec moment = {0, 2000000};
    nanosleep(&moment, NULL);
    clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
    struct timespec at = soon(CLOCK_MONOTONIC);
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    usleep(2000);
    sched_yield();
    // By how much the clock moved is the clock's own matter, but never less than was slept.
    double passed = seconds(CLOCK_MONOTONIC) - before;
    struct timeval day;
    gettimeofday(&day, NULL);
    long difference = (long)(time(NULL) - day.tv_sec);
    printf("time: slept %s, clocks %s\n", passed >= 0.009 ? "long enough" : "too short",
           difference >= -1 && difference <= 1 ? "agree" : "differ");

    char bytes[16];
    ssize_t got = getrandom(bytes, sizeof bytes, 0);
#if __GLIBC_PREREQ(2, 36)
    arc4random_buf(bytes, sizeof bytes);
#endif
    int entropy = getentropy(bytes, sizeof bytes);
    printf("random: %zd bytes, getentropy %s\n", got, name(error_of(entropy)));
}

// ---- Signals and processes ----------------------------------------------------------------------

static void *nothing(void *unused) {
    return unused;
}

static _Atomic int handled;

static void on_signal(int number) {
    (void)number;
    handled++;
}

static void *take_signal(void *set) {
    int number = 0;
    sigwait(set, &number);
    return (void *)(intptr_t)(number == SIGUSR2);
}

static void signals(void) {
    signal(SIGUSR1, on_signal);
    pthread_kill(pthread_self(), SIGUSR1);
    raise(SIGUSR1);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_t taker = start(take_signal, &set);
    pthread_kill(taker, SIGUSR2);
    void *taken = NULL;
    pthread_join(taker, &taken);
    printf("signals: handled %d, sigwait %s\n", handled, taken ? "took it" : "?");

    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        _exit(in_thread(nothing, (void *)9));
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("fork: exit %d\n", WEXITSTATUS(status));
}

// ---- Cores --------------------------------------------------------------------------------------

static void *count_cores(void *unused) {
    (void)unused;
    cpu_set_t own;
    CPU_ZERO(&own);
    pthread_getaffinity_np(pthread_self(), sizeof own, &own);
    return (void *)(intptr_t)CPU_COUNT(&own);
}

// As a process that nobody controls sees it, asked of the system itself.
static int count_in_child(void) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        cpu_set_t own;
        CPU_ZERO(&own);
        syscall(SYS_sched_getaffinity, 0, sizeof own, &own);
        _exit(CPU_COUNT(&own));
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

static void cores(void) {
    cpu_set_t all, one;
    CPU_ZERO(&all);
    CPU_ZERO(&one);
    sched_getaffinity(0, sizeof all, &all);
    int count = CPU_COUNT(&all), last = 0;
    for (int core = 0; core < CPU_SETSIZE; core++)
        last = CPU_ISSET(core, &all) ? core : last;
    CPU_SET(last, &one);
    int asked = sched_setaffinity(0, sizeof one, &one);
    printf("cores: %s, a thread has %d, a process %d, ", name(error_of(asked)),
           in_thread(count_cores, NULL), count_in_child());
    sched_setaffinity(0, sizeof all, &all);
    int again = in_thread(count_cores, NULL) == count && count_in_child() == count;
    printf("all again %s\n", again ? "yes" : "no");
    // How many the program is to find, where that is known.
    const char *known = getenv("CORES");
    if (known && atoi(known) != count)
        exit(71);
}

static void goodbye(void) {
    puts("atexit");
}

int main(void) {
    atexit(goodbye);
    c11();
    joins();
    timed_joins();
    cancels();
    times();
    signals();
    cores();
    return 0;
}
