// Correct programs, each ordered in another way, that must not be accused of a data race in any
// schedule. The case is the argument; "all" is all of them.
#include "../threads.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <threads.h>
#include <unistd.h>

// What all of them share. The handles of the objects that order are made anew for each.
static int shared;
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    pthread_rwlock_t rwlock;
    pthread_spinlock_t spin;
    pthread_barrier_t barrier;
    sem_t sem;
    mtx_t c11;
    int ready, readers;
} by;

static void pair(void *(*first)(void *), void *(*second)(void *)) {
    pthread_t one = start(first, NULL), two = start(second, NULL);
    join(one);
    join(two);
    assert(shared);
}

static void *with_mutex(void *unused) {
    pthread_mutex_lock(&by.mutex);
    shared++;
    pthread_mutex_unlock(&by.mutex);
    return unused;
}
static void *with_trylock(void *unused) {
    while (pthread_mutex_trylock(&by.mutex) != 0)
        sched_yield();
    shared++;
    pthread_mutex_unlock(&by.mutex);
    return unused;
}
static void *with_timedlock(void *unused) {
    struct timespec at = {0};
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec++;
    if (pthread_mutex_timedlock(&by.mutex, &at) == 0) {
        shared++;
        pthread_mutex_unlock(&by.mutex);
    }
    return unused;
}
static void *with_c11(void *unused) {
    mtx_lock(&by.c11);
    shared++;
    mtx_unlock(&by.c11);
    return unused;
}

static void *read_shared(void *unused) {
    pthread_rwlock_rdlock(&by.rwlock);
    int seen = shared;
    pthread_rwlock_unlock(&by.rwlock);
    return seen < 0 ? &by : unused;
}
static void *write_shared(void *unused) {
    pthread_rwlock_wrlock(&by.rwlock);
    shared++;
    pthread_rwlock_unlock(&by.rwlock);
    return unused;
}
static void rwlocks(void) {
    pthread_t reader = start(read_shared, NULL);
    pair(write_shared, write_shared);
    join(reader);
}

static void *give_by_cond(void *unused) {
    pthread_mutex_lock(&by.mutex);
    pthread_cond_signal(&by.cond);
    shared = 5;
    by.ready = 1;
    pthread_mutex_unlock(&by.mutex);
    return unused;
}
static void *take_by_cond(void *unused) {
    pthread_mutex_lock(&by.mutex);
    while (!by.ready)
        pthread_cond_wait(&by.cond, &by.mutex);
    pthread_mutex_unlock(&by.mutex);
    shared++;
    return unused;
}

static void *give_by_sem(void *unused) {
    shared = 5;
    sem_post(&by.sem);
    return unused;
}
static void *take_by_sem(void *unused) {
    sem_wait(&by.sem);
    shared++;
    return unused;
}

static int parts[2];
static void *meet_often(void *argument) {
    int mine = (int)(uintptr_t)argument;
    for (int round = 0; round < 4; round++) {
        parts[mine] = round;
        pthread_barrier_wait(&by.barrier);
        assert(parts[0] + parts[1] == 2 * round);
        pthread_barrier_wait(&by.barrier);
    }
    return NULL;
}
static void barriers(void) {
    pthread_t one = start(meet_often, (void *)0), two = start(meet_often, (void *)1);
    join(one);
    join(two);
}

// It arrives before any thread but main has touched anything.
static void *meet_first(void *unused) {
    pthread_barrier_wait(&by.barrier);
    shared++;
    return unused;
}
static void *meet_with_shared(void *unused) {
    shared++;
    pthread_barrier_wait(&by.barrier);
    return unused;
}

static void *with_spin(void *unused) {
    pthread_spin_lock(&by.spin);
    shared++;
    pthread_spin_unlock(&by.spin);
    return unused;
}

