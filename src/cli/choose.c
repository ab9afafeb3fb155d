/* choose.c: the best device for a need; see choose.h. */
#include "cli/choose.h"

#include "base/text.h"

#include <string.h>

static uint64_t minus(uint64_t a, uint64_t b)
{
        return a > b ? a - b : 0;
}

/* 0 … 4 quarters. */
static uint32_t load_of(const struct wire_STATUS_DEVICE *d)
{
        uint32_t quarters = d->valid & WIRE_VALID_UTILISATION ? (d->utilisation_permille + 125) / 250 : d->clients;

        return quarters < 4 ? quarters : 4;
}

static bool better(const struct choice *a, const struct choice *b)
{
        if (!b->device)
                return true;
        if (a->now != b->now)
                return a->now;
        if (a->device->waiting != b->device->waiting)
                return a->device->waiting < b->device->waiting;
        if (load_of(a->device) != load_of(b->device))
                return load_of(a->device) < load_of(b->device);
        return a->free_bytes > b->free_bytes; /* the lower number comes first anyway */
}

struct choice choose_device(const struct snapshot *s, uint64_t need, uint32_t kind)
{
        struct choice best = {0};

        for (size_t i = 0; i < s->device_count; i++) {
                const struct wire_STATUS_DEVICE *d = &s->devices[i];
                struct choice c = {.device = d, .free_bytes = minus(minus(d->room_bytes, d->granted_bytes), s->daemon.client_part_bytes)};

                if (!snapshot_shared(d) || (kind != CHOOSE_ANY && d->kind != kind) || need > minus(d->room_bytes, s->daemon.client_part_bytes))
                        continue;
                c.now = need <= c.free_bytes;
                if (better(&c, &best))
                        best = c;
        }
        return best;
}

const struct wire_STATUS_DEVICE *choose_named(const struct snapshot *s, const char *name)
{
        const struct wire_STATUS_DEVICE *found = NULL;
        char uuid[WIRE_UUID_TEXT];
        uint64_t index;

        if (text_parse_u64(name, 0, UINT32_MAX, &index) == 0) {
                found = snapshot_device(s, (uint32_t)index);
                return found && snapshot_shared(found) ? found : NULL;
        }
        for (size_t i = 0; strlen(name) > 4 && i < s->device_count; i++) {
                if (!snapshot_shared(&s->devices[i]) || strncasecmp(wire_uuid_text(s->devices[i].uuid, uuid), name, strlen(name)))
                        continue;
                if (found)
                        return NULL;
                found = &s->devices[i];
        }
        return found;
}
