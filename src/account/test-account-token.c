/* test-account-token.c: access tokens: what is accepted, and every way to make one that is not: other algorithms, keys, types, issuers, times, sizes and shapes. The
 * test signs tokens of its own with the pool's seed, so that a refusal is for the one thing that was changed.
 */
#include "account/test-account.h"

#include <jansson.h>
#include <sodium.h>

#define B64 sodium_base64_VARIANT_URLSAFE_NO_PADDING

struct forge {
        struct world w;
        struct account_tokens tokens;
        json_t *header, *claims; /* of a good one */
        struct id account;
};

static json_t *decode(const char *text, size_t length)
{
        uint8_t bytes[2048];
        size_t n;

        assert_int_equal(sodium_base642bin(bytes, sizeof(bytes), text, length, NULL, &n, NULL, B64), 0);
        return json_loadb((const char *)bytes, n, 0, NULL);
}

static void forge_new(struct forge *f)
{
        const char *dot, *second;

        world_new(&f->w);
        f->account = world_account(&f->w, "ann", ROLE_USER);
        world_password(&f->w, &f->account);
        assert_int_equal(world_sign_in(&f->w, "ann", true, &f->tokens), 0);
        dot = strchr(f->tokens.access, '.');
        second = strchr(dot + 1, '.');
        f->header = decode(f->tokens.access, (size_t)(dot - f->tokens.access));
        f->claims = decode(dot + 1, (size_t)(second - dot - 1));
        assert_non_null(f->header);
        assert_non_null(f->claims);
}

static void forge_free(struct forge *f)
{
        json_decref(f->header);
        json_decref(f->claims);
        world_free(&f->w);
}

/* Signs any two texts with the pool's key, or the one made of `seed`. */
static void sign(const uint8_t seed[32], const char *header, const char *claims, char *token, size_t size)
{
        uint8_t public_key[32], secret_key[64], signature[64];
        size_t n;

        crypto_sign_seed_keypair(public_key, secret_key, seed);
        sodium_bin2base64(token, size, (const uint8_t *)header, strlen(header), B64);
        n = strlen(token);
        token[n++] = '.';
        sodium_bin2base64(token + n, size - n, (const uint8_t *)claims, strlen(claims), B64);
        n += strlen(token + n);
        crypto_sign_detached(signature, NULL, (const uint8_t *)token, n, secret_key);
        token[n++] = '.';
        sodium_bin2base64(token + n, size - n, signature, sizeof(signature), B64);
}

/* A good token with one member of header or claims set to value (NULL: left out), signed with the right key. */
static int with(struct forge *f, bool in_header, const char *name, json_t *value)
{
        json_t *header = json_copy(f->header), *claims = json_copy(f->claims), *of = in_header ? header : claims;
        struct account_caller caller;
        char token[4096], *a, *b;
        int r;

        if (value)
                json_object_set_new(of, name, value);
        else if (name)
                json_object_del(of, name);
        a = json_dumps(header, JSON_COMPACT);
        b = json_dumps(claims, JSON_COMPACT);
        sign(f->w.sign_seed, a, b, token, sizeof(token));
        r = world_identify(&f->w, token, &caller);
        free(a);
        free(b);
        json_decref(header);
        json_decref(claims);
        return r;
}

static void a_good_token_and_its_members(void **state)
{
        struct account_caller caller;
        struct account_counts counts;
        struct forge f;

        forge_new(&f);
        assert_string_equal(json_string_value(json_object_get(f.header, "typ")), "at+jwt");
        assert_string_equal(json_string_value(json_object_get(f.header, "alg")), "EdDSA");
        for (int i = 0; i < 3; i++)
                assert_int_equal(world_identify(&f.w, f.tokens.access, &caller), 0);
        assert_true(id_equal(&caller.account, &f.account));
        assert_true(id_equal(&caller.session, &f.tokens.session));
        assert_true(id_is_none(&caller.key));
        assert_int_equal(caller.scopes, UINT64_MAX);
        accounts_counts(f.w.accounts, &counts);
        assert_int_equal(counts.tokens_accepted, 3);
        assert_int_equal(counts.tokens_cached, 2);
        /* The forger's own work is right, or nothing below means anything. */
        assert_int_equal(with(&f, false, NULL, NULL), 0);
        assert_int_equal(with(&f, false, "unknown", json_true()), 0);
        forge_free(&f);
}

