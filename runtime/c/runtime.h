/* The runtime's inside: threads that take turns, and how a hook asks for its turn.
 *
 * Under control one thread runs at a time. A hook calls hb_turn() before what may have to wait, and
 * hb_after() after what cannot. There the running thread itself decides who goes on; only if that
 * is another one is anything handed over. All state here belongs to the thread that has the turn,
 * so it needs no locks.
 *
 * What the hooks keep to:
 *   - They allocate nothing: whatever they need is in the page or in static arenas.
 *   - Whether an action can be taken is read from the object's own memory where its layout is
 *     known (mutexes, semaphores): it is right also for objects that nobody initialised by a call,
 *     or whose memory was used before.
 *   - A thread that is not under control (it has ended, it was forked, it came from nowhere) goes
 *     through to the real function.
 */
#ifndef HEISENBED_RUNTIME_H
#define HEISENBED_RUNTIME_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "protocol.h"

#define HB_HOOK __attribute__((visibility("default")))
#define HB_PC ((uint64_t)(uintptr_t)__builtin_return_address(0))
#define HB_NOBODY UINT32_MAX
#define HB_NEVER INT64_MAX
#define HB_MAX_SIGNALS 16
#define HB_PATIENCE 64

/* How a turn came. */
enum hb_turn { HB_CAN, HB_TIMED_OUT, HB_CANCELLED, HB_SPURIOUSLY, HB_INTERRUPTED };

/* Whether a wait ends when a handler of a signal ran: never; if the handler was made without
 * SA_RESTART; always. Of a handler: it ends waits that are at least so. */
enum hb_interruptible { HB_GOES_ON, HB_RESTARTED, HB_ENDS };

struct hb_thread;

/* Whether the thread can take the action that it is about to take. */
typedef bool (*hb_can)(const struct hb_thread *thread);

/* What a thread is about to do. */
struct hb_action {
    uint16_t kind;
    void *address; /* Of the object. */
    uint64_t pc;
    hb_can can;       /* NULL: always. */
    int64_t deadline; /* Virtual nanoseconds; HB_NEVER. */
    void *with;       /* What `can` needs besides. */
    uint64_t word;    /* The same. */
    bool cancellable;
    bool spurious; /* May wake up for no reason. */
    bool outside;  /* Something from outside of the process may end the wait. */
    bool after;    /* It was taken already: only the turn is asked for. */
    enum hb_interruptible signals;
};

/* Of a thread that another thread of the system may run: see swift.c. */
#define HB_MAX_SWIFT 64u
struct hb_swift {
    void *stack; /* Where it goes on. */
    uint64_t fs;
    uint32_t ready; /* Its own thread of the system sleeps. */
    bool hosted;
};

struct hb_thread {
    uint32_t id;
    uint32_t turn; /* A futex: 1 when it is its turn. */
    struct hb_action next;
    enum hb_turn how;
    bool used, finished, detached, joined, cancelled, early, yielded, inside;
    bool cancelled_anywhere; /* PTHREAD_CANCEL_ASYNCHRONOUS. */
    bool woken; /* By a broadcast. */
    bool rests; /* It ends to be started again. */
    bool busy;  /* In the runtime itself: what that calls is no action of the program. */
    int tid;
    pthread_t handle;
    void *(*start)(void *);
    void *argument;
    uint64_t waits_since; /* For a condition variable: when it began. */
    uint64_t steps;
    int ending; /* Rounds of key destructors. */
    bool serves; /* It is the tracking server's: whoever chooses it takes its step for it. */
    bool slow;   /* The others go first, but not for ever: */
    uint32_t passed; /* so often they did. */
    /* Loops that read the same again and again. */
    struct {
        uint64_t pc, address, value;
        uint32_t count;
    } spin[4];
    uint32_t tries;    /* Of a hasty schedule: see hb_lets_others. */
    uint64_t unbroken; /* Steps since somebody else could go. */
    uint64_t frames[HB_MAX_FRAMES]; /* Where it is about to act; with HB_STACKS. */
    uint32_t depth;
    bool asking; /* For its turn: what runs in it meanwhile is a handler of a signal. */
    void *alternate; /* The stack for its signals. */
    bool polite; /* With HB_EXPLORE: it said that others may go first. */
    struct hb_swift swift;
    uint64_t *aside; /* The guard of a static variable that is made while a target is opened. */
    bool awaits; /* The same: it would see for ever what it saw, but for a step of another. */
    uint32_t signals; /* How many were sent to it and have not come: see signals.c. */
    uint64_t blocked; /* Signals that it does not let through. */
    uint32_t in_op; /* With HB_OPS: how many operations it is in, one inside of another. */
};

