/* Planted defects, which a campaign with run units must find each night: `heisenbed_canary BUG`.
 *
 *   deadlock     two threads take two locks in opposite order
 *   lost-update  two threads count without a lock, by atomic loads and stores: no data race
 *   data-race    a counter is read outside of its lock; nothing ever goes wrong by it
 *   none         the same work, done rightly: nothing is to be found
 *
 * It is built with instrumented loads and stores, and has no other way to fail.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 2

static enum { NONE, DEADLOCK, LOST_UPDATE, DATA_RACE } bug;

static pthread_mutex_t locks[THREADS] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static atomic_int counted;
static int guarded;

static void *work(void *argument)
{
    int number = *(const int *)argument;
    int first = bug == DEADLOCK ? number : 0;
    if (bug == DATA_RACE && guarded > THREADS)
        abort();
    pthread_mutex_lock(&locks[first]);
    pthread_mutex_lock(&locks[1 - first]);
    guarded++;
    if (bug != LOST_UPDATE)
        counted++;
    pthread_mutex_unlock(&locks[1 - first]);
    pthread_mutex_unlock(&locks[first]);
    if (bug == LOST_UPDATE) {
        int before = atomic_load(&counted);
        atomic_store(&counted, before + 1);
    }
    return NULL;
}

int main(int count, char **words)
{
    static const char *const BUGS[] = {"none", "deadlock", "lost-update", "data-race"};
    static int numbers[THREADS] = {0, 1};
    pthread_t threads[THREADS];
    unsigned known = 0;
    while (count == 2 && known < 4 && strcmp(words[1], BUGS[known]) != 0)
        known++;
    if (count != 2 || known == 4)
        return 2;
    bug = known;
    for (int at = 0; at < THREADS; at++)
        if (pthread_create(&threads[at], NULL, work, &numbers[at]) != 0)
            return 70;
    for (int at = 0; at < THREADS; at++)
        if (pthread_join(threads[at], NULL) != 0)
            return 70;
    if (counted != THREADS || guarded != THREADS)
        abort();
    return 0;
}
