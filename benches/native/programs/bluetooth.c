// Idiom: a driver with a stop flag. The device may stop when no request is pending; a request
// looks at the flag, counts itself as pending and then uses the device.
// Bug: the flag is looked at before the request is counted, and both can change in between.
// Fewest preemptions: 1, of the request between the look and the count.
// Failure: an assertion that the device isn't stopped while it is used: abort.
#include "common.h"

#ifdef FIXED
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
#define LOCK() pthread_mutex_lock(&mutex)
#define UNLOCK() pthread_mutex_unlock(&mutex)
#else
#define LOCK() ((void)0)
#define UNLOCK() ((void)0)
#endif

static shared_int stopping;
static shared_int pending = 1; // one for the driver itself
static shared_int idle;        // nothing is pending any more
static shared_int stopped;

static int begin_request(void) {
    LOCK();
    int refused = stopping;
    if (!refused) {
        pending = pending + 1;
    }
    UNLOCK();
    return !refused;
}

static void end_request(void) {
    LOCK();
    pending = pending - 1;
    if (pending == 0) {
        idle = 1;
    }
    UNLOCK();
}

static void *stop(void *unused) {
    (void)unused;
    LOCK();
    stopping = 1;
    UNLOCK();
    end_request();
    LOCK();
    // A real driver waits until it is idle; whoever finds it busy here leaves it running.
    if (idle) {
        stopped = 1;
    }
    UNLOCK();
    return NULL;
}

int main(void) {
    pthread_t stopper = start(stop, NULL);
    if (begin_request()) {
        LOCK();
        int gone = stopped;
        UNLOCK();
        assert(!gone);
        end_request();
    }
    join(stopper);
    return 0;
}