/* An object: what is known of it beside its own memory. */
struct hb_object {
    void *address;
    uint32_t id;
    uint32_t holder; /* Of what has one holder. */
    uint32_t count;  /* Readers; arrivals at a barrier; what a once is at. */
    uint32_t needed; /* Of a barrier; of a lock that prefers writers: how many wait. */
    uint32_t round;
    uint64_t signals[HB_MAX_SIGNALS]; /* When each pending signal was given, ascending. */
    uint32_t pending;    /* How many. */
    bool modelled;
    uint32_t era; /* In which it got its number. */
};

struct hb_state {
    struct hb_config *config;
    struct hb_result *result;
    struct hb_decision *decisions, *taken;
    struct hb_event *events;
    uint64_t (*stacks)[HB_MAX_FRAMES];
    uint64_t *expected;
    struct hb_aims *aims;
    enum hb_mode mode;
    struct hb_thread threads[HB_MAX_THREADS];
    uint32_t thread_count;
    uint32_t current;
    uint64_t clock; /* Counts what matters for the order of waits and signals. */
    int64_t now;    /* Virtual nanoseconds since 1970. */
    uint32_t decision, decision_left;
    bool following, preempts, mark;
    bool handles_signals; /* Others than those that end a program, or its children. */
    bool signals_come;    /* Some of them from the system, as those of timers. */
    bool exploring;       /* HB_EXPLORE. */
    bool hasty;           /* Who waits in a loop goes on for a while: see hb_lets_others. */
    struct hb_exploration *exploration;
    struct hb_track_config *track;
    struct hb_track_head *track_head;
    unsigned char *track_log;
    int ask; /* Where the tracking server answers. */
    int turns; /* Where a target that begins anew says that it came to its end. */
    uint32_t era; /* How often it did. */
    bool swift; /* The driver's threads share one thread of the system. */
    bool opens; /* The driver opens or closes a target. */
    bool passes_on; /* Descriptors may be used by others than the threads: see inner.c. */
};

extern struct hb_state hb;
extern __thread struct hb_thread *hb_self __attribute__((tls_model("initial-exec")));

/* The calling thread, if it is under control and has the turn; NULL otherwise. */
static inline struct hb_thread *hb_controlled(void)
{
    struct hb_thread *me = hb_self;
    return me && hb.mode == HB_CONTROL && !me->inside && !me->busy && !me->finished && hb.current == me->id
               ? me
               : NULL;
}

/* Asks for the turn to take `action`, and says how it came. */
enum hb_turn hb_turn(struct hb_thread *me, struct hb_action action);
/* An action that never waits was taken: others may go on now. */
void hb_after(struct hb_thread *me, uint16_t kind, void *address, uint64_t pc, uint32_t value);
/* Records that the action whose turn came was taken. */
void hb_record(struct hb_thread *me, uint16_t kind, void *address, uint64_t pc, uint32_t value);
/* A step that is no choice: it only counts. */
void hb_count(struct hb_thread *me);
/* Leaves control for a call that only the system can answer, and comes back. */
void hb_outside_begin(struct hb_thread *me, uint16_t kind, uint64_t pc);
void hb_outside_end(struct hb_thread *me);
/* The same, also where the thread is cancelled in between; errno stays. */
void hb_come_back(struct hb_thread **inside);
/* Whether a thread that waits in a loop lets the others go first, this time. */
bool hb_lets_others(struct hb_thread *me);
void hb_draw_haste(void);
/* Lets the others go first, until one of them has taken a step. */
void hb_let_others(struct hb_thread *me, uint16_t kind, uint64_t pc);
/* The calling thread ends: it does not come back. */
void hb_finish(struct hb_thread *me);
/* What the schedule's result says in words. */
void hb_say(const char *text);
/* The schedule ends here, with this outcome. */
_Noreturn void hb_end(enum hb_outcome outcome, struct hb_thread *culprit, const char *text);
/* Notes who waits for what. */
void hb_note_waiting(void);
/* The stack of the calling thread; how deep it is. */
int hb_stack(uint64_t *frames, int most);
/* A record of a run that is not controlled. */
void hb_observe(uint16_t kind, void *address, uint64_t pc);

