/* Signals that the program's threads send each other, under control.
 *
 * Such a signal is kept until its target has the turn next. The target sends it to itself then: the
 * handler runs in the target's turn, and what it does is an action as any other. A wait that a
 * signal interrupts is interrupted; other waits go on after the handler.
 *
 * What is left to the system: `sigwait`; a signal that its target blocks (it is pending there, for
 * a signalfd, or until it is let through), one for a thread that waits in the system, one without a
 * handler, and all that come from elsewhere. A handler of those runs when they come, without a
 * turn.
 */
#include "race.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HB_MAX_KEPT 16u
#define FIRST_REAL_TIME 34
#define BIT(signal) (UINT64_C(1) << ((signal) - 1))

/* What was sent and has not come yet, oldest first; `hb_thread.signals` says how many. */
static siginfo_t kept[HB_MAX_THREADS][HB_MAX_KEPT];

static uint64_t as_bits(const sigset_t *set)
{
    uint64_t bits;
    memcpy(&bits, set, sizeof bits);
    return bits;
}

/* ---- Who handles what ---- */

static bool is_one_of(const int *signals, size_t count, int signal)
{
    for (size_t at = 0; at < count; at++)
        if (signals[at] == signal)
            return true;
    return false;
}
#define IS_ONE_OF(signals, signal) is_one_of(signals, sizeof(signals) / sizeof *(signals), signal)

/* What programs handle to end well, or for their children: nobody waits for it. */
static const int USUAL[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGCHLD, SIGWINCH};
/* What the system sends, at times of its own. */
static const int OF_SYSTEM[] = {SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGURG, SIGXCPU, SIGPWR};

static bool handles_usual;

/* Of a process that runs several schedules each begins with what the first one began with: it must
 * not matter which of them it is that makes a handler. */
void hb_signals_anew(void)
{
    static struct {
        bool handles, come, passes_on, usual;
    } first;
    if (hb.era == 0) {
        first.handles = hb.handles_signals;
        first.come = hb.signals_come;
        first.passes_on = hb.passes_on;
        first.usual = handles_usual;
        return;
    }
    hb.handles_signals = first.handles;
    hb.signals_come = first.come;
    hb.passes_on = first.passes_on;
    handles_usual = first.usual;
}

void hb_signals_from_system(void)
{
    hb.signals_come = true;
    /* A handler may write to a pipe that somebody waits for. */
    hb.passes_on = true;
}

/* Handlers of signals that a program may wait for. */
static void note_handler(int signal, const void *handler)
{
    if (handler == (const void *)SIG_DFL || handler == (const void *)SIG_IGN ||
        hb_is_fatal(signal))
        return;
    if (IS_ONE_OF(USUAL, signal)) {
        hb.passes_on = true;
        handles_usual = true;
        return;
    }
    if (IS_ONE_OF(OF_SYSTEM, signal))
        hb_signals_from_system();
    hb.handles_signals = true;
    if (hb.result)
        hb.result->handlers = 1;
    hb_swift_leave();
}

HB_HOOK int sigaction(int signal, const struct sigaction *new, struct sigaction *old)
{
    if (new)
        note_handler(signal, (const void *)new->sa_handler);
    return REAL(sigaction)(signal, new, old);
}

HB_HOOK sighandler_t signal(int number, sighandler_t handler)
{
    note_handler(number, (const void *)handler);
    return REAL(signal)(number, handler);
}

/* Whether a handler of the program's is called for it. */
static bool is_handled(int signal, struct sigaction *how)
{
    return REAL(sigaction)(signal, NULL, how) == 0 && how->sa_handler != SIG_DFL &&
           how->sa_handler != SIG_IGN && !hb_is_own_handler(how);
}

/* ---- Who lets what through ---- */

void hb_signals_begin(struct hb_thread *me, const struct hb_thread *creator)
{
    sigset_t now;
    if (creator)
        me->blocked = creator->blocked;
    else if (REAL(pthread_sigmask)(SIG_BLOCK, NULL, &now) == 0)
        me->blocked = as_bits(&now);
}

