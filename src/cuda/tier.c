/* tier.c: shelves on neighbouring devices; see tier.h. A shelf is filled from its start to its end and is empty when its last unit has left.
 *
 * An empty one stays for a while: making it anew takes time, and what is given back to the driver is scrubbed and may be counted as used for another second. It
 * costs nobody anything: the gate evicts storage as soon as its room is wanted, and what is empty leaves at once and needs no place on the host (backed). */
#include "cuda/tier.h"

#include "base/clock.h"
#include "cuda/link.h"
#include "cuda/memory.h"
#include "cuda/tell.h"

#include <stdlib.h>

#define SHELF_UNITS 64
#define KEEP_NS (5 * NS_PER_S)
#define MAX_NEIGHBOURS 4

struct shelf {
        struct shelf *next;
        struct device *storage;
        CUmemGenericAllocationHandle handle;
        CUdeviceptr address;
        uint64_t bytes, filled, used;
        uint64_t empty_since;
};

static struct shelf *shelves;

static struct device *only_device(void)
{
        struct device *only = NULL;

        for (unsigned int i = 0; i < berth.devices_n; i++) {
                struct device *d = &berth.devices[i];

                if (d->storage)
                        continue;
                if (only || !d->managed)
                        return NULL;
                only = d;
        }
        return only && only->contexts_n && only->backed ? only : NULL;
}

bool tier_prepare(void)
{
        struct device *d = berth.neighbours && !berth.neighbours_tried ? only_device() : NULL;
        int count = 0, can;

        if (!d)
                return false;
        berth.neighbours_tried = true;
        if (real.cuDeviceGetCount(&count) != CUDA_SUCCESS)
                return false;
        for (int i = 0, n = 0; i < count && n < MAX_NEIGHBOURS; i++) {
                CUdevice handle;
                struct device *storage;

                if (real.cuDeviceGet(&handle, i) != CUDA_SUCCESS || handle == d->handle || real.cuDeviceCanAccessPeer(&can, d->handle, handle) != CUDA_SUCCESS || !can)
                        continue;
                storage = link_add_storage(handle);
                if (!storage)
                        continue;
                storage->contexts[0] = d->contexts[0]; /* copies are made by the owner's device */
                storage->contexts_n = 1;
                n++;
        }
        return true;
}

static uint64_t whole_units(uint64_t bytes)
{
        return bytes / berth.unit_bytes * berth.unit_bytes;
}

/* What fits on the storage's shelves as they are: no unit goes to the rest at a shelf's end. */
static uint64_t shelf_room(const struct device *s)
{
        uint64_t room = 0;

        for (const struct shelf *shelf = shelves; shelf; shelf = shelf->next)
                if (shelf->storage == s)
                        room += whole_units(shelf->bytes - shelf->filled);
        return room;
}

void tier_ask(struct device *d, uint64_t bytes)
{
        if (d->storage)
                return;
        for (unsigned int i = 0; i < berth.devices_n && bytes; i++) {
                struct device *s = &berth.devices[i];
                uint64_t room = shelf_room(s), wanted = whole_units(bytes + berth.unit_bytes - 1);

                if (!s->storage || !s->announced || s->want_sent || s->refused || s->evicting || !s->contexts_n || s->contexts[0] != d->contexts[0])
                        continue;
                s->asked = true;
                s->ask_bytes = wanted > room ? wanted - room : 0;
                s->want_sent = s->ask_bytes > whole_units(device_spare(s));
                if (s->want_sent)
                        tell_storage_want(s);
        }
}

bool tier_waits(const struct device *d)
{
        for (unsigned int i = 0; i < berth.devices_n; i++)
                if (berth.devices[i].storage && berth.devices[i].want_sent && !d->storage)
                        return true;
        return false;
}

void tier_answered(struct device *storage, uint64_t more)
{
        storage->granted += more;
        storage->refused = !more;
        storage->want_sent = false;
}

static struct shelf *new_shelf(struct device *d, struct device *s, uint64_t at_least)
{
        uint64_t bytes = berth.unit_bytes * SHELF_UNITS, spare = whole_units(device_spare(s));
        CUmemAccessDesc access = {{CU_MEM_LOCATION_TYPE_DEVICE, d->handle}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
        CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, s->handle}};
        struct shelf *shelf;

        bytes = spare < bytes ? spare : bytes;
        if (bytes < at_least || !(shelf = calloc(1, sizeof *shelf)))
                return NULL;
        shelf->storage = s;
        shelf->bytes = bytes;
        if (real.cuMemAddressReserve(&shelf->address, bytes, 0, 0, 0) != CUDA_SUCCESS) {
                free(shelf);
                return NULL;
        }
        if (real.cuMemCreate(&shelf->handle, bytes, &properties, 0) != CUDA_SUCCESS)
                goto no_memory;
        if (real.cuMemMap(shelf->address, bytes, 0, shelf->handle, 0) != CUDA_SUCCESS)
                goto no_map;
        if (real.cuMemSetAccess(shelf->address, bytes, &access, 1) != CUDA_SUCCESS)
                goto no_access;
        shelf->next = shelves;
        shelves = shelf;
        s->movable += bytes;
        s->resident += bytes;
        s->backed += bytes;
        memory_note(s);
        return shelf;
