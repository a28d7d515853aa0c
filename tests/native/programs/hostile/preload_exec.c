// Hostile: a program that sets LD_PRELOAD for itself and starts again: -DHOW= REPLACE (another
// library instead), APPEND, EMPTY, MISSING (a file that doesn't exist).
// Ends: exit 0, and says that it came twice.
#define _GNU_SOURCE
#include "../threads.h"
#include <unistd.h>

enum { REPLACE, APPEND, EMPTY, MISSING };

#ifndef HOW
#define HOW REPLACE
#endif

static void *nothing(void *unused) {
    return unused;
}

int main(int count, char **arguments) {
    join(start(nothing, NULL));
    if (count > 1) {
        puts("second time");
        return 0;
    }
    puts("first time");
    fflush(stdout);
    char both[4096];
    const char *old = getenv("LD_PRELOAD");
    switch (HOW) {
    case REPLACE:
        setenv("LD_PRELOAD", "libm.so.6", 1);
        break;
    case APPEND:
        snprintf(both, sizeof both, "libm.so.6%s%s", old ? ":" : "", old ? old : "");
        setenv("LD_PRELOAD", both, 1);
        break;
    case EMPTY:
        unsetenv("LD_PRELOAD");
        break;
    case MISSING:
        setenv("LD_PRELOAD", "/nonexistent/library.so", 1);
        break;
    }
    execl("/proc/self/exe", arguments[0], "again", (char *)NULL);
    return 70;
}
