/* What heisenbed and the runtime agree on: a page of shared memory (a memfd) and a few messages
 * over a socket. `runtime/src/protocol.rs` says the same in Rust; a test holds the two together.
 *
 * The page is rewritten for each schedule, by heisenbed before and by the program after. The
 * program may write anything into it: heisenbed believes no length that it finds there.
 */
#ifndef HEISENBED_PROTOCOL_H
#define HEISENBED_PROTOCOL_H

#include <stdint.h>

#define HB_MAGIC UINT64_C(0x31306e7572626568)
#define HB_VERSION 2u

#define HB_MAX_THREADS 1024u
#define HB_MAX_DECISIONS (1u << 18)
#define HB_MAX_EVENTS (1u << 21)
#define HB_MAX_FRAMES 16u
#define HB_MAX_STACKS (1u << 16)

/* Where things are in the page. */
#define HB_AT_CONFIG 0u
#define HB_AT_EXPECTED 0x1000u
#define HB_AT_AIMS 0x3000u
#define HB_AT_RESULT 0x4000u
#define HB_AT_HOT 0x30000u /* A bit for each instruction that touches shared memory, by hash. */
#define HB_HOT_BITS 16u
#define HB_AT_TAKEN 0x40000u
#define HB_AT_DECISIONS (HB_AT_TAKEN + HB_MAX_DECISIONS * 8u)
#define HB_AT_EVENTS (HB_AT_DECISIONS + HB_MAX_DECISIONS * 8u)
#define HB_AT_STACKS (HB_AT_EVENTS + HB_MAX_EVENTS * 32u)
#define HB_PAGE_SIZE (HB_AT_STACKS + HB_MAX_STACKS * HB_MAX_FRAMES * 8u)

enum hb_mode {
    HB_OFF = 0,     /* The program runs as if the runtime were not there. */
    HB_OBSERVE = 1, /* Threads run in parallel; what they do is recorded. */
    HB_PERTURB = 2, /* The same, with delays before visible actions. */
    HB_CONTROL = 3, /* One thread at a time. */
};

enum hb_strategy {
    HB_RANDOM = 0,
    HB_POS = 1,
    HB_PCT = 2,
    HB_SURW = 3,
    HB_FIRST = 4, /* Goes on with the running thread; then the lowest. */
    HB_HELD_POS = 5, /* Some threads are held (hb_aims); POS for the others. */
    HB_HELD_RUN = 6, /* The same; the others run on, by priorities that were drawn. */
};

enum hb_flag {
    HB_STACKS = 1,      /* Record the stack of each visible action. */
    HB_SPURIOUS = 2,    /* Condition variables may wake up without a signal. */
    HB_STRICT = 4,      /* The decisions must be possible: it is a replay. */
    HB_PIN = 8,         /* All threads of the program share one core. */
};

/* Written by heisenbed. */
struct hb_config {
    uint64_t magic;
    uint32_t version;
    uint32_t mode;
    uint32_t strategy;
    uint32_t flags;
    uint64_t seed;
    uint64_t index;          /* The number of the schedule: with the seed, all that is drawn. */
    uint64_t max_steps;      /* More are a livelock. */
    uint64_t expected_steps; /* For PCT: k. */
    uint64_t start_time_ns;  /* Where virtual time begins, since 1970. */
    uint32_t depth;          /* For PCT: d. */
    uint32_t decisions;      /* How many runs of decisions there are to follow first. */
    uint32_t early_percent;  /* How often a timed wait may end before it must. */
    uint32_t core;           /* With HB_PIN. */
};

/* What a schedule aims at: threads that come to `hold` wait until another has passed `until` (0:
 * until nobody else can go on). An object of 0 is any. `select`: the objects whose steps SURW
 * orders. */
#define HB_MAX_AIMS 16u
#define HB_MAX_SELECTED 256u
#define HB_ALL_SELECTED UINT32_MAX

struct hb_aims {
    uint32_t aims;
    uint32_t selected;
    struct hb_aim {
        uint64_t hold, hold_object;
        uint64_t until, until_object;
        uint32_t once; /* Only the first that comes is held. */
        uint32_t skip; /* So many are let by first. */
    } aim[HB_MAX_AIMS];
    uint64_t select[HB_MAX_SELECTED];
};

/* So many steps of one thread. In what was taken, the number of the thread has HB_PREEMPTED set if
 * the one before could have gone on. */
#define HB_PREEMPTED 0x80000000u
#define HB_AFTER_PREEMPTION 0x8000u

struct hb_decision {
    uint32_t thread;
    uint32_t count;
};

enum hb_outcome {
    HB_RUNNING = 0,
    HB_DEADLOCK = 1,
    HB_LIVELOCK = 2,
    HB_STRAYED = 3,  /* A decision that could not be followed. */
    HB_CRASH = 4,
    HB_MISUSE = 5,   /* Of a lock. */
    HB_TOO_MUCH = 6, /* A limit of the runtime: `text` says which. */
};

