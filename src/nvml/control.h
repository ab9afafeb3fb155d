/* control.h: what of the resource manager's lists of processes a program may see. Pure.
 *
 * nvidia-smi makes its table of processes by a private road of libnvidia-ml that calls no exported name: by control calls (nvml/abi/control.h), which are
 * ioctls. Here are the filters of their answers. An answer that is not exactly of the known form (another size, more entries than there is room
 * for) is not read beyond its size and not changed.
 */
#pragma once

#include "nvml/abi/control.h"
#include "nvml/ask.h"

#include <stdbool.h>

/* How many entries a filter would look at: 0 for every other call, a refused one, and an answer of another form. */
unsigned int control_entries(const struct control_call *call, const void *params);

/* Of an answer with entries: of GET_PIDS only the own ones stay, which are those in view and those that own() says, and the rest of the table is
 * zero; in GET_PID_INFO those in view get the memory that Berth counts for them, but for what is of a part of the device (MIG). view may be
 * NULL: nobody knows. */
void control_filter(const struct control_call *call, void *params, const struct ask_view *view, bool (*own)(pid_t pid));
