// Hostile: it limits its own address space to -DMEGABYTES, and starts two threads if it can.
// Ends: exit 0; with 60 MB there is room for both, with 9 MB for none.
#include "../threads.h"
#include <sys/resource.h>

#ifndef MEGABYTES
#define MEGABYTES 60
#endif

static void *nothing(void *unused) { return unused; }

int main(void) {
    struct rlimit limit = {(rlim_t)MEGABYTES << 20, (rlim_t)MEGABYTES << 20}, now;
    assert(setrlimit(RLIMIT_AS, &limit) == 0);
    assert(getrlimit(RLIMIT_AS, &now) == 0);
    assert(now.rlim_cur == limit.rlim_cur && now.rlim_max == limit.rlim_max);
    pthread_t threads[2];
    int made = 0;
    while (made < 2 && pthread_create(&threads[made], NULL, nothing, NULL) == 0) {
        made++;
    }
    assert(made == (MEGABYTES >= 60 ? 2 : 0));
    for (int i = 0; i < made; i++) {
        join(threads[i]);
    }
    return 0;
}