static atomic_int flag;
static void *release(void *unused) {
    shared = 5;
    atomic_store_explicit(&flag, 1, memory_order_release);
    return unused;
}
static void *acquire(void *unused) {
    while (!atomic_load_explicit(&flag, memory_order_acquire)) {
    }
    shared++;
    return unused;
}
// What others add to it goes on with what was released.
static void *add_relaxed(void *unused) {
    atomic_fetch_add_explicit(&flag, 2, memory_order_relaxed);
    return unused;
}
static void *acquire_from_add(void *unused) {
    while (!(atomic_load_explicit(&flag, memory_order_acquire) & 1)) {
    }
    shared++;
    return unused;
}
static void sequence(void) {
    pthread_t adder = start(add_relaxed, NULL);
    pair(release, acquire_from_add);
    join(adder);
}
static void *release_by_fence(void *unused) {
    shared = 5;
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&flag, 1, memory_order_relaxed);
    return unused;
}
static void *acquire_by_fence(void *unused) {
    while (!atomic_load_explicit(&flag, memory_order_relaxed)) {
    }
    atomic_thread_fence(memory_order_acquire);
    shared++;
    return unused;
}
// Locks that are made of atomics.
static void *with_exchange(void *unused) {
    while (atomic_exchange_explicit(&flag, 1, memory_order_acquire))
        sched_yield();
    shared++;
    atomic_store_explicit(&flag, 0, memory_order_release);
    return unused;
}
static void *with_compare(void *unused) {
    int expected = 0;
    while (!atomic_compare_exchange_weak_explicit(&flag, &expected, 1, memory_order_acquire,
                                                  memory_order_relaxed))
        expected = 0;
    shared++;
    atomic_store_explicit(&flag, 0, memory_order_release);
    return unused;
}
static atomic_uint next_ticket, now_serving;
static void *with_ticket(void *unused) {
    unsigned mine = atomic_fetch_add_explicit(&next_ticket, 1, memory_order_relaxed);
    while (atomic_load_explicit(&now_serving, memory_order_acquire) != mine) {
    }
    shared++;
    atomic_fetch_add_explicit(&now_serving, 1, memory_order_release);
    return unused;
}
// The last owner destroys.
struct counted {
    atomic_int owners;
    int content;
};
static void *give_up(void *argument) {
    struct counted *counted = argument;
    int seen = counted->content;
    if (atomic_fetch_sub_explicit(&counted->owners, 1, memory_order_release) == 1) {
        atomic_thread_fence(memory_order_acquire);
        counted->content = seen + 1;
        free(counted);
    }
    return NULL;
}
static void owners(void) {
    struct counted *counted = malloc(sizeof *counted);
    counted->content = 1;
    atomic_init(&counted->owners, 2);
    pthread_t one = start(give_up, counted), two = start(give_up, counted);
    join(one);
    join(two);
}

static pthread_once_t once_control = PTHREAD_ONCE_INIT;
static void initialise(void) { shared = 9; }
static void *with_once(void *unused) {
    pthread_once(&once_control, initialise);
    assert(shared == 9);
    return unused;
}

static void *with_fresh_once(void *control) {
    pthread_once(control, initialise);
    assert(shared == 9);
    return NULL;
}
// One that is made where another one was, is another one.
static void onces_in_turn(void) {
    pthread_once_t *control = malloc(sizeof *control);
    for (int round = 0; round < 2; round++) {
        *control = (pthread_once_t)PTHREAD_ONCE_INIT;
        shared = 0;
        pthread_t one = start(with_fresh_once, control), two = start(with_fresh_once, control);
        join(one);
        join(two);
    }
    free(control);
}

static void *set_shared(void *unused) {
    shared = 3;
    return unused;
}
static void threads_in_turn(void) {
    for (int round = 0; round < 3; round++) {
        shared = 1;
        join(start(set_shared, NULL));
        shared++;
    }
}

static void *post_at_end(void *unused) {
    shared = 4;
    sem_post(&by.sem);
    return unused;
}
static void detached(void) {
    pthread_t thread = start(post_at_end, NULL);
    pthread_detach(thread);
    sem_wait(&by.sem);
    shared++;
}

