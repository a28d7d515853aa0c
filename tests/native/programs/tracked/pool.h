// An allocator in a shared library, of which nobody can change the source.
#pragma once
#include <cstdint>

extern "C" uint64_t pool_allocate(int32_t device, uint64_t size);
extern "C" void pool_release(int32_t device, uint64_t address);

class Pool {
  public:
    virtual ~Pool();
    virtual bool reserve(uint64_t size, int32_t device, uint64_t *address);
    virtual void give_back(uint64_t address, int32_t device);
};

Pool *the_pool();
