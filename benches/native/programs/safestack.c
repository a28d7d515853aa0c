// Idiom: SafeStack, a lock-free stack over an array of THREADS cells; three threads take a cell,
// use it and put it back, twice each.
// Bug: pop marks the head's successor as taken, and puts it back when the head has changed: by
// then the cell can have been popped, pushed and be the head again (ABA), with a successor that
// is in use. Two threads then own one cell.
// Fewest preemptions: 7, by a search of all states of a model with the same steps. In steps of
// each thread after it read its number: 3x2 1x9 2x9 3x1 1x5 3x4 1x5 3x5 2x15 1x1.
// Failure: an assertion that a cell belongs to who took it: abort.
// The tries for a cell are bounded, so that every schedule ends; who gets none goes without.
#include "common.h"
#include <sched.h>
#include <stdatomic.h>

enum { THREADS = 3, ROUNDS = 2, TRIES = 20, NONE = -1 };

struct cell {
    _Atomic int next;
    _Atomic int owner;
};

static struct cell cells[THREADS];
static _Atomic int count = THREADS;

#ifdef FIXED
// The head and how often it was changed, in one word: a head that came back is another one.
enum { CELLS = 16 };
static _Atomic int head;

static int pop_once(void) {
    int seen = head;
    int top = seen % CELLS - 1;
    if (top == NONE) {
        return NONE;
    }
    int next = cells[top].next;
    int new_head = (seen / CELLS + 1) * CELLS + next + 1;
    return atomic_compare_exchange_strong(&head, &seen, new_head) ? top : NONE;
}

static void push(int cell) {
    int seen = head;
    int new_head;
    do {
        cells[cell].next = seen % CELLS - 1;
        new_head = (seen / CELLS + 1) * CELLS + cell + 1;
    } while (!atomic_compare_exchange_strong(&head, &seen, new_head));
    count++;
}
#else
static _Atomic int head;

static int pop_once(void) {
    int top = head;
    // No successor: taken by another thread, or the last cell, which count keeps here.
    int next = atomic_exchange(&cells[top].next, NONE);
    if (next == NONE) {
        return NONE;
    }
    int expected = top;
    if (atomic_compare_exchange_strong(&head, &expected, next)) {
        return top;
    }
    atomic_exchange(&cells[top].next, next);
    return NONE;
}

static void push(int cell) {
    int seen = head;
    do {
        cells[cell].next = seen;
    } while (!atomic_compare_exchange_strong(&head, &seen, cell));
    count++;
}
#endif

static int pop(void) {
    for (int i = 0; i < TRIES && count > 1; i++) {
        int cell = pop_once();
        if (cell != NONE) {
            count--;
            return cell;
        }
        sched_yield();
    }
    return NONE;
}

static void *use(void *number) {
    int self = *(const int *)number;
    for (int i = 0; i < ROUNDS; i++) {
        int cell = pop();
        if (cell == NONE) {
            continue;
        }
        cells[cell].owner = self;
        assert(cells[cell].owner == self);
        push(cell);
    }
    return NULL;
}

int main(void) {
    static int numbers[THREADS] = {1, 2, 3};
    for (int i = 0; i < THREADS - 1; i++) {
        cells[i].next = i + 1;
    }
    cells[THREADS - 1].next = NONE;
#ifdef FIXED
    head = 1;
#endif
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        threads[i] = start(use, &numbers[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        join(threads[i]);
    }
    return 0;
}
