// Two threads, of which one order of two actions fails: another kind of action for each WHAT. Who
// is started first does not fail where it goes on as long as it can, so that the order has to be
// found. The twin has no such order.
#include "../threads.h"
#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define TRIED 1
#define TIMED 2
#define SLEPT 3
#define FREED 4
#define ENDED 5
#define ONCE 6
#define COUNTED 7
#define SHARED 8
#define PIPED 9
#define CLOCKED 10
#define WOKEN 11
#define ATOMIC 12
#define DRAWN 13
#define LOOKED 14
#define LEFT 15

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static atomic_int flag;
static volatile int plain;

static void bad(void) {
    abort();
}

#if WHAT == TRIED
// Nothing that is seen happens while the mutex is held.
static void *first(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    return NULL;
}
static void *second(void *unused) {
    (void)unused;
#ifdef FIXED
    pthread_mutex_lock(&mutex);
#else
    if (pthread_mutex_trylock(&mutex) != 0) {
        bad();
    }
#endif
    pthread_mutex_unlock(&mutex);
    return NULL;
}
#elif WHAT == TIMED
static void *first(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    plain = 1;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&mutex);
    return NULL;
}
static void *second(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    while (!plain) {
#ifdef FIXED
        pthread_cond_wait(&changed, &mutex);
#else
        struct timespec at = {.tv_sec = 4000000000};
        if (pthread_cond_timedwait(&changed, &mutex, &at) == ETIMEDOUT) {
            bad();
        }
#endif
    }
    pthread_mutex_unlock(&mutex);
    return NULL;
}
#elif WHAT == SLEPT
static void *first(void *unused) {
    (void)unused;
    flag = 1;
    return NULL;
}
static void *second(void *other) {
#ifdef FIXED
    join(*(pthread_t *)other);
#else
    (void)other;
    sleep(1);
#endif
    if (!flag) {
        bad();
    }
    return NULL;
}
#elif WHAT == FREED
static char *block;
static void *first(void *unused) {
    (void)unused;
    if (block[5] != 7) {
        bad();
    }
    return NULL;
}
static void *second(void *other) {
#ifdef FIXED
    join(*(pthread_t *)other);
#else
    (void)other;
#endif
    free(block);
    return NULL;
}
#elif WHAT == ENDED || WHAT == LEFT
// The process ends while a thread that nobody waits for is about to look.
static void *first(void *unused) {
    (void)unused;
    return NULL;
}
static void *second(void *unused) {
    (void)unused;
    if (flag) {
        bad();
    }
    return NULL;
}
#elif WHAT == ONCE
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void initialise(void) {
    if (plain++ != 0) {
        bad();
    }
}
static void *first(void *unused) {
    (void)unused;
#ifdef FIXED
    pthread_once(&once, initialise);
#else
    if (plain == 0) {
        pthread_once(&once, (void (*)(void))getpid);
        initialise();
    }
#endif
    return NULL;
}
#define second first
#elif WHAT == COUNTED
static sem_t free_places;
static void *first(void *unused) {
    (void)unused;
    sem_wait(&free_places);
#ifdef FIXED
    pthread_mutex_lock(&mutex);
#endif
    int before = plain;
    plain = before + 1;
    if (plain != before + 1) {
        bad();
    }
#ifdef FIXED
    pthread_mutex_unlock(&mutex);
#endif
    sem_post(&free_places);
    return NULL;
}
#define second first
#elif WHAT == SHARED
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static int other_word;
static void *first(void *unused) {
    (void)unused;
    pthread_rwlock_wrlock(&lock);
    plain = 1;
    other_word = 1;
    pthread_rwlock_unlock(&lock);
    return NULL;
}
static void *second(void *unused) {
    (void)unused;
#ifdef FIXED
    pthread_rwlock_rdlock(&lock);
#endif
    if (plain != other_word) {
        bad();
    }
#ifdef FIXED
    pthread_rwlock_unlock(&lock);
#endif
    return NULL;
}
#elif WHAT == PIPED
static int ends[2];
static void *first(void *unused) {
    (void)unused;
    char byte = 1;
    return write(ends[1], &byte, 1) == 1 ? NULL : &ends;
}
static void *second(void *other) {
#ifdef FIXED
    join(*(pthread_t *)other);
#else
    (void)other;
#endif
    char byte = 2;
    return write(ends[1], &byte, 1) == 1 ? NULL : &ends;
}
#elif WHAT == CLOCKED
static long seen[2];
static void look(int who) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    seen[who] = now.tv_sec * 1000000000 + now.tv_nsec;
}
static void *first(void *unused) {
    (void)unused;
    look(0);
    return NULL;
}
static void *second(void *other) {
#ifdef FIXED
    join(*(pthread_t *)other);
#else
    (void)other;
#endif
    look(1);
    return NULL;
}
#elif WHAT == WOKEN
static void *first(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
#ifdef FIXED
    while (!flag) {
        pthread_cond_wait(&changed, &mutex);
    }
#else
    if (!flag) {
        pthread_mutex_unlock(&mutex);
        pthread_mutex_lock(&mutex);
        pthread_cond_wait(&changed, &mutex);
    }
#endif
    pthread_mutex_unlock(&mutex);
    return NULL;
}
static void *second(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    flag = 1;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&mutex);
    return NULL;
}
#elif WHAT == DRAWN
static int drawn[2];
static void *first(void *unused) {
    (void)unused;
    drawn[0] = rand();
    return NULL;
}
static void *second(void *other) {
#ifdef FIXED
    join(*(pthread_t *)other);
#else
    (void)other;
#endif
    drawn[1] = rand();
    return NULL;
}
#elif WHAT == LOOKED
static sem_t items;
static void *first(void *unused) {
    (void)unused;
    sem_post(&items);
    return NULL;
}
static void *second(void *other) {
#ifdef FIXED
    join(*(pthread_t *)other);
#else
    (void)other;
#endif
    int value = 0;
    sem_getvalue(&items, &value);
    if (value == 0) {
        bad();
    }
    return NULL;
}
#elif WHAT == ATOMIC
static void *first(void *unused) {
    (void)unused;
#ifdef FIXED
    atomic_fetch_add(&flag, 1);
#else
    int before = atomic_load(&flag);
    atomic_store(&flag, before + 1);
#endif
    return NULL;
}
#define second first
#endif

