/* Reads a plan. It comes from heisenbed, but a file may be cut: no length is believed. */
#include "driver.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct reader {
    const unsigned char *at, *end;
};

static bool take(struct reader *reader, void *into, uint64_t bytes)
{
    if ((uint64_t)(reader->end - reader->at) < bytes)
        return false;
    if (bytes)
        memcpy(into, reader->at, bytes);
    reader->at += bytes;
    return true;
}

static char *take_text(struct reader *reader, uint32_t bytes)
{
    if (bytes > (uint64_t)(reader->end - reader->at))
        return NULL;
    char *text = calloc(1, (size_t)bytes + 1);
    if (text)
        take(reader, text, bytes);
    return text;
}

static bool is_sound(const struct plan *plan, const struct op *op)
{
    const struct plan_head *head = &plan->head;
    switch (op->what) {
    case OP_ALLOCATE:
        return op->slot < head->slots && op->memory < MEMORIES && op->device < head->devices &&
               op->kind <= KIND_MESH && op->parts >= 1 && op->parts <= MAX_PARTS;
    case OP_RELEASE:
        return op->slot < head->slots;
    case OP_CLOSE:
        return op->device < head->devices;
    case OP_AWAIT_OTHERS:
    case OP_THROW:
        return true;
    default:
        return false;
    }
}

static bool parse(struct reader *reader, struct plan *plan)
{
    struct plan_head *head = &plan->head;
    if (!take(reader, head, sizeof *head) || head->magic != PLAN_MAGIC || head->threads > 4096 ||
        head->devices > 65536 || head->slots > 1u << 28)
        return false;
    plan->socket = take_text(reader, head->socket_bytes);
    plan->options = take_text(reader, head->options_bytes);
    plan->counts = calloc(head->threads + 1, sizeof *plan->counts);
    plan->ops = calloc(head->threads + 1, sizeof *plan->ops);
    if (!plan->socket || !plan->options || !plan->counts || !plan->ops)
        return false;
    for (uint32_t thread = 0; thread < head->threads; thread++) {
        uint64_t count;
        if (!take(reader, &count, sizeof count) ||
            count > (uint64_t)(reader->end - reader->at) / sizeof(struct op))
            return false;
        plan->counts[thread] = count;
        plan->ops[thread] = calloc(count + 1, sizeof(struct op));
        if (!plan->ops[thread] || !take(reader, plan->ops[thread], count * sizeof(struct op)))
            return false;
        for (uint64_t at = 0; at < count; at++)
            if (!is_sound(plan, &plan->ops[thread][at]))
                return false;
    }
    return reader->at == reader->end;
}

struct plan *plan_parse(const unsigned char *bytes, uint64_t length, const char **why)
{
    struct reader reader = {bytes, bytes + length};
    struct plan *plan = calloc(1, sizeof *plan);
    if (plan && parse(&reader, plan))
        return plan;
    *why = "the plan is damaged, or of another version of heisenbed";
    plan_free(plan);
    return NULL;
}

struct plan *plan_read(const char *path, const char **why)
{
    *why = "the plan cannot be read";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (fd < 0)
        return NULL;
    struct plan *plan = NULL;
    unsigned char *bytes = NULL;
    if (fstat(fd, &about) == 0 && (bytes = malloc((size_t)about.st_size + 1))) {
        uint64_t got = 0;
        ssize_t more;
        while (got < (uint64_t)about.st_size &&
               (more = read(fd, bytes + got, (size_t)about.st_size - got)) > 0)
            got += (uint64_t)more;
        plan = plan_parse(bytes, got, why);
    }
    free(bytes);
    close(fd);
    return plan;
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    for (uint32_t thread = 0; plan->ops && thread < plan->head.threads; thread++)
        free(plan->ops[thread]);
    free(plan->ops);
    free(plan->counts);
    free(plan->socket);
    free(plan->options);
    free(plan);
}
