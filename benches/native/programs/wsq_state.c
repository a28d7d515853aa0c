// Idiom: a work-stealing queue whose head and tail are one word of state.
// Bug: the owner's pop loads the state, computes and stores it: a theft in between is undone.
// Fewest preemptions: 1, of the owner between its load and its store.
// Failure: an assertion that an item is done once: abort.
enum { SLOTS = 4 };
#include "wsq_state.h"

static void push(int item) {
    slots[tail_of(state) % SLOTS] = item;
    atomic_fetch_add(&state, PUSH);
}

static int pop(void) {
    int seen = state;
    for (;;) {
        if (head_of(seen) == tail_of(seen)) {
            return NOTHING;
        }
#ifdef FIXED
        // A failed exchange means that a thief took something: at most ITEMS times.
        if (atomic_compare_exchange_strong(&state, &seen, seen - TAIL + POPPED)) {
            break;
        }
#else
        state = seen - TAIL;
        break;
#endif
    }
    return slots[(tail_of(seen) - 1) % SLOTS];
}

static int steal(void) {
    int seen = state;
    if (head_of(seen) == tail_of(seen)) {
        return NOTHING;
    }
    int item = slots[head_of(seen) % SLOTS];
    return atomic_compare_exchange_strong(&state, &seen, seen + HEAD) ? item : NOTHING;
}

#include "wsq_driver.h"
