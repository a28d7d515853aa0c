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
#define HB_VERSION 5u

#define HB_MAX_THREADS 1024u
#define HB_MAX_DECISIONS (1u << 18)
#define HB_MAX_EVENTS (1u << 21)
#define HB_MAX_FRAMES 16u
#define HB_MAX_STACKS (1u << 16)

/* Where things are in the page. What is written, or read, at one time is side by side. */
#define HB_AT_CONFIG 0u
#define HB_AT_RESULT 0x80u
#define HB_AT_EXPECTED 0x20000u /* For SURW: a number for each thread, up to HB_EXPECTED_END. */
#define HB_EXPECTED_END UINT64_MAX
#define HB_AT_AIMS 0x22000u
#define HB_AT_HOT 0x30000u /* A bit for each instruction that touches shared memory, by hash. */
#define HB_HOT_BITS 16u
#define HB_AT_TAKEN 0x40000u
#define HB_AT_DECISIONS (HB_AT_TAKEN + HB_MAX_DECISIONS * 8u)
#define HB_AT_EVENTS (HB_AT_DECISIONS + HB_MAX_DECISIONS * 8u)
#define HB_AT_STACKS (HB_AT_EVENTS + HB_MAX_EVENTS * 32u)
#define HB_AT_RACES (HB_AT_STACKS + HB_MAX_STACKS * HB_MAX_FRAMES * 8u)
#define HB_AT_EXPLORATION (HB_AT_RACES + 0x2000u)
#define HB_AT_TRANSITIONS (HB_AT_EXPLORATION + 0x2000u)
#define HB_MAX_TRANSITIONS (1u << 17)
#define HB_MAX_EXPLORED 64u /* Threads: their sets are words. */
/* What the program tells a tracking server, and what its allocator does. */
#define HB_AT_TRACK (HB_AT_TRANSITIONS + HB_MAX_TRANSITIONS * 64u)
#define HB_AT_TRACK_HEAD (HB_AT_TRACK + 0x4000u)
#define HB_AT_TRACK_LOG (HB_AT_TRACK_HEAD + 0x200u)
#define HB_TRACK_LOG_BYTES (64u << 20)
#define HB_MAX_CONNECTIONS 64u
#define HB_MAX_TRUTH_SYMBOLS 32u
#define HB_PAGE_SIZE (HB_AT_TRACK_LOG + HB_TRACK_LOG_BYTES)

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
    HB_AGAIN = 16,      /* A program that can begins anew in the same process: see target.c. */
    HB_OPS = 32,        /* Record where operations begin and end, and all accesses in them. */
    HB_SWIFT = 64,      /* With HB_AGAIN: see swift.c. */
    HB_EXPLORE = 256,   /* Each action is a choice, and what it touches is told. */
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
    HB_ALLOCATOR = 7, /* What a target did is wrong: `text` says it, its kind first. */
    HB_NOT_SWIFT = 8, /* With HB_SWIFT: it must be run without. */
    HB_ASLEEP = 16,  /* Whoever can go on is asleep: another schedule comes to the same. */
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
    uint32_t handlers; /* It handles signals, which come when they come. */
    uint64_t fault_address;
    uint32_t outside;     /* Actions that were left to the system: nobody controls them. */
    uint32_t children;    /* Processes that the program started; they are not controlled. */
    uint32_t waits_outside; /* Everybody waits, for something from outside. */
    uint32_t refused; /* Threads that the system would not make. */
    uint64_t access_count;
    uint32_t waiting;
    uint32_t frames;
    uint32_t others; /* Besides the thread that goes on others could, so many. */
    uint32_t unused;
    uint64_t crash[HB_MAX_FRAMES * 2];
    char text[512];
    uint64_t thread_steps[HB_MAX_THREADS];
    struct hb_waiting waits[HB_MAX_WAITING];
};

struct hb_event {
    uint16_t kind;
    uint16_t thread; /* With HB_AFTER_PREEMPTION, if it is the first after one. */
    uint32_t object; /* Of HB_K_OP: how many steps its thread has taken, this one included. */
    uint64_t pc;
    uint64_t address; /* Of the object, or of the access. */
    uint32_t value;   /* What came of it. */
    uint32_t stack;   /* Its number; UINT32_MAX: none. */
};

/* ---- Exhaustive search ---- */

/* How an action touches what it touches. Two that touch the same may not be exchanged, unless both
 * only read. */
enum hb_touch {
    HB_TOUCH_NOTHING = 0,
    HB_TOUCH_READ = 1,
    HB_TOUCH_WRITE = 2,
    HB_TOUCH_ALL = 3, /* It may not be exchanged with anything. */
};

/* What is no memory of the program, but touched as if it were. */
enum hb_touched { HB_OF_IO = 1, HB_OF_CLOCK = 2, HB_OF_THREADS = 3, HB_OF_RANDOM = 16 };

