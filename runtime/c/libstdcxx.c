/* What libstdc++ orders by atomics of its own, out of sight: they are in the library, which nobody
 * instruments. Without this a program that relies on them would be accused.
 */
#include "race.h"

#include <dlfcn.h>

/* Where only a plugin uses libstdc++ it is not among the libraries that are searched: that of the
 * caller is. */
static void *real_for(const void *caller, const char *name)
{
    void *found = hb_real(name, NULL);
    Dl_info about;
    if (found || !dladdr(caller, &about))
        return found;
    void *library = dlopen(about.dli_fname, RTLD_NOLOAD | RTLD_LAZY);
    return library ? dlsym(library, name) : NULL;
}

#define REAL_FOR_CALLER(real, name)                                                                \
    do {                                                                                           \
        if (!(real))                                                                               \
            *(void **)&(real) = real_for(__builtin_return_address(0), name);                       \
    } while (0)

/* ---- Results that become ready when their thread ends ---- */

/* std::__future_base::_State_baseV2::_Make_ready, as it has been since GCC 5: two pointers, then a
 * weak pointer to the state; whose status, behind two pointers, is what others wait for. */
struct make_ready {
    void *next, *callback;
    unsigned char *state;
};
#define STATUS 16

HB_HOOK void hb_make_ready(struct make_ready *me) __asm__(
    "_ZNSt13__future_base13_State_baseV211_Make_ready6_M_setEv");

HB_HOOK void hb_make_ready(struct make_ready *ready)
{
    struct hb_thread *me = hb_controlled();
    if (me && ready->state)
        hb_race_release(me, ready->state + STATUS);
    static void (*real)(struct make_ready *);
    REAL_FOR_CALLER(real, "_ZNSt13__future_base13_State_baseV211_Make_ready6_M_setEv");
    real(ready);
}

/* ---- Exceptions that several threads hold ---- */

/* Whoever gives one up last destroys it: after all others have given it up. */
static bool shared;
static char given_up;

static void give_up(void)
{
    struct hb_thread *me = shared ? hb_controlled() : NULL;
    if (!me)
        return;
    hb_race_release(me, &given_up);
    hb_race_acquire(me, &given_up);
}

HB_HOOK void hb_exception_share(void *pointer) __asm__(
    "_ZNSt15__exception_ptr13exception_ptr9_M_addrefEv");
HB_HOOK void hb_exception_release(void *pointer) __asm__(
    "_ZNSt15__exception_ptr13exception_ptr10_M_releaseEv");

HB_HOOK void hb_exception_share(void *pointer)
{
    shared = true;
    static void (*real)(void *);
    REAL_FOR_CALLER(real, "_ZNSt15__exception_ptr13exception_ptr9_M_addrefEv");
    real(pointer);
}

HB_HOOK void hb_exception_release(void *pointer)
{
    shared = true;
    give_up();
    static void (*real)(void *);
    REAL_FOR_CALLER(real, "_ZNSt15__exception_ptr13exception_ptr10_M_releaseEv");
    real(pointer);
}

HB_HOOK void __cxa_end_catch(void)
{
    give_up();
    static void (*real)(void);
    REAL_FOR_CALLER(real, "__cxa_end_catch");
    real();
}
