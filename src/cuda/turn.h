/* turn.h: when this process may run. Helper thread, books held.
 *
 * Whatever happens to the daemon, every state here ends: a closed gate opens again when the daemon is away and all is resident (at once) or
 * was brought back (after return_ns).
 */
#pragma once

#include "cuda/state.h"

/* The device lets us run from now on; the gate opens when all devices that ever admitted us do and no copy is in flight. */
void turn_let_run(struct device *d);
void turn_open_if_all_run(void);
/* What is out can't come in, for the device's context answers every call with this error: the gate opens, and the driver refuses the program's
 * calls itself, as it would without us. Nothing reads or changes memory that is not there: it ends rather than to go on with wrong data. */
void turn_broken(const struct device *d, CUresult error);
/* Opens what had to wait for copies to land. */
void turn_open_when_landed(void);
/* After a GIVE_WAY, over several calls: closes the gate, waits until nothing of us runs, says GIVEN_WAY. True: not done yet. */
bool turn_drain_step(void);
/* Does any thread need this process to run: one that stands at the gate or waits for memory, on whatever device? */
bool turn_wanted(void);
/* Is the gate closed because of another device than this one? */
bool turn_held_elsewhere(const struct device *d);
/* The daemon went away: nothing it ordered counts any more; who is whole runs on. */
void turn_without_daemon(void);
/* Without a daemon for return_ns: come back by ourselves, as memory allows. */
void turn_return_alone(uint64_t now);
void turn_forked(void);