struct hb_thread *hb_new_thread(struct hb_thread *creator);
struct hb_object *hb_object(void *address);
struct hb_object *hb_find(void *address);
/* How many are known, of all eras. */
uint32_t hb_object_count(void);
void hb_forget(void *address);
uint32_t hb_holder(const struct hb_thread *thread);
bool hb_has_ended(const struct hb_thread *thread);
/* Of those that are left; NULL: none, or it is not under control. */
struct hb_thread *hb_thread_of(pthread_t handle);
struct hb_thread *hb_thread_with_tid(int tid);
/* From heisenbed's plan to the first step. */
void hb_begin_schedule(void);

/* Signals: see signals.c. */
struct sigaction;
/* The thread lets through what its creator does; the first one, what the system says. */
void hb_signals_begin(struct hb_thread *me, const struct hb_thread *creator);
/* A schedule begins: what is known of handlers is what it was at the first one's beginning. */
void hb_signals_anew(void);
/* What was sent to the thread, which has the turn, comes now: what waits it ends. */
enum hb_interruptible hb_signals_come(struct hb_thread *me);
/* The mask is another one for a wait. True: a signal had been waiting for that, and came. */
bool hb_signals_let(const sigset_t *mask, sigset_t *before);
/* The system may send what the program handles. */
void hb_signals_from_system(void);
/* One that ends a program, and is caught to tell of it; by this handler. */
bool hb_is_fatal(int signal);
bool hb_is_own_handler(const struct sigaction *how);
/* Cores: `cores.c`. The calling thread, and whom it makes, share the one that the plan names, if
 * heisenbed may use it; have those of the program again. */
void hb_cores_pin(void);
void hb_cores_release(void);
/* Another schedule begins in this process: its threads follow to the core of the new plan. */
void hb_cores_again(void);
/* Until the end of the block the calling thread has what whatever it starts is to have. */
static inline void hb_cores_return(const bool *lent)
{
    if (*lent)
        hb_cores_pin();
}
static inline bool hb_cores_lend(void)
{
    bool lends = hb.mode == HB_CONTROL;
    if (lends)
        hb_cores_release();
    return lends;
}
#define HB_LENDS_CORES                                                                             \
    __attribute__((cleanup(hb_cores_return), unused)) bool lent_cores = hb_cores_lend()
/* The thread has its creator's; the first one, all. */
void hb_cores_begin(const struct hb_thread *me, const struct hb_thread *creator);

/* Time. */
int64_t hb_deadline(clockid_t clock, const struct timespec *at);
int64_t hb_deadline_in(const struct timespec *span);
/* Whether it is one: waits refuse others. */
bool hb_is_time(const struct timespec *at);
int64_t hb_now_of(clockid_t clock);
int64_t hb_of(const struct timespec *at);

