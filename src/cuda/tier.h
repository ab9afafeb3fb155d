/* tier.h: the free memory of a neighbouring device as a place to swap to, before the host: 390 GB/s over NVLink on an H200 where the host's link
 * does 55.
 *
 * A process that runs on one device announces the others that it can reach as storage: clients that never run and only hold bytes
 * as long as nobody else needs them there (gate.h). When the device's memory has to leave, the storage is asked for room first; what it gets is made into
 * shelves, and units are copied onto them. A unit on a shelf has no other copy. When the neighbour's memory is wanted, the gate evicts the storage as
 * any client: what lies on its shelves moves on to the host arena. Needs no context on the neighbour. Books held.
 */
#pragma once

#include "cuda/state.h"

/* Announces the neighbours of a process that is on exactly one device; once. True: something was done. */
bool tier_prepare(void);
/* The device has to leave this many bytes: asks its neighbours for room, as far as they have not enough, were not asked yet, and did not refuse. */
void tier_ask(struct device *d, uint64_t bytes);
/* An answer is still due. */
bool tier_waits(const struct device *d);
/* The daemon's answer to a storage's want: more grant, or none. */
void tier_answered(struct device *storage, uint64_t more);
/* A place on a neighbour for the unit, which is in none. False: there is no room. */
bool tier_place(struct device *d, struct unit *unit);
static inline bool tier_holds(const struct unit *unit)
{
        return unit->shelf != NULL;
}
/* The storage whose shelf the unit lies on. */
struct device *tier_of(const struct unit *unit);
CUdeviceptr tier_address(const struct unit *unit);
/* The unit's place is free again. */
void tier_release(struct unit *unit);
/* Empty shelves are kept for the next way out, which often comes soon, and go back to the driver after a while; all: at once. */
void tier_tidy(uint64_t now);
void tier_clear(const struct device *storage);
/* Until tier_tidy() has something to do; -1: there is nothing. */
int tier_idle_ms(uint64_t now);
/* The order to leave is carried out: grant that came to no use goes back. */
void tier_done(void);
/* Nothing of a device's memory is on its way from a shelf to the host. */
bool tier_quiet(void);
void tier_forked(void);
