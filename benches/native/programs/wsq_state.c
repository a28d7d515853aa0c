// Idiom: a work-stealing queue whose head and tail are one word of state.
// Bug: the owner's pop loads the state, computes and stores it: a theft in between is undone.
// Fewest preemptions: 1, of the owner between its load and its store.
// Failure: an assertion that an item is done once: abort.
#include "common.h"
#include <stdatomic.h>

enum { ITEMS = 4, SLOTS = 4, NOTHING = -1, TAIL = 1, HEAD = 256 };

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
