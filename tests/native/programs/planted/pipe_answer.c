// Planted: a loop is woken by an event of its own, and takes the event only after it has looked for
// work: what comes in between is never seen.
// Fewest preemptions: 2, of the loop between the two, and of main before that.
// Failure: deadlock: main waits for an answer by a pipe, the loop for an event by epoll.
#include "../threads.h"
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define JOBS 2

static int event, poller, answers[2];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int waiting; // under the mutex

static int take_jobs(void) {
    pthread_mutex_lock(&mutex);
    int jobs = waiting;
    waiting = 0;
    pthread_mutex_unlock(&mutex);
    return jobs;
}

static void take_event(void) {
    uint64_t count;
    assert(read(event, &count, sizeof count) == sizeof count);
}

static void *loop(void *unused) {
    (void)unused;
    for (int done = 0; done < JOBS;) {
        struct epoll_event came;
        assert(epoll_wait(poller, &came, 1, -1) == 1);
#ifdef FIXED
        take_event();
        done += take_jobs();
#else
        done += take_jobs();
        take_event();
#endif
    }
    assert(write(answers[1], "d", 1) == 1);
    return NULL;
}

int main(void) {
    event = eventfd(0, EFD_CLOEXEC);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event wanted = {.events = EPOLLIN};
    assert(event >= 0 && poller >= 0 && pipe(answers) == 0);
    assert(epoll_ctl(poller, EPOLL_CTL_ADD, event, &wanted) == 0);
    pthread_t worker = start(loop, NULL);
    for (int job = 0; job < JOBS; job++) {
        uint64_t one = 1;
        pthread_mutex_lock(&mutex);
        waiting++;
        pthread_mutex_unlock(&mutex);
        assert(write(event, &one, sizeof one) == sizeof one);
    }
    char answer;
    assert(read(answers[0], &answer, 1) == 1);
    join(worker);
    return 0;
}