static int ends[2];
static void *give_by_write(void *unused) {
    shared = 6;
    assert(write(ends[1], "x", 1) == 1);
    return unused;
}
static void *take_by_read(void *unused) {
    char byte;
    assert(read(ends[0], &byte, 1) == 1);
    shared++;
    return unused;
}
static void *take_by_poll(void *unused) {
    struct pollfd one = {.fd = ends[0], .events = POLLIN};
    assert(poll(&one, 1, -1) == 1);
    shared++;
    return unused;
}
static void *give_by_close(void *unused) {
    shared = 6;
    close(ends[1]);
    return unused;
}
static void *take_by_end(void *unused) {
    char byte;
    assert(read(ends[0], &byte, 1) == 0);
    shared++;
    return unused;
}
static void *give_by_event(void *unused) {
    shared = 6;
    eventfd_write(ends[1], 1);
    return unused;
}
static void *take_by_event(void *unused) {
    eventfd_t value;
    eventfd_read(ends[0], &value);
    shared++;
    return unused;
}
static void pipes(void) {
    assert(pipe(ends) == 0);
    pair(give_by_write, take_by_read);
    pair(give_by_write, take_by_poll);
    char byte;
    assert(read(ends[0], &byte, 1) == 1);
    pair(give_by_close, take_by_end);
    close(ends[0]);
}
static void sockets(void) {
    assert(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    pair(give_by_write, take_by_read);
    close(ends[0]);
    close(ends[1]);
}
static void events(void) {
    ends[0] = ends[1] = eventfd(0, 0);
    pair(give_by_event, take_by_event);
    close(ends[0]);
}

// Memory that one has given back and another gets: nothing else orders them.
static void *use_block(void *unused) {
    for (int round = 0; round < 3; round++) {
        char *block = malloc(5000);
        for (int at = 0; at < 5000; at += 500)
            block[at] = (char)round;
        block = realloc(block, 9000);
        block[8000] = 1;
        free(block);
        sched_yield();
    }
    return unused;
}
static void *use_pages(void *unused) {
    for (int round = 0; round < 3; round++) {
        char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        pages[0] = pages[4096] = 1;
        munmap(pages, 8192);
        sched_yield();
    }
    return unused;
}
static void blocks(void) {
    mallopt(M_ARENA_MAX, 1);
    shared = 1;
    pair(use_block, use_block);
    pair(use_pages, use_pages);
}

// The stack of a thread that has ended is that of the next.
static __thread int local;
static atomic_int ended;
static void *use_stack(void *unused) {
    volatile char space[2000];
    for (size_t at = 0; at < sizeof space; at += 100)
        space[at] = 1;
    local++;
    atomic_fetch_add_explicit(&ended, 1, memory_order_relaxed);
    return unused;
}
static void stacks(void) {
    for (int round = 1; round <= 4; round++) {
        pthread_detach(start(use_stack, NULL));
        while (atomic_load_explicit(&ended, memory_order_relaxed) < round - 1)
            sched_yield();
    }
    while (atomic_load_explicit(&ended, memory_order_relaxed) < 4)
        sched_yield();
}

static pthread_key_t key;
static void destroy_value(void *value) { *(int *)value = 7; }
static void *with_key(void *unused) {
    pthread_setspecific(key, &shared);
    return unused;
}
static void keys(void) {
    pthread_key_create(&key, destroy_value);
    join(start(with_key, NULL));
    assert(shared == 7);
    pthread_key_delete(key);
}

static void clean_up(void *unused) {
    (void)unused;
    shared = 8;
}
static void *wait_to_be_cancelled(void *unused) {
    pthread_cleanup_push(clean_up, NULL);
    sem_wait(&by.sem);
    pthread_cleanup_pop(0);
    return unused;
}
static void cancelled(void) {
    pthread_t thread = start(wait_to_be_cancelled, NULL);
    shared = 1;
    pthread_cancel(thread);
    join(thread);
    assert(shared == 8);
}

// What was not compiled for heisenbed writes an atomic that the program reads.
static atomic_int unseen;
__attribute__((no_sanitize("thread"), noinline)) static void publish_unseen(void) {
    atomic_store_explicit(&unseen, 1, memory_order_release);
}
static void *release_unseen(void *unused) {
    shared = 5;
    publish_unseen();
    return unused;
}
static void *acquire_unseen(void *unused) {
    while (!atomic_load_explicit(&unseen, memory_order_acquire)) {
    }
    shared++;
    return unused;
}
static void unseen_writers(void) {
    // Known before it changes.
    atomic_store(&unseen, 0);
    pthread_t one = start(acquire_unseen, NULL);
    assert(atomic_load(&unseen) == 0);
    pthread_t two = start(release_unseen, NULL);
    join(one);
    join(two);
}

static pthread_t waiting;
static void *wait_for_signal(void *unused) {
    sigset_t set;
    int number;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigwait(&set, &number);
    shared++;
    return unused;
}
static void *send_signal(void *unused) {
    shared = 5;
    pthread_kill(waiting, SIGUSR2);
    return unused;
}
static void sigwaits(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    waiting = start(wait_for_signal, NULL);
    join(start(send_signal, NULL));
    join(waiting);
}

static volatile sig_atomic_t handled;
static void handle(int number) {
    (void)number;
    handled = shared;
}
static void *interrupt_itself(void *unused) {
    shared = 2;
    raise(SIGUSR1);
    assert(handled == 2);
    return unused;
}
static void signals(void) {
    signal(SIGUSR1, handle);
    join(start(interrupt_itself, NULL));
}

// Two threads write where there is no memory: that touches nothing, and no two of them race.

static int *volatile nowhere;
static __thread sigjmp_buf back;

static void jump_back(int number) {
    (void)number;
    siglongjmp(back, 1);
}

static void *fault(void *unused) {
    if (sigsetjmp(back, 1) == 0)
        *nowhere = 1;
    return unused;
}

static void faults(void) {
    struct sigaction jumps, before;
    memset(&jumps, 0, sizeof jumps);
    jumps.sa_handler = jump_back;
    sigaction(SIGSEGV, &jumps, &before);
    shared = 1;
    pair(fault, fault);
    sigaction(SIGSEGV, &before, NULL);
}

// Whoever takes a robust mutex over comes after all that the dead thread did.

static pthread_mutex_t robust;

static void *inherit(void *unused) {
    if (pthread_mutex_lock(&robust) == EOWNERDEAD)
        pthread_mutex_consistent(&robust);
    shared++;
    // The first one leaves it to the second.
    if (shared == 2)
        pthread_mutex_unlock(&robust);
    return unused;
}

static void heirs(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attributes);
    pair(inherit, inherit);
}

