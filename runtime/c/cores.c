/* Cores. All threads of a schedule share one: handing over to another core takes several times as
 * long. The program is not to notice: it is told of all the cores that it has, and what it asks for
 * of them is remembered and not done. What is not controlled has all of them.
 */
#include "runtime.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

/* What heisenbed itself may use. */
static cpu_set_t all;
static bool knows_all;

/* What each thread was given, beginning with its creator's. */
static cpu_set_t given[HB_MAX_THREADS];

/* The one that the process's threads share. */
static uint32_t shared;

static void pin(pid_t number)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(shared % CPU_SETSIZE, &one);
    REAL(sched_setaffinity)(number, sizeof one, &one);
}

void hb_cores_pin(void)
{
    if (!knows_all)
        knows_all = REAL(sched_getaffinity)(0, sizeof all, &all) == 0;
    shared = hb.config->core;
    pin(0);
}

void hb_cores_again(void)
{
    if (!(hb.config->flags & HB_PIN) || hb.config->core == shared)
        return;
    shared = hb.config->core;
    for (uint32_t id = 0; id < hb.thread_count; id++)
        if (!hb.threads[id].finished || hb.threads[id].rests)
            pin(hb.threads[id].tid);
}

void hb_cores_release(void)
{
    const struct hb_thread *me = hb_self;
    if (knows_all)
        REAL(sched_setaffinity)(0, sizeof all, me ? &given[me->id] : &all);
}

void hb_cores_begin(const struct hb_thread *me, const struct hb_thread *creator)
{
    given[me->id] = creator ? given[creator->id] : all;
}

/* ---- What the program sees of it ---- */

static int look_at(const struct hb_thread *thread, size_t size, cpu_set_t *set)
{
    if (size < sizeof(long) || size % sizeof(long) != 0)
        return EINVAL;
    memset(set, 0, size);
    memcpy(set, &given[thread->id], size < sizeof *given ? size : sizeof *given);
    return 0;
}

static int ask_for(const struct hb_thread *thread, size_t size, const cpu_set_t *set)
{
    cpu_set_t wanted, possible;
    CPU_ZERO(&wanted);
    memcpy(&wanted, set, size < sizeof wanted ? size : sizeof wanted);
    CPU_AND(&possible, &wanted, &all);
    if (CPU_COUNT(&possible) == 0)
        return EINVAL;
    given[thread->id] = possible;
    return 0;
}

/* Whom a call by number is about; NULL: another process, or it is not controlled. */
static struct hb_thread *numbered(pid_t number)
{
    struct hb_thread *me = knows_all ? hb_controlled() : NULL;
    if (!me || number == 0)
        return me;
    return hb_thread_with_tid(number);
}

static int told(int refused)
{
    if (refused)
        errno = refused;
    return refused ? -1 : 0;
}

HB_HOOK int sched_getaffinity(pid_t number, size_t size, cpu_set_t *set)
{
    struct hb_thread *thread = numbered(number);
    return thread ? told(look_at(thread, size, set)) : REAL(sched_getaffinity)(number, size, set);
}

HB_HOOK int sched_setaffinity(pid_t number, size_t size, const cpu_set_t *set)
{
    struct hb_thread *thread = numbered(number);
    return thread ? told(ask_for(thread, size, set)) : REAL(sched_setaffinity)(number, size, set);
}

static struct hb_thread *named(pthread_t handle)
{
    return knows_all && hb_controlled() ? hb_thread_of(handle) : NULL;
}

HB_HOOK int pthread_getaffinity_np(pthread_t handle, size_t size, cpu_set_t *set)
{
    struct hb_thread *thread = named(handle);
    return thread ? look_at(thread, size, set) : REAL(pthread_getaffinity_np)(handle, size, set);
}

HB_HOOK int pthread_setaffinity_np(pthread_t handle, size_t size, const cpu_set_t *set)
{
    struct hb_thread *thread = named(handle);
    return thread ? ask_for(thread, size, set) : REAL(pthread_setaffinity_np)(handle, size, set);
}
