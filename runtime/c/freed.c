/* Memory that is given back, as an exhaustive search has to see it: whoever reads it comes before
 * or after. The program's own allocator is called in each case.
 */
#include "runtime.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>

HB_HOOK void free(void *memory)
{
    static void (*real)(void *);
    static bool finding;
    /* Looking it up may itself free something; that is little, and stays where it is. */
    if (!real && !finding) {
        finding = true;
        real = (void (*)(void *))hb_real("free", NULL);
        finding = false;
    }
    if (memory && hb.exploring)
        hb_explore_gives_back(memory, malloc_usable_size(memory), HB_PC);
    if (real)
        real(memory);
}

HB_HOOK void *realloc(void *memory, size_t size)
{
    if (memory && hb.exploring)
        hb_explore_gives_back(memory, malloc_usable_size(memory), HB_PC);
    return REAL(realloc)(memory, size);
}

HB_HOOK int munmap(void *memory, size_t size)
{
    if (hb.exploring)
        hb_explore_gives_back(memory, size, HB_PC);
    return REAL(munmap)(memory, size);
}
