// Idiom: a work-stealing queue without locks; a thief claims an item by compare-and-swap of head.
// Bug: the owner takes the last item without the compare-and-swap that a thief would lose against.
// Fewest preemptions: 3.
// Failure: an assertion that an item is done once: abort.
#include "common.h"
#include <stdatomic.h>

enum { ITEMS = 4, SLOTS = 4, NOTHING = -1 };

static _Atomic int head; // the next to steal, only ever grows
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
    int first = head;
    if (first < place) {
        return slots[place % SLOTS];
    }
    int item = NOTHING;
    if (first == place) {
#ifdef FIXED
        if (atomic_compare_exchange_strong(&head, &first, place + 1)) {
            item = slots[place % SLOTS];
        }
#else
        item = slots[place % SLOTS];
        head = place + 1;
#endif
    }
    tail = place + 1;
    return item;
}

static int steal(void) {
    int place = head;
    if (place >= tail) {
        return NOTHING;
    }
    int item = slots[place % SLOTS];
    return atomic_compare_exchange_strong(&head, &place, place + 1) ? item : NOTHING;
}

#include "wsq_driver.h"
