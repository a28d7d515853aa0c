/* Who acts in a program and is not controlled: threads that the C library makes for itself (timers,
 * aio, names that are looked up), processes that share objects or are waited for by their signal.
 * Not what is left to the system with a call that waits: that is in outside.c.
 *
 * What holds: where everybody waits and one of them may do what is waited for, no deadlock is said.
 */
#include "runtime.h"

#include <aio.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char LIBRARY_THREADS[] =
    "everybody waits, and a thread that is not controlled may do what they wait for: the C library "
    "makes such for SIGEV_THREAD, aio and getaddrinfo_a; --strategy perturb runs such programs";
static const char SHARED_OBJECTS[] =
    "everybody waits, and another process may do what they wait for: what is shared with processes "
    "(PTHREAD_PROCESS_SHARED, sem_init) is not seen from there; --strategy perturb runs such "
    "programs";
static const char UNKNOWN_THREAD[] =
    "everybody waits, and a thread that is not controlled may do what they wait for; --strategy "
    "perturb runs such programs";

/* So often, 2 ms each, is waited for what the end of a process brings. */
#define MOST_ROUNDS 25u

static bool library_threads, shares_objects;

static void note_library_thread(void)
{
    if (!hb_controlled())
        return;
    library_threads = true;
    hb.result->outside++;
    hb_explore_limit(HB_L_FOREIGN);
    hb_swift_leave();
}

void hb_foreign_share(void)
{
    if (hb_controlled())
        shares_objects = true;
}

/* A process of ours is there, and has not ended. */
static bool child_is_alive(void)
{
    siginfo_t info = {0};
    long found = hb_syscall(SYS_waitid, P_ALL, 0, (long)&info, WEXITED | WNOHANG | WNOWAIT, 0, 0);
    return found == 0 && info.si_pid == 0;
}

static bool is_ours(long tid)
{
    for (uint32_t id = 0; id < hb.thread_count; id++)
        if (hb.threads[id].tid == tid)
            return true;
    return false;
}

struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

/* Whether the process has a thread that nobody made by a call that is modelled. */
static bool has_unknown_thread(void)
{
    long fd = hb_syscall(SYS_openat, AT_FDCWD, (long)"/proc/self/task",
                         O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0)
        return false;
    _Alignas(8) char text[4096];
    bool found = false;
    long length;
    while (!found &&
           (length = hb_syscall(SYS_getdents64, fd, (long)text, sizeof text, 0, 0, 0)) > 0)
        for (long at = 0; at < length && !found;) {
            const struct entry *entry = (const struct entry *)(text + at);
            at += entry->length;
            long tid = 0;
            for (const char *digit = entry->name; *digit >= '0' && *digit <= '9'; digit++)
                tid = tid * 10 + (*digit - '0');
            found = tid > 0 && !is_ours(tid);
        }
    hb_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
    return found;
}

bool hb_foreign_may_help(struct hb_thread *me, uint32_t *rounds)
{
    if (library_threads)
        hb_end(HB_TOO_MUCH, me, LIBRARY_THREADS);
    if (hb.result->children > 0 && shares_objects)
        hb_end(HB_TOO_MUCH, me, SHARED_OBJECTS);
    if (has_unknown_thread())
        hb_end(HB_TOO_MUCH, me, UNKNOWN_THREAD);
    /* The handler of SIGCHLD may. */
    if (hb.result->children == 0 || !hb.passes_on)
        return false;
    if (child_is_alive()) {
        *rounds = 0;
        return true;
    }
    return (*rounds)++ < MOST_ROUNDS;
}

/* ---- Threads of the C library ---- */

static bool makes_thread(const struct sigevent *event)
{
    return event && event->sigev_notify == SIGEV_THREAD;
}

HB_HOOK int timer_create(clockid_t clock, struct sigevent *restrict event, timer_t *restrict timer)
{
    if (makes_thread(event))
        note_library_thread();
    else
        hb_signals_from_system();
    return REAL(timer_create)(clock, event, timer);
}

HB_HOOK int mq_notify(mqd_t queue, const struct sigevent *event)
{
    if (makes_thread(event))
        note_library_thread();
    else
        hb_signals_from_system();
    return REAL(mq_notify)(queue, event);
}

#define MAKES_THREAD(name, parameters, arguments)                                                  \
    HB_HOOK int name parameters                                                                    \
    {                                                                                              \
        note_library_thread();                                                                     \
        return REAL(name) arguments;                                                               \
    }

MAKES_THREAD(aio_read, (struct aiocb *what), (what))
MAKES_THREAD(aio_write, (struct aiocb *what), (what))
MAKES_THREAD(aio_fsync, (int how, struct aiocb *what), (how, what))
MAKES_THREAD(lio_listio,
             (int how, struct aiocb *const list[restrict], int count,
              struct sigevent *restrict event),
             (how, list, count, event))
MAKES_THREAD(aio_read64, (struct aiocb64 *what), (what))
MAKES_THREAD(aio_write64, (struct aiocb64 *what), (what))
MAKES_THREAD(getaddrinfo_a, (int how, struct gaicb *list[], int count, struct sigevent *event),
             (how, list, count, event))

/* ---- What is shared with processes ---- */

#define SHARES(kind)                                                                               \
    HB_HOOK int pthread_##kind##attr_setpshared(pthread_##kind##attr_t *attributes, int shared)    \
    {                                                                                              \
        if (shared == PTHREAD_PROCESS_SHARED)                                                      \
            hb_foreign_share();                                                                    \
        return REAL(pthread_##kind##attr_setpshared)(attributes, shared);                          \
    }

SHARES(mutex)
SHARES(cond)
SHARES(barrier)
SHARES(rwlock)

/* ---- Processes ---- */

HB_HOOK int system(const char *command)
{
    struct hb_thread *me = hb_controlled();
    if (!command || !me)
        return REAL(system)(command);
    hb_note_child(HB_K_FORK, HB_PC);
    HB_LENDS_CORES;
    hb_outside_begin(me, HB_K_OUTSIDE, HB_PC);
    __attribute__((cleanup(hb_come_back))) struct hb_thread *inside = me;
    return REAL(system)(command);
}

HB_HOOK FILE *popen(const char *command, const char *mode)
{
    hb_note_child(HB_K_FORK, HB_PC);
    HB_LENDS_CORES;
    return REAL(popen)(command, mode);
}

HB_HOOK int pclose(FILE *stream)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(pclose)(stream);
    hb_outside_begin(me, HB_K_OUTSIDE, HB_PC);
    __attribute__((cleanup(hb_come_back))) struct hb_thread *inside = me;
    return REAL(pclose)(stream);
}
