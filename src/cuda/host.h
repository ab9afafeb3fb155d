/* host.h: the client's side of the host arena: segments lent by the daemon, mapped, registered with the driver in the background,
 * and the places in them that units own. A place is kept from when it is found until the unit is freed, so a second switch needs no
 * allocation. A unit lies inside one segment, so that no copy crosses two registrations. Books held.
 */
#pragma once

#include "cuda/state.h"

/* Takes over fd. 0, -ENOMEM, -errno of mmap. */
int host_add_segment(uint32_t id, uint64_t bytes, int fd);
/* Gives the unit a place if it has none and there is room. */
bool host_place(struct unit *unit);
/* Also on a neighbour. */
void host_release(struct unit *unit);
/* Tries to place every unit that has none; called when a segment came. */
void host_place_all(void);
/* Where the unit lies in this process's memory. */
static inline char *host_address(const struct unit *unit)
{
        return berth.segments[unit->segment].map + unit->host_offset;
}
/* Registers one segment that isn't yet; false: nothing to do. Books not held while the driver works. */
bool host_register_next(void);
/* The daemon asks segments back: one that holds only bytes which are on the device as well, or nothing, is returned at a time. False: nothing to do.
 * Books not held while the driver works. */
void host_recall(uint64_t bytes);
bool host_recall_next(void);
/* The daemon that asked is gone. */
void host_recall_forget(void);
/* A context ends: what was registered through it has to be registered anew. */
void host_forget_context(CUcontext context);
/* What the daemon should lend in all. */
uint64_t host_wanted(void);
