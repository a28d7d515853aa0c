// Planted: data races that no check notices, a case for each way to have one. The case is the
// argument. With -DFIXED each is ordered, in the way that the case is about.
// Failure: data-race, where loads and stores are instrumented; none otherwise.
#include "../threads.h"
#include <stdatomic.h>
#include <stdint.h>

#ifdef FIXED
#define IF_FIXED(...) __VA_ARGS__
#define ELSE(...)
#else
#define IF_FIXED(...)
#define ELSE(...) __VA_ARGS__
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
ELSE(static pthread_mutex_t other_lock = PTHREAD_MUTEX_INITIALIZER;)
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

// Two threads that both run `body`.
static void both(void *(*body)(void *), void *argument) {
    pthread_t one = start(body, argument), two = start(body, argument);
    join(one);
    join(two);
}

static void pair(void *(*first)(void *), void *(*second)(void *), void *argument) {
    pthread_t one = start(first, argument), two = start(second, argument);
    join(one);
    join(two);
}

// A counter without a lock.
static int counter;
static void *count(void *unused) {
    (void)unused;
    IF_FIXED(pthread_mutex_lock(&lock);)
    counter++;
    IF_FIXED(pthread_mutex_unlock(&lock);)
    return NULL;
}

// A flag that is no atomic.
static ELSE(volatile int) IF_FIXED(atomic_int) flag;
static int payload;
static void *raise_flag(void *unused) {
    (void)unused;
    payload = 7;
    flag = 1;
    return NULL;
}
static void *look_at_flag(void *unused) {
    (void)unused;
    if (flag)
        assert(payload == 7);
    return NULL;
}

// An object on the heap.
struct box {
    long before;
    int content;
};
static void *fill_box(void *argument) {
    struct box *box = argument;
    IF_FIXED(pthread_mutex_lock(&lock);)
    box->content += 1;
    IF_FIXED(pthread_mutex_unlock(&lock);)
    return NULL;
}
static void heap(void) {
    struct box *box = calloc(1, sizeof *box);
    both(fill_box, box);
    free(box);
}

// A handshake that orders nothing.
static atomic_int ready;
static int message;
#define STORE_ORDER ELSE(memory_order_relaxed) IF_FIXED(memory_order_release)
#define LOAD_ORDER ELSE(memory_order_relaxed) IF_FIXED(memory_order_acquire)
static void *hand_over(void *unused) {
    (void)unused;
    message = 1;
    atomic_store_explicit(&ready, 1, STORE_ORDER);
    return NULL;
}
static void *take(void *unused) {
    (void)unused;
    while (!atomic_load_explicit(&ready, LOAD_ORDER)) {
    }
    message++;
    return NULL;
}

// Only one side of the handshake orders.
static void *hand_over_released(void *unused) {
    (void)unused;
    message = 1;
    atomic_store_explicit(&ready, 1, memory_order_release);
    return NULL;
}
static void *take_acquired(void *unused) {
    (void)unused;
    while (!atomic_load_explicit(&ready, memory_order_acquire)) {
    }
    message++;
    return NULL;
}

// What is taken is not what was handed over but what a third thread wrote over it.
static void *write_over(void *unused) {
    (void)unused;
    while (!atomic_load_explicit(&ready, memory_order_relaxed)) {
    }
    ELSE(atomic_store_explicit(&ready, 2, memory_order_relaxed);)
    IF_FIXED(atomic_fetch_add_explicit(&ready, 1, memory_order_relaxed);)
    return NULL;
}
static void *take_second(void *unused) {
    (void)unused;
    while (atomic_load_explicit(&ready, memory_order_acquire) != 2) {
    }
    message++;
    return NULL;
}
static void overwritten(void) {
    pthread_t third = start(write_over, NULL);
    pair(hand_over_released, take_second, NULL);
    join(third);
}

// The thread that wrote it reads it again, which is no race with other readers.
static void *write_and_read(void *unused) {
    (void)unused;
    *(volatile int *)&message = 1;
    pthread_mutex_lock(&lock); // Nobody else takes it.
    pthread_mutex_unlock(&lock);
    int seen = *(volatile int *)&message;
    atomic_store_explicit(&ready, seen, STORE_ORDER);
    return NULL;
}
static void *only_read(void *unused) {
    (void)unused;
    while (!atomic_load_explicit(&ready, LOAD_ORDER)) {
    }
    return *(volatile int *)&message ? &message : NULL;
}

// Relaxed accesses with a fence on one side only.
static void *hand_over_fenced(void *unused) {
    (void)unused;
    message = 1;
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&ready, 1, memory_order_relaxed);
    return NULL;
}
static void *take_fenced(void *unused) {
    (void)unused;
    while (!atomic_load_explicit(&ready, memory_order_relaxed)) {
    }
    IF_FIXED(atomic_thread_fence(memory_order_acquire);)
    message++;
    return NULL;
}

// An atomic, and a plain write of it.
static atomic_int mixed;
static void *add_to_mixed(void *unused) {
    (void)unused;
    atomic_fetch_add(&mixed, 1);
    return NULL;
}
static void *reset_mixed(void *unused) {
    (void)unused;
    ELSE(*(volatile int *)&mixed = 0;)
    IF_FIXED(atomic_store(&mixed, 0);)
    return NULL;
}

// Each under a lock of its own.
static int guarded;
static void *under_one(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    guarded++;
    pthread_mutex_unlock(&lock);
    return NULL;
}
static void *under_other(void *unused) {
    (void)unused;
    pthread_mutex_t *mine = ELSE(&other_lock) IF_FIXED(&lock);
    pthread_mutex_lock(mine);
    guarded++;
    pthread_mutex_unlock(mine);
    return NULL;
}

