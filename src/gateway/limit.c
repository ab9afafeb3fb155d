/* limit.c: buckets and parties; see limit.h. */
#include "gateway/limit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define PART UINT64_C(60000) /* of a token: what one a minute brings in a millisecond is one part */

static uint64_t present(const struct limit_bucket *bucket, uint64_t now_ms, uint64_t per_minute)
{
        uint64_t most = per_minute * PART, passed, parts;

        if (!bucket->used)
                return most;
        passed = now_ms > bucket->at_ms ? now_ms - bucket->at_ms : 0;
        if (passed >= PART)
                return most;
        parts = bucket->parts + passed * per_minute;
        return parts < most ? parts : most;
}

bool limit_take(struct limit_bucket *bucket, uint64_t now_ms, uint64_t per_minute, uint64_t count, struct limit_state *ret)
{
        uint64_t parts, most;
        bool taken;

        *ret = (struct limit_state){0};
        if (!per_minute)
                return true;
        if (per_minute > UINT32_MAX)
                per_minute = UINT32_MAX;
        if (count > UINT32_MAX)
                count = UINT32_MAX;
        most = per_minute * PART;
        parts = present(bucket, now_ms, per_minute);
        taken = parts >= count * PART;
        if (taken)
                parts -= count * PART;
        bucket->parts = parts;
        bucket->at_ms = now_ms;
        bucket->used = true;
        ret->limit = per_minute;
        ret->remaining = parts / PART;
        ret->reset_s = ((most - parts) / per_minute + 999) / 1000;
        if (!taken)
                ret->retry_s = count > per_minute ? 60 : ((count * PART - parts + per_minute - 1) / per_minute + 999) / 1000;
        return taken;
}

static void put(struct limit_bucket *bucket, uint64_t now_ms, uint64_t parts)
{
        bucket->parts = parts;
        bucket->at_ms = now_ms;
        bucket->used = true;
}

void limit_give(struct limit_bucket *bucket, uint64_t now_ms, uint64_t per_minute, uint64_t count)
{
        uint64_t most, parts;

        if (!per_minute)
                return;
        per_minute = per_minute < UINT32_MAX ? per_minute : UINT32_MAX;
        most = per_minute * PART;
        parts = present(bucket, now_ms, per_minute);
        put(bucket, now_ms, count >= per_minute || parts + count * PART > most ? most : parts + count * PART);
}

void limit_use(struct limit_bucket *bucket, uint64_t now_ms, uint64_t per_minute, uint64_t count)
{
        uint64_t parts;

        if (!per_minute)
                return;
        per_minute = per_minute < UINT32_MAX ? per_minute : UINT32_MAX;
        parts = present(bucket, now_ms, per_minute);
        put(bucket, now_ms, count >= per_minute || parts < count * PART ? 0 : parts - count * PART);
}

bool limit_is_full(const struct limit_bucket *bucket, uint64_t now_ms, uint64_t per_minute)
{
        return present(bucket, now_ms, per_minute) >= per_minute * PART;
}

struct limit_party *limit_find(const struct limit_table *table, const uint8_t key[16])
{
        struct limit_party *party;

        HASH_FIND(hh, table->parties, key, 16, party);
        return party;
}

struct limit_party *limit_party(struct limit_table *table, const uint8_t key[16])
{
        struct limit_party *party = limit_find(table, key);

        if (party || table->count >= table->max)
                return party;
        party = calloc(1, sizeof *party);
        if (!party)
                return NULL;
        memcpy(party->key, key, 16);
        HASH_ADD(hh, table->parties, key, 16, party);
        table->count++;
        return party;
}

void limit_sweep(struct limit_table *table, uint64_t now_ms)
{
        struct limit_party *party, *next;

        HASH_ITER(hh, table->parties, party, next)
        {
                if (party->connections || party->in_flight || party->holds || !limit_is_full(&party->requests, now_ms, party->per_minute) ||
                    !limit_is_full(&party->tasks, now_ms, party->tasks_per_minute) || !limit_is_full(&party->tokens, now_ms, party->tokens_per_minute))
                        continue;
                HASH_DEL(table->parties, party);
                free(party);
                table->count--;
        }
}

void limit_done(struct limit_table *table)
{
        struct limit_party *party, *next;

        HASH_ITER(hh, table->parties, party, next)
        {
                HASH_DEL(table->parties, party);
                free(party);
        }
        table->count = 0;
}

void limit_address(const struct sockaddr *address, uint8_t key[16], char text[64])
{
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;

        memset(key, 0, 16);
        text[0] = 0;
        if (address->sa_family == AF_INET) {
                key[10] = key[11] = 0xff;
                memcpy(key + 12, &four->sin_addr, 4);
                (void)inet_ntop(AF_INET, &four->sin_addr, text, 64);
        } else if (address->sa_family == AF_INET6) {
                bool mapped = IN6_IS_ADDR_V4MAPPED(&six->sin6_addr);

                memcpy(key, &six->sin6_addr, mapped ? 16 : 8);
                if (mapped)
                        (void)inet_ntop(AF_INET, six->sin6_addr.s6_addr + 12, text, 64);
                else
                        (void)inet_ntop(AF_INET6, &six->sin6_addr, text, 64);
        }
}