enum hb_transition_flag {
    HB_T_PENDING = 1,  /* Of HB_AT_PENDING: the thread is about to do this. */
    HB_T_EXTRA = 2,    /* Part of the transition before. */
    HB_T_COSTS = 4,    /* The thread before could go on: another one is a preemption. */
    HB_T_BLOCKS = 8,   /* It may have to wait, for what `address` names. */
    HB_T_FREES = 16,   /* Before it nobody could have what it gives back. */
    HB_T_ADVANCES = 32, /* The clock goes on by it, or may. */
};

/* A step of a thread: one action, and what it does until the next. */
struct hb_transition {
    uint16_t thread;
    uint16_t kind;
    uint8_t flags;
    uint8_t touch;
    uint16_t unused;
    uint32_t size;
    uint32_t unused_too;
    uint64_t step;    /* How many steps came before. */
    uint64_t address; /* Where it touches. */
    uint64_t with;    /* Another place that it writes; 0: none. */
    uint64_t able;    /* Sets of threads, as things were before: who could go on, */
    uint64_t asleep;  /* whose next action was searched already, */
    uint64_t held;    /* who could, but waits in a loop for others. */
};

/* What makes a search no proof. */
enum hb_limit {
    HB_L_SIGNALS = 1, /* The program handles signals. */
    HB_L_OUTSIDE = 2, /* Everybody waited for something from outside. */
    HB_L_HELD = 4,    /* A loop was not followed for ever. */
    HB_L_CONNECTS = 8, /* It talks with other processes. */
    HB_L_FOREIGN = 16, /* The C library makes threads for it. */
};

/* At HB_AT_EXPLORATION; then what threads are about to do, one transition each. */
struct hb_exploration {
    uint64_t asleep;      /* Threads that are not to go on, */
    uint64_t asleep_from; /* from this step on, until something touches what they would. */
    uint32_t transitions; /* Written by the runtime, as what follows. */
    uint32_t limits;
    uint32_t instrumented; /* Files whose loads and stores are seen. */
    uint32_t unused;
};
#define HB_AT_PENDING (HB_AT_EXPLORATION + 64u)

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
    HB_K_TRACK, /* A send to the tracking server; the value is the number of its record. */
    HB_K_TAKE,  /* The tracking server takes one; the same. */
    HB_K_TRUTH, /* The allocator hands out or takes back an address; the same. */
    HB_K_OP,      /* A thread of a target begins its operation number `value`. */
    HB_K_PUBLISH, /* Others see what it did to a slot. */
    HB_K_AWAIT,   /* It saw what others did to a slot. */
    HB_K_MARK,    /* Of hb_op_…, with HB_OPS: the value is of hb_op_mark. */
    HB_K_KILL,    /* A signal is sent to a thread; the value is its number. */
    HB_K_HANDLER, /* The handler of one begins; the same. */
    HB_K_PAUSE,   /* It waits for one. */
    HB_K_COUNT
};

/* What HB_K_MARK says; the address is the buffer's handle, where it is known. */
enum hb_op_mark {
    HB_OP_ALLOCATES = 1,
    HB_OP_RELEASES = 2,
    HB_OP_ENDS = 3,
    HB_OP_PUBLISHES = 4,
    HB_OP_LOGS = 5, /* It writes to a file. */
};

/* Data races. */
#define HB_MAX_RACES 64u

enum hb_races_stopped {
    HB_RACES_GO_ON = 0,
    HB_RACES_MEMORY = 1,    /* The program touches too much memory. */
    HB_RACES_ALLOCATOR = 2, /* It has an allocator of its own: what is given back is not seen. */
    HB_RACES_THREADS = 3,   /* More threads than there are clocks, and their ends are not known. */
};

struct hb_race_access {
    uint64_t pc;
    uint64_t step; /* Of the schedule. */
    uint32_t thread;
    uint16_t kind;
    uint16_t size; /* Within eight bytes; with HB_RACE_RANGE it is a part of more. */
};

#define HB_RACE_RANGE 0x8000u

struct hb_race {
    uint64_t address; /* The first byte that both touch. */
    struct hb_race_access first, second;
};

struct hb_races {
    /* Written by heisenbed. */
    uint32_t look;     /* Whether races are looked for; the runtime unsets it where it gives up. */
    uint32_t reserved;
    uint64_t watch[2]; /* Accesses in these steps are recorded as events. */
    /* Written by the runtime. */
    uint32_t stopped;
    uint32_t count;   /* Pairs of instructions; of those that are too many only the number. */
    uint32_t seen[2]; /* Which events those of `watch` became, plus one. */
    struct hb_race races[HB_MAX_RACES];
};

/* ---- Tracking ---- */