static void other_algorithms_keys_and_types_are_refused(void **state)
{
        static const char *const algorithms[] = {"none", "None", "NONE", "", "HS256", "HS512", "RS256", "ES256", "eddsa", "EdDSA ", "Ed25519"};
        uint8_t foreign[32] = {1}, public_key[32], secret_key[64], mac[32];
        struct account_caller caller;
        char token[4096], *claims;
        struct forge f;
        size_t n;

        forge_new(&f);
        for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++)
                assert_int_equal(with(&f, true, "alg", json_string(algorithms[i])), -EACCES);
        assert_int_equal(with(&f, true, "alg", NULL), -EACCES);
        assert_int_equal(with(&f, true, "alg", json_array()), -EACCES);
        assert_int_equal(with(&f, true, "typ", NULL), -EACCES);
        assert_int_equal(with(&f, true, "typ", json_string("JWT")), -EACCES);
        assert_int_equal(with(&f, true, "typ", json_stringn("at+jwt\0x", 8)), -EINVAL);
        assert_int_equal(with(&f, true, "kid", NULL), -EACCES);
        assert_int_equal(with(&f, true, "kid", json_string("")), -EACCES);
        assert_int_equal(with(&f, true, "kid", json_string("../../etc/passwd")), -EACCES);
        assert_int_equal(with(&f, true, "crit", json_array()), -EACCES);
        claims = json_dumps(f.claims, JSON_COMPACT);
        /* Signed by another key under our key's name. */
        sign(foreign, "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\"}", claims, token, sizeof(token));
        assert_int_equal(world_identify(&f.w, token, &caller), -EACCES);
        {
                char *header = json_dumps(f.header, JSON_COMPACT);

                sign(foreign, header, claims, token, sizeof(token));
                assert_int_equal(world_identify(&f.w, token, &caller), -EACCES);
                free(header);
        }
        /* alg none with no signature, and HS256 keyed with what JWKS publishes: the two classics. */
        sign(f.w.sign_seed, "{\"alg\":\"none\",\"typ\":\"at+jwt\"}", claims, token, sizeof(token));
        strrchr(token, '.')[1] = '\0';
        assert_int_equal(world_identify(&f.w, token, &caller), -EINVAL);
        crypto_sign_seed_keypair(public_key, secret_key, f.w.sign_seed);
        sign(f.w.sign_seed, "{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", claims, token, sizeof(token));
        n = (size_t)(strrchr(token, '.') - token);
        crypto_auth_hmacsha256(mac, (const uint8_t *)token, n, public_key);
        sodium_bin2base64(token + n + 1, sizeof(token) - n - 1, mac, sizeof(mac), B64);
        assert_int_equal(world_identify(&f.w, token, &caller), -EINVAL);
        free(claims);
        forge_free(&f);
}

static void claims_must_fit(void **state)
{
        int64_t now = START_MS / 1000;
        struct forge f;

        forge_new(&f);
        assert_int_equal(with(&f, false, "iss", json_string("https://other.test")), -EACCES);
        assert_int_equal(with(&f, false, "iss", NULL), -EACCES);
        assert_int_equal(with(&f, false, "aud", json_string("https://other.test")), -EACCES);
        assert_int_equal(with(&f, false, "aud", json_pack("[s]", "https://pool.test")), -EACCES);
        assert_int_equal(with(&f, false, "aud", NULL), -EACCES);
        assert_int_equal(with(&f, false, "sub", json_string("root")), -EACCES);
        assert_int_equal(with(&f, false, "sub", json_string("account_00000000000000000000000000000001")), -EACCES);
        assert_int_equal(with(&f, false, "sid", NULL), -EACCES);
        assert_int_equal(with(&f, false, "sid", json_string("session_00000000000000000000000000000001")), -EACCES);
        assert_int_equal(with(&f, false, "exp", NULL), -EACCES);
        assert_int_equal(with(&f, false, "exp", json_string("9999999999")), -EACCES);
        assert_int_equal(with(&f, false, "exp", json_real(9999999999.5)), -EACCES);
        assert_int_equal(with(&f, false, "exp", json_integer(INT64_MAX)), -EACCES);
        assert_int_equal(with(&f, false, "exp", json_integer(-1)), -EACCES);
        assert_int_equal(with(&f, false, "exp", json_integer(now - 60)), -EACCES);
        assert_int_equal(with(&f, false, "exp", json_integer(now - 59)), 0);
        assert_int_equal(with(&f, false, "iat", NULL), -EACCES);
        assert_int_equal(with(&f, false, "iat", json_integer(now + 61)), -EACCES);
        assert_int_equal(with(&f, false, "iat", json_integer(now + 60)), 0);
        assert_int_equal(with(&f, false, "nbf", json_integer(now + 61)), -EACCES);
        assert_int_equal(with(&f, false, "nbf", json_string("soon")), -EACCES);
        assert_int_equal(with(&f, false, "nbf", json_integer(now + 60)), 0);
        forge_free(&f);
}

