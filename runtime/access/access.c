/* What -fsanitize=thread calls, for programs that `heisenbed run` is to control: linked into the
 * program instead of libtsan. Without heisenbed each call is a test of a pointer.
 *
 * All atomics are sequentially consistent here, whatever order the program asks for; what it asked
 * for is told, so that what it does not order is found.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "access.h"

hb_access_function hb_archive_access;
static void (*after)(unsigned kind, void *address, unsigned size, uint64_t pc, int order);

static void (*first_version)(unsigned kind, void *address, unsigned size, uint64_t pc);

static void by_first_version(unsigned kind, void *address, size_t size, uint64_t pc)
{
    first_version(kind, address, size < UINT32_MAX ? (unsigned)size : UINT32_MAX, pc);
}

__attribute__((constructor(101))) static void find_runtime(void)
{
    *(void **)&after = dlsym(RTLD_DEFAULT, "hb_atomic_v2");
    *(void **)&hb_archive_access = dlsym(RTLD_DEFAULT, "hb_access_v2");
    *(void **)&first_version = dlsym(RTLD_DEFAULT, "hb_access_v1");
    if (!hb_archive_access && first_version)
        hb_archive_access = by_first_version;
    if (hb_archive_access)
        hb_archive_access(HB_K_NONE, NULL, 0, 0);
}

/* What came of an atomic access. */
#define TELL(kind, address, size, order)                                                           \
    do {                                                                                           \
        if (after)                                                                                 \
            after(kind, (void *)(address), (unsigned)(size), PC, order);                           \
    } while (0)

#define PLAIN(size)                                                                                \
    void __tsan_read##size(void *address) { SEE(HB_K_READ, address, size); }                       \
    void __tsan_write##size(void *address) { SEE(HB_K_WRITE, address, size); }                     \
    void __tsan_unaligned_read##size(void *address) { SEE(HB_K_READ, address, size); }             \
    void __tsan_unaligned_write##size(void *address) { SEE(HB_K_WRITE, address, size); }           \
    void __tsan_volatile_read##size(void *address) { SEE(HB_K_READ, address, size); }              \
    void __tsan_volatile_write##size(void *address) { SEE(HB_K_WRITE, address, size); }            \
    void __tsan_unaligned_volatile_read##size(void *address) { SEE(HB_K_READ, address, size); }    \
    void __tsan_unaligned_volatile_write##size(void *address) { SEE(HB_K_WRITE, address, size); }  \
    void __tsan_read_write##size(void *address) { SEE(HB_K_WRITE, address, size); }                \
    void __tsan_unaligned_read_write##size(void *address) { SEE(HB_K_WRITE, address, size); }      \
    void __tsan_read##size##_pc(void *address, void *pc)                                           \
    {                                                                                              \
        (void)pc;                                                                                  \
        SEE(HB_K_READ, address, size);                                                             \
    }                                                                                              \
    void __tsan_write##size##_pc(void *address, void *pc)                                          \
    {                                                                                              \
        (void)pc;                                                                                  \
        SEE(HB_K_WRITE, address, size);                                                            \
    }

PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

/* A range is one access: as memcpy is one call. */
void __tsan_read_range(void *address, size_t size)
{
    if (size)
        SEE(HB_K_READ, address, size);
}
void __tsan_write_range(void *address, size_t size)
{
    if (size)
        SEE(HB_K_WRITE, address, size);
}

void __tsan_vptr_read(void **address) { SEE(HB_K_READ, address, sizeof(void *)); }
void __tsan_vptr_update(void **address, void *value)
{
    if (*address != value)
        SEE(HB_K_WRITE, address, sizeof(void *));
}

void __tsan_init(void) {}
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void) {}
void __tsan_ignore_thread_begin(void) {}
void __tsan_ignore_thread_end(void) {}

#define ORDER __ATOMIC_SEQ_CST

#define UPDATE(bits, type, name, expression)                                                       \
    type __tsan_atomic##bits##_##name(volatile void *address, type value, int order)               \
    {                                                                                              \
        volatile type *at = address;                                                               \
        SEE(HB_K_ATOMIC_UPDATE, address, sizeof(type));                                            \
        type before = expression;                                                                  \
        TELL(HB_K_ATOMIC_UPDATE, address, sizeof(type), order);                                    \
        return before;                                                                             \
    }

/* A weak one never fails for no reason here. */
#define EXCHANGE_IF(bits, type, name)                                                              \
    bool __tsan_atomic##bits##_compare_exchange_##name(volatile void *address, void *expected,     \
                                                       type value, int order, int failed)          \
    {                                                                                              \
        SEE(HB_K_ATOMIC_UPDATE, address, sizeof(type));                                            \
        bool done = __atomic_compare_exchange_n((volatile type *)address, (type *)expected, value, \
                                                false, ORDER, ORDER);                              \
        TELL(done ? HB_K_ATOMIC_UPDATE : HB_K_ATOMIC_LOAD, address, sizeof(type),                  \
             done ? order : failed);                                                               \
        return done;                                                                               \
    }

#define ATOMIC(bits, type)                                                                         \
    type __tsan_atomic##bits##_load(const volatile void *address, int order)                       \
    {                                                                                              \
        SEE(HB_K_ATOMIC_LOAD, address, sizeof(type));                                              \
        type value = __atomic_load_n((const volatile type *)address, ORDER);                       \
        TELL(HB_K_ATOMIC_LOAD, address, sizeof(type), order);                                      \
        return value;                                                                              \
    }                                                                                              \
    void __tsan_atomic##bits##_store(volatile void *address, type value, int order)                \
    {                                                                                              \
        SEE(HB_K_ATOMIC_STORE, address, sizeof(type));                                             \
        __atomic_store_n((volatile type *)address, value, ORDER);                                  \
        TELL(HB_K_ATOMIC_STORE, address, sizeof(type), order);                                     \
    }                                                                                              \
    UPDATE(bits, type, exchange, __atomic_exchange_n(at, value, ORDER))                            \
    UPDATE(bits, type, fetch_add, __atomic_fetch_add(at, value, ORDER))                            \
    UPDATE(bits, type, fetch_sub, __atomic_fetch_sub(at, value, ORDER))                            \
    UPDATE(bits, type, fetch_and, __atomic_fetch_and(at, value, ORDER))                            \
    UPDATE(bits, type, fetch_or, __atomic_fetch_or(at, value, ORDER))                              \
    UPDATE(bits, type, fetch_xor, __atomic_fetch_xor(at, value, ORDER))                            \
    UPDATE(bits, type, fetch_nand, __atomic_fetch_nand(at, value, ORDER))                          \
    EXCHANGE_IF(bits, type, strong)                                                                \
    EXCHANGE_IF(bits, type, weak)                                                                  \
    type __tsan_atomic##bits##_compare_exchange_val(volatile void *address, type expected,         \
                                                    type value, int order, int failed)             \
    {                                                                                              \
        SEE(HB_K_ATOMIC_UPDATE, address, sizeof(type));                                            \
        bool done = __atomic_compare_exchange_n((volatile type *)address, &expected, value, false, \
                                                ORDER, ORDER);                                     \
        TELL(done ? HB_K_ATOMIC_UPDATE : HB_K_ATOMIC_LOAD, address, sizeof(type),                  \
             done ? order : failed);                                                               \
        return expected;                                                                           \
    }

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

void __tsan_atomic_thread_fence(int order)
{
    SEE(HB_K_FENCE, NULL, 0);
    __atomic_thread_fence(ORDER);
    TELL(HB_K_FENCE, NULL, 0, order);
}

void __tsan_atomic_signal_fence(int order) { (void)order; }
