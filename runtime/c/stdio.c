/* Streams of the C library over pipes and sockets: what they read and write is done inside of the
 * library, where no hook sees it.
 *
 * A call that finds nothing in the stream's buffer waits for its descriptor first, as `read` does;
 * one that may write tells what comes after. A line that comes in parts still waits inside. What
 * goes to stdout and stderr is no action.
 */
#include "io.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

/* The calling thread, if a call on the stream is an action of it. */
static struct hb_thread *acts(FILE *stream, uint16_t kind, short events, uint64_t pc)
{
    struct hb_thread *me = hb_controlled();
    if (!me || !stream)
        return NULL;
    int kept = errno, fd = fileno_unlocked(stream);
    bool visible = fd >= 0 && hb_may_wait(fd) && !hb_track_is(fd);
    errno = EINTR;
    /* The library goes on waiting after a signal. */
    while (visible && !hb_io_prepared(me, kind, fd, events, true, pc) && errno == EINTR)
        ;
    errno = kept;
    return visible ? me : NULL;
}

static struct hb_thread *reads(FILE *stream, uint64_t pc)
{
    bool has_some = stream && stream->_IO_read_ptr < stream->_IO_read_end;
    return has_some ? NULL : acts(stream, HB_K_RECEIVE, POLLIN, pc);
}

static struct hb_thread *writes(FILE *stream, uint64_t pc)
{
    bool is_shown = stream == stdout || stream == stderr;
    return is_shown ? NULL : acts(stream, HB_K_SEND, POLLOUT, pc);
}

static void acted(struct hb_thread *me, FILE *stream, uint16_t kind, uint64_t pc)
{
    if (me)
        hb_io_done(me, kind, stream ? fileno_unlocked(stream) : -1, 0, pc);
}

#define ACTS(type, name, parameters, arguments, stream, begins, kind)                              \
    HB_HOOK type name parameters                                                                   \
    {                                                                                              \
        struct hb_thread *me = begins(stream, HB_PC);                                              \
        type result = REAL(name) arguments;                                                        \
        acted(me, stream, kind, HB_PC);                                                            \
        return result;                                                                             \
    }

#define READS(type, name, parameters, arguments, stream)                                           \
    ACTS(type, name, parameters, arguments, stream, reads, HB_K_RECEIVE)
#define WRITES(type, name, parameters, arguments, stream)                                          \
    ACTS(type, name, parameters, arguments, stream, writes, HB_K_SEND)

/* What the compiler calls in their place, with the room that it knows of. */
char *__fgets_chk(char *into, size_t room, int most, FILE *from);
size_t __fread_chk(void *into, size_t room, size_t size, size_t count, FILE *from);
ssize_t __getdelim(char **line, size_t *size, int end, FILE *from);
int __isoc99_fscanf(FILE *from, const char *format, ...);
int __isoc99_vfscanf(FILE *from, const char *format, va_list rest);
int __fprintf_chk(FILE *to, int flag, const char *format, ...);
int __vfprintf_chk(FILE *to, int flag, const char *format, va_list rest);

READS(char *, fgets, (char *restrict into, int most, FILE *restrict from), (into, most, from), from)
READS(char *, __fgets_chk, (char *into, size_t room, int most, FILE *from),
      (into, room, most, from), from)
READS(int, fgetc, (FILE *from), (from), from)
READS(int, getc, (FILE *from), (from), from)
READS(int, getchar, (void), (), stdin)
READS(size_t, fread, (void *restrict into, size_t size, size_t count, FILE *restrict from),
      (into, size, count, from), from)
READS(size_t, __fread_chk, (void *into, size_t room, size_t size, size_t count, FILE *from),
      (into, room, size, count, from), from)
READS(ssize_t, getline, (char **restrict line, size_t *restrict size, FILE *restrict from),
      (line, size, from), from)
READS(ssize_t, getdelim,
      (char **restrict line, size_t *restrict size, int end, FILE *restrict from),
      (line, size, end, from), from)
READS(ssize_t, __getdelim, (char **line, size_t *size, int end, FILE *from),
      (line, size, end, from), from)
READS(int, __isoc99_vfscanf, (FILE *from, const char *format, va_list rest), (from, format, rest),
      from)

WRITES(int, fflush, (FILE *to), (to), to)
/* One that there is room for in the buffer is written by nobody yet. */
static FILE *full(FILE *to) { return to->_IO_write_ptr < to->_IO_write_end ? NULL : to; }

WRITES(int, fputc, (int one, FILE *to), (one, to), full(to))
WRITES(int, putc, (int one, FILE *to), (one, to), full(to))
WRITES(int, fputs, (const char *restrict text, FILE *restrict to), (text, to), to)
WRITES(size_t, fwrite, (const void *restrict what, size_t size, size_t count, FILE *restrict to),
       (what, size, count, to), to)
WRITES(int, vfprintf, (FILE *restrict to, const char *restrict format, va_list rest),
       (to, format, rest), to)
WRITES(int, __vfprintf_chk, (FILE *to, int flag, const char *format, va_list rest),
       (to, flag, format, rest), to)

HB_HOOK int fprintf(FILE *restrict to, const char *restrict format, ...)
{
    va_list rest;
    va_start(rest, format);
    struct hb_thread *me = writes(to, HB_PC);
    int result = REAL(vfprintf)(to, format, rest);
    acted(me, to, HB_K_SEND, HB_PC);
    va_end(rest);
    return result;
}

HB_HOOK int __fprintf_chk(FILE *to, int flag, const char *format, ...)
{
    va_list rest;
    va_start(rest, format);
    struct hb_thread *me = writes(to, HB_PC);
    int result = REAL(__vfprintf_chk)(to, flag, format, rest);
    acted(me, to, HB_K_SEND, HB_PC);
    va_end(rest);
    return result;
}

HB_HOOK int __isoc99_fscanf(FILE *from, const char *format, ...)
{
    va_list rest;
    va_start(rest, format);
    struct hb_thread *me = reads(from, HB_PC);
    int result = REAL(__isoc99_vfscanf)(from, format, rest);
    acted(me, from, HB_K_RECEIVE, HB_PC);
    va_end(rest);
    return result;
}

/* Writes what is left, and closes the descriptor. */
HB_HOOK int fclose(FILE *stream)
{
    struct hb_thread *me = writes(stream, HB_PC);
    int fd = me ? fileno_unlocked(stream) : -1;
    int result = REAL(fclose)(stream);
    if (me)
        hb_io_done(me, HB_K_SEND, fd, 0, HB_PC);
    return result;
}
