/* What programs say of synchronisation that they made themselves, where they were compiled with
 * -fsanitize=thread. Weak: some bring functions of these names that do nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>

#define WEAK __attribute__((weak))

static void (*order)(void *address, bool releases);

__attribute__((constructor(101))) static void find_runtime(void)
{
    *(void **)&order = dlsym(RTLD_DEFAULT, "hb_order_v2");
}

static void tell(void *address, bool releases)
{
    if (order)
        order(address, releases);
}

WEAK void __tsan_acquire(void *address) { tell(address, false); }
WEAK void __tsan_release(void *address) { tell(address, true); }

WEAK void __tsan_mutex_create(void *mutex, unsigned flags) { (void)mutex, (void)flags; }
WEAK void __tsan_mutex_destroy(void *mutex, unsigned flags) { (void)mutex, (void)flags; }
WEAK void __tsan_mutex_pre_lock(void *mutex, unsigned flags) { (void)mutex, (void)flags; }
WEAK void __tsan_mutex_post_lock(void *mutex, unsigned flags, int depth)
{
    (void)depth;
    if (!(flags & 1u << 5)) /* A try that failed. */
        tell(mutex, false);
}
WEAK int __tsan_mutex_pre_unlock(void *mutex, unsigned flags)
{
    (void)flags;
    tell(mutex, true);
    return 1;
}
WEAK void __tsan_mutex_post_unlock(void *mutex, unsigned flags) { (void)mutex, (void)flags; }
WEAK void __tsan_mutex_pre_signal(void *mutex, unsigned flags)
{
    (void)flags;
    tell(mutex, true);
}
WEAK void __tsan_mutex_post_signal(void *mutex, unsigned flags) { (void)mutex, (void)flags; }
WEAK void __tsan_mutex_pre_divert(void *mutex, unsigned flags) { (void)mutex, (void)flags; }
WEAK void __tsan_mutex_post_divert(void *mutex, unsigned flags) { (void)mutex, (void)flags; }

WEAK void AnnotateHappensBefore(const char *file, int line, const volatile void *address)
{
    (void)file, (void)line;
    tell((void *)address, true);
}
WEAK void AnnotateHappensAfter(const char *file, int line, const volatile void *address)
{
    (void)file, (void)line;
    tell((void *)address, false);
}
