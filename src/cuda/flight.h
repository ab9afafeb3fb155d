/* flight.h: a device's window of copies between its memory, the host and its neighbours: started on streams of their own, each followed by an event, and
 * landed in the order in which they were started. Books held.
 */
#pragma once

#include "cuda/state.h"

/* Streams and events live in one context of the device; made on first use and again when that context ended. Makes it current: the caller pops it.
 * False: there is no context. */
bool flight_ready(struct device *d);
/* Whether the copy leads away from the device. */
bool flight_leaves(enum route route);
/* Starts a copy; there is room in the window. */
CUresult flight_start(struct device *d, struct unit *unit, enum route route);
/* Waits for the oldest copy and notes what is equal to what from now on. The copy's own result. */
CUresult flight_land(struct device *d, struct unit **ret, enum route *ret_route);
/* Bytes on their way. */
uint64_t flight_bytes(const struct device *d);
