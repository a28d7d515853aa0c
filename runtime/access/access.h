/* What the parts of the archive share. */
#ifndef HEISENBED_ACCESS_H
#define HEISENBED_ACCESS_H

#include <stddef.h>
#include <stdint.h>

#include "../c/protocol.h"

typedef void (*hb_access_function)(unsigned kind, void *address, size_t size, uint64_t pc);

/* Of the runtime; NULL without one. */
extern hb_access_function hb_archive_access __attribute__((visibility("hidden")));

#define PC ((uint64_t)(uintptr_t)__builtin_return_address(0))
#define SEE(kind, address, size)                                                                   \
    do {                                                                                           \
        if (hb_archive_access)                                                                     \
            hb_archive_access(kind, (void *)(address), size, PC);                                  \
    } while (0)

#endif
