// Counters of a device's memory in a shared region, as several processes keep them, with some of
// them killed at any moment; then whether the region says what is so.
//
//   counters FILE shipped|repaired ROUNDS SEED
//
// A round: workers attach, allocate and release, and detach; some are ended by SIGKILL in between.
// Then one more process attaches and detaches, and nobody is left: all counters must be 0.
//
// shipped: relaxed adds to the total, the chip's and the process's counter, one after the other; a
// slot is found and taken in two steps; whoever detaches subtracts what is its own, the last one
// clears all. repaired: the same counters, each change under a mutex in the region that says when
// its owner died; whoever takes it then, or attaches, takes away the slots of dead processes and
// counts the totals anew. Nobody waits for it without end: a waiter that is killed after it was
// woken takes the wake-up with it. Whoever took the lock meanwhile knows nothing of other waiters
// and wakes none of them: the kernel wakes for a dead waiter only while nobody has the lock.
//
// Prints a line: rounds, kills, rounds in which a counter was not 0 at the end.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COUNTERS = 6, CHIPS = 16, PROCESSES = 64, WORKERS = 3 };

// Version 1 of the region.
struct region {
    uint32_t version, active;
    uint64_t updated_ns;
    _Atomic uint32_t references;
    uint64_t board, chip;
    int32_t device;
    _Atomic uint64_t total[COUNTERS];
    struct {
        uint32_t chip, remote;
        _Atomic uint64_t bytes[COUNTERS];
    } chips[CHIPS];
    struct {
        int32_t pid;
        uint64_t bytes[COUNTERS];
        uint64_t updated_ns;
        char name[64];
    } processes[PROCESSES];
    pthread_mutex_t mutex; // of the repaired ones; padding else
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct region) == 9280, "the runtime's own size");

static struct region *region;
static int repaired;

static void clamped_subtract(_Atomic uint64_t *counter, uint64_t amount) {
    uint64_t seen = atomic_load(counter);
    while (!atomic_compare_exchange_weak(counter, &seen, seen > amount ? seen - amount : 0)) {
    }
}

// Takes away what dead processes left, and counts the rest. Under the mutex.
static void sweep(void) {
    uint64_t sums[COUNTERS] = {0};
    uint32_t alive = 0;
    for (int slot = 0; slot < PROCESSES; slot++) {
        int32_t pid = region->processes[slot].pid;
        if (pid == 0) continue;
        if (kill(pid, 0) != 0 && errno == ESRCH) {
            memset(region->processes[slot].bytes, 0, sizeof region->processes[slot].bytes);
            region->processes[slot].pid = 0;
            continue;
        }
        alive++;
        for (int counter = 0; counter < COUNTERS; counter++)
            sums[counter] += region->processes[slot].bytes[counter];
    }
    for (int counter = 0; counter < COUNTERS; counter++) {
        region->total[counter] = sums[counter];
        region->chips[0].bytes[counter] = sums[counter];
    }
    region->references = alive;
    region->active = alive;
}

static void enter(void) {
    if (!repaired) return;
    int error = ETIMEDOUT;
    while (error == ETIMEDOUT) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 10000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        error = pthread_mutex_timedlock(&region->mutex, &until);
    }
    if (error == EOWNERDEAD) {
        pthread_mutex_consistent(&region->mutex);
        sweep();
    }
}

static void leave(void) {
    if (repaired) pthread_mutex_unlock(&region->mutex);
}

static int own_slot(void) {
    for (int slot = 0; slot < PROCESSES; slot++)
        if (region->processes[slot].pid == getpid()) return slot;
    for (int slot = 0; slot < PROCESSES; slot++)
        if (region->processes[slot].pid == 0) {
            region->processes[slot].pid = getpid();
            memset(region->processes[slot].bytes, 0, sizeof region->processes[slot].bytes);
            region->active++;
            return slot;
        }
    return -1;
}

static void attach(void) {
    enter();
    if (repaired) sweep();
    atomic_fetch_add(&region->references, 1);
    if (repaired) own_slot();
    leave();
}

