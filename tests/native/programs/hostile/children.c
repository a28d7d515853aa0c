// Hostile: children of every making, from a thread while another one holds a lock: -DHOW= FORK
// (the child starts a thread of its own), FORK_LOCKED (the child tries a lock that it can't get),
// VFORK (and exec), SPAWN (posix_spawn), SYSTEM, POPEN, CRASH (the child crashes), LEFT (nobody
// waits for the child), DAEMON (forks twice, leaves the session, lives for five seconds at most).
// Ends: exit 0, with one line.
#define _GNU_SOURCE
#include "../threads.h"
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FORK, FORK_LOCKED, VFORK, SPAWN, SYSTEM, POPEN, CRASH, LEFT, DAEMON };

#ifndef HOW
#define HOW FORK
#endif

extern char **environ;

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
// Nobody has it when the child is made.
static pthread_mutex_t of_child = PTHREAD_MUTEX_INITIALIZER;

static void *lock_once(void *mutex) {
    pthread_mutex_lock(mutex);
    pthread_mutex_unlock(mutex);
    return NULL;
}

// What the child does; its result is its exit status.
static int child(void) {
    switch (HOW) {
    case FORK:
        join(start(lock_once, &of_child));
        return 5;
    case FORK_LOCKED:
        return pthread_mutex_trylock(&held) != 0 ? 5 : 6;
    case CRASH:
        raise(SIGSEGV);
        return 6;
    case LEFT:
        alarm(5);
        pause();
        return 5;
    case DAEMON:
        setsid();
        if (fork() == 0) {
            alarm(5);
            for (int i = 0; i < 3; i++) {
                close(i);
            }
            join(start(lock_once, &of_child));
            pause();
        }
        return 5;
    default:
        return 6;
    }
}

static int end_of(pid_t pid) {
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        return -1;
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void *make(void *unused) {
    (void)unused;
    char *arguments[] = {"sh", "-c", "exit 5", NULL};
    pid_t pid = -1;
    int result = -1;
    FILE *pipe;
    switch (HOW) {
    case VFORK:
        pid = vfork();
        if (pid == 0) {
            execve("/bin/sh", arguments, environ);
            _exit(127);
        }
        result = end_of(pid);
        break;
    case SPAWN:
        if (posix_spawn(&pid, "/bin/sh", NULL, NULL, arguments, environ) == 0) {
            result = end_of(pid);
        }
        break;
    case SYSTEM:
        result = WEXITSTATUS(system("exit 5"));
        break;
    case POPEN:
        pipe = popen("exit 5", "r");
        result = pipe == NULL ? -1 : WEXITSTATUS(pclose(pipe));
        break;
    default:
        pid = fork();
        if (pid == 0) {
            _exit(child());
        }
        result = HOW == LEFT ? 0 : end_of(pid);
        break;
    }
    printf("child: %d\n", result);
    return NULL;
}

int main(void) {
    pthread_mutex_lock(&held);
    pthread_t locker = start(lock_once, &mutex);
    join(start(make, NULL));
    join(locker);
    pthread_mutex_unlock(&held);
    return 0;
}
