// Hostile: ends its parent or its whole group, stops itself, or asks its parent to trace it.
#include "../threads.h"
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <unistd.h>

static void *nothing(void *unused) { return unused; }

int main(void) {
    join(start(nothing, NULL));
#if defined GROUP
    kill(0, SIGKILL);
#elif defined PARENT
    kill(getppid(), SIGKILL);
    pause();
#elif defined STOP
    raise(SIGSTOP);
#elif defined TRACED
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    signal(SIGUSR2, SIG_IGN);
    raise(SIGUSR2);
#endif
    join(start(nothing, NULL));
    return 0;
}
