// Idiom: a circular buffer with a flag for whose turn it is, a sender and a receiver.
// Bug: a sender that is not on turn drops its number, and the receiver expects every number.
// Fewest preemptions: 2, of the sender after a number that it drops, and of the receiver.
// Failure: an assertion in the receiver: abort.
#include "common.h"

#ifndef NUMBERS
#define NUMBERS 7
#endif
enum { SIZE = 4 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int ring[SIZE]; // under the mutex, like all below
static int head;
static int tail;
static int senders_turn = 1;

static void *send(void *unused) {
    (void)unused;
    int number = 0;
    for (int i = 0; i < NUMBERS; i++) {
        pthread_mutex_lock(&mutex);
#ifndef FIXED
        number = i;
#endif
        if (senders_turn) {
            ring[tail] = number++;
            tail = (tail + 1) % SIZE;
            senders_turn = 0;
        }
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *receive(void *unused) {
    (void)unused;
    int expected = 0;
    for (int i = 0; i < NUMBERS; i++) {
        pthread_mutex_lock(&mutex);
        if (!senders_turn) {
            int number = ring[head];
            head = (head + 1) % SIZE;
            senders_turn = 1;
            assert(number == expected);
            expected++;
        }
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

int main(void) {
    pthread_t sender = start(send, NULL);
    pthread_t receiver = start(receive, NULL);
    join(sender);
    join(receiver);
    return 0;
}
