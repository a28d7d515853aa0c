// Idiom: a bounded stack, one thread pushes SIZE items and another one pops up to SIZE.
// Bug: a flag says that there was an item once, not that there is one now: pop of an empty stack.
// Fewest preemptions: 1, of the pushing thread after an item, so that the other one pops too much.
// Failure: an assertion in pop: abort.
#include "common.h"

#ifndef SIZE
#define SIZE 10
#endif

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int items[SIZE]; // under the mutex, like all below
static int height;
#ifndef FIXED
static int filled;
#endif

static void push(int item) {
    assert(height < SIZE);
    items[height++] = item;
}

static int pop(void) {
    assert(height > 0);
    return items[--height];
}

static void *produce(void *unused) {
    (void)unused;
    for (int i = 0; i < SIZE; i++) {
        pthread_mutex_lock(&mutex);
        push(i);
#ifndef FIXED
        filled = 1;
#endif
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *consume(void *unused) {
    (void)unused;
    for (int i = 0; i < SIZE; i++) {
        pthread_mutex_lock(&mutex);
#ifdef FIXED
        int filled = height > 0;
#endif
        if (filled) {
            pop();
        }
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

int main(void) {
    pthread_t producer = start(produce, NULL);
    pthread_t consumer = start(consume, NULL);
    join(producer);
    join(consumer);
    return 0;
}
