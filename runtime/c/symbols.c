/* The allocator's truth without a change of its source: functions that allocate and release, by the
 * names that they are exported under.
 *
 * Whoever calls an exported function of another file, or of its own library, does so through a
 * table that the dynamic linker fills (and a virtual function through one that it relocates). These
 * entries are made to point to a stub here, which makes the call with the same registers and stack
 * and notes what went in and what came out. What a file calls directly (a program its own
 * functions) has no such entry.
 */
#include "runtime.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What the stubs call, by symbol. */
static void *real_functions[HB_MAX_TRUTH_SYMBOLS];

#ifdef __x86_64__

#define STUB_BYTES 16

extern const char hb_symbol_stubs[] __attribute__((visibility("hidden")));

__asm__(".text\n"
        ".balign 16\n"
        ".globl hb_symbol_stubs\n"
        ".hidden hb_symbol_stubs\n"
        ".type hb_symbol_stubs, @function\n"
        "hb_symbol_stubs:\n"
        ".set number, 0\n"
        ".rept 32\n"
        ".balign 16\n"
        "movl $number, %r11d\n"
        "jmp hb_symbol_call\n"
        ".set number, number + 1\n"
        ".endr\n"
        ".balign 16\n"
        ".type hb_symbol_call, @function\n"
        "hb_symbol_call:\n"
        ".cfi_startproc\n"
        "pushq %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset %rbp, -16\n"
        "movq %rsp, %rbp\n"
        ".cfi_def_cfa_register %rbp\n"
        "subq $512, %rsp\n"
        "movq %rdi, -64(%rbp)\n"
        "movq %rsi, -56(%rbp)\n"
        "movq %rdx, -48(%rbp)\n"
        "movq %rcx, -40(%rbp)\n"
        "movq %r8, -32(%rbp)\n"
        "movq %r9, -24(%rbp)\n"
        "movq %rax, -16(%rbp)\n"
        "movq %r11, -8(%rbp)\n"
        "movaps %xmm0, -80(%rbp)\n"
        "movaps %xmm1, -96(%rbp)\n"
        "movaps %xmm2, -112(%rbp)\n"
        "movaps %xmm3, -128(%rbp)\n"
        "movaps %xmm4, -144(%rbp)\n"
        "movaps %xmm5, -160(%rbp)\n"
        "movaps %xmm6, -176(%rbp)\n"
        "movaps %xmm7, -192(%rbp)\n"
        "movl %r11d, %edi\n"
        "leaq -64(%rbp), %rsi\n"
        "leaq 16(%rbp), %rdx\n"
        "call hb_symbol_enter\n"
        "movq %rax, %r11\n"
        /* What the caller has put onto the stack. */
        "leaq 16(%rbp), %rsi\n"
        "movq %rsp, %rdi\n"
        "movl $32, %ecx\n"
        "cld\n"
        "rep movsq\n"
        "movq -64(%rbp), %rdi\n"
        "movq -56(%rbp), %rsi\n"
        "movq -48(%rbp), %rdx\n"
        "movq -40(%rbp), %rcx\n"
        "movq -32(%rbp), %r8\n"
        "movq -24(%rbp), %r9\n"
        "movq -16(%rbp), %rax\n"
        "movaps -80(%rbp), %xmm0\n"
        "movaps -96(%rbp), %xmm1\n"
        "movaps -112(%rbp), %xmm2\n"
        "movaps -128(%rbp), %xmm3\n"
        "movaps -144(%rbp), %xmm4\n"
        "movaps -160(%rbp), %xmm5\n"
        "movaps -176(%rbp), %xmm6\n"
        "movaps -192(%rbp), %xmm7\n"
        "call *%r11\n"
        "movq %rax, -216(%rbp)\n"
        "movq %rdx, -208(%rbp)\n"
        "movaps %xmm0, -240(%rbp)\n"
        "movaps %xmm1, -256(%rbp)\n"
        "movl -8(%rbp), %edi\n"
        "leaq -64(%rbp), %rsi\n"
        "leaq 16(%rbp), %rdx\n"
        "movq %rax, %rcx\n"
        "call hb_symbol_leave\n"
        "movq -216(%rbp), %rax\n"
        "movq -208(%rbp), %rdx\n"
        "movaps -240(%rbp), %xmm0\n"
        "movaps -256(%rbp), %xmm1\n"
        "leave\n"
        ".cfi_def_cfa %rsp, 8\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size hb_symbol_call, .-hb_symbol_call\n");

