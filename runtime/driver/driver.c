/* heisenbed_driver run TARGET PLAN: schedules of a plan, as the runtime wants them, or one.
 * heisenbed_driver about TARGET PLAN ANSWER: what the target can do, into the file ANSWER.
 * heisenbed_driver serve TARGET: plans from stdin, a length before each; a byte for each that went
 * well.
 */
#include "driver.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Noreturn static void refuse(const char *path, const char *why)
{
    fail("target-failed", "%s: %s", path, why);
}

static const struct hb_target *load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        refuse(path, dlerror());
    const struct hb_target *(*tell)(void) =
        (const struct hb_target *(*)(void))dlsym(library, "hb_target_v1");
    if (!tell)
        refuse(path, "it exports no hb_target_v1 (in C++: extern \"C\"; see docs/targets.md)");
    opens(true);
    const struct hb_target *target = tell();
    opens(false);
    if (!target)
        refuse(path, "its hb_target_v1 returned NULL");
    if (target->abi != HB_TARGET_ABI) {
        char why[160];
        snprintf(why, sizeof why,
                 "it speaks version %u of the target ABI, and this heisenbed version %u: build it "
                 "with this heisenbed's include/heisenbed.h",
                 target->abi, HB_TARGET_ABI);
        refuse(path, why);
    }
    if (!target->open || !target->allocate || !target->deallocate || !target->close)
        refuse(path, "open, allocate, deallocate and close must not be NULL");
    return target;
}

/* Plans come from one, and what came of them goes to the other. A target that reads or prints has
 * nothing of them. */
static int plans = 0, answers = 1;

static bool keep_apart(void)
{
    plans = fcntl(0, F_DUPFD_CLOEXEC, 100);
    answers = fcntl(1, F_DUPFD_CLOEXEC, 100);
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    return plans >= 0 && answers >= 0 && nothing >= 0 && dup2(nothing, 0) == 0 &&
           dup2(nothing, 1) == 1;
}

static bool read_all(unsigned char *into, size_t bytes)
{
    while (bytes) {
        ssize_t got = read(plans, into, bytes);
        if (got <= 0)
            return false;
        into += got;
        bytes -= (size_t)got;
    }
    return true;
}

static int serve(const struct hb_target *target)
{
    uint64_t length;
    while (read_all((unsigned char *)&length, sizeof length)) {
        const char *why = "it is too long";
        unsigned char *bytes = length < 1u << 28 ? malloc(length + 1) : NULL;
        struct plan *plan = NULL;
        if (bytes && read_all(bytes, length))
            plan = plan_parse(bytes, length, &why);
        free(bytes);
        if (!plan)
            refuse("a plan", why);
        operations_run(plan, target);
        plan_free(plan);
        if (write(answers, "+", 1) != 1)
            return 1;
    }
    return 0;
}

static bool is_through;

/* Who ends the process in the midst of its operations has not done them. */
static void at_exit(void)
{
    if (!is_through)
        fail("target-failed", "it ended the process before its operations were done");
}

int main(int count, char **words)
{
    if (count < 3)
        return 2;
    bool serves = strcmp(words[1], "serve") == 0;
    if (serves && !keep_apart())
        return 1;
    const struct hb_target *target = load(words[2]);
    if (serves)
        return serve(target);
    const char *why = "";
    struct plan *plan = count > 3 ? plan_read(words[3], &why) : NULL;
    if (!plan)
        refuse(count > 3 ? words[3] : "the plan", why);
    if (strcmp(words[1], "about") == 0)
        return count > 4 ? about(plan, target, words[4]) : 2;
    atexit(at_exit);
    do
        operations_run(plan, target);
    while (hb_run_again && hb_run_again());
    is_through = true;
    return PLAN_DONE;
}
