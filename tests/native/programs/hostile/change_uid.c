// Hostile: changes its user while other threads live, which the C library does in each of them by
// a signal. To nobody where it may, to itself where not.
// Ends: exit 0.
#include "../threads.h"
#include <grp.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *wait_for(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

int main(void) {
    pthread_mutex_lock(&mutex);
    pthread_t one = start(wait_for, NULL);
    pthread_t other = start(wait_for, NULL);
    int failed = geteuid() == 0 ? setgid(65534) || setuid(65534) : setuid(getuid());
    pthread_mutex_unlock(&mutex);
    join(one);
    join(other);
    join(start(wait_for, NULL));
    return failed;
}
