// Hostile: a thread writes over every writable shared mapping of the process, while two others
// work. -DBYTE= is what it writes.
// Ends: exit 0 when run free, where there is none but what the program maps itself.
#include "../threads.h"
#include <sys/mman.h>

#ifndef BYTE
#define BYTE 0xff
#endif

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int turns; // under the mutex

static void *scribble(void *unused) {
    (void)unused;
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    int written = 0;
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long begin, end;
        char rights[5];
        if (sscanf(line, "%lx-%lx %4s", &begin, &end, rights) == 3 && rights[1] == 'w' &&
            rights[3] == 's') {
            memset((void *)begin, BYTE, end - begin);
            written++;
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
    return written > 0 ? &turns : NULL;
}

static void *work(void *unused) {
    (void)unused;
    for (int i = 0; i < 5; i++) {
        pthread_mutex_lock(&mutex);
        turns++;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

int main(void) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return 70;
    }
    pthread_t one = start(work, NULL);
    pthread_t writer = start(scribble, NULL);
    pthread_t other = start(work, NULL);
    join(one);
    join(writer);
    join(other);
    return turns == 10 && *(unsigned char *)page == BYTE ? 0 : 1;
}