/* Where a number is that the allocator's caller gives or gets. */
enum hb_truth_from {
    HB_FROM_NOWHERE = 0,
    HB_FROM_VALUE = 1,    /* It is `number` itself. */
    HB_FROM_ARGUMENT = 2, /* Argument `number`, from 0. */
    HB_FROM_RETURN = 3,
    HB_FROM_POINTER = 4, /* What argument `number` points to after the return. */
};

struct hb_truth_number {
    uint16_t from;
    uint16_t bits; /* 32 or 64. */
    uint32_t number;
};

#define HB_TRUTH_ALLOCATES 1u
#define HB_TRUTH_RELEASES 2u

/* An exported function that allocates or releases. */
struct hb_truth_symbol {
    char name[208];
    uint32_t does;
    uint32_t ignored_return; /* With HB_TRUTH_ALLOCATES: this return value is a failure, if `ignores`. */
    uint32_t ignores;
    uint32_t after; /* A release counts when it returns, not when it is called. */
    struct hb_truth_number device, memory, address, size;
};

/* Written by heisenbed: whether, and where. All zeroes: no tracking. */
struct hb_track_config {
    uint32_t enabled;
    uint32_t room; /* Bytes that a connection holds before the server takes them; 0: no end. */
    uint32_t symbols;
    uint32_t unused;
    char path[128];
    char probe[128]; /* An exported function that reports totals at the end; empty: none. */
    struct hb_truth_symbol symbol[HB_MAX_TRUTH_SYMBOLS];
};

/* Written by the runtime. */
struct hb_track_head {
    uint64_t used; /* Bytes of the log. */
    uint32_t records;
    uint32_t connections;
    uint32_t full; /* The log, or the table of connections: something is missing. */
    uint32_t ended; /* 1, and as many threads as were at work; 0: not by itself. */
    uint32_t patched[HB_MAX_TRUTH_SYMBOLS]; /* Places that call the symbol. */
    uint32_t called[HB_MAX_TRUTH_SYMBOLS];
};

enum hb_track_kind {
    HB_T_NONE,
    HB_T_OPENED,
    HB_T_SENT,      /* Bytes follow. `memory` is 1 if the server takes them at once. */
    HB_T_TAKEN,     /* The server takes the oldest bytes of the connection that it has not taken. */
    HB_T_DROPPED,   /* There was no room, and the sender does not wait. Bytes follow. */
    HB_T_ELSEWHERE, /* A connection to another path, which follows. */
    HB_T_ALLOC,     /* `a` is the address, `b` the size. */
    HB_T_FREE,
    HB_T_TOTAL, /* `a` bytes are live; with `b` all is over, and the server has taken all. */
    HB_T_COUNT
};

/* `bytes` bytes follow, and as many as it takes to a multiple of 8. */
struct hb_track_record {
    uint16_t kind;
    uint16_t thread;
    uint32_t conn; /* Or the device. */
    uint32_t memory;
    uint32_t bytes;
    uint64_t a, b;
};

/* The runtime asks for what the server answers on a connection, having taken all of the log. */
struct hb_ask {
    uint32_t conn;
    uint32_t unused;
    uint64_t used;
};

#define HB_MAX_ANSWER 16384u

/* `bytes` bytes follow: whole frames of `frame` bytes. */
struct hb_answer {
    uint32_t bytes;
    uint32_t frame;
    uint32_t more; /* There is more to ask for. */
    uint32_t unused;
};

/* Over the socket of turns, where a target begins anew: the runtime sends how much processor time
 * the schedule took, in microseconds, and heisenbed one byte. */
#define HB_DO_AGAIN 'n'

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
_Static_assert(sizeof(struct hb_config) <= HB_AT_RESULT - HB_AT_CONFIG, "part of the protocol");
_Static_assert(sizeof(struct hb_aims) <= HB_AT_HOT - HB_AT_AIMS, "part of the protocol");
_Static_assert(sizeof(struct hb_result) <= HB_AT_EXPECTED - HB_AT_RESULT, "part of the protocol");
_Static_assert(sizeof(struct hb_reply) == 24, "part of the protocol");
_Static_assert(sizeof(struct hb_race) == 56, "part of the protocol");
_Static_assert(sizeof(struct hb_races) <= HB_AT_EXPLORATION - HB_AT_RACES, "part of the protocol");
_Static_assert(sizeof(struct hb_transition) == 64, "part of the protocol");
_Static_assert(sizeof(struct hb_exploration) == 32, "part of the protocol");
_Static_assert(sizeof(struct hb_truth_symbol) == 256, "part of the protocol");
_Static_assert(sizeof(struct hb_track_record) == 32, "part of the protocol");
_Static_assert(sizeof(struct hb_track_head) <= HB_AT_TRACK_LOG - HB_AT_TRACK_HEAD,
               "part of the protocol");
_Static_assert(sizeof(struct hb_track_config) <= HB_AT_TRACK_HEAD - HB_AT_TRACK,
               "part of the protocol");

#endif
