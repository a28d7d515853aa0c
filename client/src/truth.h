/* ---- What your allocator does, for `heisenbed run --tracking` ----
 *
 * Call these inside the critical section in which the allocator hands out or takes back an address.
 * heisenbed then says whether what the tracking server reconstructs from your messages is what the
 * allocator did, in every schedule that it tries (docs/native.md). They are part of this header
 * alone: nothing is to be linked, and in a program that heisenbed does not run each of them is a
 * test of a pointer. HB_NO_TRUTH before the include makes them empty.
 *
 *   device    from 0
 *   memory    HB_MEMORY_DRAM 0, HB_MEMORY_L1 1, HB_MEMORY_L1_SMALL 2, HB_MEMORY_TRACE 3
 *   size      what the ALLOC message says, in bytes
 */
#if defined(__GNUC__) && defined(__ELF__) && !defined(HB_NO_TRUTH)

#ifdef __cplusplus
extern "C" {
#endif
extern void hb_run_truth_alloc(uint32_t device, uint32_t memory, uint64_t address,
                               uint64_t size) __attribute__((weak));
extern void hb_run_truth_free(uint32_t device, uint32_t memory, uint64_t address)
    __attribute__((weak));
extern void hb_run_truth_totals(uint32_t device, uint32_t memory, uint64_t bytes)
    __attribute__((weak));
#ifdef __cplusplus
} /* extern "C" */
#endif

/* The function, if it is there. Code that is not position-independent would take a weak function
 * that is not there at link time for one that never is. */
#ifdef __x86_64__
#define HB_TRUTH_FIND(found, name)                                                                 \
    __asm__(".weak " #name "\n\tmovq " #name "@GOTPCREL(%%rip), %0" : "=r"(found))
#else
#define HB_TRUTH_FIND(found, name) ((found) = name)
#endif

/* The allocator hands out `address`. */
static inline void hb_truth_alloc(uint32_t device, uint32_t memory, uint64_t address, uint64_t size)
{
    void (*found)(uint32_t, uint32_t, uint64_t, uint64_t);
    HB_TRUTH_FIND(found, hb_run_truth_alloc);
    if (found)
        found(device, memory, address, size);
}

/* The allocator takes `address` back. */
static inline void hb_truth_free(uint32_t device, uint32_t memory, uint64_t address)
{
    void (*found)(uint32_t, uint32_t, uint64_t);
    HB_TRUTH_FIND(found, hb_run_truth_free);
    if (found)
        found(device, memory, address);
}

/* So many bytes are live, as the allocator counts: for those that tell no more of themselves. What
 * was said last of each device and memory is compared when the program ends. */
static inline void hb_truth_totals(uint32_t device, uint32_t memory, uint64_t bytes)
{
    void (*found)(uint32_t, uint32_t, uint64_t);
    HB_TRUTH_FIND(found, hb_run_truth_totals);
    if (found)
        found(device, memory, bytes);
}

#else

static inline void hb_truth_alloc(uint32_t device, uint32_t memory, uint64_t address, uint64_t size)
{
    (void)device, (void)memory, (void)address, (void)size;
}

static inline void hb_truth_free(uint32_t device, uint32_t memory, uint64_t address)
{
    (void)device, (void)memory, (void)address;
}

static inline void hb_truth_totals(uint32_t device, uint32_t memory, uint64_t bytes)
{
    (void)device, (void)memory, (void)bytes;
}

#endif

/* ---- Where an operation begins and ends, for `heisenbed extract` and `run --conforms` ----
 *
 * Around whatever allocates or releases one buffer: what stands between begin and end is what your
 * code does to allocate, or to release (docs/reported.md). As above, they need no library, and are
 * a test of a pointer in a program that heisenbed does not run.
 *
 *   buffer    the same for all operations on one buffer: its handle. Of an allocation it may be
 *             known at the end only
 */
enum hb_op {
    HB_OP_ALLOCATE = 1,
    HB_OP_RELEASE = 2
};

#if defined(__GNUC__) && defined(__ELF__) && !defined(HB_NO_TRUTH)

#ifdef __cplusplus
extern "C" {
#endif
extern void hb_run_op(uint32_t what, const void *buffer) __attribute__((weak));
#ifdef __cplusplus
} /* extern "C" */
#endif

static inline void hb_op_mark(uint32_t what, const void *buffer)
{
    void (*found)(uint32_t, const void *);
    HB_TRUTH_FIND(found, hb_run_op);
    if (found)
        found(what, buffer);
}

#else

static inline void hb_op_mark(uint32_t what, const void *buffer)
{
    (void)what, (void)buffer;
}

#endif

/* The calling thread begins to allocate or to release a buffer; NULL: it has no handle yet. */
static inline void hb_op_begin(enum hb_op what, const void *buffer)
{
    hb_op_mark((uint32_t)what, buffer);
}

/* It is done. */
static inline void hb_op_end(const void *buffer) { hb_op_mark(3, buffer); }

/* In the midst of an allocation: other threads can get at the buffer from here on. Without it they
 * can when the allocation has ended. */
static inline void hb_op_publish(const void *buffer) { hb_op_mark(4, buffer); }

