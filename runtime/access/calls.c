/* Functions of the C library that touch memory which the compiler does not speak of: with
 * `-Wl,--wrap=NAME` for each of them, as `heisenbed cc` links, a call by the program comes here.
 * A part of its own, which is linked only where those flags are.
 */
#include <string.h>

#include "access.h"

void *__real_memcpy(void *to, const void *from, size_t size);
void *__real_memmove(void *to, const void *from, size_t size);
void *__real_memset(void *to, int value, size_t size);
int __real_memcmp(const void *one, const void *other, size_t size);
size_t __real_strlen(const char *text);
char *__real_strcpy(char *to, const char *from);

#define RANGE(kind, address, size)                                                                 \
    do {                                                                                           \
        if (size)                                                                                  \
            SEE(kind, address, size);                                                              \
    } while (0)

void *__wrap_memcpy(void *to, const void *from, size_t size)
{
    RANGE(HB_K_READ, from, size);
    RANGE(HB_K_WRITE, to, size);
    return __real_memcpy(to, from, size);
}

void *__wrap_memmove(void *to, const void *from, size_t size)
{
    RANGE(HB_K_READ, from, size);
    RANGE(HB_K_WRITE, to, size);
    return __real_memmove(to, from, size);
}

void *__wrap_memset(void *to, int value, size_t size)
{
    RANGE(HB_K_WRITE, to, size);
    return __real_memset(to, value, size);
}

int __wrap_memcmp(const void *one, const void *other, size_t size)
{
    RANGE(HB_K_READ, one, size);
    RANGE(HB_K_READ, other, size);
    return __real_memcmp(one, other, size);
}

size_t __wrap_strlen(const char *text)
{
    if (hb_archive_access)
        SEE(HB_K_READ, text, __real_strlen(text) + 1);
    return __real_strlen(text);
}

char *__wrap_strcpy(char *to, const char *from)
{
    if (hb_archive_access) {
        SEE(HB_K_READ, from, __real_strlen(from) + 1);
        SEE(HB_K_WRITE, to, __real_strlen(from) + 1);
    }
    return __real_strcpy(to, from);
}
