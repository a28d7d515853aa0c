/* Calls that only the system can answer: the thread leaves control for them. */
#include "runtime.h"

#include <mqueue.h>
#include <signal.h>
#include <sys/msg.h>
#include <sys/wait.h>

#define OUTSIDE(type, name, parameters, arguments)                                                 \
    HB_HOOK type name parameters                                                                   \
    {                                                                                              \
        struct hb_thread *me = hb_controlled();                                                    \
        if (!me)                                                                                   \
            return REAL(name) arguments;                                                           \
        hb_outside_begin(me, HB_K_OUTSIDE, HB_PC);                                                 \
        __attribute__((cleanup(hb_come_back))) struct hb_thread *inside = me;                      \
        return REAL(name) arguments;                                                               \
    }

OUTSIDE(pid_t, wait, (int *status), (status))
OUTSIDE(pid_t, waitpid, (pid_t pid, int *status, int options), (pid, status, options))
OUTSIDE(pid_t, wait4, (pid_t pid, int *status, int options, struct rusage *used),
        (pid, status, options, used))
OUTSIDE(int, waitid, (idtype_t type, id_t id, siginfo_t *info, int options),
        (type, id, info, options))
OUTSIDE(int, sigwait, (const sigset_t *restrict set, int *restrict number), (set, number))
OUTSIDE(int, sigwaitinfo, (const sigset_t *restrict set, siginfo_t *restrict info), (set, info))
OUTSIDE(int, sigtimedwait,
        (const sigset_t *restrict set, siginfo_t *restrict info,
         const struct timespec *restrict timeout),
        (set, info, timeout))
OUTSIDE(int, mq_send, (mqd_t queue, const char *what, size_t size, unsigned priority),
        (queue, what, size, priority))
OUTSIDE(int, mq_timedsend,
        (mqd_t queue, const char *what, size_t size, unsigned priority,
         const struct timespec *until),
        (queue, what, size, priority, until))
OUTSIDE(ssize_t, mq_receive, (mqd_t queue, char *into, size_t size, unsigned *priority),
        (queue, into, size, priority))
OUTSIDE(ssize_t, mq_timedreceive,
        (mqd_t queue, char *restrict into, size_t size, unsigned *restrict priority,
         const struct timespec *restrict until),
        (queue, into, size, priority, until))
OUTSIDE(int, msgsnd, (int queue, const void *what, size_t size, int flags),
        (queue, what, size, flags))
OUTSIDE(ssize_t, msgrcv, (int queue, void *into, size_t size, long type, int flags),
        (queue, into, size, type, flags))