static void *stub(uint32_t number) { return (void *)(hb_symbol_stubs + STUB_BYTES * number); }

/* ---- What went in and came out ---- */

static uint64_t argument(const uint64_t *registers, const uint64_t *stack, uint32_t number)
{
    return number < 6 ? registers[number] : number < 38 ? stack[number - 6] : 0;
}

static uint64_t number_of(const struct hb_truth_number *from, const uint64_t *registers,
                          const uint64_t *stack, uint64_t returned)
{
    uint64_t value = 0;
    switch (from->from) {
    case HB_FROM_VALUE:
        value = from->number;
        break;
    case HB_FROM_ARGUMENT:
        value = argument(registers, stack, from->number);
        break;
    case HB_FROM_RETURN:
        value = returned;
        break;
    case HB_FROM_POINTER: {
        uint64_t at = argument(registers, stack, from->number);
        if (at && from->bits == 32)
            value = *(const uint32_t *)(uintptr_t)at;
        else if (at)
            value = *(const uint64_t *)(uintptr_t)at;
        break;
    }
    }
    return from->bits == 32 ? (uint32_t)value : value;
}

static void tell(const struct hb_truth_symbol *symbol, uint16_t kind, const uint64_t *registers,
                 const uint64_t *stack, uint64_t returned)
{
    hb_track_truth(kind, (uint32_t)number_of(&symbol->device, registers, stack, returned),
                   (uint32_t)number_of(&symbol->memory, registers, stack, returned),
                   number_of(&symbol->address, registers, stack, returned),
                   number_of(&symbol->size, registers, stack, returned), stack[-1] - 1);
}

__attribute__((visibility("hidden"), used)) void *
hb_symbol_enter(uint32_t number, const uint64_t *registers, const uint64_t *stack)
{
    const struct hb_truth_symbol *symbol = &hb.track->symbol[number % HB_MAX_TRUTH_SYMBOLS];
    if (hb.mode != HB_OFF) {
        __atomic_fetch_add(&hb.track_head->called[number % HB_MAX_TRUTH_SYMBOLS], 1,
                           __ATOMIC_RELAXED);
        if (symbol->does == HB_TRUTH_RELEASES && !symbol->after)
            tell(symbol, HB_T_FREE, registers, stack, 0);
    }
    return real_functions[number % HB_MAX_TRUTH_SYMBOLS];
}

__attribute__((visibility("hidden"), used)) void
hb_symbol_leave(uint32_t number, const uint64_t *registers, const uint64_t *stack,
                uint64_t returned)
{
    const struct hb_truth_symbol *symbol = &hb.track->symbol[number % HB_MAX_TRUTH_SYMBOLS];
    if (hb.mode == HB_OFF)
        return;
    if (symbol->does == HB_TRUTH_RELEASES && symbol->after)
        tell(symbol, HB_T_FREE, registers, stack, returned);
    if (symbol->does != HB_TRUTH_ALLOCATES)
        return;
    uint64_t result = symbol->address.bits == 32 ? (uint32_t)returned : returned;
    if (!symbol->ignores || (uint32_t)result != symbol->ignored_return)
        tell(symbol, HB_T_ALLOC, registers, stack, returned);
}

/* ---- Tables ---- */

/* The function that callers mean. */
static void *resolve(const char *name)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    if (found)
        return found;
    for (const struct link_map *map = _r_debug.r_map; map && !found; map = map->l_next) {
        void *handle = map->l_name && *map->l_name ? dlopen(map->l_name, RTLD_NOLOAD | RTLD_LAZY)
                                                   : NULL;
        if (!handle)
            continue;
        found = dlsym(handle, name);
        dlclose(handle);
    }
    return found;
}

static void point(uint64_t *slot, uint32_t number)
{
    uintptr_t page = (uintptr_t)slot & ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1);
    size_t size = (uintptr_t)(slot + 1) - page;
    if (*slot == (uint64_t)(uintptr_t)stub(number) ||
        mprotect((void *)page, size, PROT_READ | PROT_WRITE) != 0)
        return;
    *slot = (uint64_t)(uintptr_t)stub(number);
    hb.track_head->patched[number]++;
}

