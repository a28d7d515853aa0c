// Idiom: a pipeline of a producer, two consumers and a queue, torn down when all items were
// written.
// Bug: main waits for the last item, not for the consumers, and takes the queue away while a
// consumer is about to look into it once more.
// Fewest preemptions: 0, only an order: main before the consumers' last look.
// Failure: a consumer reads through a null pointer: crash (SIGSEGV).
#include "common.h"

#ifndef ITEMS
#define ITEMS 2
#endif
#ifndef CONSUMERS
#define CONSUMERS 2
#endif

struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int filled, produced, written; // under the mutex
};

static struct queue storage = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};
static struct queue *volatile queue = &storage;

static void *produce(void *unused) {
    (void)unused;
    for (int i = 0; i < ITEMS; i++) {
        pthread_mutex_lock(&queue->mutex);
        queue->filled++;
        queue->produced++;
        pthread_cond_broadcast(&queue->changed);
        pthread_mutex_unlock(&queue->mutex);
    }
    return NULL;
}

// Returns whether there may be more.
static int consume_one(void) {
    pthread_mutex_lock(&queue->mutex);
    while (queue->filled == 0 && queue->produced < ITEMS) {
        pthread_cond_wait(&queue->changed, &queue->mutex);
    }
    int found = queue->filled > 0;
    if (found) {
        queue->filled--;
        queue->written++;
        pthread_cond_broadcast(&queue->changed);
    }
    pthread_mutex_unlock(&queue->mutex);
    return found;
}

static void *consume(void *unused) {
    (void)unused;
    while (consume_one()) {
    }
    return NULL;
}

int main(void) {
    pthread_t consumers[CONSUMERS];
    for (int i = 0; i < CONSUMERS; i++) {
        consumers[i] = start(consume, NULL);
    }
    pthread_t producer = start(produce, NULL);
    pthread_mutex_lock(&storage.mutex);
    while (storage.written < ITEMS) {
        pthread_cond_wait(&storage.changed, &storage.mutex);
    }
    pthread_mutex_unlock(&storage.mutex);
    join(producer);
#ifdef FIXED
    for (int i = 0; i < CONSUMERS; i++) {
        join(consumers[i]);
    }
#endif
    queue = NULL;
#ifndef FIXED
    for (int i = 0; i < CONSUMERS; i++) {
        join(consumers[i]);
    }
#endif
    return 0;
}
