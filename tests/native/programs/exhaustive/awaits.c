// Threads that wait in a loop, another kind of loop for each WHAT. Some order fails; the twin has
// none that does, and all of its orders are run though each loop could go round for ever.
#include "../threads.h"
#include <sched.h>
#include <stdatomic.h>

#define FLAG 1
#define EXCHANGE 2
#define YIELDS 3
#define PETERSON 4
#define TWO 5
#define COUNTED 6
#define NEVER 7

#ifdef FIXED
static const int fixed = 1;
#else
static const int fixed = 0;
#endif

static atomic_int flag, held, turn, wants[2], places[4];
static int data;

static void *set(void *unused) {
    (void)unused;
    if (WHAT == NEVER)
        return NULL;
    if (fixed)
        data = 7;
    flag = 1;
    if (!fixed)
        data = 7;
    return NULL;
}

static void take(void) {
    if (WHAT == EXCHANGE) {
        while (atomic_exchange(&held, 1)) {
        }
        return;
    }
    do {
        while (held)
            sched_yield();
    } while (atomic_exchange(&held, 1));
}

static void *count(void *unused) {
    (void)unused;
    take();
    if (fixed)
        data++;
    held = 0;
    if (!fixed)
        data++;
    return NULL;
}

static void *enter(void *argument) {
    int me = argument != NULL;
    wants[me] = 1;
    turn = fixed ? !me : me;
    while (wants[!me] && turn == !me) {
    }
    data++;
    if (data != 1)
        abort();
    data--;
    wants[me] = 0;
    return NULL;
}

// It looks at two places; what wakes it is no reason for its first look to come after.
static void *look(void *unused) {
    (void)unused;
    while (!(places[0] == 0 && places[1] == 1)) {
    }
    return NULL;
}

static void *tell(void *unused) {
    (void)unused;
    places[1] = 1;
    if (places[2])
        places[3] = 1;
    return NULL;
}

static void *cross(void *unused) {
    (void)unused;
    places[0] = 2;
    if (!fixed)
        places[2] = 1;
    places[0] = 0;
    return NULL;
}

int main(void) {
    pthread_t one, other, third;
    int rounds = 0;
    switch (WHAT) {
    case EXCHANGE:
    case YIELDS:
        one = start(count, NULL);
        other = start(count, NULL);
        join(one);
        join(other);
        assert(data == 2);
        break;
    case PETERSON:
        one = start(enter, NULL);
        other = start(enter, &one);
        join(one);
        join(other);
        break;
    case TWO:
        one = start(look, NULL);
        other = start(tell, NULL);
        third = start(cross, NULL);
        join(one);
        join(other);
        join(third);
        assert(!places[3]);
        break;
    default:
        one = start(set, NULL);
        // Whoever counts his rounds does not do the same each time.
        while (!flag)
            if (WHAT == COUNTED && ++rounds > 1000)
                abort();
        if (WHAT == FLAG)
            assert(data == 7);
        join(one);
    }
    return 0;
}
