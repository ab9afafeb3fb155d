/* hand.h: physical units that change hands between two programs, in place of being released here and created there.
 *
 * Releasing and creating memory makes the driver scrub it, which takes the copy engines that the exchange needs: 82-87 GB/s in all on an H200,
 * against 95-98 when units are handed over and 101 for the copies alone. The leaver exports the unit and sends the descriptor along with the
 * EVICTED that returns its bytes; the daemon passes it on with the BRING_IN that grants them to another program of the same user, or drops it.
 * Here it waits as a gift until a unit of exactly its size comes in, whose copy overwrites it whole before the gate opens; whatever finds no use
 * is closed, and the driver frees it. Gifts are part of the grant: their bytes are never used twice.
 *
 * The driver exports only what the process created itself (seen on 580: an imported handle is refused). So the daemon keeps a descriptor of
 * each unit it passed on, under a number; a unit with a number leaves by that, and its end is told, or the memory would live on. Books held.
 */
#pragma once

#include "cuda/state.h"

/* A descriptor of the unit's memory, the caller's to close; -1: the driver does not export it. */
int hand_export(const struct unit *unit);
/* Keeps a gift (takes fd over); closes it when there are too many. */
void hand_take(struct device *d, int fd, uint64_t bytes, uint64_t number);
/* Makes unit->handle, and unit->lent, from a gift of its size. False: there was none. */
bool hand_use(struct device *d, struct unit *unit);
/* A unit's memory goes back to the driver: so does the daemon's descriptor of it. */
void hand_release(struct unit *unit);
/* The daemon is gone, and with it its descriptors: what was lent is simply ours. */
void hand_forget(void);
/* The size of the gift that waits longest, 0: none. */
uint64_t hand_next(const struct device *d);
/* Closes gifts until they hold at most so many bytes. */
void hand_limit(struct device *d, uint64_t bytes);
