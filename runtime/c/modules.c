/* The files that the program consists of: an address in one of them is its number and an offset, so
 * that it means the same wherever they were loaded. */
#include "runtime.h"

#include <link.h>

#define MODULES 256

static struct module {
    uint64_t low, high;
} modules[MODULES];
static unsigned module_count;

static int note_module(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    if (module_count == MODULES)
        return 1;
    struct module *module = &modules[module_count++];
    *module = (struct module){.low = UINT64_MAX};
    for (int at = 0; at < info->dlpi_phnum; at++) {
        if (info->dlpi_phdr[at].p_type != PT_LOAD)
            continue;
        uint64_t low = info->dlpi_addr + info->dlpi_phdr[at].p_vaddr;
        uint64_t high = low + info->dlpi_phdr[at].p_memsz;
        module->low = low < module->low ? low : module->low;
        module->high = high > module->high ? high : module->high;
    }
    return 0;
}

void hb_find_modules(void)
{
    dl_iterate_phdr(note_module, NULL);
}

uint64_t hb_place(uint64_t pc)
{
    for (unsigned at = 0; at < module_count; at++)
        if (pc >= modules[at].low && pc < modules[at].high)
            return ((uint64_t)(at + 1) << 48) + (pc - modules[at].low);
    return pc;
}