static void patch_table(const ElfW(Addr) base, const ElfW(Rela) *entries, size_t bytes,
                        const ElfW(Sym) *symbols, const char *names)
{
    uint32_t count = hb.track->symbols < HB_MAX_TRUTH_SYMBOLS ? hb.track->symbols
                                                              : HB_MAX_TRUTH_SYMBOLS;
    for (size_t at = 0; at < bytes / sizeof *entries; at++) {
        const ElfW(Rela) *entry = &entries[at];
        uint32_t type = (uint32_t)ELF64_R_TYPE(entry->r_info);
        uint64_t *slot = (uint64_t *)(base + entry->r_offset);
        if (type == R_X86_64_RELATIVE) {
            uint64_t target = base + (uint64_t)entry->r_addend;
            for (uint32_t number = 0; number < count; number++)
                if (real_functions[number] && target == (uint64_t)(uintptr_t)real_functions[number])
                    point(slot, number);
            continue;
        }
        if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT &&
            (type != R_X86_64_64 || entry->r_addend != 0))
            continue;
        const char *name = names + symbols[ELF64_R_SYM(entry->r_info)].st_name;
        for (uint32_t number = 0; number < count; number++)
            if (real_functions[number] && strcmp(name, hb.track->symbol[number].name) == 0)
                point(slot, number);
    }
}

static int patch_module(struct dl_phdr_info *info, size_t size, void *own)
{
    (void)size;
    const ElfW(Dyn) *dynamic = NULL;
    for (int at = 0; at < info->dlpi_phnum; at++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[at];
        ElfW(Addr) begin = info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_DYNAMIC)
            dynamic = (const ElfW(Dyn) *)begin;
        if (part->p_type == PT_LOAD && (ElfW(Addr))own >= begin &&
            (ElfW(Addr))own < begin + part->p_memsz)
            return 0;
    }
    if (!dynamic || (info->dlpi_name && strstr(info->dlpi_name, "vdso")))
        return 0;
    const ElfW(Sym) *symbols = NULL;
    const char *names = NULL;
    const ElfW(Rela) *all = NULL, *calls = NULL;
    size_t all_bytes = 0, call_bytes = 0;
    for (; dynamic->d_tag != DT_NULL; dynamic++)
        switch (dynamic->d_tag) {
        case DT_SYMTAB: symbols = (const ElfW(Sym) *)dynamic->d_un.d_ptr; break;
        case DT_STRTAB: names = (const char *)dynamic->d_un.d_ptr; break;
        case DT_RELA: all = (const ElfW(Rela) *)dynamic->d_un.d_ptr; break;
        case DT_RELASZ: all_bytes = dynamic->d_un.d_val; break;
        case DT_JMPREL: calls = (const ElfW(Rela) *)dynamic->d_un.d_ptr; break;
        case DT_PLTRELSZ: call_bytes = dynamic->d_un.d_val; break;
        }
    if (!symbols || !names)
        return 0;
    if (all)
        patch_table(info->dlpi_addr, all, all_bytes, symbols, names);
    if (calls)
        patch_table(info->dlpi_addr, calls, call_bytes, symbols, names);
    return 0;
}

static int count_modules(struct dl_phdr_info *info, size_t size, void *into)
{
    (void)size;
    *(unsigned long long *)into = info->dlpi_adds;
    return 1;
}

/* All modules that are there, unless none came since the last time. */
void hb_symbols_patch(void)
{
    static unsigned long long known;
    if (!hb.track || !hb.track->enabled || hb.track->symbols == 0)
        return;
    unsigned long long now = 0;
    dl_iterate_phdr(count_modules, &now);
    if (now == known)
        return;
    known = now;
    for (uint32_t at = 0; at < hb.track->symbols && at < HB_MAX_TRUTH_SYMBOLS; at++)
        if (!real_functions[at])
            real_functions[at] = resolve(hb.track->symbol[at].name);
    dl_iterate_phdr(patch_module, (void *)&hb);
}

#else

void hb_symbols_patch(void) { (void)real_functions; }

#endif
