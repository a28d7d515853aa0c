// What the programs share: words that threads share without a lock, and threads.h.
#ifndef PROGRAMS_COMMON_H
#define PROGRAMS_COMMON_H

// Threads that must start, and assertions that stay: an assertion is how most programs fail.
#include "../../../tests/native/programs/threads.h"

// A word that threads read and write without a lock. Plain by default: a data race, and one that
// the compiler can't remove. With -DATOMIC_SHARED the same loads and stores are atomic, so a race
// detector stays silent and only the program's own check fails. `x = x + 1` is a load and a store
// in both.
#ifdef ATOMIC_SHARED
typedef _Atomic int shared_int;
#else
typedef volatile int shared_int;
#endif

#endif
