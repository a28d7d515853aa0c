/* Swift hand-overs: the driver's threads share one thread of the system.
 *
 * A hand-over by futex costs two system calls and a switch in the system, and a schedule of a
 * target has dozens. From a process's second schedule on, the main thread of the system runs all of
 * the driver's threads: each goes on from where it was on its own stack and with its own
 * thread-local memory (the register fs), so that pthread_self, locks' owners and thread_local
 * variables are what they always are. The threads of the system that they came from sleep.
 *
 * That holds where only the driver's threads are at work, and nobody waits in the system. What else
 * a target does (threads of its own, processes, calls that are left to the system, handlers of
 * signals, cancellation) ends the schedule with HB_NOT_SWIFT: heisenbed runs it again with
 * hand-overs by futex, as all that follow. A crash is run again in a process of its own anyway.
 *
 * With it goes that nobody looks, at each action, whether something was sent by no call that is
 * seen: what shows up later, and was not noted, ends the schedule in the same way.
 */
#include "runtime.h"

#include <linux/futex.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What heisenbed asks for cannot be had here. */
void hb_swift_leave(void)
{
    if (!hb.swift)
        return;
    __atomic_store_n(&hb.result->outcome, HB_NOT_SWIFT, __ATOMIC_RELEASE);
    hb_syscall(SYS_exit_group, 86, 0, 0, 0, 0, 0);
}

#ifdef __x86_64__

#define FSGSBASE 2u /* Of AT_HWCAP2: fs may be written by programs. */
#define SLEEPER_BYTES 1024

/* Keeps what a call must keep, leaves the stack in *`from`, and goes on on the stack `to` with
 * `fs`: as if the call there came back. */
void hb_swift_switch(void **from, void *to, uint64_t fs) __attribute__((visibility("hidden")));
/* The same, but what goes on is `sleeper(with)` at `to`, for ever. */
void hb_swift_park(void **from, void *to, void (*sleeper)(void *), void *with)
    __attribute__((visibility("hidden")));

__asm__(".text\n"
        ".hidden hb_swift_switch\n"
        ".type hb_swift_switch, @function\n"
        "hb_swift_switch:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n"
        "    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    subq $8, %rsp\n    stmxcsr (%rsp)\n    fnstcw 4(%rsp)\n"
        "    movq %rsp, (%rdi)\n"
        "    wrfsbase %rdx\n"
        "    movq %rsi, %rsp\n"
        "    ldmxcsr (%rsp)\n    fldcw 4(%rsp)\n    addq $8, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n"
        "    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n"
        ".size hb_swift_switch, .-hb_swift_switch\n"
        ".hidden hb_swift_park\n"
        ".type hb_swift_park, @function\n"
        "hb_swift_park:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n"
        "    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    subq $8, %rsp\n    stmxcsr (%rsp)\n    fnstcw 4(%rsp)\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    movq %rcx, %rdi\n"
        "    call *%rdx\n"
        "    hlt\n"
        ".size hb_swift_park, .-hb_swift_park\n");

/* fs itself, which is where it points to. */
static uint64_t own_fs(void)
{
    uint64_t fs;
    __asm__("movq %%fs:0, %0" : "=r"(fs));
    return fs;
}

/* What is left of a thread of the system when another one has taken over what it did. */
static void sleeper(void *given)
{
    struct hb_swift *swift = given;
    static uint32_t never;
    __atomic_store_n(&swift->ready, 1, __ATOMIC_RELEASE);
    for (;;)
        hb_syscall(SYS_futex, (long)&never, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0);
}

/* Whether the caller is to rest so, now that it has done its part of the first schedule. */
bool hb_swift_can(struct hb_thread *me)
{
    bool can = hb.config->flags & HB_SWIFT && getauxval(AT_HWCAP2) & FSGSBASE &&
               me->id < HB_MAX_SWIFT;
    me->swift.hosted |= can;
    return can;
}

/* Comes back in another thread of the system, when the caller is started again. */
void hb_swift_rest(struct hb_thread *me)
{
    static char stacks[HB_MAX_SWIFT][SLEEPER_BYTES] __attribute__((aligned(16)));
    me->swift.fs = own_fs();
    hb_swift_park(&me->swift.stack, stacks[me->id] + SLEEPER_BYTES, sleeper, &me->swift);
}

/* Main begins another schedule: all that are to be taken over must sleep. */
void hb_swift_begin(struct hb_thread *main)
{
    uint32_t hosted = 0;
    for (uint32_t id = 1; id < hb.thread_count; id++) {
        if (!hb.threads[id].swift.hosted)
            continue;
        hosted++;
        while (!__atomic_load_n(&hb.threads[id].swift.ready, __ATOMIC_ACQUIRE))
            hb_syscall(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    }
    hb.swift = hosted > 0;
    if (hb.handles_signals || !(hb.config->flags & HB_SWIFT))
        hb_swift_leave();
    main->swift.fs = own_fs();
    main->swift.hosted = hb.swift;
}

/* Hands the turn over; false: not so. */
bool hb_swift_hand_over(struct hb_thread *me, struct hb_thread *next)
{
    if (!hb.swift || !next->swift.hosted || !me->swift.hosted)
        return false;
    hb_swift_switch(&me->swift.stack, next->swift.stack, next->swift.fs);
    return true;
}

#else

bool hb_swift_can(struct hb_thread *me) { return me == NULL; }
void hb_swift_rest(struct hb_thread *me) { (void)me; }
void hb_swift_begin(struct hb_thread *main) { (void)main; }
bool hb_swift_hand_over(struct hb_thread *me, struct hb_thread *next) { return !me || !next; }

#endif

HB_HOOK pid_t gettid(void)
{
    struct hb_thread *me = hb.swift ? hb_self : NULL;
    return me && me->tid ? me->tid : (pid_t)hb_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
}
