// Hostile: takes away, or locks, all memory that it shares with other processes.
#define _GNU_SOURCE
#include "../threads.h"
#include <sys/mman.h>

#define MOST 32

static void *nothing(void *unused) { return unused; }

int main(void) {
    struct {
        unsigned long begin, end;
    } shared[MOST];
    int count = 0;
    char line[512], access[8];
    FILE *maps = fopen("/proc/self/maps", "r");
    assert(maps);
    while (count < MOST && fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %7s", &shared[count].begin, &shared[count].end, access) == 3 &&
            access[3] == 's')
            count++;
    fclose(maps);
    for (int at = 0; at < count; at++) {
        void *begin = (void *)shared[at].begin;
        size_t size = shared[at].end - shared[at].begin;
#ifdef LOCK
        mprotect(begin, size, PROT_NONE);
#else
        munmap(begin, size);
#endif
    }
    join(start(nothing, NULL));
    return 0;
}
