// Idiom: a work-stealing queue whose head and tail are one word of state, changed by
// compare-and-swap only.
// Bug: a thief reads its item after the exchange that freed the slot; the owner may have pushed
// another item there.
// Fewest preemptions: 2.
// Failure: an assertion that an item is done once: abort.
#include "common.h"
#include <stdatomic.h>

enum { ITEMS = 4, SLOTS = 2, NOTHING = -1, TAIL = 1, HEAD = 256 };

// Of the twin: each pop makes the state another one, or a thief could take it for the one that it
// saw, though its item was popped and another pushed in between.
#ifdef FIXED
enum { POPPED = HEAD * 256 };
#else
enum { POPPED = 0 };
#endif

static _Atomic int state; // HEAD * the next to steal + TAIL * where the next push goes
static _Atomic int slots[SLOTS];

// Pushes are counted above both: a state that came back after a pop and a push is another one.
#ifdef FIXED
enum { PUSH = TAIL + 65536 };
#else
enum { PUSH = TAIL };
#endif

static int head_of(int seen) {
    return seen / HEAD % 256;
}

static int tail_of(int seen) {
    return seen % HEAD;
}

static int pop(void) {
    int seen = state;
    do {
        if (head_of(seen) == tail_of(seen)) {
            return NOTHING;
        }
    } while (!atomic_compare_exchange_strong(&state, &seen, seen - TAIL + POPPED));
    return slots[(tail_of(seen) - 1) % SLOTS];
}

static void run(int item);

// A full queue is emptied by its owner first.
static void push(int item) {
    int seen = state;
    while (tail_of(seen) - head_of(seen) == SLOTS) {
        run(pop());
        seen = state;
    }
    slots[tail_of(seen) % SLOTS] = item;
    atomic_fetch_add(&state, PUSH);
}

static int steal(void) {
    int seen = state;
    if (head_of(seen) == tail_of(seen)) {
        return NOTHING;
    }
#ifdef FIXED
    int item = slots[head_of(seen) % SLOTS];
#endif
    if (!atomic_compare_exchange_strong(&state, &seen, seen + HEAD)) {
        return NOTHING;
    }
#ifndef FIXED
    int item = slots[head_of(seen) % SLOTS];
#endif
    return item;
}

#include "wsq_driver.h"
