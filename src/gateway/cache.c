/* cache.c: answers kept for the same request; see cache.h. */
#include "gateway/cache.h"

#include <jansson.h>
#include <math.h>
#include <openssl/evp.h>
#include <string.h>

#define OVERHEAD 200            /* of an entry beside its text */

/* 1, 1.0 and 1e0 are one number: whole ones become integers, as far as both hold them exactly. */
static json_t *normal(json_t *value)
{
        double real;
        const char *name;
        json_t *item;
        void *next;
        size_t i;

        if (json_is_real(value)) {
                real = json_real_value(value);
                return real == floor(real) && fabs(real) < 9007199254740992.0 ? json_integer((json_int_t)real) : json_incref(value);
        }
        if (json_is_object(value))
                json_object_foreach_safe(value, next, name, item)
                        json_object_set_new(value, name, normal(item));
        else if (json_is_array(value))
                json_array_foreach(value, i, item)
                        json_array_set_new(value, i, normal(item));
        return json_incref(value);
}

int cache_key(const struct id *account, const char *path, const char *revision, const char *body, size_t length, uint8_t ret_key[CACHE_KEY])
{
        json_t *tree = json_loadb(body, length, JSON_REJECT_DUPLICATES, NULL), *same;
        char *text = NULL;
        EVP_MD_CTX *hash;
        int r = -ENOMEM;

        if (!json_is_object(tree)) {
                json_decref(tree);
                return -EINVAL;
        }
        json_object_del(tree, "stream");
        json_object_del(tree, "user");
        json_object_del(tree, "cache");
        same = normal(tree);
        text = json_dumps(same, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
        hash = EVP_MD_CTX_new();
        if (text && hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(hash, account, sizeof *account) == 1 &&
            EVP_DigestUpdate(hash, path, strlen(path) + 1) == 1 && EVP_DigestUpdate(hash, revision, strlen(revision) + 1) == 1 && EVP_DigestUpdate(hash, text, strlen(text)) == 1 &&
            EVP_DigestFinal_ex(hash, ret_key, NULL) == 1)
                r = 0;
        EVP_MD_CTX_free(hash);
        free(text);
        json_decref(same);
        json_decref(tree);
        return r;
}

static void drop(struct cache *cache, struct cached *entry)
{
        HASH_DEL(cache->entries, entry);
        cache->bytes -= entry->bytes + OVERHEAD;
        free(entry);
}

const struct cached *cache_find(struct cache *cache, uint64_t now_ms, const uint8_t key[CACHE_KEY])
{
        struct cached *entry;

        HASH_FIND(hh, cache->entries, key, CACHE_KEY, entry);
        if (!entry)
                return NULL;
        if (now_ms >= entry->until_ms) {
                drop(cache, entry);
                return NULL;
        }
        /* The last in order is the one that goes last. */
        HASH_DEL(cache->entries, entry);
        HASH_ADD(hh, cache->entries, key, CACHE_KEY, entry);
        return entry;
}

void cache_put(struct cache *cache, uint64_t now_ms, const uint8_t key[CACHE_KEY], const char *text, size_t bytes, uint64_t prompt_tokens, uint64_t completion_tokens)
{
        struct cached *entry;

        if (bytes + OVERHEAD > cache->most / 4)
                return;
        HASH_FIND(hh, cache->entries, key, CACHE_KEY, entry);
        if (entry)
                drop(cache, entry);
        while (cache->entries && cache->bytes + bytes + OVERHEAD > cache->most)
                drop(cache, cache->entries);
        entry = malloc(sizeof *entry + bytes);
        if (!entry)
                return;
        memset(entry, 0, sizeof *entry);
        memcpy(entry->key, key, CACHE_KEY);
        memcpy(entry->text, text, bytes);
        entry->bytes = bytes;
        entry->until_ms = now_ms + CACHE_MS;
        entry->prompt_tokens = prompt_tokens;
        entry->completion_tokens = completion_tokens;
        HASH_ADD(hh, cache->entries, key, CACHE_KEY, entry);
        cache->bytes += bytes + OVERHEAD;
}

void cache_done(struct cache *cache)
{
        struct cached *entry, *next;

        HASH_ITER(hh, cache->entries, entry, next)
        {
                drop(cache, entry);
        }
}
