/* choose.h: which device is best for a need. Pure.
 *
 * Only shared devices whose room could ever hold the need count, with the part that a program's context takes. Better is, in this order: it can be
 * granted now; fewer programs wait; less busy, in quarters (utilisation where a sensor tells, else a program is taken for a quarter); more is free;
 * the lower number.
 */
#pragma once

#include "cli/snapshot.h"

#define CHOOSE_ANY UINT32_MAX

struct choice {
        const struct wire_STATUS_DEVICE *device; /* NULL: none could ever hold it */
        uint64_t free_bytes;                     /* grantable now to a program that comes */
        bool now;                                /* the need among that */
};

/* kind: enum wire_device_kind or CHOOSE_ANY. */
struct choice choose_device(const struct snapshot *s, uint64_t need, uint32_t kind);

/* "1", "GPU-…" or the beginning of one that is unique, as CUDA_VISIBLE_DEVICES takes them. NULL: none such. */
const struct wire_STATUS_DEVICE *choose_named(const struct snapshot *s, const char *name);