static void make(void) {
    memset(&by, 0, sizeof by);
    pthread_mutex_init(&by.mutex, NULL);
    pthread_cond_init(&by.cond, NULL);
    pthread_rwlock_init(&by.rwlock, NULL);
    pthread_spin_init(&by.spin, 0);
    pthread_barrier_init(&by.barrier, NULL, 2);
    sem_init(&by.sem, 0, 0);
    mtx_init(&by.c11, mtx_plain);
    flag = 0;
    shared = 0;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "all";
    int done = 0;
#define CASE(this, what)                                                                           \
    if (strcmp(name, this) == 0 || strcmp(name, "all") == 0) {                                     \
        make();                                                                                    \
        what;                                                                                      \
        done++;                                                                                    \
    }
    CASE("mutex", pair(with_mutex, with_mutex))
    CASE("trylock", pair(with_mutex, with_trylock))
    CASE("timedlock", pair(with_mutex, with_timedlock))
    CASE("c11", pair(with_c11, with_c11))
    CASE("rwlock", rwlocks())
    CASE("rwlock-first", pair(write_shared, read_shared))
    CASE("condition", pair(give_by_cond, take_by_cond))
    CASE("semaphore", pair(give_by_sem, take_by_sem))
    CASE("barrier", barriers())
    CASE("barrier-first", pair(meet_first, meet_with_shared))
    CASE("spin", pair(with_spin, with_spin))
    CASE("release-acquire", pair(release, acquire))
    CASE("sequence", sequence())
    CASE("fences", pair(release_by_fence, acquire_by_fence))
    CASE("exchange", pair(with_exchange, with_exchange))
    CASE("compare", pair(with_compare, with_compare))
    CASE("ticket", pair(with_ticket, with_ticket))
    CASE("owners", owners())
    CASE("once", pair(with_once, with_once))
    CASE("onces", onces_in_turn())
    CASE("join", threads_in_turn())
    CASE("detached", detached())
    CASE("pipe", pipes())
    CASE("socket", sockets())
    CASE("event", events())
    CASE("blocks", blocks())
    CASE("stacks", stacks())
    CASE("keys", keys())
    CASE("cancelled", cancelled())
    CASE("signals", signals())
    CASE("unseen", unseen_writers())
    CASE("sigwait", sigwaits())
    CASE("faults", faults())
    CASE("heirs", heirs())
    if (done)
        return 0;
    fprintf(stderr, "%s: no such case\n", name);
    return 70;
}
