/* The process: how it comes under control before `main`, once a schedule, and what becomes of it.
 *
 * heisenbed starts the program once. The constructor here does not return in that process: it is
 * the fork server, which makes a child for each schedule, in which the constructor returns. So a
 * schedule costs a fork, not an exec with its dynamic linking.
 */
#include "race.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

void hb_begin_main(void);

static void serve(int control);
static void begin(const int *fds);
static void sweep(struct hb_reply *reply);
static void note_lost_page(void);
static void catch_signals(void);
static void take_environment(void);
static void load_target(void);
static void in_child(void);

/* The signal by which a schedule ends that can write nothing into the page any more. */
#define PAGE_IS_LOST (SIGRTMAX - 1)

/* ---- The server ---- */

static bool heap_is_seen;

enum { FD_PAGE, FD_STDIN, FD_STDOUT, FD_STDERR, FD_ASK, FD_TURNS, FD_COUNT };

/* One message with descriptors: the page, and what the program reads and writes; or a control
 * socket. */
static bool receive(int control, int *fds, unsigned count)
{
    char byte;
    struct iovec part = {&byte, 1};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(FD_COUNT * sizeof(int))];
    } with;
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &with,
                             .msg_controllen = sizeof with};
    ssize_t got;
    do
        got = (ssize_t)hb_syscall(SYS_recvmsg, control, (long)&message, MSG_CMSG_CLOEXEC, 0, 0, 0);
    while (got == -EINTR);
    struct cmsghdr *header = got == 1 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!header || header->cmsg_len != CMSG_LEN(count * sizeof(int)))
        return false;
    memcpy(fds, CMSG_DATA(header), count * sizeof(int));
    return true;
}

__attribute__((constructor(101))) static void start(void)
{
    if (!getenv("HEISENBED_RUN"))
        return;
    take_environment();
    /* Above what programs use, and out of the way of what they expect at 0. */
    int control = fcntl(0, F_DUPFD_CLOEXEC, 700);
    if (control < 0)
        return;
    /* Before those of the program, whose handlers run in its children, too. */
    pthread_atfork(NULL, NULL, in_child);
    load_target();
    hb_find_modules();
    serve(control);
}

/* What the program and its children see of the environment is as it would be without us. */
static void take_environment(void)
{
    const char *preload = getenv("HEISENBED_PRELOAD_BEFORE");
    if (preload && *preload)
        setenv("LD_PRELOAD", preload, 1);
    else
        unsetenv("LD_PRELOAD");
    unsetenv("HEISENBED_PRELOAD_BEFORE");
    unsetenv("HEISENBED_RUN");
}

/* A target is there before the first schedule: it is loaded once, and has names and lines. Why it
 * cannot be loaded, the driver says. */
static void load_target(void)
{
    const char *path = getenv("HEISENBED_TARGET");
    if (path)
        dlopen(path, RTLD_NOW | RTLD_LOCAL);
    unsetenv("HEISENBED_TARGET");
}

static void answer(int control, struct hb_reply reply)
{
    long sent;
    /* Where memory is short, there may be some in a moment: a reply that is lost is waited for. */
    do
        sent = hb_syscall(SYS_sendto, control, (long)&reply, sizeof reply, MSG_NOSIGNAL, 0, 0);
    while (sent == -EINTR || sent == -EAGAIN || sent == -ENOBUFS || sent == -ENOMEM);
}

