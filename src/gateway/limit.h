/* limit.h: what one party may use: requests per minute, connections, requests in flight; pure, time is an argument.
 *
 * Parties are 16 bytes: an account, a key, or the network a peer comes from (an IPv4 address, or the first 64 bits of an IPv6 one). A party's record
 * lives while it uses anything or its allowance is not yet full again; the table is bounded, and a full one refuses newcomers.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

struct sockaddr;

/* A bucket that fills with `per_minute` tokens a minute, and holds as many as come in `burst_s` seconds. */
struct limit_bucket {
        uint64_t parts;          /* tokens × 60,000 */
        uint64_t at_ms;
        bool used;               /* before its first use it is full */
};

struct limit_state {
        uint64_t limit, remaining;
        uint64_t reset_s;        /* until it is full again, rounded up */
        uint64_t retry_s;        /* refused: until one more is there, rounded up */
};

/* Takes `count`; true when they were there. per_minute 0: no limit, always true, with ret->limit 0. */
bool limit_take(struct limit_bucket *bucket, uint64_t now_ms, uint64_t per_minute, uint64_t count, struct limit_state *ret);
/* Back what was taken too much. */
void limit_give(struct limit_bucket *bucket, uint64_t now_ms, uint64_t per_minute, uint64_t count);
/* More was used than taken: so much less is there, down to nothing. */
void limit_use(struct limit_bucket *bucket, uint64_t now_ms, uint64_t per_minute, uint64_t count);
bool limit_is_full(const struct limit_bucket *bucket, uint64_t now_ms, uint64_t per_minute);

struct limit_party {
        uint8_t key[16];
        struct limit_bucket requests;
        struct limit_bucket tasks;
        struct limit_bucket tokens;  /* of models */
        uint64_t per_minute, tasks_per_minute, tokens_per_minute; /* as last used, for knowing when the record may go */
        uint32_t connections, in_flight, generations;
        uint32_t holds;          /* pointers to it that others keep */
        UT_hash_handle hh;
};

struct limit_table {
        struct limit_party *parties;
        size_t count, max;
};

/* The party's record, made if needed; NULL: the table is full. */
struct limit_party *limit_party(struct limit_table *table, const uint8_t key[16]);
struct limit_party *limit_find(const struct limit_table *table, const uint8_t key[16]);
/* Forgets those that use nothing. Looks at all: call it seldom. */
void limit_sweep(struct limit_table *table, uint64_t now_ms);
void limit_done(struct limit_table *table);

/* The party of an address, and its text ("192.0.2.1", "2001:db8::1"; "" when unknown). */
void limit_address(const struct sockaddr *address, uint8_t key[16], char text[64]);
