// Idiom: a work-stealing queue whose owner works without a lock and whose thieves share one.
// Bug: a thief looks at the tail before it announces its claim at the head, so that the owner can
// take the same last item in between. The right order is to claim, look, and step back.
// Fewest preemptions: 2.
// Failure: an assertion that an item is done once: abort.
#include "common.h"
#include <stdatomic.h>

enum { ITEMS = 4, SLOTS = 4, NOTHING = -1 };

static pthread_mutex_t thieves_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int head; // the next to steal; only ever grows, but for a thief that steps back
static _Atomic int tail; // where the next push goes
static _Atomic int slots[SLOTS];

static void push(int item) {
    int place = tail;
    slots[place % SLOTS] = item;
    tail = place + 1;
}

static int pop(void) {
    int place = tail - 1;
    tail = place;
    if (head <= place) {
        return slots[place % SLOTS];
    }
    // The last item is in dispute: the thieves' lock decides.
    pthread_mutex_lock(&thieves_lock);
    int item = NOTHING;
    if (head <= place) {
        item = slots[place % SLOTS];
    } else {
        tail = place + 1;
    }
    pthread_mutex_unlock(&thieves_lock);
    return item;
}

static int steal(void) {
    pthread_mutex_lock(&thieves_lock);
    int item = NOTHING;
    int place = head;
#ifdef FIXED
    head = place + 1;
    if (place < tail) {
        item = slots[place % SLOTS];
    } else {
        head = place;
    }
#else
    if (place < tail) {
        head = place + 1;
        item = slots[place % SLOTS];
    }
#endif
    pthread_mutex_unlock(&thieves_lock);
    return item;
}

#include "wsq_driver.h"
