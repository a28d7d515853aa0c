// The runtime as a target of heisenbed's: hb_target_v1 of include/heisenbed.h.
#include <cstdio>

#include "../../include/heisenbed.h"
#include "buffer.h"

extern "C" const hb_target *hb_target_v1(void);

namespace {

struct Target {
    Runtime runtime;
    decltype(hb_target_config::publish) publish = nullptr;
};

void *open_target(const hb_target_config *config, char *why, size_t why_size)
{
    auto target = std::make_unique<Target>();
    Options &options = target->runtime.options;
    std::string said;
    // Without one nothing is tracked.
    options.socket = config->socket ? config->socket : "";
    if (!options.set_all(config->options ? config->options : "", said)) {
        snprintf(why, why_size, "%s", said.c_str());
        return nullptr;
    }
    for (uint32_t device = 0; device < config->devices; device++) {
        target->runtime.devices.emplace_back();
        for (uint32_t memory = 0; memory < 4; memory++)
            target->runtime.devices.back().allocators.push_back(
                std::make_unique<Allocator>(device, static_cast<Memory>(memory),
                                            config->size[memory], config->alignment));
    }
    target->publish = config->publish;
    if (config->socket && !options.lazy && !target->runtime.client.connect()) {
        snprintf(why, why_size, "no tracking server at %s", options.socket.c_str());
        return nullptr;
    }
    return target.release();
}

int allocate(void *opened, uint32_t device, uint32_t memory, uint64_t size, uint32_t flags,
             void *context, void **handle, uint64_t *address)
{
    auto *target = static_cast<Target *>(opened);
    const bool is_circular = flags & HB_TARGET_CIRCULAR;
    const auto kind = flags & HB_TARGET_PREALLOCATED ? Buffer::Kind::Preallocated
                      : is_circular                  ? Buffer::Kind::Circular
                                                     : Buffer::Kind::Plain;
    auto buffer = std::make_unique<Buffer>(target->runtime, kind, device,
                                           static_cast<Memory>(memory), size);
    Publish publish;
    if (target->publish && (target->runtime.options.early || flags & HB_TARGET_PUBLISH_EARLY))
        publish = [=, handle = static_cast<Handle *>(buffer.get())](uint64_t at) {
            target->publish(context, handle, at);
        };
    if (!buffer->allocate(publish, address))
        return HB_TARGET_NO_MEMORY;
    *handle = static_cast<Handle *>(buffer.release());
    return HB_TARGET_OK;
}

int allocate_mesh(void *opened, uint32_t first, uint32_t count, uint32_t memory, uint64_t size,
                  uint32_t, void *, void **handle, uint64_t *addresses)
{
    auto *target = static_cast<Target *>(opened);
    auto mesh = std::make_unique<MeshBuffer>(target->runtime, first, count,
                                             static_cast<Memory>(memory), size);
    if (!mesh->allocate(addresses))
        return HB_TARGET_NO_MEMORY;
    *handle = static_cast<Handle *>(mesh.release());
    return HB_TARGET_OK;
}

int deallocate(void *, void *handle)
{
    static_cast<Handle *>(handle)->deallocate();
    return HB_TARGET_OK;
}

void forget(void *, void *handle) { delete static_cast<Handle *>(handle); }

void close_target(void *opened) { delete static_cast<Target *>(opened); }

} // namespace

const hb_target *hb_target_v1(void)
{
    static const hb_target target = {
        HB_TARGET_ABI,
        HB_TARGET_SHARED_RELEASE | HB_TARGET_PUBLISHES_EARLY | HB_TARGET_TRACKS,
        "reported",
        "first-fit",
        open_target,
        allocate,
        deallocate,
        forget,
        close_target,
        allocate_mesh,
        nullptr, nullptr, nullptr,
    };
    return &target;
}