/* What was sent comes before the mask changes, as on a way into the system. */
static int change_mask(int how, const sigset_t *set, sigset_t *old)
{
    struct hb_thread *me = hb_controlled();
    if (me && set)
        hb_signals_come(me);
    int result = REAL(pthread_sigmask)(how, set, old);
    if (me && set && result == 0)
        hb_signals_begin(me, NULL);
    return result;
}

HB_HOOK int pthread_sigmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
    return change_mask(how, set, old);
}

HB_HOOK int sigprocmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
    int result = change_mask(how, set, old);
    if (result)
        errno = result;
    return result ? -1 : 0;
}

/* For `ppoll` and its kin. True: a signal had been waiting for this mask. */
bool hb_signals_let(const sigset_t *mask, sigset_t *before)
{
    sigset_t pending;
    sigpending(&pending);
    struct sigaction how;
    bool some = false;
    for (int signal = 1; signal <= 64; signal++)
        some |= (as_bits(&pending) & ~as_bits(mask) & BIT(signal)) && is_handled(signal, &how);
    change_mask(SIG_SETMASK, mask, before);
    return some;
}

/* ---- Coming ---- */

static bool is_pending(int signal)
{
    sigset_t pending;
    return sigpending(&pending) == 0 && as_bits(&pending) & BIT(signal);
}

enum hb_interruptible hb_signals_come(struct hb_thread *me)
{
    enum hb_interruptible ends = HB_GOES_ON;
    int before = errno;
    while (me->signals > 0) {
        siginfo_t info = kept[me->id][0];
        memmove(&kept[me->id][0], &kept[me->id][1], --me->signals * sizeof info);
        struct sigaction how;
        bool handled = is_handled(info.si_signo, &how);
        hb_race_acquire(me, &kept[me->id]);
        if (handled)
            hb_record(me, HB_K_HANDLER, NULL, (uint64_t)(uintptr_t)how.sa_handler,
                      (uint32_t)info.si_signo);
        hb_syscall(SYS_rt_tgsigqueueinfo, hb_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0), me->tid,
                   info.si_signo, (long)&info, 0, 0);
        /* In a handler that blocks it, it comes when that returns. */
        hb_signals_begin(me, NULL);
        if (!handled || is_pending(info.si_signo))
            continue;
        if (!(how.sa_flags & SA_RESTART))
            ends = HB_RESTARTED;
        else if (ends == HB_GOES_ON)
            ends = HB_ENDS;
    }
    errno = before;
    return ends;
}

/* ---- Waiting for one ---- */

/* Whether all that may come is sent by the threads that are under control. Else the wait is left to
 * the system. */
static bool are_ours(void)
{
    return hb.handles_signals && !hb.signals_come && !handles_usual && hb.result->children == 0;
}

static bool never(const struct hb_thread *thread)
{
    (void)thread;
    return false;
}

static int wait_for_one(struct hb_thread *me, uint64_t pc)
{
    enum hb_turn how = hb_turn(me, (struct hb_action){.kind = HB_K_PAUSE,
                                                      .pc = pc,
                                                      .can = never,
                                                      .deadline = HB_NEVER,
                                                      .cancellable = true,
                                                      .signals = HB_ENDS});
    hb_record(me, HB_K_PAUSE, NULL, pc, 0);
    if (how == HB_CANCELLED)
        pthread_testcancel();
    errno = EINTR;
    return -1;
}

HB_HOOK int pause(void)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(pause)();
    if (are_ours()) {
        hb_enter(me, HB_K_PAUSE, NULL, HB_PC);
        return wait_for_one(me, HB_PC);
    }
    hb_outside_begin(me, HB_K_OUTSIDE, HB_PC);
    __attribute__((cleanup(hb_come_back))) struct hb_thread *inside = me;
    return REAL(pause)();
}

HB_HOOK int sigsuspend(const sigset_t *mask)
{
    struct hb_thread *me = hb_controlled();
    if (!me)
        return REAL(sigsuspend)(mask);
    if (are_ours()) {
        sigset_t before;
        if (!hb_signals_let(mask, &before))
            wait_for_one(me, HB_PC);
        change_mask(SIG_SETMASK, &before, NULL);
        errno = EINTR;
        return -1;
    }
    hb_outside_begin(me, HB_K_OUTSIDE, HB_PC);
    __attribute__((cleanup(hb_come_back))) struct hb_thread *inside = me;
    return REAL(sigsuspend)(mask);
}

