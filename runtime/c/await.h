/* Between explore.c and await.c: what a step touches, and who waits in a loop. */
#ifndef HB_AWAIT_H
#define HB_AWAIT_H

#include "runtime.h"

struct hb_touching {
    uint64_t address, with;
    uint32_t size;
    uint8_t touch;
    bool advances;
};

/* Whether two steps may not be exchanged. `src/native/exhaustive/` says the same. */
bool hb_explore_conflict(const struct hb_touching *one, const struct hb_touching *other);

/* `me` asks for its turn: whether it waits in a loop is in `awaits` then. */
void hb_await_asks(struct hb_thread *me);
/* A step is about to be taken. */
void hb_await_step(const struct hb_thread *taken, const struct hb_touching *touch);
/* Whether it waits for a change at one of several places. */
bool hb_await_looks_at_several(const struct hb_thread *thread);

#endif
