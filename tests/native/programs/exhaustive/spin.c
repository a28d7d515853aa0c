// A thread spins until another one has set a flag: there are as many schedules as rounds.
#include "../threads.h"
#include <stdatomic.h>

static atomic_int flag;

static void *set(void *unused) {
    (void)unused;
    flag = 1;
    return NULL;
}

int main(void) {
    pthread_t setter = start(set, NULL);
    while (!flag) {
    }
    join(setter);
    return 0;
}
