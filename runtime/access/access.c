/* What -fsanitize=thread calls, for programs that `heisenbed run` is to control: linked into the
 * program instead of libtsan. Without heisenbed each call is a test of a pointer.
 *
 * All atomics are sequentially consistent here, whatever order the program asks for.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../c/protocol.h"

typedef void (*access_function)(unsigned kind, void *address, unsigned size, uint64_t pc);

static access_function visible;

__attribute__((constructor(101))) static void find_runtime(void)
{
    visible = (access_function)dlsym(RTLD_DEFAULT, "hb_access_v1");
    if (visible)
        visible(HB_K_NONE, NULL, 0, 0);
}

#define PC ((uint64_t)(uintptr_t)__builtin_return_address(0))
#define SEE(kind, address, size)                                                                   \
    do {                                                                                           \
        if (visible)                                                                               \
            visible(kind, (void *)(address), (unsigned)(size), PC);                                \
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
        (void)order;                                                                               \
        volatile type *at = address;                                                               \
        SEE(HB_K_ATOMIC_UPDATE, address, sizeof(type));                                            \
        return expression;                                                                         \
    }

/* A weak one never fails for no reason here. */
#define EXCHANGE_IF(bits, type, name)                                                              \
    bool __tsan_atomic##bits##_compare_exchange_##name(volatile void *address, void *expected,     \
                                                       type value, int order, int failed)          \
    {                                                                                              \
        (void)order;                                                                               \
        (void)failed;                                                                              \
        SEE(HB_K_ATOMIC_UPDATE, address, sizeof(type));                                            \
        return __atomic_compare_exchange_n((volatile type *)address, (type *)expected, value,      \
                                           false, ORDER, ORDER);                                   \
    }

#define ATOMIC(bits, type)                                                                         \
    type __tsan_atomic##bits##_load(const volatile void *address, int order)                       \
    {                                                                                              \
        (void)order;                                                                               \
        SEE(HB_K_ATOMIC_LOAD, address, sizeof(type));                                              \
        return __atomic_load_n((const volatile type *)address, ORDER);                             \
    }                                                                                              \
    void __tsan_atomic##bits##_store(volatile void *address, type value, int order)                \
    {                                                                                              \
        (void)order;                                                                               \
        SEE(HB_K_ATOMIC_STORE, address, sizeof(type));                                             \
        __atomic_store_n((volatile type *)address, value, ORDER);                                  \
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
        (void)order;                                                                               \
        (void)failed;                                                                              \
        SEE(HB_K_ATOMIC_UPDATE, address, sizeof(type));                                            \
        __atomic_compare_exchange_n((volatile type *)address, &expected, value, false, ORDER,      \
                                    ORDER);                                                        \
        return expected;                                                                           \
    }

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

void __tsan_atomic_thread_fence(int order)
{
    (void)order;
    SEE(HB_K_FENCE, NULL, 0);
    __atomic_thread_fence(ORDER);
}

void __tsan_atomic_signal_fence(int order) { (void)order; }
