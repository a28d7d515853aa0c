/* Descriptors as visible actions: what io.c does for calls, and stdio.c for streams. */
#ifndef HB_IO_H
#define HB_IO_H

#include <sys/types.h>

#include "runtime.h"

/* Whether a call on it may keep a thread waiting: no file on disk may. */
bool hb_may_wait(int fd);
/* Waits for the turn to use `fd`: then the call will not wait. False: the time was up, or a signal
 * came (errno says which), and the call is not to be made. */
bool hb_io_prepared(struct hb_thread *me, uint16_t kind, int fd, short events, bool waits,
                    uint64_t pc);
/* The call was made. One that came back without anything lets others go on: loops must. */
void hb_io_done(struct hb_thread *me, uint16_t kind, int fd, ssize_t result, uint64_t pc);

#endif
