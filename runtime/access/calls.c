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

/* Between what is told of a read and what is told of the write another thread may go on. So what is
 * read is read right after it was told, a piece at a time, and kept until the write was told. */
#define PIECE 4096u

static void see(unsigned kind, const void *address, size_t size, uint64_t pc)
{
    if (size)
        hb_archive_access(kind, (void *)(uintptr_t)address, size, pc);
}

static void copy_piece(char *to, const char *from, size_t size, uint64_t pc)
{
    char piece[PIECE];
    see(HB_K_READ, from, size, pc);
    __real_memcpy(piece, from, size);
    see(HB_K_WRITE, to, size, pc);
    __real_memcpy(to, piece, size);
}

static void copy(char *to, const char *from, size_t size, uint64_t pc)
{
    if ((uintptr_t)to - (uintptr_t)from < size) { /* Its end overlaps: from there. */
        while (size) {
            size_t part = size < PIECE ? size : PIECE;
            size -= part;
            copy_piece(to + size, from + size, part, pc);
        }
        return;
    }
    for (size_t done = 0; done < size; done += PIECE)
        copy_piece(to + done, from + done, size - done < PIECE ? size - done : PIECE, pc);
}

/* With what is read told, however often it changes meanwhile. */
static size_t length_of(const char *text, uint64_t pc)
{
    size_t told = 0;
    for (;;) {
        size_t length = __real_strlen(text);
        if (length < told)
            return length;
        see(HB_K_READ, text + told, length + 1 - told, pc);
        told = length + 1;
        if (__real_strlen(text) < told)
            return __real_strlen(text);
    }
}

void *__wrap_memcpy(void *to, const void *from, size_t size)
{
    if (!hb_archive_access)
        return __real_memcpy(to, from, size);
    copy(to, from, size, PC);
    return to;
}

void *__wrap_memmove(void *to, const void *from, size_t size)
{
    if (!hb_archive_access)
        return __real_memmove(to, from, size);
    copy(to, from, size, PC);
    return to;
}

void *__wrap_memset(void *to, int value, size_t size)
{
    if (hb_archive_access)
        see(HB_K_WRITE, to, size, PC);
    return __real_memset(to, value, size);
}

int __wrap_memcmp(const void *one, const void *other, size_t size)
{
    if (!hb_archive_access)
        return __real_memcmp(one, other, size);
    const char *first = one, *second = other;
    char piece[PIECE];
    for (size_t done = 0; done < size; done += PIECE) {
        size_t part = size - done < PIECE ? size - done : PIECE;
        see(HB_K_READ, first + done, part, PC);
        __real_memcpy(piece, first + done, part);
        see(HB_K_READ, second + done, part, PC);
        int differs = __real_memcmp(piece, second + done, part);
        if (differs)
            return differs;
    }
    return 0;
}

size_t __wrap_strlen(const char *text)
{
    return hb_archive_access ? length_of(text, PC) : __real_strlen(text);
}

char *__wrap_strcpy(char *to, const char *from)
{
    if (!hb_archive_access)
        return __real_strcpy(to, from);
    copy(to, from, length_of(from, PC) + 1, PC);
    return to;
}