/* ---- Sending ---- */

/* Whether the signal is kept for the thread: see above. */
static bool is_kept(const struct hb_thread *thread, int signal)
{
    struct sigaction how;
    return signal > 0 && signal <= 64 && (signal < 32 || signal >= FIRST_REAL_TIME) &&
           !thread->finished && !thread->inside && !thread->serves &&
           !(thread->blocked & BIT(signal)) && is_handled(signal, &how);
}

/* Like the system: one of a kind, but for those of real time. */
static int keep(struct hb_thread *thread, const siginfo_t *info)
{
    siginfo_t *all = kept[thread->id];
    for (uint32_t at = 0; at < thread->signals; at++)
        if (info->si_signo < FIRST_REAL_TIME && all[at].si_signo == info->si_signo)
            return 0;
    if (thread->signals == HB_MAX_KEPT)
        return EAGAIN;
    all[thread->signals++] = *info;
    return 0;
}

/* Sends it to `thread`; false: it is the system's. */
static bool sends(struct hb_thread *me, struct hb_thread *thread, int signal, int code,
                  union sigval value, uint64_t pc, int *result)
{
    if (!thread || thread == me || !is_kept(thread, signal))
        return false;
    hb_swift_leave();
    hb_before(me, HB_K_KILL, thread, NULL, pc);
    if (!is_kept(thread, signal))
        return false;
    siginfo_t info = {.si_signo = signal, .si_code = code};
    info.si_pid = (pid_t)hb_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
    info.si_uid = (uid_t)hb_syscall(SYS_getuid, 0, 0, 0, 0, 0, 0);
    if (code == SI_QUEUE)
        info.si_value = value;
    hb_race_release(me, &kept[thread->id]);
    *result = keep(thread, &info);
    hb_after(me, HB_K_KILL, thread, pc, (uint32_t)signal);
    return true;
}

/* Who gets what is sent to the process: the first thread that lets it through, as the system does
 * it. */
static struct hb_thread *who_takes(int signal)
{
    for (uint32_t id = 0; id < hb.thread_count && signal > 0 && signal <= 64; id++) {
        struct hb_thread *thread = &hb.threads[id];
        if (!thread->finished && !thread->serves && !(thread->blocked & BIT(signal)))
            return thread;
    }
    return NULL;
}

static const union sigval NONE;

HB_HOOK int pthread_kill(pthread_t handle, int signal)
{
    struct hb_thread *me = hb_controlled();
    int result;
    if (me && sends(me, hb_thread_of(handle), signal, SI_TKILL, NONE, HB_PC, &result))
        return result;
    return REAL(pthread_kill)(handle, signal);
}

HB_HOOK int pthread_sigqueue(pthread_t handle, int signal, const union sigval value)
{
    struct hb_thread *me = hb_controlled();
    int result;
    if (me && sends(me, hb_thread_of(handle), signal, SI_QUEUE, value, HB_PC, &result))
        return result;
    return REAL(pthread_sigqueue)(handle, signal, value);
}

/* As a call that tells by errno. */
static int told(int result)
{
    if (result)
        errno = result;
    return result ? -1 : 0;
}

HB_HOOK int tgkill(pid_t process, pid_t tid, int signal)
{
    struct hb_thread *me = hb_controlled();
    int result;
    if (me && process == getpid() &&
        sends(me, hb_thread_with_tid(tid), signal, SI_TKILL, NONE, HB_PC, &result))
        return told(result);
    return REAL(tgkill)(process, tid, signal);
}

HB_HOOK int kill(pid_t process, int signal)
{
    struct hb_thread *me = hb_controlled();
    int result;
    if (me && process == getpid() &&
        sends(me, who_takes(signal), signal, SI_USER, NONE, HB_PC, &result))
        return told(result);
    return REAL(kill)(process, signal);
}

HB_HOOK int sigqueue(pid_t process, int signal, const union sigval value)
{
    struct hb_thread *me = hb_controlled();
    int result;
    if (me && process == getpid() &&
        sends(me, who_takes(signal), signal, SI_QUEUE, value, HB_PC, &result))
        return told(result);
    return REAL(sigqueue)(process, signal, value);
}
