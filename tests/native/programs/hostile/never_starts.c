// Hostile: a thread that can't start: the limit on memory leaves no room for its stack.
// Ends: exit 0, and says what pthread_create returned.
#include "../threads.h"
#include <errno.h>
#include <sys/resource.h>

static void *nothing(void *unused) {
    return unused;
}

int main(void) {
    join(start(nothing, NULL));
    struct rlimit limit = {1l << 30, 1l << 30};
    if (setrlimit(RLIMIT_AS, &limit) != 0) {
        return 70;
    }
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 2ul << 30);
    pthread_t thread;
    int error = pthread_create(&thread, &attributes, nothing, NULL);
    pthread_attr_destroy(&attributes);
    join(start(nothing, NULL));
    puts(error == EAGAIN ? "refused: EAGAIN" : error == 0 ? "started" : "another error");
    return error == EAGAIN ? 0 : 1;
}
