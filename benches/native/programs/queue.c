// Idiom: a queue whose reader compares each item with a list of what was written.
// Bug: the reader counts its turns, not the items that it got: after an empty turn it compares
// with the wrong place.
// Fewest preemptions: 1, of the reader after an empty turn.
// Failure: an assertion in the reader: abort.
#include "common.h"

#ifndef TURNS
#define TURNS 20
#endif

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int queue[TURNS]; // under the mutex, like all below
static int written[TURNS];
static int first;
static int end;

static void *enqueue(void *unused) {
    (void)unused;
    for (int i = 0; i < TURNS; i++) {
        pthread_mutex_lock(&mutex);
        queue[end] = 3 * i + 1;
        written[end] = 3 * i + 1;
        end++;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *dequeue(void *unused) {
    (void)unused;
    int place = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        pthread_mutex_lock(&mutex);
#ifndef FIXED
        place = turn;
#endif
        if (first < end) {
            assert(queue[first] == written[place]);
            first++;
            place++;
        }
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

int main(void) {
    pthread_t writer = start(enqueue, NULL);
    pthread_t reader = start(dequeue, NULL);
    join(writer);
    join(reader);
    return 0;
}
