// Hostile: a loop without any call, in a handler that runs at exit.
// Ends: never; who starts it has to end it.
#include <stdlib.h>

static volatile int stop;

static void spin(void) {
    while (!stop) {
    }
}

int main(void) { return atexit(spin); }
