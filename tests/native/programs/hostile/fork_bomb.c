// Hostile: a fork bomb, bounded: DEPTH levels of two children each, 2^(DEPTH + 1) - 1 processes,
// that nobody waits for. Each has a thread, and ends after two seconds at the latest.
// Ends: exit 0.
#include "../threads.h"
#include <unistd.h>

#ifndef DEPTH
#define DEPTH 5
#endif

static void *nothing(void *unused) {
    return unused;
}

int main(void) {
    int level = 0;
    alarm(2);
    while (level < DEPTH) {
        pid_t one = fork();
        pid_t other = one == 0 ? 1 : fork();
        if (one != 0 && other != 0) {
            break; // the parent of two, or of fewer where fork is refused
        }
        alarm(2);
        level++;
    }
    join(start(nothing, NULL));
    return 0;
}
