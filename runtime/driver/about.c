/* What a target can do: asked once, before anything is run with it. A line each, as `name value`;
 * a value reaches to the end of the line. */
#include "driver.h"

#include <stdio.h>
#include <string.h>

static FILE *answer;

static void say(const char *name, const char *value)
{
    fprintf(answer, "%s ", name);
    for (; value && *value; value++)
        fputc(*value == '\n' ? ' ' : *value, answer);
    fputc('\n', answer);
}

static void say_number(const char *name, uint64_t value)
{
    fprintf(answer, "%s %llu\n", name, (unsigned long long)value);
}

/* A buffer, at once given back. */
static int try(const struct hb_target *target, void *state, uint32_t memory, uint64_t size,
               uint32_t flags, uint64_t address)
{
    void *handle = NULL;
    int status = target->allocate(state, 0, memory, size, flags, NULL, &handle, &address);
    if (status != HB_TARGET_OK)
        return status;
    status = target->deallocate(state, handle);
    if (target->forget)
        target->forget(state, handle);
    return status;
}

static int try_mesh(const struct plan *plan, const struct hb_target *target, void *state,
                    uint32_t memory)
{
    uint64_t addresses[MAX_PARTS] = {0};
    uint32_t parts = plan->head.devices < MAX_PARTS ? plan->head.devices : MAX_PARTS;
    void *handle = NULL;
    if (!target->allocate_mesh)
        return HB_TARGET_UNSUPPORTED;
    int status = target->allocate_mesh(state, 0, parts, memory, plan->head.alignment, 0, NULL,
                                       &handle, addresses);
    if (status != HB_TARGET_OK)
        return status;
    status = target->deallocate(state, handle);
    if (target->forget)
        target->forget(state, handle);
    return status;
}

/* The largest buffer that a new memory has room for, to a multiple of the alignment. Each try has a
 * memory that is new, for what a target does wrong is not to be found here. */
static uint64_t largest(const struct plan *plan, const struct hb_target *target, uint32_t memory)
{
    struct hb_target_config config = plan_config(plan);
    uint64_t unit = plan->head.alignment ? plan->head.alignment : 1;
    uint64_t low = 0, high = plan->head.size[memory] / unit, middle = high;
    while (low < high) {
        char why[400];
        void *state = target->open(&config, why, sizeof why);
        if (!state)
            return 0;
        if (try(target, state, memory, middle * unit, 0, 0) == HB_TARGET_OK)
            low = middle;
        else
            high = middle - 1;
        target->close(state);
        middle = low + (high - low + 1) / 2;
    }
    return low * unit;
}

int about(const struct plan *plan, const struct hb_target *target, const char *path)
{
    answer = fopen(path, "w");
    if (!answer)
        return 2;
    /* What was answered before a crash is there. */
    setvbuf(answer, NULL, _IOLBF, 0);
    say("name", target->name ? target->name : "");
    say("policy", target->policy ? target->policy : "");
    say_number("abilities", target->abilities);
    say_number("mesh", target->allocate_mesh != NULL);
    say_number("close-device", target->close_device != NULL);
    say_number("check", target->check != NULL);
    say_number("totals", target->totals != NULL);
    struct hb_target_config config = plan_config(plan);
    char why[400] = "";
    void *state = target->open(&config, why, sizeof why);
    if (!state) {
        why[sizeof why - 1] = 0;
        say("refuses", why[0] ? why : "open returned NULL, and did not say why");
        say("complete", "");
        return fclose(answer) != 0;
    }
    uint64_t size = plan->head.alignment ? plan->head.alignment : 64;
    bool asked = false, has[MEMORIES] = {false};
    for (uint32_t memory = 0; memory < MEMORIES; memory++) {
        if (!plan->head.size[memory])
            continue;
        int status = try(target, state, memory, size, 0, 0);
        has[memory] = status == HB_TARGET_OK;
        if (!has[memory])
            fprintf(answer, "memory %u %d 0\n", memory, status);
        if (!has[memory] || asked)
            continue;
        asked = true;
        say_number("circular",
                   (uint64_t)try(target, state, memory, size, HB_TARGET_CIRCULAR, 0));
        say_number("preallocated",
                   (uint64_t)try(target, state, memory, size, HB_TARGET_PREALLOCATED, size));
        say_number("mesh-status", (uint64_t)try_mesh(plan, target, state, memory));
    }
    target->close(state);
    for (uint32_t memory = 0; memory < MEMORIES; memory++)
        if (has[memory])
            fprintf(answer, "memory %u 0 %llu\n", memory,
                    (unsigned long long)largest(plan, target, memory));
    say("complete", "");
    return fclose(answer) != 0;
}
