/* A tracking client of the 112-byte layout that shares no code with heisenbed: two threads or more
 * over one socket and one small allocator.
 *
 *   racy_client MODE SOCKET [SEED [THREADS [PAIRS]]]
 *
 * correct     the lock is held from the address to its message, and from the message to the release
 * free-first  the address is given back first and its FREE sent after, under no lock
 * double      two threads may both find a buffer live and release it
 * drops       it does not wait for room in the socket's buffer
 * leaks       each thread forgets a few buffers
 *
 * It ends with 0 where what the mode is about happened (correct: always), with 3 where it did not,
 * with 2 where it could not run. It knows by looking at what it sends, in the order in which it
 * does.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FRAME_BYTES = 112, SLOTS = 4096, HELD = 12, MAX_THREADS = 64 };
enum { ALLOC = 1, FREE = 2 };
enum mode { CORRECT, FREE_FIRST, DOUBLE, DROPS, LEAKS };

static enum mode mode;
static int server;
static unsigned pairs = 400;

/* The allocator: the address that was given back last goes out first. */
static pthread_mutex_t allocator = PTHREAD_MUTEX_INITIALIZER;
static unsigned free_slots[SLOTS], free_count, fresh;

/* What was sent, by address: how many ALLOCs more than FREEs. */
static pthread_mutex_t sending = PTHREAD_MUTEX_INITIALIZER;
static int shown[SLOTS];
static int struck;

/* The lock that a correct program holds over both. */
static pthread_mutex_t lifecycle = PTHREAD_MUTEX_INITIALIZER;

/* One buffer that all threads know, for `double`. */
static volatile int shared_slot = -1;

struct worker {
    pthread_t thread;
    uint64_t random;
    unsigned number;
};

static unsigned draw(struct worker *worker, unsigned below) {
    worker->random = worker->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(worker->random >> 33) % below;
}

static void put(unsigned char *at, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i) {
        at[i] = (unsigned char)(value >> (8 * i));
    }
}

static void tell(unsigned char type, unsigned slot) {
    unsigned char frame[FRAME_BYTES];
    memset(frame, 0, sizeof frame);
    frame[0] = type;
    put(frame + 8, type == ALLOC ? 4096 : 0, 8);
    frame[16] = type == ALLOC ? 1 : 0;
    put(frame + 20, (uint32_t)getpid(), 4);
    put(frame + 24, 0x10000 + 4096 * (uint64_t)slot, 8);
    pthread_mutex_lock(&sending);
    const int flags = MSG_NOSIGNAL | (mode == DROPS ? MSG_DONTWAIT : 0);
    size_t done = 0;
    while (done < sizeof frame) {
        /* What was begun is sent whole. */
        const ssize_t count =
            send(server, frame + done, sizeof frame - done, done == 0 ? flags : MSG_NOSIGNAL);
        if (count < 0 && errno == EAGAIN) {
            struck = 1;
            break;
        }
        if (count <= 0) {
            perror("send");
            exit(2);
        }
        done += (size_t)count;
    }
    shown[slot] += type == ALLOC ? 1 : -1;
    if ((mode == FREE_FIRST && shown[slot] > 1) || (mode == DOUBLE && shown[slot] < 0)) {
        struck = 1;
    }
    pthread_mutex_unlock(&sending);
}

static unsigned take(void) {
    pthread_mutex_lock(&allocator);
    const unsigned slot = free_count > 0 ? free_slots[--free_count] : fresh++;
    pthread_mutex_unlock(&allocator);
    if (slot >= SLOTS) {
        fprintf(stderr, "no address is left\n");
        exit(2);
    }
    return slot;
}

static void give_back(unsigned slot) {
    pthread_mutex_lock(&allocator);
    free_slots[free_count++] = slot;
    pthread_mutex_unlock(&allocator);
}

static void pause_a_little(struct worker *worker) {
    if (draw(worker, 100) < 2) {
        usleep(draw(worker, 200));
    } else if (draw(worker, 10) == 0) {
        sched_yield();
    }
}

