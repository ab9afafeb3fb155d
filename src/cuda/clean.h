/* clean.h: which of a program's units the host's copy still equals.
 *
 * A program that came in, worked and is asked out again has often written to a small part of its memory only: the weights of a model never change.
 * There are no dirty bits to read, but the device can hash its memory at the full rate of that memory (60 GiB in 14 ms on an H200, where copying them
 * takes 1.2 s). So every unit is hashed when it leaves, beside the copies; when it leaves again, units whose hash is the same are dropped.
 *
 * The hash is NH over pairs of 64-bit words (Black et al., UMAC, CRYPTO '99) with 128-bit sums and keys drawn from the word's place and a secret
 * of the process: two different contents of a unit have the same hash with a probability of 2^-64. Runs on streams of its own in the
 * program's context, behind the closed gate. Where the driver can't load the kernel, nothing is found clean and all is copied. Books held.
 */
#pragma once

#include "cuda/state.h"

#define CLEAN_SLOTS MOVE_WINDOW
#define CLEAN_BYTES (UINT64_C(8) << 20) /* smaller units: a launch costs more than their copy */

/* Loads the kernel into the device's move context, which is current; takes a tenth of a second without the books, so it is called ahead of need. */
void clean_prepare(struct device *d);
/* Begins to hash n units into the slots from first on. False: not possible. */
bool clean_begin(struct device *d, unsigned int first, struct unit *const *units, unsigned int n);
/* Waits for the hash in a slot. False: the device did not make it. */
bool clean_end(struct device *d, unsigned int slot, struct clean_hash *ret);
/* Hashes what came in from the host, and marks what did not change since (clean_at), until evict_left bytes are found. */
void clean_look(struct device *d);
/* The context ended, or ends: forget everything in it. */
void clean_forget(struct device *d);