no_access:
        real.cuMemUnmap(shelf->address, bytes);
no_map:
        real.cuMemRelease(shelf->handle);
no_memory:
        real.cuMemAddressFree(shelf->address, bytes);
        free(shelf);
        return NULL;
}

bool tier_place(struct device *d, struct unit *unit)
{
        for (unsigned int i = 0; i < berth.devices_n; i++) {
                struct device *s = &berth.devices[i];
                struct shelf *shelf = shelves;

                if (!s->storage || s->evicting || !s->contexts_n || s->contexts[0] != d->move_context)
                        continue;
                while (shelf && (shelf->storage != s || shelf->bytes - shelf->filled < unit->bytes))
                        shelf = shelf->next;
                if (!shelf)
                        shelf = new_shelf(d, s, unit->bytes);
                if (!shelf)
                        continue;
                if (!shelf->filled)
                        s->backed -= shelf->bytes;
                unit->shelf = shelf;
                unit->shelf_offset = shelf->filled;
                shelf->filled += unit->bytes;
                shelf->used += unit->bytes;
                return true;
        }
        return false;
}

struct device *tier_of(const struct unit *unit)
{
        return unit->shelf->storage;
}

CUdeviceptr tier_address(const struct unit *unit)
{
        return unit->shelf->address + unit->shelf_offset;
}

/* An empty shelf goes back to the driver. */
static void end_shelf(struct shelf *shelf)
{
        struct shelf **at = &shelves;
        struct device *s = shelf->storage;

        while (*at != shelf)
                at = &(*at)->next;
        *at = shelf->next;
        real.cuMemUnmap(shelf->address, shelf->bytes);
        real.cuMemRelease(shelf->handle);
        real.cuMemAddressFree(shelf->address, shelf->bytes);
        s->movable -= shelf->bytes;
        s->resident -= shelf->bytes;
        s->backed -= shelf->bytes;
        memory_note(s);
        free(shelf);
}

void tier_release(struct unit *unit)
{
        struct shelf *shelf = unit->shelf;

        unit->shelf = NULL;
        if (!shelf || (shelf->used -= unit->bytes))
                return;
        shelf->filled = 0;
        shelf->empty_since = clock_now_ns();
        shelf->storage->backed += shelf->bytes;
        if (shelf->storage->evicting || !shelf->storage->contexts_n)
                end_shelf(shelf);
        else
                memory_note(shelf->storage);
}

void tier_clear(const struct device *storage)
{
        for (struct shelf *shelf = shelves, *next; shelf; shelf = next) {
                next = shelf->next;
                if (shelf->storage == storage && !shelf->filled)
                        end_shelf(shelf);
        }
}

void tier_tidy(uint64_t now)
{
        for (struct shelf *shelf = shelves, *next; shelf; shelf = next) {
                next = shelf->next;
                if (!shelf->filled && !shelf->storage->asked && (now >= shelf->empty_since + KEEP_NS || !shelf->storage->contexts_n))
                        end_shelf(shelf);
        }
}

int tier_idle_ms(uint64_t now)
{
        uint64_t first = UINT64_MAX;

        for (const struct shelf *shelf = shelves; shelf; shelf = shelf->next)
                if (!shelf->filled && !shelf->storage->asked && shelf->empty_since < first)
                        first = shelf->empty_since;
        if (first == UINT64_MAX)
                return -1;
        return now >= first + KEEP_NS ? 0 : (int)((first + KEEP_NS - now) / NS_PER_MS) + 1;
}

void tier_done(void)
{
        for (unsigned int i = 0; i < berth.devices_n; i++)
                if (berth.devices[i].storage)
                        berth.devices[i].asked = berth.devices[i].refused = false;
}

void tier_forked(void)
{
        shelves = NULL;
}

bool tier_quiet(void)
{
        for (unsigned int i = 0; i < berth.devices_n; i++)
                if (berth.devices[i].storage && berth.devices[i].flights_n)
                        return false;
        return true;
}
