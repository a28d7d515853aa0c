/* Data races: two accesses to the same memory, one of them a write and not both atomic, that
 * nothing orders. What orders is kept as vector clocks (race_order.c), who touched what as cells of
 * a shadow of the memory (race_shadow.c).
 *
 * Nothing of it costs anything before the first access of an instrumented program that has a second
 * thread: until then all that was done is before all that will be. All state belongs to the thread
 * that has the turn.
 */
#ifndef HEISENBED_RACE_H
#define HEISENBED_RACE_H

#include "runtime.h"

extern struct hb_races *hb_races; /* In the page. */
extern bool hb_racing;

/* ---- What orders ---- */

/* An action was taken: what it says of the order of threads. */
void hb_race_order(struct hb_thread *me, uint16_t kind, void *address, uint32_t value);
/* What the thread has done so far is before what follows an acquire of the same address. */
void hb_race_release(struct hb_thread *me, const void *address);
void hb_race_acquire(struct hb_thread *me, const void *address);
/* A read-write lock is given up that was held for writing, or for reading. */
void hb_race_unlock_rw(struct hb_thread *me, const void *address, bool writes);
/* All that any thread did is before what this one does next. */
void hb_race_acquire_all(struct hb_thread *me);
/* An atomic of up to eight bytes is about to be accessed: has somebody written it of whom nothing
 * is known, as uninstrumented code does? */
void hb_race_before_atomic(struct hb_thread *me, uint64_t address, unsigned size);
/* It was loaded, stored or updated, or a fence was passed: what the thread learns by it is before
 * the access, what it tells by it is after. */
void hb_race_learn(struct hb_thread *me, uint16_t kind, uint64_t address, int order);
void hb_race_tell(struct hb_thread *me, uint16_t kind, uint64_t address, unsigned size, int order);
uint32_t hb_race_epoch(const struct hb_thread *me);
/* Whether the thread's clock knows of `epoch` of `thread`. */
bool hb_race_knows(const struct hb_thread *me, uint32_t thread, uint32_t epoch);

/* ---- Who touched what ---- */

/* `recorded`: it is the last event. */
void hb_race_access(struct hb_thread *me, uint16_t kind, uint64_t address, uint64_t size,
                    uint64_t pc, bool recorded);
/* Whether it was written by a plain access, since it is what it is. */
bool hb_race_is_written(uint64_t address, uint64_t size);
/* This memory is given back: what is there next has nothing to do with it. */
void hb_race_forget(uint64_t begin, uint64_t size);
/* The thread's stack, once it has ended. */
void hb_race_forget_stack(const struct hb_thread *me);
void hb_race_note_stack(const struct hb_thread *made, const pthread_attr_t *attributes);

/* ---- Memory of the detector ---- */

#define HB_RACE_ROOM ((size_t)512 << 20)

/* Zeroed, aligned to 8; NULL: there is no more, and races are not looked for any longer. */
void *hb_race_room(size_t size);
/* Numbers for what hb_race_room gave. */
uint32_t hb_race_number(const void *room);
void *hb_race_at(uint32_t number);
void hb_race_stop(enum hb_races_stopped why);

#endif
