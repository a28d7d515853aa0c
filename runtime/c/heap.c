/* Memory that is given back: who gets it next has nothing to do with who had it, and in an exhaustive
 * search whoever reads it comes before or after. The program's own allocator is called in each case.
 */
#include "race.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Looking one up may itself free something; that is little, and stays where it is. */
#define KNOWN(name)                                                                                \
    static __typeof__(&name) known_##name(void)                                                    \
    {                                                                                              \
        static __typeof__(&name) known;                                                            \
        static bool looking;                                                                       \
        if (!known && !looking) {                                                                  \
            looking = true;                                                                        \
            known = (__typeof__(&name))hb_real(#name, NULL);                                       \
            looking = false;                                                                       \
        }                                                                                          \
        return known;                                                                              \
    }

KNOWN(free)
KNOWN(realloc)
KNOWN(munmap)

/* Whoever comes first in the process: that it is we is asked by this name. */
static void own_free(void *block) __attribute__((alias("free")));

static bool sees(void) { return hb_racing && hb_controlled(); }

extern void *__libc_realloc(void *block, size_t size);

HB_HOOK void free(void *block)
{
    if (block && hb.exploring)
        hb_explore_gives_back(block, malloc_usable_size(block), HB_PC);
    if (block && sees())
        hb_race_forget((uint64_t)(uintptr_t)block, malloc_usable_size(block));
    __typeof__(&free) real = known_free();
    if (real)
        real(block);
}

HB_HOOK void *realloc(void *block, size_t size)
{
    if (block && hb.exploring)
        hb_explore_gives_back(block, malloc_usable_size(block), HB_PC);
    uint64_t before = (uint64_t)(uintptr_t)block;
    size_t had = block && sees() ? malloc_usable_size(block) : 0;
    __typeof__(&realloc) real = known_realloc();
    void *made = real ? real(block, size) : __libc_realloc(block, size);
    if (had && (made || size == 0) && (uint64_t)(uintptr_t)made != before)
        hb_race_forget(before, had);
    return made;
}

HB_HOOK int munmap(void *begin, size_t size)
{
    if (hb.exploring)
        hb_explore_gives_back(begin, size, HB_PC);
    int result = known_munmap()(begin, size);
    if (result == 0 && sees())
        hb_race_forget((uint64_t)(uintptr_t)begin, size);
    return result;
}

/* Before there is a second thread. */
__attribute__((constructor(101))) static void look_up(void)
{
    (void)known_free();
    (void)known_realloc();
    (void)known_munmap();
}

static const void *module_of(const void *function)
{
    Dl_info about;
    return function && dladdr(function, &about) ? about.dli_fbase : NULL;
}

/* Whether all that is given back is seen here, and its size known. */
bool hb_heap_is_seen(void)
{
    if (dlsym(RTLD_DEFAULT, "free") != (void *)(uintptr_t)own_free)
        return false;
    const void *module = module_of((void *)(uintptr_t)known_free());
    return module && module == module_of(dlsym(RTLD_DEFAULT, "malloc_usable_size"));
}
