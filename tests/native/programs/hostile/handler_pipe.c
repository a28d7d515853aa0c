// Hostile: everybody waits for a pipe that nobody but the handler of a signal writes to.
#include "../threads.h"
#include <signal.h>
#include <unistd.h>

static int wakes[2];

static void wake(int number) {
    (void)number;
    if (write(wakes[1], "w", 1) != 1)
        abort();
}

static void *wait_for_it(void *unused) {
    char byte;
    while (read(wakes[0], &byte, 1) != 1)
        continue;
    return unused;
}

int main(void) {
    assert(pipe(wakes) == 0);
    signal(SIGTERM, wake);
    pthread_t waits = start(wait_for_it, NULL);
    pthread_kill(waits, SIGTERM);
    join(waits);
    return 0;
}
