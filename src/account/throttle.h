/* throttle.h: how long somebody who keeps failing to sign in must wait. Inside the account room only.
 *
 * Failures are counted for an address, for a name tried from an address, and for a name from anywhere; they fade by half each 15 minutes.
 *   address         the first 20 are free, then 1 s, 2 s, 4 s … up to 60 s between tries
 *   name + address  the first 3 are free, then 1 s … up to 5 min; while the name is under attack (30 failures from anywhere): the first one, 30 s … 15 min
 *   name            never waits by itself, so that nobody can lock a name for those who come from elsewhere
 * An address that has failed with this name never before is always looked at, as far as the address itself may try.
 *
 * A try counts as failed when it begins and is taken back when it went well, so that many tries at once are not free. The table has a fixed size; in a full
 * part of it the entry with the fewest failures makes room, so that being forgotten costs an attacker more tries than it gives. Keys are hashed with a
 * secret: nobody can aim at a part of the table. IPv6 addresses count by their /64.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stdint.h>

struct throttle;

struct throttle *throttle_new(const uint8_t key[16]);
void throttle_free(struct throttle *throttle);
SCOPED_FN(struct throttle *, throttle_free)
/* 0: go on, and counted as failed for now; or how many milliseconds to wait: then nothing was counted. known: the name's owner has a session from this address,
 * which frees it from the address's waits. */
uint64_t throttle_try(struct throttle *throttle, uint64_t now_ms, const char *name, const char *address, bool known);
/* The try went well (its name's failures from there are forgotten, the address's only by this one), or was not decided (forget: false: taken back only). */
void throttle_good(struct throttle *throttle, uint64_t now_ms, const char *name, const char *address, bool forget);
/* "2001:db8::1" → "2001:db8::/64"; others as they are; NULL → "?". to: 64 bytes. */
void throttle_address(const char *address, char to[64]);
