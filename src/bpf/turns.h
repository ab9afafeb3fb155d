/* turns.h: two maps of the kernel that take turns: one is written while the other is read in batches and emptied. Nothing is lost in between: who was still writing
 * to the one that is read is waited for.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct turns {
        int even, odd;
        uint32_t *active; /* of the programs: which map is written */
        uint32_t entries; /* found at the last reading */
        size_t key, value;
        void *keys, *values;
        uint32_t room;
};

/* The maps stay the caller's. 0 or -ENOMEM. */
must_check int turns_open(struct turns *turns, int even, int odd, uint32_t *active, size_t key, size_t value);
void turns_close(struct turns *turns);

/* From now on the other map is written, and nobody writes to this one any more; which one it is: 0 even, 1 odd. */
uint32_t turns_swap(struct turns *turns);
/* One call for each entry of that map, and it is empty. 0 or -errno. */
must_check int turns_empty(struct turns *turns, uint32_t which, void (*each)(void *data, const void *key, const void *value), void *data);