static void shapes_that_are_not_ours(void **state)
{
        char token[4096], big[1100], *good;
        struct account_caller caller;
        struct forge f;
        size_t length;

        forge_new(&f);
        good = f.tokens.access;
        length = strlen(good);
        /* Any one character changed or any cut: refused, and never a crash. */
        for (size_t i = 0; i < length; i++) {
                memcpy(token, good, length + 1);
                token[i] = token[i] == 'A' ? 'B' : 'A';
                assert_int_not_equal(world_identify(&f.w, token, &caller), 0);
                memcpy(token, good, i);
                token[i] = '\0';
                assert_int_not_equal(world_identify(&f.w, token, &caller), 0);
        }
        /* The same token in another spelling is another token: bytes above 0x7f, the letters of plain base64, loose bits at the end. */
        for (size_t i = 0; i < length; i++)
                for (int c = 0x80; c < 0x100; c++) {
                        memcpy(token, good, length + 1);
                        token[i] = (char)c;
                        assert_int_not_equal(world_identify(&f.w, token, &caller), 0);
                }
        memcpy(token, good, length + 1);
        token[length - 1] = (char)(token[length - 1] + 1); /* the last letter has four loose bits: A, Q, g or w */
        assert_int_equal(world_identify(&f.w, token, &caller), -EINVAL);
        snprintf(token, sizeof(token), "%s.", good);
        assert_int_equal(world_identify(&f.w, token, &caller), -EINVAL);
        snprintf(token, sizeof(token), "%s.%s", good, good);
        assert_int_equal(world_identify(&f.w, token, &caller), -EINVAL);
        snprintf(token, sizeof(token), "%s=", good);
        assert_int_equal(world_identify(&f.w, token, &caller), -EINVAL);
        snprintf(token, sizeof(token), " %s", good);
        assert_int_equal(world_identify(&f.w, token, &caller), -EINVAL);
        memset(big, 'A', sizeof(big));
        big[1025] = '\0';
        assert_int_equal(world_identify(&f.w, big, &caller), -EINVAL);
        /* Members given twice: which one holds is nobody's guess. */
        {
                char *claims = json_dumps(f.claims, JSON_COMPACT), *header = json_dumps(f.header, JSON_COMPACT), twice[1024];

                snprintf(twice, sizeof(twice), "{\"sub\":\"account_00000000000000000000000000000001\",%s", claims + 1);
                sign(f.w.sign_seed, header, twice, token, sizeof(token));
                assert_int_equal(world_identify(&f.w, token, &caller), -EINVAL);
                sign(f.w.sign_seed, header, "[]", token, sizeof(token));
                assert_int_equal(world_identify(&f.w, token, &caller), -EINVAL);
                sign(f.w.sign_seed, "null", claims, token, sizeof(token));
                assert_int_equal(world_identify(&f.w, token, &caller), -EINVAL);
                free(claims);
                free(header);
        }
        assert_int_equal(world_identify(&f.w, good, &caller), 0);
        forge_free(&f);
}

/* Also when its signature was checked before, and also when the clock is set back. */
static void a_token_ends_with_its_time_and_its_session(void **state)
{
        struct account_tokens other;
        struct account_caller caller;
        struct forge f;

        forge_new(&f);
        assert_int_equal(world_identify(&f.w, f.tokens.access, &caller), 0);
        assert_int_equal(world_sign_in(&f.w, "ann", true, &other), 0);
        assert_int_equal(account_sign_out(f.w.accounts, &f.w.now, &caller.session, &f.w.changes), 0);
        assert_audited(&f.w.changes, "session.sign_out", "ann");
        assert_int_equal(world_identify(&f.w, f.tokens.access, &caller), -EACCES);
        assert_int_equal(account_refresh(f.w.accounts, &f.w.now, f.tokens.refresh, &f.tokens, &f.w.changes), -EACCES);
        assert_int_equal(account_sign_out(f.w.accounts, &f.w.now, &f.tokens.session, &f.w.changes), -ENOENT);
        assert_int_equal(world_identify(&f.w, other.access, &caller), 0);
        world_pass(&f.w, 15 * 60 * 1000 + 59999);
        assert_int_equal(world_identify(&f.w, other.access, &caller), 0);
        world_pass(&f.w, 1);
        assert_int_equal(world_identify(&f.w, other.access, &caller), -EACCES);
        f.w.now.unix_ms = START_MS;
        assert_int_equal(world_identify(&f.w, other.access, &caller), -EACCES);
        forge_free(&f);
}

