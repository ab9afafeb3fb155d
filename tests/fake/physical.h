/* physical.h: physical allocations as handles. Under memory_lock unless said otherwise. */
#pragma once

#include "fake.h"

struct handle {
        uint32_t generation;
        unsigned users;    /* creations, imports and retains not yet released */
        unsigned mappings; /* addresses it is mapped at */
        bool live;
        CUmemAllocationProp prop;
        struct store_file file;
        unsigned char *host; /* NULL until first mapped */
};

/* Physical memory that is not yet a handle's; takes no lock. */
CUresult physical_create(int device, uint64_t bytes, struct store_file *file);
/* file becomes a new handle's; NULL when out of memory, and file stays the caller's. */
struct handle *physical_add(struct store_file *file, const CUmemAllocationProp *prop,
                            CUmemGenericAllocationHandle *ret);
/* NULL for anything but a handle that was not yet released. */
struct handle *handle_get(CUmemGenericAllocationHandle value);
CUmemGenericAllocationHandle handle_value(const struct handle *h);
/* Makes its bytes reachable in this process. */
bool handle_map(struct handle *h);
/* Frees it when nobody uses it and nothing is mapped to it. */
void handle_put(struct handle *h);