static void serve(int control)
{
    int fds[FD_COUNT];
    if (!receive(control, fds, FD_COUNT))
        _exit(87);
    void *page = mmap(NULL, HB_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[FD_PAGE], 0);
    if (page == MAP_FAILED)
        _exit(87);
    unsigned char *base = page;
    hb.config = (struct hb_config *)(base + HB_AT_CONFIG);
    hb.expected = (uint64_t *)(base + HB_AT_EXPECTED);
    hb.aims = (struct hb_aims *)(base + HB_AT_AIMS);
    hb.result = (struct hb_result *)(base + HB_AT_RESULT);
    hb.taken = (struct hb_decision *)(base + HB_AT_TAKEN);
    hb.decisions = (struct hb_decision *)(base + HB_AT_DECISIONS);
    hb.events = (struct hb_event *)(base + HB_AT_EVENTS);
    hb.stacks = (uint64_t (*)[HB_MAX_FRAMES])(base + HB_AT_STACKS);
    hb_races = (struct hb_races *)(base + HB_AT_RACES);
    extern bool hb_heap_is_seen(void);
    heap_is_seen = hb_heap_is_seen();
    hb.exploration = (struct hb_exploration *)(base + HB_AT_EXPLORATION);
    hb.track = (struct hb_track_config *)(base + HB_AT_TRACK);
    hb.track_head = (struct hb_track_head *)(base + HB_AT_TRACK_HEAD);
    hb.track_log = base + HB_AT_TRACK_LOG;
    if (hb.config->magic != HB_MAGIC || hb.config->version != HB_VERSION)
        _exit(88);
    hb_symbols_patch();
    hb_inner_begin();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    hb_cores_pin();
    answer(control, (struct hb_reply){.kind = HB_READY, .pid = getpid()});
    for (;;) {
        char command = 0;
        long got = hb_syscall(SYS_read, control, (long)&command, 1, 0, 0, 0);
        if (got == -EINTR)
            continue;
        /* Another server, with the same memory at the same addresses. This one makes servers only
         * from then on: at the end of a schedule it would end them. */
        int other = -1;
        if (got == 1 && command == HB_DO_SERVE && receive(control, &other, 1)) {
            if (REAL(fork)() == 0) {
                close(control);
                serve(other);
                return;
            }
            close(other);
            continue;
        }
        if (got != 1 || command != HB_DO_RUN)
            _exit(0);
        if (hb.config->flags & HB_PIN)
            hb_cores_pin();
        pid_t child = REAL(fork)();
        if (child == 0) {
            close(control);
            begin(fds);
            return;
        }
        if (child < 0) {
            answer(control, (struct hb_reply){.kind = HB_FAILED, .status = errno});
            continue;
        }
        answer(control, (struct hb_reply){.kind = HB_STARTED, .pid = child});
        struct hb_reply reply = {.kind = HB_ENDED, .pid = child};
        struct rusage used;
        int status = 0;
        for (;;) {
            pid_t got = wait4(child, &status, 0, &used);
            if (got < 0 && errno == EINTR)
                continue;
            if (got < 0 || !WIFSTOPPED(status))
                break;
            /* It asked to be traced by us: it goes on as if it were not. */
            long with = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
            ptrace(PTRACE_CONT, child, NULL, (void *)with);
        }
        if (WIFSIGNALED(status) && WTERMSIG(status) == PAGE_IS_LOST)
            note_lost_page();
        reply.status = status;
        reply.user_us = (uint64_t)used.ru_utime.tv_sec * 1000000 + (uint64_t)used.ru_utime.tv_usec +
                        (uint64_t)used.ru_stime.tv_sec * 1000000 + (uint64_t)used.ru_stime.tv_usec;
        sweep(&reply);
        answer(control, reply);
    }
}

static void note_lost_page(void)
{
    static const char TEXT[] = "it took away the memory that it shares with heisenbed";
    memcpy(hb.result->text, TEXT, sizeof TEXT);
    __atomic_store_n(&hb.result->outcome, HB_TOO_MUCH, __ATOMIC_RELEASE);
}

/* Ends whatever the program has left behind. All of it is the server's by now: who loses its parent
 * becomes the child of the nearest reaper. */
static void sweep(struct hb_reply *reply)
{
    for (int round = 0; round < 10000; round++) {
        char path[64] = "/proc/thread-self/children";
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        char text[4096];
        ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        if (length <= 0) {
            /* Without that file: whoever can be waited for is dead already. */
            if (waitpid(-1, NULL, WNOHANG) <= 0)
                return;
            continue;
        }
        text[length] = 0;
        for (char *at = text; *at;) {
            char *end;
            long pid = strtol(at, &end, 10);
            if (end == at)
                break;
            at = *end ? end + 1 : end;
            /* One by one: whose parent ends in the meantime comes in the next round. */
            if (pid > 1 && kill((pid_t)pid, SIGKILL) == 0 && waitpid((pid_t)pid, NULL, 0) > 0)
                reply->swept++;
        }
    }
}

/* ---- The program ---- */