/* The real function behind a hook. */
void *hb_real(const char *name, const char *version);
#define REAL(name)                                                                                 \
    ({                                                                                             \
        static __typeof__(&name) real_;                                                            \
        if (!real_)                                                                                \
            real_ = (__typeof__(&name))hb_real(#name, NULL);                                       \
        real_;                                                                                     \
    })
#ifdef __x86_64__
#define REAL_COND(name)                                                                            \
    ({                                                                                             \
        static __typeof__(&name) real_;                                                            \
        if (!real_)                                                                                \
            real_ = (__typeof__(&name))hb_real(#name, "GLIBC_2.3.2");                              \
        real_;                                                                                     \
    })
#else
#define REAL_COND(name) REAL(name)
#endif

/* Exhaustive search: `explore.c`. */
void hb_explore_begin(void);
/* How many files of the program say that their loads and stores are seen: `access.c`. */
uint32_t hb_files_seen(void);
void hb_explore_last(void);
void hb_explore_asks(struct hb_thread *me);
void hb_explore_pending(const struct hb_thread *thread);
uint32_t hb_explore_pick(const uint32_t *able, uint32_t count, uint32_t current);
void hb_explore_step(const struct hb_thread *taken, const uint32_t *able, uint32_t count,
                     bool costs);
void hb_explore_record(struct hb_thread *me, uint16_t kind, void *address);
void hb_explore_access(struct hb_thread *me, unsigned kind, void *address, uint64_t size,
                       uint64_t pc);
void hb_explore_limit(uint32_t limit);

/* Who is not controlled: `foreign.c`. Nobody of the controlled can go on: whether one of those may
 * help. It ends the schedule where that cannot be told. */
bool hb_foreign_may_help(struct hb_thread *me, uint32_t *rounds);
/* Objects are shared with other processes. */
void hb_foreign_share(void);
/* A process is made, by this kind of action. */
void hb_note_child(uint16_t kind, uint64_t pc);
/* What an atomic update changed that was made last. */
void hb_await_settle(void);
void hb_explore_ends(const struct hb_thread *me);
void hb_explore_settle(void);
void hb_explore_gives_back(void *memory, uint64_t size, uint64_t pc);
uint64_t hb_explore_bits(struct hb_thread *me);

/* Whether another thread looks next whether this is taken, or copies it with the process. */
bool hb_is_tried(const struct hb_thread *me, const void *address);

/* An action that never waits is about to be taken. Whoever waits for what it gives cannot tell
 * when that was given, so there is no choice before it but in an exhaustive search, and where
 * somebody is about to look without waiting: else nobody would ever find it taken. And where there
 * are handlers of signals: one that comes before it finds it taken, too. */
static inline void hb_before(struct hb_thread *me, uint16_t kind, void *address, void *with,
                             uint64_t pc)
{
    if (hb.exploring || hb.handles_signals || hb_is_tried(me, address))
        hb_turn(me, (struct hb_action){.kind = kind,
                                       .address = address,
                                       .with = with,
                                       .pc = pc,
                                       .deadline = HB_NEVER});
}

/* A call that a signal interrupts is about to be made. One that comes just before it interrupts
 * nothing: the call waits as if it had not come. */
static inline void hb_enter(struct hb_thread *me, uint16_t kind, void *address, uint64_t pc)
{
    if (hb.handles_signals)
        hb_turn(me, (struct hb_action){
                        .kind = kind, .address = address, .pc = pc, .deadline = HB_NEVER});
}

/* Tracking: see track.c. */
struct msghdr;
struct sockaddr;
void hb_track_begin(void);
bool hb_track_connects(const struct sockaddr *to, unsigned length);
int hb_track_connect(int fd);
void hb_track_elsewhere(const struct sockaddr *to, unsigned length);
bool hb_track_is(int fd);
void hb_track_shut(int fd);
long hb_track_send(struct hb_thread *me, int fd, const struct msghdr *what, int flags,
                   bool dontwait, uint64_t pc);
void hb_track_answer(int fd);
void hb_track_take(struct hb_thread *server);
void hb_track_seep(struct hb_thread *me);
void hb_track_truth(uint16_t kind, uint32_t device, uint32_t memory, uint64_t address,
                    uint64_t size, uint64_t pc);
void hb_track_end(void);
void hb_track_settle(void);
void hb_track_again(void);
void hb_track_op(uint32_t what, const void *buffer, uint64_t pc);
void hb_symbols_patch(void);
uint32_t hb_observer(void);
/* Waits that only this process can end: `inner.c`. */
void hb_inner_begin(void);
bool hb_inner_waits(struct hb_thread *me, const struct hb_thread *thread);
/* A place in the program's files, wherever they were loaded. */
void hb_find_modules(void);
uint64_t hb_place(uint64_t pc);

/* Swift hand-overs: `swift.c`. */
void hb_swift_leave(void);
bool hb_swift_can(struct hb_thread *me);
void hb_swift_rest(struct hb_thread *me);
void hb_swift_begin(struct hb_thread *main);
bool hb_swift_hand_over(struct hb_thread *me, struct hb_thread *next);

/* How much memory the runtime is loaded into. */
size_t hb_own_image_size(void);

/* System calls that no hook sees. */
long hb_syscall(long number, long a, long b, long c, long d, long e, long f);

/* The samplers, in Rust: `sampling/`. */
void hb_sampler_begin(uint32_t strategy, uint64_t seed, uint64_t index, uint32_t depth,
                      uint64_t steps, const uint64_t *expected, const struct hb_aims *aims);
void hb_sampler_next(uint32_t thread, uint64_t place, uint64_t object);
void hb_sampler_ended(uint32_t thread);
uint32_t hb_sampler_pick(const uint32_t *ready, size_t count, uint32_t current);
void hb_sampler_took(uint32_t thread);
void hb_sampler_depends(uint32_t thread);
void hb_sampler_falls(uint32_t thread);
uint64_t hb_sampler_bits(void);

#endif
