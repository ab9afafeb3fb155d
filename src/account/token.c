/* token.c: access tokens: JWTs (RFC 7519, 8725, 9068) signed with Ed25519. The parser takes what this file itself would have made, give or take order and unknown
 * members: exactly three parts of strict base64url, algorithm EdDSA, type at+jwt, a key id of ours. Nothing in the second part is looked at before the signature
 * is right. A token gives no more than its session: the account's role and rights come from the books of now.
 */
#include "account/books.h"

#include <stdio.h>
#include <string.h>

#define SIGNATURE_TEXT 86 /* base64url of 64 bytes */
#define HEADER_MAX 256
#define SECONDS_MAX (INT64_C(1) << 40)
#define B64 sodium_base64_VARIANT_URLSAFE_NO_PADDING

void sign_key_from_seed(struct sign_key *key, const uint8_t seed[32])
{
        uint8_t digest[crypto_hash_sha256_BYTES];
        char x[64], text[128];
        int n;

        crypto_sign_seed_keypair(key->public_key, key->secret_key, seed);
        sodium_bin2base64(x, sizeof(x), key->public_key, sizeof(key->public_key), B64);
        n = snprintf(text, sizeof(text), "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"%s\"}", x);
        crypto_hash_sha256(digest, (const uint8_t *)text, (unsigned long long)n);
        sodium_bin2base64(key->id, sizeof(key->id), digest, sizeof(digest), B64);
        key->there = true;
}

int account_jwks(const struct accounts *a, char *text, size_t size)
{
        const struct sign_key *keys[] = {&a->sign, &a->sign_before};
        size_t n = (size_t)snprintf(text, size, "{\"keys\":[");
        char x[64];

        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                if (keys[i]->there && n < size)
                        n += (size_t)snprintf(text + n, size - n,
                                              "%s{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"sig\",\"alg\":\"EdDSA\",\"kid\":\"%s\",\"x\":\"%s\"}",
                                              i ? "," : "", keys[i]->id,
                                              sodium_bin2base64(x, sizeof(x), keys[i]->public_key, sizeof(keys[i]->public_key), B64));
        if (n < size)
                n += (size_t)snprintf(text + n, size - n, "]}");
        return n < size ? 0 : -ENOSPC;
}

int token_make(struct accounts *a, const struct account_now *now, const struct session *session, struct account_tokens *tokens)
{
        char text[TOKEN_MAX], account_id[ID_TEXT], session_id[ID_TEXT], jti[32];
        int64_t iat = a->clock_ms / 1000, exp = (a->clock_ms + (int64_t)a->access_ms) / 1000;
        uint8_t random[16], signature[crypto_sign_BYTES];
        size_t n;
        int length;

        accounts_draw(a, now, random, sizeof(random));
        sodium_bin2base64(jti, sizeof(jti), random, sizeof(random), B64);
        length = snprintf(text, sizeof(text), "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", a->sign.id);
        sodium_bin2base64(tokens->access, sizeof(tokens->access), (const uint8_t *)text, (size_t)length, B64);
        n = strlen(tokens->access);
        tokens->access[n++] = '.';
        length = snprintf(text, sizeof(text),
                          "{\"iss\":\"%s\",\"aud\":\"%s\",\"sub\":\"%s\",\"client_id\":\"berth\",\"sid\":\"%s\",\"jti\":\"%s\",\"iat\":%lld,\"exp\":%lld}",
                          a->issuer, a->issuer, id_text("account", &session->account->id, account_id), id_text("session", &session->id, session_id), jti,
                          (long long)iat, (long long)exp);
        /* The issuer is bounded by accounts_new so that this always fits. */
        if (n + sodium_base64_encoded_len((size_t)length, B64) + SIGNATURE_TEXT + 1 > sizeof(tokens->access))
                return -ENOSPC;
        sodium_bin2base64(tokens->access + n, sizeof(tokens->access) - n, (const uint8_t *)text, (size_t)length, B64);
        n += strlen(tokens->access + n);
        crypto_sign_detached(signature, NULL, (const uint8_t *)tokens->access, n, a->sign.secret_key);
        tokens->access[n++] = '.';
        sodium_bin2base64(tokens->access + n, sizeof(tokens->access) - n, signature, sizeof(signature), B64);
        tokens->access_expires_ms = (uint64_t)exp * 1000;
        return 0;
}

/* One part, decoded and read as a JSON object. */
static json_t *part(const char *text, size_t length)
{
        uint8_t bytes[TOKEN_MAX];
        size_t n = 0;
        json_t *json;

        if (base64_decode(text, length, bytes, sizeof(bytes), &n))
                return NULL;
        json = json_loadb((const char *)bytes, n, JSON_REJECT_DUPLICATES, NULL);
        if (json && !json_is_object(json)) {
                json_decref(json);
                json = NULL;
        }
        return json;
}

static bool is_text(const json_t *json, const char *name, const char *wanted)
{
        const json_t *member = json_object_get(json, name);
        const char *text = json_string_value(member);

        return text && json_string_length(member) == strlen(wanted) && !strcmp(text, wanted);
}