static void begin(const int *fds)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* What it sends to its group is for itself. Only if we have a group of our own: else it is to
     * stay in that of the terminal. */
    if (getpgrp() == getppid())
        setpgid(0, 0);
    for (int at = FD_STDIN; at <= FD_STDERR; at++)
        dup2(fds[at], at - FD_STDIN);
    hb.ask = fcntl(fds[FD_ASK], F_DUPFD_CLOEXEC, 710);
    hb.turns = fcntl(fds[FD_TURNS], F_DUPFD_CLOEXEC, 711);
    for (int at = 0; at < FD_COUNT; at++)
        if (fds[at] > 2)
            close(fds[at]);
    if (!(hb.config->flags & HB_PIN))
        hb_cores_release();
    hb.mode = hb.config->mode;
    if (hb.mode == HB_OFF)
        return;
    if (hb.track->enabled)
        hb_track_begin();
    catch_signals();
    /* The unwinder sets itself up at its first use: whoever that is, it is no step of theirs. */
    uint64_t frames[2];
    hb_stack(frames, 2);
    hb_begin_schedule();
    if (hb.mode == HB_CONTROL) {
        hb_begin_main();
        hb_explore_begin();
    } else {
        extern void hb_observe_thread(void);
        hb_observe_thread();
    }
    __atomic_store_n(&hb.result->started, 1, __ATOMIC_RELEASE);
}

void hb_begin_schedule(void)
{
    hb.now = (int64_t)hb.config->start_time_ns;
    hb.following = hb.config->decisions > 0;
    hb.clock = 0;
    hb.decision = hb.decision_left = 0;
    hb.preempts = hb.mark = false;
    hb_signals_anew();
    hb_draw_haste();
    if (hb.mode != HB_CONTROL)
        return;
    hb_sampler_begin(hb.config->strategy, hb.config->seed, hb.config->index, hb.config->depth,
                     hb.config->expected_steps, hb.expected, hb.aims);
    if (hb_races->look && !heap_is_seen)
        hb_race_stop(HB_RACES_ALLOCATOR);
}

/* A child of the program is not under control: it runs as it would. */
static void in_child(void)
{
    if (hb.mode != HB_OFF) {
        if (hb.mode == HB_CONTROL)
            hb_cores_release();
        hb.mode = HB_OFF;
        hb_self = NULL;
    }
}

void hb_note_child(uint16_t kind, uint64_t pc)
{
    if (hb.mode == HB_OFF || !hb.result)
        return;
    hb.result->children++;
    struct hb_thread *me = hb_controlled();
    if (me)
        hb_record(me, kind, NULL, pc, 0);
}

static pid_t fork_from(uint64_t pc)
{
    struct hb_thread *me = hb_controlled();
    /* Others may be in the middle of something that the child gets a copy of. */
    if (me)
        hb_turn(me, (struct hb_action){.kind = HB_K_FORK, .pc = pc, .deadline = HB_NEVER});
    hb_swift_leave();
    pid_t child = REAL(fork)();
    if (child == 0)
        in_child();
    else if (child > 0)
        hb_note_child(HB_K_FORK, pc);
    return child;
}

HB_HOOK pid_t fork(void) { return fork_from(HB_PC); }

/* A child that shares our memory until it executes something would leave our state as it is: it
 * becomes a plain fork, which differs only in time. */
HB_HOOK pid_t vfork(void) { return fork_from(HB_PC); }

#include <spawn.h>

HB_HOOK int posix_spawn(pid_t *restrict pid, const char *restrict path,
                        const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *restrict attributes, char *const *restrict argv,
                        char *const *restrict envp)
{
    hb_note_child(HB_K_FORK, HB_PC);
    HB_LENDS_CORES;
    return REAL(posix_spawn)(pid, path, actions, attributes, argv, envp);
}

HB_HOOK int posix_spawnp(pid_t *restrict pid, const char *restrict path,
                         const posix_spawn_file_actions_t *actions,
                         const posix_spawnattr_t *restrict attributes,
                         char *const *restrict argv, char *const *restrict envp)
{
    hb_note_child(HB_K_FORK, HB_PC);
    HB_LENDS_CORES;
    return REAL(posix_spawnp)(pid, path, actions, attributes, argv, envp);
}

HB_HOOK int execve(const char *path, char *const *argv, char *const *envp)
{
    hb_note_child(HB_K_EXEC, HB_PC);
    HB_LENDS_CORES;
    return REAL(execve)(path, argv, envp);
}

/* ---- Stacks ---- */

struct walk {
    uint64_t *frames;
    int count, most;
};

static uintptr_t own_low, own_high;

static _Unwind_Reason_Code visit(struct _Unwind_Context *context, void *given)
{
    struct walk *walk = given;
    int before = 0;
    uintptr_t pc = _Unwind_GetIPInfo(context, &before);
    if (pc == 0)
        return _URC_END_OF_STACK;
    /* The frames of the runtime itself are nobody's business. */
    if (walk->count == 0 && pc >= own_low && pc < own_high)
        return _URC_NO_REASON;
    if (walk->count >= walk->most)
        return _URC_END_OF_STACK;
    /* A call's line is that of the instruction before the return address. */
    walk->frames[walk->count++] = before ? pc : pc - 1;
    return _URC_NO_REASON;
}

