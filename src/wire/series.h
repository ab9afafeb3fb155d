/* series.h: names of what is kept over time (base/history.h), the same in the daemon, the live view, files and metrics; and what a device's status puts there.
 *
 * Shares are in permille, amounts in bytes, rates per second. A series that could not be measured has no number at that time.
 */
#pragma once

#include "base/history.h"
#include "wire/wire.h"

#define SERIES_NAME HISTORY_NAME

#define SERIES_CPU "cpu.busy"
#define SERIES_MEMORY "memory.used"
#define SERIES_SWAP "swap.used"
#define SERIES_PRESSURE_CPU "pressure.cpu"
#define SERIES_PRESSURE_MEMORY "pressure.memory"
#define SERIES_PRESSURE_IO "pressure.io"
#define SERIES_NETWORK_IN "network.in"
#define SERIES_NETWORK_OUT "network.out"
#define SERIES_DISK_READ "disk.read"
#define SERIES_DISK_WRITTEN "disk.written"

#define SERIES_DEVICE_USE "use"
#define SERIES_DEVICE_MEMORY "memory"
#define SERIES_DEVICE_GRANTED "granted"
#define SERIES_DEVICE_POWER "power"
#define SERIES_DEVICE_TEMPERATURE "temperature"
#define SERIES_DEVICE_CLOCK "clock"
#define SERIES_DEVICE_MEMORY_BUSY "memory_busy"
#define SERIES_DEVICE_MOVED "moved"
#define SERIES_DEVICE_WAITING "waiting"

/* "device.3.use" */
void series_device_name(uint32_t device, const char *what, char ret[SERIES_NAME]);
/* A device's figures at this time; before, elapsed_ns earlier, for rates, or NULL. What the set refuses is counted there. */
void series_device(struct history_set *set, uint64_t now_ns, const struct wire_STATUS_DEVICE *device, const struct wire_STATUS_DEVICE *before, uint64_t elapsed_ns);
