/* The locks, condition variables and once of C11: those of POSIX under other names. */
#include "runtime.h"

#include <errno.h>
#include <threads.h>

static int c11(int result)
{
    return result == 0           ? thrd_success
           : result == EBUSY     ? thrd_busy
           : result == ETIMEDOUT ? thrd_timedout
                                 : thrd_error;
}

HB_HOOK int mtx_lock(mtx_t *mutex) { return c11(pthread_mutex_lock((pthread_mutex_t *)mutex)); }

HB_HOOK int mtx_trylock(mtx_t *mutex)
{
    return c11(pthread_mutex_trylock((pthread_mutex_t *)mutex));
}

HB_HOOK int mtx_timedlock(mtx_t *restrict mutex, const struct timespec *restrict at)
{
    return c11(pthread_mutex_timedlock((pthread_mutex_t *)mutex, at));
}

HB_HOOK int mtx_unlock(mtx_t *mutex)
{
    return c11(pthread_mutex_unlock((pthread_mutex_t *)mutex));
}

HB_HOOK int cnd_wait(cnd_t *cond, mtx_t *mutex)
{
    return c11(pthread_cond_wait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex));
}

HB_HOOK int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex,
                          const struct timespec *restrict at)
{
    return c11(pthread_cond_timedwait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex, at));
}

HB_HOOK int cnd_signal(cnd_t *cond) { return c11(pthread_cond_signal((pthread_cond_t *)cond)); }

HB_HOOK int cnd_broadcast(cnd_t *cond)
{
    return c11(pthread_cond_broadcast((pthread_cond_t *)cond));
}

HB_HOOK void call_once(once_flag *control, void (*routine)(void))
{
    pthread_once((pthread_once_t *)control, routine);
}