extern const ElfW(Ehdr) hb_image __asm__("__ehdr_start") __attribute__((visibility("hidden")));

static void find_own_image(void)
{
    const ElfW(Phdr) *part = (const ElfW(Phdr) *)((const char *)&hb_image + hb_image.e_phoff);
    own_low = own_high = (uintptr_t)&hb_image;
    for (int at = 0; at < hb_image.e_phnum; at++)
        if (part[at].p_type == PT_LOAD && own_low + part[at].p_vaddr + part[at].p_memsz > own_high)
            own_high = own_low + part[at].p_vaddr + part[at].p_memsz;
}

size_t hb_own_image_size(void)
{
    if (own_low == 0)
        find_own_image();
    return own_high - own_low;
}

int hb_stack(uint64_t *frames, int most)
{
    if (own_low == 0)
        find_own_image();
    struct walk walk = {frames, 0, most};
    /* The unwinder takes locks of its own. */
    struct hb_thread *me = hb_self;
    bool before = me && me->busy;
    if (me)
        me->busy = true;
    _Unwind_Backtrace(visit, &walk);
    if (me)
        me->busy = before;
    return walk.count;
}

/* ---- Crashes ---- */

#define ALTERNATE (64 * 1024)

static const int FATAL[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};

/* The program took our page away: all else that is done here would fail again. */
static void end_without_page(void)
{
    struct sigaction usual = {.sa_handler = SIG_DFL};
    sigset_t that;
    sigemptyset(&that);
    sigaddset(&that, PAGE_IS_LOST);
    REAL(sigaction)(PAGE_IS_LOST, &usual, NULL);
    sigprocmask(SIG_UNBLOCK, &that, NULL);
    long process = hb_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
    hb_syscall(SYS_kill, process, PAGE_IS_LOST, 0, 0, 0, 0);
}

/* What is known of a crash goes into the page; then it takes its course. */
static void on_crash(int signal, siginfo_t *info, void *context)
{
    (void)context;
    struct hb_result *result = hb.result;
    uintptr_t fault = (uintptr_t)info->si_addr, page = (uintptr_t)hb.config;
    if (info->si_code > 0 && signal != SIGABRT && page && fault - page < HB_PAGE_SIZE)
        end_without_page();
    if (hb.mode != HB_OFF && result && !result->signal) {
        struct hb_thread *me = hb_self;
        result->signal = (uint32_t)signal;
        result->culprit = me ? me->id : HB_NOBODY;
        result->fault_address = signal == SIGABRT ? 0 : (uint64_t)(uintptr_t)info->si_addr;
        result->frames = (uint32_t)hb_stack(result->crash, HB_MAX_FRAMES * 2);
        if (hb.mode == HB_CONTROL)
            hb_note_waiting();
        __atomic_store_n(&result->outcome, HB_CRASH, __ATOMIC_RELEASE);
    }
    struct sigaction usual = {.sa_handler = SIG_DFL};
    REAL(sigaction)(signal, &usual, NULL);
    /* An instruction that faults does so again; what was sent is sent again. */
    if (info->si_code <= 0 || signal == SIGABRT)
        hb_syscall(SYS_tgkill, hb_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0),
                   hb_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0), signal, 0, 0, 0);
}

bool hb_is_fatal(int signal)
{
    for (size_t at = 0; at < sizeof FATAL / sizeof *FATAL; at++)
        if (FATAL[at] == signal)
            return true;
    return false;
}

bool hb_is_own_handler(const struct sigaction *how)
{
    return how->sa_flags & SA_SIGINFO && how->sa_sigaction == on_crash;
}

/* A stack that has overflown leaves no room for a handler. */
void *hb_alternate_space(void)
{
    void *space = mmap(NULL, ALTERNATE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return space == MAP_FAILED ? NULL : space;
}

void hb_alternate_stack(void *space)
{
    if (!space)
        return;
    stack_t stack = {.ss_sp = space, .ss_size = ALTERNATE};
    sigaltstack(&stack, NULL);
}

static void catch_signals(void)
{
    hb_alternate_stack(hb_alternate_space());
    for (size_t at = 0; at < sizeof FATAL / sizeof *FATAL; at++) {
        struct sigaction before, own = {.sa_sigaction = on_crash,
                                        .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
        if (REAL(sigaction)(FATAL[at], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            REAL(sigaction)(FATAL[at], &own, NULL);
    }
}
