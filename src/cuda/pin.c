/* pin.c: memory that can't move, counted by the address or handle that the driver gave, or as a block that stays; see memory.h.
 *
 * A hash of keys with linear probing, at most half full.
 */
#include "cuda/host.h"
#include "cuda/link.h"
#include "cuda/memory.h"

#include <stdlib.h>

struct pin {
        uint64_t key; /* 0: free */
        uint64_t bytes;
        struct device *device;
        uint32_t references;
};

static struct pin *pins;
static size_t pins_n, pins_size;

static size_t slot_of(const struct pin *table, size_t size, uint64_t key)
{
        size_t i = (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (size - 1);

        while (table[i].key && table[i].key != key)
                i = (i + 1) & (size - 1);
        return i;
}

static bool grow(void)
{
        size_t size = pins_size ? pins_size * 2 : 256;
        struct pin *table = calloc(size, sizeof *table);

        if (!table)
                return false;
        for (size_t i = 0; i < pins_size; i++)
                if (pins[i].key)
                        table[slot_of(table, size, pins[i].key)] = pins[i];
        free(pins);
        pins = table;
        pins_size = size;
        return true;
}

static void remove_at(size_t i)
{
        size_t j = i;

        pins[i].key = 0;
        pins_n--;
        /* Close the gap: later entries of the run may belong before it. */
        for (;;) {
                struct pin moved;

                j = (j + 1) & (pins_size - 1);
                if (!pins[j].key)
                        return;
                moved = pins[j];
                pins[j].key = 0;
                pins[slot_of(pins, pins_size, moved.key)] = moved;
        }
}

void memory_pin_keep(struct device *d, uint64_t key, uint64_t bytes, bool failed)
{
        books_lock();
        if (!failed && key && (pins_n * 2 < pins_size || grow())) {
                struct pin *pin = &pins[slot_of(pins, pins_size, key)];

                if (pin->key) /* the driver reused a key whose end we did not see */
                        pin->device->pinned -= pin->bytes;
                else
                        pins_n++;
                *pin = (struct pin){key, bytes, d, 1};
        } else if (failed) {
                d->pinned -= bytes;
        }
        memory_note(d);
        books_unlock();
        link_kick();
}

bool memory_pin_drop(uint64_t key)
{
        bool found = false;

        books_lock();
        if (pins_size && key) {
                size_t i = slot_of(pins, pins_size, key);

                found = pins[i].key == key;
                if (found && --pins[i].references == 0) {
                        struct device *d = pins[i].device;

                        d->pinned -= pins[i].bytes;
                        remove_at(i);
                        memory_note(d);
                }
        }
        books_unlock();
        if (found)
                link_kick();
        return found;
}

void memory_pin_again(uint64_t key)
{
        books_lock();
        if (pins_size && key) {
                size_t i = slot_of(pins, pins_size, key);

                if (pins[i].key == key)
                        pins[i].references++;
        }
        books_unlock();
}

bool memory_hold(struct block *block)
{
        struct device *d = block->device;

        for (uint32_t i = 0; i < block->units_n && !block->holds; i++)
                if (!block->units[i].resident || block->units[i].in_flight)
                        return false;
        if (block->holds++)
                return true;
        for (uint32_t i = 0; i < block->units_n; i++) {
                if (block->units[i].segment != NO_SEGMENT)
                        d->backed -= block->units[i].bytes;
                host_release(&block->units[i]);
                block->units[i].host_valid = block->units[i].host_hashed = false;
        }
        d->movable -= block->mapped;
        d->resident -= block->mapped;
        d->pinned += block->mapped;
        memory_note(d);
        return true;
}

void memory_unhold(struct block *block)
{
        struct device *d = block->device;

        if (--block->holds)
                return;
        d->pinned -= block->mapped;
        d->movable += block->mapped;
        d->resident += block->mapped;
        for (uint32_t i = 0; i < block->units_n; i++)
                if (host_place(&block->units[i]))
                        d->backed += block->units[i].bytes;
        memory_note(d);
}
