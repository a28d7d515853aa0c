/* Limits that the program gives itself. What the runtime has mapped is none of the program's: a
 * limit of the address space is larger by that, and is shown as the program set it.
 */
#include "race.h"

#include <sys/resource.h>
#include <sys/syscall.h>

/* How much larger it was made; 0: the program has set none. */
static rlim_t added;

/* The page, the runtime itself with its arenas, and what races are looked for with. */
static rlim_t own_size(void)
{
    rlim_t size = HB_PAGE_SIZE + hb_own_image_size() + (1u << 20);
    return size + (hb.exploration->instrumented ? HB_RACE_ROOM : 0);
}

/* As it is to be set: no more than the system allows, which is what was there before. */
static struct rlimit larger(const struct rlimit *wanted)
{
    struct rlimit now, with = *wanted;
    rlim_t own = own_size();
    if (REAL(getrlimit)(RLIMIT_AS, &now) != 0)
        return with;
    if (with.rlim_max < RLIM_INFINITY - own)
        with.rlim_max += own;
    if (with.rlim_max > now.rlim_max && wanted->rlim_max <= now.rlim_max)
        with.rlim_max = now.rlim_max;
    if (with.rlim_cur < RLIM_INFINITY - own)
        with.rlim_cur += own;
    if (with.rlim_cur > with.rlim_max && wanted->rlim_cur <= wanted->rlim_max)
        with.rlim_cur = with.rlim_max;
    return with;
}

static void note_added(const struct rlimit *wanted, const struct rlimit *set)
{
    added = set->rlim_cur - wanted->rlim_cur;
}

static void as_it_set(struct rlimit *limit)
{
    if (limit->rlim_cur != RLIM_INFINITY && limit->rlim_cur >= added)
        limit->rlim_cur -= added;
    if (limit->rlim_max != RLIM_INFINITY && limit->rlim_max >= added)
        limit->rlim_max -= added;
}

static bool is_ours(__rlimit_resource_t resource) { return resource == RLIMIT_AS && hb.config; }

HB_HOOK int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    if (!is_ours(resource))
        return REAL(setrlimit)(resource, limit);
    struct rlimit with = larger(limit);
    int result = REAL(setrlimit)(resource, &with);
    if (result == 0)
        note_added(limit, &with);
    return result;
}

HB_HOOK int getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
    int result = REAL(getrlimit)(resource, limit);
    if (result == 0 && is_ours(resource))
        as_it_set(limit);
    return result;
}

HB_HOOK int prlimit(pid_t pid, enum __rlimit_resource resource, const struct rlimit *limit,
                    struct rlimit *before)
{
    pid_t own = (pid_t)hb_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
    if (!is_ours(resource) || (pid != 0 && pid != own))
        return REAL(prlimit)(pid, resource, limit, before);
    struct rlimit with = limit ? larger(limit) : (struct rlimit){0};
    int result = REAL(prlimit)(pid, resource, limit ? &with : NULL, before);
    if (result == 0 && before)
        as_it_set(before);
    if (result == 0 && limit)
        note_added(limit, &with);
    return result;
}

/* They are the same where a long has 64 bits. */
HB_HOOK int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
    return setrlimit(resource, (const struct rlimit *)limit);
}

HB_HOOK int getrlimit64(__rlimit_resource_t resource, struct rlimit64 *limit)
{
    return getrlimit(resource, (struct rlimit *)limit);
}

HB_HOOK int prlimit64(pid_t pid, enum __rlimit_resource resource, const struct rlimit64 *limit,
                      struct rlimit64 *before)
{
    return prlimit(pid, resource, (const struct rlimit *)limit, (struct rlimit *)before);
}
