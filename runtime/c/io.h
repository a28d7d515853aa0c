/* Descriptors as visible actions: what io.c does for calls, poll.c for several at a time, and
 * stdio.c for streams. */
#ifndef HB_IO_H
#define HB_IO_H

#include "runtime.h"

#include <poll.h>
#include <sys/types.h>

/* What a thread waits for. */
struct hb_waits {
    struct pollfd *fds;
    nfds_t count;
};

/* What the tracking server would have answered on them by now is there. */
void hb_answer_all(const struct pollfd *fds, nfds_t count);
/* How many are ready, without waiting; the negative of an error's number. */
int hb_poll_now(struct pollfd *fds, nfds_t count);
/* Whether one of those is that the thread waits for (`with` of its next action). */
bool hb_is_prepared(const struct hb_thread *thread);
/* Those, at most `room`, if that is what the thread waits for; how many. */
uint32_t hb_poll_for(const struct hb_thread *thread, struct pollfd *into, uint32_t room);

/* Whether a call on it may keep a thread waiting: no file on disk may. */
bool hb_may_wait(int fd);
/* Waits for the turn to use `fd`: then the call will not wait. False: the time was up, or a signal
 * came (errno says which), and the call is not to be made. */
bool hb_io_prepared(struct hb_thread *me, uint16_t kind, int fd, short events, bool waits,
                    uint64_t pc);
/* The call was made. One that came back without anything lets others go on: loops must. */
void hb_io_done(struct hb_thread *me, uint16_t kind, int fd, ssize_t result, uint64_t pc);

#endif
