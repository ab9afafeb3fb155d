/* cache.h: answers of models kept for the same request again: exact, in memory, bounded, and only for who asks for it. Pure.
 *
 * The key is a hash over the account, the path, the model's revision and the request's body in one writing (members sorted, numbers normalised, `stream`, `user` and `cache` left out), so that the
 * same question in another order or spacing is the same, another parameter is another, and no account hears another's answers. Only whole answers in one piece are kept, for CACHE_MS, the least
 * lately used go first.
 */
#pragma once

#include "base/id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

#define CACHE_KEY 32
#define CACHE_MS (60 * 60 * 1000)

struct cached {
        UT_hash_handle hh;       /* in order of use, the least lately used first */
        uint8_t key[CACHE_KEY];
        uint64_t until_ms, prompt_tokens, completion_tokens;
        size_t bytes;
        char text[];
};

struct cache {
        struct cached *entries;
        size_t bytes, most;      /* most: 0: nothing is kept */
};

/* -EINVAL: no JSON that can be kept; -ENOMEM. */
must_check int cache_key(const struct id *account, const char *path, const char *revision, const char *body, size_t length, uint8_t ret_key[CACHE_KEY]);
/* NULL: not there. Good until the next call. */
const struct cached *cache_find(struct cache *cache, uint64_t now_ms, const uint8_t key[CACHE_KEY]);
void cache_put(struct cache *cache, uint64_t now_ms, const uint8_t key[CACHE_KEY], const char *text, size_t bytes, uint64_t prompt_tokens, uint64_t completion_tokens);
void cache_done(struct cache *cache);
