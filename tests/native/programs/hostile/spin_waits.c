// Two threads that hand a number over by a word each waits for: nothing is wrong with it, but what
// they wait for is seen by nobody who does not see loads and stores.
// Ends: exit 0.
#include "../threads.h"
#include <stdatomic.h>

static _Atomic int full, number;

static void *gives(void *unused) {
    (void)unused;
    for (int i = 1; i <= 3; i++) {
        while (full) {
        }
        number = i;
        full = 1;
    }
    return NULL;
}

int main(void) {
    pthread_t other = start(gives, NULL);
    int sum = 0;
    for (int i = 1; i <= 3; i++) {
        while (!full) {
        }
        sum += number;
        full = 0;
    }
    join(other);
    return sum == 6 ? 0 : 1;
}
