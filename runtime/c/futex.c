/* `syscall`: futexes, as std::atomic::wait of libstdc++ and all of Rust's std use them, and what
 * else is visible and asked for by number. Everything else goes through. */
#include "runtime.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

struct call {
    long a, b, c, d, e, f;
};

/* Woken by a wake-up that was given while it waited. */
static bool is_woken(const struct hb_thread *thread) { return thread->woken; }

static long wait_futex(struct hb_thread *me, struct call call, int operation, uint64_t pc)
{
    uint32_t *word = (uint32_t *)call.a;
    uint32_t mask = operation == FUTEX_WAIT_BITSET ? (uint32_t)call.f : FUTEX_BITSET_MATCH_ANY;
    const struct timespec *at = (const struct timespec *)call.d;
    /* Looking at the word and going to sleep are one action. */
    hb_turn(me, (struct hb_action){
                    .kind = HB_K_FUTEX_WAIT, .address = word, .pc = pc, .deadline = HB_NEVER});
    bool sleeps = __atomic_load_n(word, __ATOMIC_SEQ_CST) == (uint32_t)call.c;
    hb_record(me, HB_K_FUTEX_WAIT, word, pc, sleeps ? 0 : EAGAIN);
    if (!sleeps) {
        errno = EAGAIN;
        return -1;
    }
    int64_t deadline = HB_NEVER;
    if (at && operation == FUTEX_WAIT)
        deadline = hb_deadline_in(at);
    else if (at)
        deadline = hb_deadline(call.b & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC,
                               at);
    me->woken = false;
    me->waits_since = ++hb.clock;
    enum hb_turn how =
        hb_turn(me, (struct hb_action){.kind = HB_K_FUTEX_WAIT,
                                       .address = word,
                                       .pc = pc,
                                       .can = is_woken,
                                       .word = mask,
                                       .deadline = deadline,
                                       .signals = deadline == HB_NEVER ? HB_RESTARTED : HB_ENDS,
                                       .spurious = hb.config->flags & HB_SPURIOUS});
    me->woken = false;
    int refused = how == HB_TIMED_OUT ? ETIMEDOUT : how == HB_INTERRUPTED ? EINTR : 0;
    hb_record(me, HB_K_FUTEX_WAIT, word, pc, refused ? (uint32_t)refused : 1);
    if (refused)
        errno = refused;
    return refused ? -1 : 0;
}

/* Those who wait longest are woken, as the kernel does. */
static long wake(uint32_t *word, uint32_t most, uint32_t mask)
{
    uint32_t woken = 0;
    while (woken < most) {
        struct hb_thread *first = NULL;
        for (uint32_t id = 0; id < hb.thread_count; id++) {
            struct hb_thread *thread = &hb.threads[id];
            if (thread->finished || thread->woken || thread->next.kind != HB_K_FUTEX_WAIT ||
                thread->next.can != is_woken || thread->next.address != word ||
                !(thread->next.word & mask))
                continue;
            if (!first || thread->waits_since < first->waits_since)
                first = thread;
        }
        if (!first)
            break;
        first->woken = true;
        woken++;
    }
    return woken;
}

static long requeue(struct call call)
{
    uint32_t *word = (uint32_t *)call.a;
    long woken = wake(word, (uint32_t)call.c, FUTEX_BITSET_MATCH_ANY);
    long moved = 0;
    for (uint32_t id = 0; id < hb.thread_count && moved < call.d; id++) {
        struct hb_thread *thread = &hb.threads[id];
        if (thread->finished || thread->woken || thread->next.can != is_woken ||
            thread->next.address != word)
            continue;
        thread->next.address = (void *)call.e;
        moved++;
    }
    return woken + moved;
}

static long futex(struct hb_thread *me, struct call call, uint64_t pc)
{
    int operation = (int)call.b & FUTEX_CMD_MASK;
    switch (operation) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
        return wait_futex(me, call, operation, pc);
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET: {
        hb_before(me, HB_K_FUTEX_WAKE, (void *)call.a, NULL, pc);
        uint32_t mask = operation == FUTEX_WAKE_BITSET ? (uint32_t)call.f : FUTEX_BITSET_MATCH_ANY;
        long woken = wake((uint32_t *)call.a, (uint32_t)call.c, mask);
        hb_after(me, HB_K_FUTEX_WAKE, (void *)call.a, pc, (uint32_t)woken);
        return woken;
    }
    case FUTEX_CMP_REQUEUE:
        hb_before(me, HB_K_FUTEX_WAKE, (void *)call.a, (void *)call.e, pc);
        if (__atomic_load_n((uint32_t *)call.a, __ATOMIC_SEQ_CST) != (uint32_t)call.f) {
            errno = EAGAIN;
            return -1;
        }
        /* fall through */
    case FUTEX_REQUEUE: {
        hb_before(me, HB_K_FUTEX_WAKE, (void *)call.a, (void *)call.e, pc);
        long woken = requeue(call);
        hb_after(me, HB_K_FUTEX_WAKE, (void *)call.a, pc, (uint32_t)woken);
        return woken;
    }
    default:
        errno = ENOSYS;
        return -1;
    }
}

HB_HOOK long syscall(long number, ...)
{
    va_list list;
    va_start(list, number);
    struct call call;
    call.a = va_arg(list, long);
    call.b = va_arg(list, long);
    call.c = va_arg(list, long);
    call.d = va_arg(list, long);
    call.e = va_arg(list, long);
    call.f = va_arg(list, long);
    va_end(list);
    struct hb_thread *me = hb_controlled();
    if (me && number == SYS_futex)
        return futex(me, call, HB_PC);
    if (me && number == SYS_sched_yield) {
        hb_let_others(me, HB_K_YIELD, HB_PC);
        return 0;
    }
    if (me && number == SYS_getrandom)
        return getrandom((void *)call.a, (size_t)call.b, (unsigned)call.c);
    if (number == SYS_futex)
        hb_observe(HB_K_FUTEX_WAIT, (void *)call.a, HB_PC);
    static long (*real)(long, ...);
    if (!real)
        real = (long (*)(long, ...))hb_real("syscall", NULL);
    return real(number, call.a, call.b, call.c, call.d, call.e, call.f);
}