/* What a thread is about to do, or waits for. */
struct hb_waiting {
    uint16_t kind;
    uint16_t thread;
    uint32_t object;
    uint64_t address;
    uint64_t pc;
    uint32_t holder; /* The thread that holds it; UINT32_MAX: nobody, or not known. */
    uint32_t stack;  /* How many of `frames` are set. */
    uint64_t frames[HB_MAX_FRAMES];
};

#define HB_MAX_WAITING 64u

/* Written by the runtime. */
struct hb_result {
    uint32_t started; /* `main` is about to begin. */
    uint32_t outcome;
    uint64_t steps;
    uint32_t threads;
    uint32_t taken;  /* Runs of decisions that were taken. */
    uint32_t events; /* May be more than were kept. */
    uint32_t stacks;
    uint32_t objects;
    uint32_t culprit; /* The thread that crashed or strayed. */
    uint32_t signal;
    uint64_t fault_address;
    uint32_t outside;     /* Actions that were left to the system: nobody controls them. */
    uint32_t children;    /* Processes that the program started; they are not controlled. */
    uint32_t waits_outside; /* Everybody waits, for something from outside. */
    uint64_t access_count;
    uint32_t waiting;
    uint32_t frames;
    uint64_t crash[HB_MAX_FRAMES * 2];
    char text[512];
    struct hb_waiting waits[HB_MAX_WAITING];
    uint64_t thread_steps[HB_MAX_THREADS];
};

struct hb_event {
    uint16_t kind;
    uint16_t thread; /* With HB_AFTER_PREEMPTION, if it is the first after one. */
    uint32_t object;
    uint64_t pc;
    uint64_t address; /* Of the object, or of the access. */
    uint32_t value;   /* What came of it. */
    uint32_t stack;   /* Its number; UINT32_MAX: none. */
};

/* Visible actions. The order is part of the protocol. */
enum hb_kind {
    HB_K_NONE,
    HB_K_START,
    HB_K_END,
    HB_K_CREATE,
    HB_K_JOIN,
    HB_K_DETACH,
    HB_K_CANCEL,
    HB_K_LOCK,
    HB_K_TRY_LOCK,
    HB_K_UNLOCK,
    HB_K_READ_LOCK,
    HB_K_WRITE_LOCK,
    HB_K_RW_UNLOCK,
    HB_K_WAIT,
    HB_K_WAKE,
    HB_K_SIGNAL,
    HB_K_BROADCAST,
    HB_K_SEM_WAIT,
    HB_K_SEM_POST,
    HB_K_BARRIER,
    HB_K_BARRIER_LEAVE,
    HB_K_SPIN_LOCK,
    HB_K_SPIN_UNLOCK,
    HB_K_ONCE,
    HB_K_ONCE_DONE,
    HB_K_YIELD,
    HB_K_SLEEP,
    HB_K_FUTEX_WAIT,
    HB_K_FUTEX_WAKE,
    HB_K_SEND,
    HB_K_RECEIVE,
    HB_K_POLL,
    HB_K_CONNECT,
    HB_K_ACCEPT,
    HB_K_FORK,
    HB_K_EXEC,
    HB_K_OUTSIDE,
    HB_K_READ,
    HB_K_WRITE,
    HB_K_ATOMIC_LOAD,
    HB_K_ATOMIC_STORE,
    HB_K_ATOMIC_UPDATE,
    HB_K_FENCE,
    HB_K_DESTROY,
    HB_K_COUNT
};

/* Over the control socket. heisenbed: one byte. The server answers with hb_reply. */
#define HB_DO_RUN 'r'
/* Another server beside this one: its descriptors follow, and then its own control socket. */
#define HB_DO_SERVE 's'

enum hb_reply_kind { HB_READY = 1, HB_STARTED = 2, HB_ENDED = 3, HB_FAILED = 4 };

struct hb_reply {
    uint32_t kind;
    int32_t pid;
    int32_t status;   /* As of waitpid. */
    uint32_t swept;   /* Processes of the program that were left over, and killed. */
    uint64_t user_us; /* Processor time. */
};

_Static_assert(sizeof(struct hb_event) == 32, "part of the protocol");
_Static_assert(sizeof(struct hb_waiting) == 32 + 8 * HB_MAX_FRAMES, "part of the protocol");
_Static_assert(sizeof(struct hb_config) <= HB_AT_EXPECTED, "part of the protocol");
_Static_assert(sizeof(struct hb_aims) <= HB_AT_RESULT - HB_AT_AIMS, "part of the protocol");
_Static_assert(sizeof(struct hb_result) <= HB_AT_HOT - HB_AT_RESULT, "part of the protocol");
_Static_assert(sizeof(struct hb_reply) == 24, "part of the protocol");

#endif
