/* throttle.c: growing waits for who keeps failing, in a table of fixed size; see throttle.h. */
#include "account/throttle.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETS 2048u
#define WAYS 8u
#define FADE_MS (15 * 60 * UINT64_C(1000))
#define ATTACK 30
#define FAILURES_MAX 100000

struct entry {
        uint64_t key;          /* 0: free */
        uint64_t faded_ms;     /* up to when failures have faded */
        uint64_t until_ms;     /* no try before */
        uint32_t failures;
};

struct throttle {
        uint8_t key[crypto_shorthash_KEYBYTES];
        struct entry entries[SETS * WAYS];
};

enum kind { BY_ADDRESS, BY_BOTH, BY_NAME };

struct rule {
        uint32_t free;
        uint64_t first_ms, most_ms;
};
static const struct rule rule_address = {20, 1000, 60000}, rule_both = {3, 1000, 300000}, rule_attacked = {1, 30000, 900000};

struct throttle *throttle_new(const uint8_t key[16])
{
        struct throttle *t = calloc(1, sizeof(*t));

        if (t)
                memcpy(t->key, key, sizeof(t->key));
        return t;
}

void throttle_free(struct throttle *throttle)
{
        sodium_memzero(throttle->key, sizeof(throttle->key));
        free(throttle);
}

void throttle_address(const char *address, char to[64])
{
        struct in6_addr six;

        if (address && inet_pton(AF_INET6, address, &six) == 1) {
                char text[INET6_ADDRSTRLEN];

                if (IN6_IS_ADDR_V4MAPPED(&six)) { /* the same peer, whichever socket it came by */
                        inet_ntop(AF_INET, &six.s6_addr[12], to, 64);
                        return;
                }
                memset(&six.s6_addr[8], 0, 8);
                inet_ntop(AF_INET6, &six, text, sizeof(text));
                snprintf(to, 64, "%s/64", text);
                return;
        }
        snprintf(to, 64, "%.63s", address && *address ? address : "?");
}

static uint64_t hash(const struct throttle *t, enum kind kind, const char *name, const char *address)
{
        char text[160];
        uint8_t out[crypto_shorthash_BYTES];
        uint64_t key;
        /* The parts are ended by a byte that neither can hold. */
        int n = snprintf(text, sizeof(text), "%d\n%.63s\n%.63s", kind, kind == BY_ADDRESS ? "" : name, kind == BY_NAME ? "" : address);

        crypto_shorthash(out, (const uint8_t *)text, (size_t)n, t->key);
        memcpy(&key, out, sizeof(key));
        return key ? key : 1;
}

static void fade(struct entry *e, uint64_t now_ms)
{
        while (e->failures && now_ms - e->faded_ms >= FADE_MS) {
                e->failures /= 2;
                e->faded_ms += FADE_MS;
        }
        if (!e->failures)
                e->faded_ms = now_ms;
}

static struct entry *find(struct throttle *t, uint64_t now_ms, uint64_t key)
{
        struct entry *set = &t->entries[key % SETS * WAYS];

        for (unsigned int i = 0; i < WAYS; i++)
                if (set[i].key == key) {
                        fade(&set[i], now_ms);
                        return &set[i];
                }
        return NULL;
}

/* The entry, made in the place of the one that matters least. */
static struct entry *obtain(struct throttle *t, uint64_t now_ms, uint64_t key)
{
        struct entry *set = &t->entries[key % SETS * WAYS], *least = set, *e = find(t, now_ms, key);

        if (e)
                return e;
        for (unsigned int i = 0; i < WAYS; i++) {
                e = &set[i];
                if (!e->key) {
                        least = e;
                        break;
                }
                fade(e, now_ms);
                if (e->failures < least->failures || (e->failures == least->failures && e->faded_ms < least->faded_ms))
                        least = e;
        }
        *least = (struct entry){.key = key, .faded_ms = now_ms};
        return least;
}

static uint64_t wait_of(const struct rule *rule, uint32_t failures)
{
        uint32_t over = failures > rule->free ? failures - rule->free - 1 : 0;

        if (failures <= rule->free)
                return 0;
        if (over >= 20 || rule->first_ms << over > rule->most_ms)
                return rule->most_ms;
        return rule->first_ms << over;
}

static void count(struct throttle *t, uint64_t now_ms, uint64_t key, const struct rule *rule)
{
        struct entry *e = obtain(t, now_ms, key);

        if (e->failures < FAILURES_MAX)
                e->failures++;
        if (rule)
                e->until_ms = now_ms + wait_of(rule, e->failures);
}

static uint64_t left(struct throttle *t, uint64_t now_ms, uint64_t key)
{
        const struct entry *e = find(t, now_ms, key);

        return e && e->until_ms > now_ms ? e->until_ms - now_ms : 0;
}

uint64_t throttle_try(struct throttle *t, uint64_t now_ms, const char *name, const char *address, bool known)
{
        uint64_t by_address = hash(t, BY_ADDRESS, name, address), both = hash(t, BY_BOTH, name, address), by_name = hash(t, BY_NAME, name, address);
        uint64_t wait = left(t, now_ms, both), other = known ? 0 : left(t, now_ms, by_address);
        const struct entry *of_name;

        if (other > wait)
                wait = other;
        if (wait)
                return wait;
        of_name = find(t, now_ms, by_name);
        count(t, now_ms, both, of_name && of_name->failures >= ATTACK ? &rule_attacked : &rule_both);
        count(t, now_ms, by_address, &rule_address);
        count(t, now_ms, by_name, NULL);
        return 0;
}

/* What an address waits for already stays: else whoever has one account could free the way for guesses at another with it. */
static void take_back(struct throttle *t, uint64_t now_ms, uint64_t key, uint32_t free_tries, bool all)
{
        struct entry *e = find(t, now_ms, key);

        if (!e)
                return;
        if (all)
                e->failures = 0;
        else if (e->failures)
                e->failures--;
        if (!e->failures)
                memset(e, 0, sizeof(*e));
        else if (e->failures <= free_tries)
                e->until_ms = 0;
}

void throttle_good(struct throttle *t, uint64_t now_ms, const char *name, const char *address, bool forget)
{
        take_back(t, now_ms, hash(t, BY_BOTH, name, address), rule_attacked.free, forget);
        take_back(t, now_ms, hash(t, BY_ADDRESS, name, address), rule_address.free, false);
        take_back(t, now_ms, hash(t, BY_NAME, name, address), UINT32_MAX, false);
}
