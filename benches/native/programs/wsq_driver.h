// What the four work-stealing queues share: an owner that pushes and pops at the tail, two thieves
// that steal at the head, and the check that each item was done exactly once. Included after the
// queue's own push, pop and steal; pop and steal return NOTHING when there is no item.
#ifndef PROGRAMS_WSQ_DRIVER_H
#define PROGRAMS_WSQ_DRIVER_H

#ifndef THIEVES
#define THIEVES 2
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2
#endif

static _Atomic int done[ITEMS];

static void run(int item) {
    if (item != NOTHING) {
        int before = done[item]++;
        assert(before == 0);
    }
}

static void *thief(void *unused) {
    (void)unused;
    for (int i = 0; i < ATTEMPTS; i++) {
        run(steal());
    }
    return NULL;
}

int main(void) {
    pthread_t thieves[THIEVES];
    for (int i = 0; i < THIEVES; i++) {
        thieves[i] = start(thief, NULL);
    }
    for (int item = 0; item < ITEMS; item += 2) {
        push(item);
        push(item + 1);
        run(pop());
    }
    for (int i = 0; i < ITEMS / 2; i++) {
        run(pop());
    }
    for (int i = 0; i < THIEVES; i++) {
        join(thieves[i]);
    }
    for (int item = 0; item < ITEMS; item++) {
        assert(done[item] == 1);
    }
    return 0;
}

#endif
