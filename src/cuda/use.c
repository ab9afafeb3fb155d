/* use.c: what the NVML stand-in and tests of the same process ask; see wire/use.h. */
#include "wire/use.h"

#include "cuda/state.h"

#include <errno.h>
#include <string.h>

__attribute__((visibility("default"))) int berth_device_use(const uint8_t uuid[16], struct berth_use *ret)
{
        int r = -ENODEV;

        if (!berth_enabled)
                return r;
        books_lock();
        for (unsigned int i = 0; i < berth.devices_n; i++) {
                const struct device *d = &berth.devices[i];

                if (!d->known || !d->managed || !d->announced || memcmp(d->uuid, uuid, sizeof d->uuid))
                        continue;
                *ret = (struct berth_use){.used_bytes = d->movable + d->pinned, .peak_bytes = d->peak, .limit_bytes = d->limit, .room_bytes = d->room};
                r = 0;
        }
        books_unlock();
        return r;
}