static void roles_are_those_of_now(void **state)
{
        struct account_caller caller;
        struct forge f;

        forge_new(&f);
        assert_int_equal(world_identify(&f.w, f.tokens.access, &caller), 0);
        assert_int_equal(account_change(f.w.accounts, &f.w.now, &account_pool_itself, &f.account, &(struct account_spec){.role = ROLE_WORKER}, &f.w.changes), 0);
        assert_int_equal(world_identify(&f.w, f.tokens.access, &caller), 0);
        assert_int_equal(caller.role, ROLE_WORKER);
        assert_false(account_may(&caller, RIGHT_TASK_SUBMIT));
        forge_free(&f);
}

static void the_signing_key_rotates(void **state)
{
        uint8_t second[32] = {2}, third[32] = {3};
        struct account_caller caller;
        char jwks[1024], small[64];
        struct forge f;
        json_t *json;

        forge_new(&f);
        assert_int_equal(account_jwks(f.w.accounts, jwks, sizeof(jwks)), 0);
        json = json_loads(jwks, 0, NULL);
        assert_int_equal(json_array_size(json_object_get(json, "keys")), 1);
        assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(json, "keys"), 0), "kid")),
                            json_string_value(json_object_get(f.header, "kid")));
        json_decref(json);
        assert_int_equal(account_jwks(f.w.accounts, small, sizeof(small)), -ENOSPC);
        assert_int_equal(accounts_sign_with(f.w.accounts, second), 0);
        assert_int_equal(accounts_sign_with(f.w.accounts, second), 0); /* again: nothing happens */
        assert_int_equal(world_identify(&f.w, f.tokens.access, &caller), 0);
        assert_int_equal(account_jwks(f.w.accounts, jwks, sizeof(jwks)), 0);
        json = json_loads(jwks, 0, NULL);
        assert_int_equal(json_array_size(json_object_get(json, "keys")), 2);
        assert_null(strstr(jwks, "\"d\""));
        json_decref(json);
        assert_int_equal(accounts_sign_with(f.w.accounts, third), 0);
        assert_int_equal(world_identify(&f.w, f.tokens.access, &caller), -EACCES);
        forge_free(&f);
}

/* RFC 8037, appendix A.3: the thumbprint of its key; and RFC 8037's own key as JWKS. */
static void the_key_id_is_the_standard_thumbprint(void **state)
{
        uint8_t seed[32];
        struct accounts_options options;
        struct accounts *accounts scoped(accounts_free) = NULL;
        struct world w;
        char jwks[1024];

        assert_int_equal(sodium_hex2bin(seed, 32, "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", 64, NULL, NULL, NULL), 0);
        world_options(&w, &options);
        options.sign_seed = seed;
        assert_int_equal(accounts_new(&options, &accounts), 0);
        assert_int_equal(account_jwks(accounts, jwks, sizeof(jwks)), 0);
        assert_non_null(strstr(jwks, "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\""));
        assert_non_null(strstr(jwks, "\"kid\":\"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k\""));
}

/* However many tokens there are, the cache is as large as before, and each is still checked rightly. */
static void the_cache_is_bounded(void **state)
{
        struct account_caller caller;
        struct account_counts counts;
        struct forge f;

        forge_new(&f);
        for (int i = 0; i < 3000; i++)
                assert_int_equal(with(&f, false, "jti", json_integer(i)), 0);
        assert_int_equal(world_identify(&f.w, f.tokens.access, &caller), 0);
        accounts_counts(f.w.accounts, &counts);
        assert_int_equal(counts.tokens_accepted, 3001);
        assert_int_equal(counts.tokens_cached, 0);
        forge_free(&f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_good_token_and_its_members),
                cmocka_unit_test(other_algorithms_keys_and_types_are_refused),
                cmocka_unit_test(claims_must_fit),
                cmocka_unit_test(shapes_that_are_not_ours),
                cmocka_unit_test(a_token_ends_with_its_time_and_its_session),
                cmocka_unit_test(roles_are_those_of_now),
                cmocka_unit_test(the_signing_key_rotates),
                cmocka_unit_test(the_key_id_is_the_standard_thumbprint),
                cmocka_unit_test(the_cache_is_bounded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
