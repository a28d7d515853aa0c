// The word of state of a work-stealing queue: head and tail in one. SLOTS comes before it.
#include "common.h"
#include <stdatomic.h>

enum { ITEMS = 4, NOTHING = -1, TAIL = 1, HEAD = 256 };

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
