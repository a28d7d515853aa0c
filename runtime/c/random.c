/* Random numbers of the system: under control the same in every run of a schedule. */
#include "runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

static void fill(unsigned char *bytes, size_t length)
{
    uint64_t word = 0;
    for (size_t at = 0; at < length; at++) {
        if (at % 8 == 0)
            word = hb.exploring ? hb_explore_bits(hb_self) : hb_sampler_bits();
        bytes[at] = (unsigned char)(word >> (at % 8 * 8));
    }
}

HB_HOOK ssize_t getrandom(void *bytes, size_t length, unsigned flags)
{
    if (!hb_controlled())
        return REAL(getrandom)(bytes, length, flags);
    fill(bytes, length);
    return (ssize_t)length;
}

HB_HOOK int getentropy(void *bytes, size_t length)
{
    if (!hb_controlled())
        return REAL(getentropy)(bytes, length);
    if (length > 256) {
        errno = EIO;
        return -1;
    }
    fill(bytes, length);
    return 0;
}

HB_HOOK uint32_t arc4random(void)
{
    uint32_t word = 0;
    if (hb_controlled()) {
        fill((unsigned char *)&word, sizeof word);
        return word;
    }
    uint32_t (*real)(void) = (uint32_t (*)(void))hb_real("arc4random", NULL);
    if (real)
        return real();
    getentropy(&word, sizeof word);
    return word;
}

HB_HOOK void arc4random_buf(void *bytes, size_t length)
{
    if (hb_controlled()) {
        fill(bytes, length);
        return;
    }
    void (*real)(void *, size_t) = (void (*)(void *, size_t))hb_real("arc4random_buf", NULL);
    if (real)
        real(bytes, length);
}

/* Generators that all threads share: with an exhaustive search, who draws first is a choice. */
#define SHARED(type, name)                                                                         \
    HB_HOOK type name(void)                                                                        \
    {                                                                                              \
        struct hb_thread *me = hb_controlled();                                                    \
        if (me)                                                                                    \
            hb_before(me, HB_K_WRITE, (void *)HB_OF_RANDOM, NULL, HB_PC);                          \
        return REAL(name)();                                                                       \
    }

SHARED(int, rand)
SHARED(long, random)
SHARED(long, lrand48)
SHARED(long, mrand48)
SHARED(double, drand48)
