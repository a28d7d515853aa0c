// Idiom: a counted reference. Each of two users releases its own and then looks whether it was
// the last.
// Bug: the count goes down under the lock but is looked at again outside of it: a user that is not
// the last one sees the other's zero, and both release the object.
// Fewest preemptions: 1, of the first user between its unlock and its look.
// Failure: the second release reads the object, whose page is gone: crash (SIGSEGV).
#include "common.h"
#include <sys/mman.h>

struct object {
    int size;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int references = 2; // under the mutex
static struct object *object;

// Unmapped and not freed, so that a use afterwards fails at once.
static void release(void) {
    munmap(object, (size_t)object->size);
}

static void *use(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    references--;
#ifdef FIXED
    int last = references == 0;
    pthread_mutex_unlock(&mutex);
#else
    pthread_mutex_unlock(&mutex);
    pthread_mutex_lock(&mutex);
    int last = references == 0;
    pthread_mutex_unlock(&mutex);
#endif
    if (last) {
        release();
    }
    return NULL;
}

int main(void) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    object = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (object == MAP_FAILED) {
        return 70;
    }
    object->size = 4096;
    pthread_t one = start(use, NULL);
    pthread_t other = start(use, NULL);
    join(one);
    join(other);
    return 0;
}
