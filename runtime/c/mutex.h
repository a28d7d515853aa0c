/* What condition variables need of the mutexes that their waits give up and take back. */
#ifndef HB_MUTEX_H
#define HB_MUTEX_H

#include "runtime.h"

#define HB_MUTEX_KIND(mutex) ((mutex)->__data.__kind & 3)

/* Takes it, or tries to, as `real` does. */
int hb_mutex_take(struct hb_thread *me, pthread_mutex_t *mutex, int (*real)(pthread_mutex_t *));
bool hb_mutex_is_free(const pthread_mutex_t *mutex, const struct hb_thread *thread);
/* Of a thread whose next action is on a mutex. */
bool hb_mutex_can_lock(const struct hb_thread *thread);
/* Ends the schedule where unlocking it is a mistake of the program. */
void hb_mutex_check_unlock(struct hb_thread *me, pthread_mutex_t *mutex);

#endif