static void change(int counter, uint64_t bytes, int opens) {
    enter();
    if (opens) {
        atomic_fetch_add_explicit(&region->total[counter], bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&region->chips[0].bytes[counter], bytes, memory_order_relaxed);
    } else {
        clamped_subtract(&region->total[counter], bytes);
        clamped_subtract(&region->chips[0].bytes[counter], bytes);
    }
    int slot = own_slot();
    if (slot >= 0) region->processes[slot].bytes[counter] += opens ? bytes : -bytes;
    leave();
}

static void detach(void) {
    enter();
    int slot = own_slot();
    for (int counter = 0; slot >= 0 && counter < COUNTERS; counter++) {
        uint64_t own = region->processes[slot].bytes[counter];
        clamped_subtract(&region->total[counter], own);
        clamped_subtract(&region->chips[0].bytes[counter], own);
        region->processes[slot].bytes[counter] = 0;
    }
    if (slot >= 0) {
        region->processes[slot].pid = 0;
        region->active--;
    }
    if (atomic_fetch_sub(&region->references, 1) == 1 && !repaired) {
        for (int counter = 0; counter < COUNTERS; counter++) {
            region->total[counter] = 0;
            region->chips[0].bytes[counter] = 0;
        }
        memset(region->processes, 0, sizeof region->processes);
        region->active = 0;
    }
    leave();
}

static void work(unsigned seed) {
    attach();
    for (int round = 0; round < 200; round++) {
        int counter = rand_r(&seed) % COUNTERS;
        uint64_t bytes = 64u * (1 + rand_r(&seed) % 64);
        change(counter, bytes, 1);
        change(counter, bytes, 0);
    }
    detach();
    _exit(0);
}

static int is_clear(void) {
    for (int counter = 0; counter < COUNTERS; counter++)
        if (region->total[counter] || region->chips[0].bytes[counter]) return 0;
    for (int slot = 0; slot < PROCESSES; slot++)
        for (int counter = 0; counter < COUNTERS; counter++)
            if (region->processes[slot].bytes[counter]) return 0;
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    repaired = strcmp(argv[2], "repaired") == 0;
    int rounds = atoi(argv[3]);
    unsigned seed = (unsigned)atoi(argv[4]);
    int file = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0666);
    if (file < 0 || ftruncate(file, sizeof *region) != 0) return 2;
    region = mmap(NULL, sizeof *region, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (region == MAP_FAILED) return 2;
    region->version = 1;
    pthread_mutexattr_t robust;
    pthread_mutexattr_init(&robust);
    pthread_mutexattr_setpshared(&robust, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&region->mutex, &robust);
    int kills = 0, wrong = 0;
    for (int round = 0; round < rounds; round++) {
        pid_t workers[WORKERS];
        for (int worker = 0; worker < WORKERS; worker++) {
            workers[worker] = fork();
            if (workers[worker] == 0) work(seed + 7919u * (unsigned)round + (unsigned)worker);
        }
        struct timespec moment = {0, rand_r(&seed) % 400000};
        nanosleep(&moment, NULL);
        kill(workers[0], SIGKILL);
        for (int worker = 0; worker < WORKERS; worker++) {
            int status;
            waitpid(workers[worker], &status, 0);
            kills += WIFSIGNALED(status);
        }
        pid_t last = fork();
        if (last == 0) {
            attach();
            change(0, 64, 1);
            change(0, 64, 0);
            detach();
            _exit(0);
        }
        waitpid(last, NULL, 0);
        if (!is_clear()) {
            wrong++;
            if (round + 1 == rounds) break; // what it left is kept for who looks
            uint32_t version = region->version;
            pthread_mutex_t mutex = region->mutex;
            memset(region, 0, sizeof *region);
            region->version = version;
            region->mutex = mutex;
        }
    }
    printf("%d rounds, %d kills, %d wrong\n", rounds, kills, wrong);
    return 0;
}