static unsigned allocate(struct worker *worker) {
    (void)worker;
    pthread_mutex_lock(&lifecycle);
    const unsigned slot = take();
    tell(ALLOC, slot);
    pthread_mutex_unlock(&lifecycle);
    return slot;
}

static void release(struct worker *worker, unsigned slot) {
    if (mode == FREE_FIRST) {
        give_back(slot);
        pause_a_little(worker);
        tell(FREE, slot);
        return;
    }
    pthread_mutex_lock(&lifecycle);
    tell(FREE, slot);
    give_back(slot);
    pthread_mutex_unlock(&lifecycle);
}

/* Releases the buffer that all threads know. It is looked at, and marked, under no lock. */
static void release_shared(struct worker *worker) {
    const int slot = shared_slot;
    if (slot < 0) {
        return;
    }
    usleep(draw(worker, 100));
    pthread_mutex_lock(&lifecycle);
    tell(FREE, (unsigned)slot);
    if (shared_slot == slot) {
        shared_slot = -1;
        give_back((unsigned)slot);
    }
    pthread_mutex_unlock(&lifecycle);
}

static void *work(void *argument) {
    struct worker *worker = argument;
    unsigned held[HELD], count = 0, left = pairs, forgotten = 0;
    while (left > 0 || count > 0) {
        if (left > 0 && (count == 0 || (count < HELD && draw(worker, 2) == 0))) {
            --left;
            held[count++] = allocate(worker);
        } else {
            const unsigned at = draw(worker, count);
            const unsigned slot = held[at];
            held[at] = held[--count];
            if (mode == LEAKS && forgotten < 3 && left < pairs / 2) {
                ++forgotten;
                struck = 1;
            } else {
                release(worker, slot);
            }
        }
        if (mode == DOUBLE && draw(worker, 4) == 0) {
            if (shared_slot < 0 && worker->number == 0) {
                shared_slot = (int)allocate(worker);
            } else {
                release_shared(worker);
            }
        }
        pause_a_little(worker);
    }
    return NULL;
}

int main(int argc, char **argv) {
    static const char *const modes[] = {"correct", "free-first", "double", "drops", "leaks"};
    int known = 0;
    for (int i = 0; argc > 2 && i < 5; ++i) {
        if (strcmp(argv[1], modes[i]) == 0) {
            mode = (enum mode)i;
            known = 1;
        }
    }
    if (!known) {
        fprintf(stderr, "usage: racy_client correct|free-first|double|drops|leaks SOCKET "
                        "[SEED [THREADS [PAIRS]]]\n");
        return 2;
    }
    const uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    unsigned threads = argc > 4 ? (unsigned)atoi(argv[4]) : 2 + seed % 3;
    pairs = argc > 5 ? (unsigned)atoi(argv[5]) : 100 + seed / 3 % 400;
    if (threads < 1 || threads > MAX_THREADS) {
        fprintf(stderr, "from 1 to %d threads\n", MAX_THREADS);
        return 2;
    }
    server = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address;
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, argv[2], sizeof address.sun_path - 1);
    if (mode == DROPS) {
        const int bytes = 1;
        setsockopt(server, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    }
    if (server < 0 || connect(server, (struct sockaddr *)&address, sizeof address) != 0) {
        perror(argv[2]);
        return 2;
    }
    struct worker workers[MAX_THREADS];
    for (unsigned i = 0; i < threads; ++i) {
        workers[i].random = seed * MAX_THREADS + i;
        workers[i].number = i;
        draw(&workers[i], 2);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            return 2;
        }
    }
    for (unsigned i = 0; i < threads; ++i) {
        pthread_join(workers[i].thread, NULL);
    }
    while (shared_slot >= 0) {
        release_shared(&workers[0]);
    }
    close(server);
    return mode == CORRECT || struck ? 0 : 3;
}
