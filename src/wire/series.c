/* series.c: see series.h. */
#include "wire/series.h"

#include <inttypes.h>
#include <stdio.h>

void series_device_name(uint32_t device, const char *what, char ret[SERIES_NAME])
{
        snprintf(ret, SERIES_NAME, "device.%" PRIu32 ".%.32s", device, what);
}

static void put(struct history_set *set, uint64_t now_ns, uint32_t device, const char *what, bool known, double value)
{
        char name[SERIES_NAME];

        series_device_name(device, what, name);
        (void)history_set_put(set, name, now_ns, known ? value : __builtin_nan(""));
}

void series_device(struct history_set *set, uint64_t now_ns, const struct wire_STATUS_DEVICE *device, const struct wire_STATUS_DEVICE *before, uint64_t elapsed_ns)
{
        bool shared = device->kind == WIRE_CUDA || device->kind == WIRE_SOFTWARE;
        uint32_t i = device->index;

        put(set, now_ns, i, SERIES_DEVICE_USE, device->valid & WIRE_VALID_UTILISATION, device->utilisation_permille);
        /* Where the driver does not tell, what is granted is the least that is in use; but that is another series. */
        put(set, now_ns, i, SERIES_DEVICE_MEMORY, device->valid & WIRE_VALID_USED, (double)device->used_bytes);
        put(set, now_ns, i, SERIES_DEVICE_POWER, device->valid & WIRE_VALID_POWER, (double)device->power_mw / 1000);
        put(set, now_ns, i, SERIES_DEVICE_TEMPERATURE, device->valid & WIRE_VALID_TEMPERATURE, device->temperature_c);
        put(set, now_ns, i, SERIES_DEVICE_CLOCK, device->valid & WIRE_VALID_CLOCK, device->clock_mhz);
        put(set, now_ns, i, SERIES_DEVICE_MEMORY_BUSY, device->valid & WIRE_VALID_MEMORY_BUSY, (double)device->memory_busy_permille);
        if (!shared)
                return;
        put(set, now_ns, i, SERIES_DEVICE_GRANTED, true, (double)device->granted_bytes);
        put(set, now_ns, i, SERIES_DEVICE_WAITING, true, device->waiting);
        if (before && elapsed_ns && device->out_bytes >= before->out_bytes && device->in_bytes >= before->in_bytes)
                put(set, now_ns, i, SERIES_DEVICE_MOVED, true,
                    (double)(device->out_bytes - before->out_bytes + device->in_bytes - before->in_bytes) * 1e9 / (double)elapsed_ns);
}
