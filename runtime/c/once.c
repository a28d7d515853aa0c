/* What is done once: pthread_once, and the static variables of C++ functions. Modelled whole: the
 * real functions would wait inside.
 */
#include "race.h"

enum { ONCE_RUNS = 1, ONCE_DONE = 2 };

static bool once_is_settled(const struct hb_thread *thread)
{
    struct hb_object *once = hb_find(thread->next.address);
    return !once || once->count != ONCE_RUNS;
}

/* Whether the caller is to run the initialisation. */
static bool begin_once(struct hb_thread *me, void *address, uint64_t pc)
{
    struct hb_object *once = hb_object(address);
    /* Its own memory says that it is not done: what was done was another one, that had this place
     * before. */
    if (once->count == ONCE_DONE) {
        hb_forget(address);
        once = hb_object(address);
    }
    hb_turn(me, (struct hb_action){.kind = HB_K_ONCE,
                                   .address = address,
                                   .pc = pc,
                                   .can = once_is_settled,
                                   .deadline = HB_NEVER});
    once = hb_object(address);
    bool mine = once->count != ONCE_DONE;
    if (mine) {
        once->count = ONCE_RUNS;
        once->holder = me->id;
    }
    hb_record(me, HB_K_ONCE, address, pc, mine);
    return mine;
}

/* `mark` writes what says to the program that it is done: nobody sees that before it is told that
 * what comes after is ordered. */
static void end_once(struct hb_thread *me, void *address, void (*mark)(void *), bool done,
                     uint64_t pc)
{
    hb_before(me, HB_K_ONCE_DONE, address, NULL, pc);
    if (done)
        mark(address);
    struct hb_object *once = hb_object(address);
    once->count = done ? ONCE_DONE : 0;
    once->holder = HB_NOBODY;
    hb_after(me, HB_K_ONCE_DONE, address, pc, done);
}

struct once_frame {
    struct hb_thread *me;
    pthread_once_t *control;
    uint64_t pc;
    bool done;
};

/* What glibc writes, for its own fast path. */
static void mark_control(void *control) { *(pthread_once_t *)control = 2; }

static void mark_guard(void *guard)
{
    __atomic_store_n((unsigned char *)guard, 1, __ATOMIC_RELEASE);
}

/* Also when an exception leaves it: then the next caller runs it again. */
static void leave_once(struct once_frame *frame)
{
    end_once(frame->me, frame->control, mark_control, frame->done, frame->pc);
}

/* What is done once in a process, while the driver's only thread opens a target, is no action: the
 * next schedule of the process has none of it. */
static bool opens_alone(void) { return hb.opens && !hb.exploring && hb.thread_count == 1; }

static void come_back(struct hb_thread **me) { (*me)->busy = false; }

static int once_aside(struct hb_thread *me, pthread_once_t *control, void (*routine)(void))
{
    __attribute__((cleanup(come_back))) struct hb_thread *aside = me;
    aside->busy = true;
    return REAL(pthread_once)(control, routine);
}

HB_HOOK int pthread_once(pthread_once_t *control, void (*routine)(void))
{
    struct hb_thread *me = hb_controlled();
    if (me && opens_alone())
        return once_aside(me, control, routine);
    if (!me)
        return REAL(pthread_once)(control, routine);
    hb_before(me, HB_K_ONCE, control, NULL, HB_PC);
    if (*control == 2)
        hb_race_acquire(me, control);
    if (*control == 2 || !begin_once(me, control, HB_PC))
        return 0;
    __attribute__((cleanup(leave_once))) struct once_frame frame = {me, control, HB_PC, false};
    routine();
    frame.done = true;
    return 0;
}

/* The guard of a function's static variable (Itanium C++ ABI): its first byte says that it is
 * done. */
HB_HOOK int __cxa_guard_acquire(uint64_t *guard)
{
    struct hb_thread *me = hb_controlled();
    if (me)
        hb_before(me, HB_K_ONCE, guard, NULL, HB_PC);
    if (__atomic_load_n((unsigned char *)guard, __ATOMIC_ACQUIRE)) {
        if (me)
            hb_race_acquire(me, guard);
        return 0;
    }
    if (!me) {
        int (*real)(uint64_t *) = (int (*)(uint64_t *))hb_real("__cxa_guard_acquire", NULL);
        return real ? real(guard) : 1;
    }
    if (!opens_alone())
        return begin_once(me, guard, HB_PC);
    me->busy = true; /* Until this one is released, or aborted. */
    me->aside = guard;
    return 1;
}

/* The static variable that was made aside is made. */
static bool leaves_aside(uint64_t *guard, bool done)
{
    struct hb_thread *me = hb_self;
    if (!me || me->aside != guard)
        return false;
    __atomic_store_n((unsigned char *)guard, done, __ATOMIC_RELEASE);
    me->aside = NULL;
    me->busy = false;
    return true;
}

HB_HOOK void __cxa_guard_release(uint64_t *guard)
{
    if (leaves_aside(guard, true))
        return;
    struct hb_thread *me = hb_controlled();
    struct hb_object *once = me ? hb_find(guard) : NULL;
    if (!once || once->count != ONCE_RUNS) {
        void (*real)(uint64_t *) = (void (*)(uint64_t *))hb_real("__cxa_guard_release", NULL);
        if (real)
            real(guard);
        else
            __atomic_store_n((unsigned char *)guard, 1, __ATOMIC_RELEASE);
        return;
    }
    end_once(me, guard, mark_guard, true, HB_PC);
}

HB_HOOK void __cxa_guard_abort(uint64_t *guard)
{
    if (leaves_aside(guard, false))
        return;
    struct hb_thread *me = hb_controlled();
    struct hb_object *once = me ? hb_find(guard) : NULL;
    if (once && once->count == ONCE_RUNS) {
        end_once(me, guard, mark_guard, false, HB_PC);
        return;
    }
    void (*real)(uint64_t *) = (void (*)(uint64_t *))hb_real("__cxa_guard_abort", NULL);
    if (real)
        real(guard);
}