static bool seconds(const json_t *json, const char *name, int64_t *ret_ms)
{
        const json_t *member = json_object_get(json, name);

        if (!json_is_integer(member) || json_integer_value(member) < 0 || json_integer_value(member) > SECONDS_MAX)
                return false;
        *ret_ms = json_integer_value(member) * 1000;
        return true;
}

static bool id_of(const json_t *json, const char *name, const char *prefix, struct id *ret_id)
{
        const char *text = json_string_value(json_object_get(json, name));

        return text && !id_parse(prefix, text, ret_id);
}

/* The key that the header names, if the header is one of ours. */
static int read_header(const struct accounts *a, const char *text, size_t length, const struct sign_key **ret_key)
{
        json_t *json = length <= HEADER_MAX ? part(text, length) : NULL;
        const struct sign_key *key = NULL;

        if (!json)
                return -EINVAL;
        if (is_text(json, "alg", "EdDSA") && is_text(json, "typ", "at+jwt") && !json_object_get(json, "crit")) {
                if (is_text(json, "kid", a->sign.id))
                        key = &a->sign;
                else if (a->sign_before.there && is_text(json, "kid", a->sign_before.id))
                        key = &a->sign_before;
        }
        json_decref(json);
        if (!key)
                return -EACCES;
        *ret_key = key;
        return 0;
}

static int read_claims(const struct accounts *a, int64_t clock_ms, const char *text, size_t length, struct cached_token *ret_token)
{
        json_t *json = part(text, length);
        struct cached_token token = {0};
        int64_t iat, nbf = 0;
        int r = -EACCES;

        if (!json)
                return -EINVAL;
        if (is_text(json, "iss", a->issuer) && is_text(json, "aud", a->issuer) && id_of(json, "sub", "account", &token.account) &&
            id_of(json, "sid", "session", &token.session) && seconds(json, "exp", &token.expires_ms) && seconds(json, "iat", &iat) &&
            (!json_object_get(json, "nbf") || seconds(json, "nbf", &nbf)) && token.expires_ms + SKEW_MS > clock_ms && iat <= clock_ms + SKEW_MS &&
            nbf <= clock_ms + SKEW_MS) {
                *ret_token = token;
                r = 0;
        }
        json_decref(json);
        return r;
}

static struct cached_token *cache_set(struct accounts *a, const uint8_t hash[16])
{
        uint32_t index;

        memcpy(&index, hash, sizeof(index));
        return &a->cache[(size_t)(index % CACHE_SETS) * CACHE_WAYS];
}

/* In the place of the one that expires first: an unused one, to begin with. */
static void cache_put(struct accounts *a, const struct cached_token *token)
{
        struct cached_token *set = cache_set(a, token->hash), *first = set;

        for (unsigned int i = 1; i < CACHE_WAYS; i++)
                if (set[i].expires_ms < first->expires_ms)
                        first = &set[i];
        *first = *token;
}

static int accept(struct accounts *a, int64_t clock_ms, const struct cached_token *token, struct account_caller *ret_caller)
{
        const struct session *session = accounts_session(a, &token->session);

        if (token->expires_ms + SKEW_MS <= clock_ms || !session || !session_valid(session, clock_ms) || !id_equal(&session->account->id, &token->account))
                return -EACCES;
        a->counts.tokens_accepted++;
        caller_of(ret_caller, session->account, NULL, session);
        return 0;
}

int token_identify(struct accounts *a, int64_t clock_ms, const char *text, size_t length, struct account_caller *ret_caller)
{
        const char *dot, *second, *end = text + length;
        uint8_t signature[crypto_sign_BYTES];
        const struct sign_key *key;
        struct cached_token token, *set;
        uint8_t hash[16];
        size_t n = 0;
        int r;

        if (length < SIGNATURE_TEXT + 4 || length > TOKEN_MAX)
                return -EINVAL;
        crypto_shorthash_siphashx24(hash, (const uint8_t *)text, length, a->cache_key);
        set = cache_set(a, hash);
        for (unsigned int i = 0; i < CACHE_WAYS; i++)
                if (set[i].expires_ms && !sodium_memcmp(set[i].hash, hash, sizeof(hash))) {
                        r = accept(a, clock_ms, &set[i], ret_caller);
                        a->counts.tokens_cached += !r;
                        return r;
                }
        dot = memchr(text, '.', length);
        second = dot ? memchr(dot + 1, '.', (size_t)(end - dot - 1)) : NULL;
        if (!second || end - second - 1 != SIGNATURE_TEXT || memchr(second + 1, '.', SIGNATURE_TEXT))
                return -EINVAL;
        r = read_header(a, text, (size_t)(dot - text), &key);
        if (r < 0)
                return r;
        if (base64_decode(second + 1, SIGNATURE_TEXT, signature, sizeof(signature), &n) || n != sizeof(signature))
                return -EINVAL;
        if (crypto_sign_verify_detached(signature, (const uint8_t *)text, (unsigned long long)(second - text), key->public_key))
                return -EACCES;
        r = read_claims(a, clock_ms, dot + 1, (size_t)(second - dot - 1), &token);
        if (r < 0)
                return r;
        memcpy(token.hash, hash, sizeof(hash));
        r = accept(a, clock_ms, &token, ret_caller);
        if (!r)
                cache_put(a, &token);
        return r;
}