// A write under a lock that is for reading.
static void *write_as_reader(void *unused) {
    (void)unused;
    ELSE(pthread_rwlock_rdlock(&rwlock);)
    IF_FIXED(pthread_rwlock_wrlock(&rwlock);)
    guarded++;
    pthread_rwlock_unlock(&rwlock);
    return NULL;
}

// Bytes beside each other are no race, the same byte is.
static _Alignas(8) volatile unsigned char bytes[8];
static void *write_byte(void *argument) {
    bytes[(uintptr_t)argument] = 1;
    return NULL;
}
static void neighbours(void) {
    pthread_t one = start(write_byte, (void *)3), two = start(write_byte, (void *)(3 IF_FIXED(+ 1)));
    join(one);
    join(two);
}

// Fields of bits in one word are one memory location.
static struct {
    volatile unsigned a : 3;
    volatile unsigned b : 5;
    IF_FIXED(int : 0;)
    volatile unsigned c : 4;
} bits;
static void *write_a(void *unused) {
    (void)unused;
    bits.a = 1;
    return NULL;
}
static void *write_c(void *unused) {
    (void)unused;
    bits.c = 1;
    return NULL;
}

// A range that a function of the C library copies.
static char text[4096];
static void *copy_text(void *argument) {
    char copy[sizeof text];
    IF_FIXED(pthread_mutex_lock(&lock);)
    memcpy(copy, text, *(size_t *)argument);
    IF_FIXED(pthread_mutex_unlock(&lock);)
    return (void *)(uintptr_t)(unsigned char)copy[0];
}
static void *write_text(void *unused) {
    (void)unused;
    IF_FIXED(pthread_mutex_lock(&lock);)
    text[1001] = 'x';
    IF_FIXED(pthread_mutex_unlock(&lock);)
    return NULL;
}
static void range(void) {
    volatile size_t length = sizeof text;
    pair(copy_text, write_text, (void *)&length);
}

// Overlapping words that are not aligned.
struct __attribute__((packed)) unaligned {
    char first;
    volatile uint64_t word;
};
static struct unaligned unaligned;
static void *write_word(void *unused) {
    (void)unused;
    IF_FIXED(pthread_mutex_lock(&lock);)
    unaligned.word = 5;
    IF_FIXED(pthread_mutex_unlock(&lock);)
    return NULL;
}
static void *write_last(void *unused) {
    (void)unused;
    IF_FIXED(pthread_mutex_lock(&lock);)
    ((volatile char *)&unaligned)[8] = 1;
    IF_FIXED(pthread_mutex_unlock(&lock);)
    return NULL;
}

// The creator goes on writing.
static int early;
static void *read_early(void *unused) {
    (void)unused;
    return early ? &early : NULL;
}
static void created(void) {
    IF_FIXED(early = 1;)
    pthread_t thread = start(read_early, NULL);
    ELSE(early = 1;)
    join(thread);
}

// The result is read before the thread was waited for.
static volatile int result;
static void *work(void *unused) {
    (void)unused;
    result = 42;
    return NULL;
}
static int joined(void) {
    pthread_t thread = start(work, NULL);
    ELSE(int seen = result;)
    join(thread);
    IF_FIXED(int seen = result;)
    return seen;
}

// A variable on another thread's stack.
static void *write_there(void *argument) {
    *(int *)argument = 1;
    return NULL;
}
static int stack(void) {
    int local = 0;
    pthread_t thread = start(write_there, &local);
    ELSE(local = 2;)
    join(thread);
    return local;
}

// Whoever comes first gets the round, but another one is still in the last.
static pthread_barrier_t barrier;
static int rounds[2];
static void *take_part(void *argument) {
    int mine = *(int *)argument;
    rounds[mine] = 1;
    IF_FIXED(pthread_barrier_wait(&barrier);)
    int sum = rounds[0] + rounds[1];
    return sum ? argument : NULL;
}
static void meet(void) {
    int numbers[2] = {0, 1};
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_t one = start(take_part, &numbers[0]), two = start(take_part, &numbers[1]);
    join(one);
    join(two);
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "counter";
#define CASE(this, what)                                                                           \
    if (strcmp(name, this) == 0) {                                                                 \
        what;                                                                                      \
        return 0;                                                                                  \
    }
    CASE("counter", both(count, NULL))
    CASE("flag", pair(raise_flag, look_at_flag, NULL))
    CASE("heap", heap())
    CASE("relaxed", pair(hand_over, take, NULL))
    CASE("relaxed-store", pair(hand_over, take_acquired, NULL))
    CASE("relaxed-load", pair(hand_over_released, take, NULL))
    CASE("overwritten", overwritten())
    CASE("read-again", pair(write_and_read, only_read, NULL))
    CASE("fence", pair(hand_over_fenced, take_fenced, NULL))
    CASE("mixed", pair(add_to_mixed, reset_mixed, NULL))
    CASE("wrong-lock", pair(under_one, under_other, NULL))
    CASE("read-lock", both(write_as_reader, NULL))
    CASE("byte", neighbours())
    CASE("bits", pair(write_a, write_c, NULL))
    CASE("range", range())
    CASE("unaligned", pair(write_word, write_last, NULL))
    CASE("created", created())
    CASE("joined", joined())
    CASE("stack", stack())
    CASE("barrier", meet())
    fprintf(stderr, "%s: no such case\n", name);
    return 70;
}
