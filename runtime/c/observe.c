/* Runs that nobody controls: what threads do is counted and recorded as it comes, and perhaps
 * delayed. */
#include "runtime.h"

#include <sys/syscall.h>

struct observer {
    uint32_t id;
    uint64_t random;
    bool inside;
};

static __thread struct observer observer __attribute__((tls_model("initial-exec")));
static uint32_t observers;

void hb_observe_thread(void)
{
    observer.id = __atomic_fetch_add(&observers, 1, __ATOMIC_RELAXED);
    observer.random = hb.config->seed * UINT64_C(0x9e3779b97f4a7c15) +
                      hb.config->index * UINT64_C(0xbf58476d1ce4e5b9) + observer.id + 1;
    uint32_t count = observer.id + 1;
    if (hb.result->threads < count)
        hb.result->threads = count;
}

/* The number of the calling thread. */
uint32_t hb_observer(void) { return observer.id; }

static uint64_t draw(void)
{
    uint64_t z = observer.random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Now and then: not at all, a yield, a short sleep, a long one. */
static void perturb(void)
{
    uint64_t dice = draw() % 64;
    if (dice < 8)
        hb_syscall(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    else if (dice < 11) {
        struct timespec span = {.tv_nsec = (long)(draw() % (dice == 8 ? 1000000 : 60000))};
        hb_syscall(SYS_nanosleep, (long)&span, 0, 0, 0, 0, 0);
    }
}

void hb_observe(uint16_t kind, void *address, uint64_t pc)
{
    if ((hb.mode != HB_OBSERVE && hb.mode != HB_PERTURB) || !hb.result || observer.inside)
        return;
    observer.inside = true;
    __atomic_fetch_add(&hb.result->steps, 1, __ATOMIC_RELAXED);
    uint32_t at = __atomic_fetch_add(&hb.result->events, 1, __ATOMIC_RELAXED);
    if (at < HB_MAX_EVENTS)
        hb.events[at] = (struct hb_event){
            .kind = kind,
            .thread = (uint16_t)observer.id,
            .object = HB_NOBODY,
            .pc = pc,
            .address = (uint64_t)(uintptr_t)address,
            .stack = UINT32_MAX,
        };
    if (hb.mode == HB_PERTURB)
        perturb();
    observer.inside = false;
}
