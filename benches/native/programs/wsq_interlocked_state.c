// Idiom: a work-stealing queue whose head and tail are one word of state, changed by
// compare-and-swap only.
// Bug: a thief reads its item after the exchange that freed the slot; the owner may have pushed
// another item there.
// Fewest preemptions: 2.
// Failure: an assertion that an item is done once: abort.
enum { SLOTS = 2 };
#include "wsq_state.h"

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