int main(void) {
    static pthread_t one, other;
#if WHAT == FREED
    // So large that giving it back unmaps it.
    block = calloc(1, 1 << 22);
    block[5] = 7;
#elif WHAT == COUNTED
    sem_init(&free_places, 0, 2);
#elif WHAT == LOOKED
    sem_init(&items, 0, 0);
#elif WHAT == DRAWN
    srand(1);
    int drawn_first = rand();
    srand(1);
#elif WHAT == PIPED
    if (pipe(ends) != 0) {
        return 70;
    }
#endif
    one = start(first, NULL);
    other = start(second, &one);
#if WHAT == ENDED || WHAT == LEFT
#ifdef FIXED
    join(other);
#else
    pthread_detach(other);
#endif
    join(one);
    flag = 1;
#if WHAT == LEFT
    _exit(0);
#endif
    return 0;
#elif (WHAT == SLEPT || WHAT == FREED || WHAT == PIPED || WHAT == CLOCKED || WHAT == DRAWN ||         \
       WHAT == LOOKED) && defined(FIXED)
    join(other);
#else
    join(one);
    join(other);
#endif
#if WHAT == PIPED
    char byte = 0;
    if (read(ends[0], &byte, 1) != 1 || byte != 1) {
        bad();
    }
#elif WHAT == CLOCKED
    if (seen[0] > seen[1]) {
        bad();
    }
#elif WHAT == DRAWN
    if (drawn[0] != drawn_first) {
        bad();
    }
#elif WHAT == ATOMIC
    if (flag != 2) {
        bad();
    }
#endif
    (void)bad;
    (void)mutex;
    (void)changed;
    (void)plain;
    (void)flag;
    return 0;
}
