/* accounts.c: the books: accounts, keys and sessions in hash tables, their clock, and the chance that a call is handed. Whoever looks something up here gets
 * only what was loaded or made; nothing is ever found by less than its whole id, name or HMAC.
 */
#include "account/books.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* For crypto_kdf_derive_from_key; never change: keys and refresh tokens out there hang on them. */
#define CONTEXT "berthacc"
enum { SUBKEY_KEYS = 1, SUBKEY_REFRESH = 2, SUBKEY_REFRESH_TAG = 3, SUBKEY_DRAW = 4, SUBKEY_CACHE = 5, SUBKEY_THROTTLE = 6, SUBKEY_DUMMY = 7 };

static void begin_mac(crypto_auth_hmacsha256_state *state, uint64_t subkey, const uint8_t secret[32])
{
        uint8_t key[32];

        crypto_kdf_derive_from_key(key, sizeof(key), subkey, CONTEXT, secret);
        crypto_auth_hmacsha256_init(state, key, sizeof(key));
        sodium_memzero(key, sizeof(key));
}

static bool issuer_ok(const char *issuer)
{
        size_t n = issuer ? strlen(issuer) : 0;

        if (!n || n > 150)
                return false;
        for (const char *c = issuer; *c; c++)
                if (*c <= ' ' || *c > '~' || *c == '"' || *c == '\\')
                        return false;
        return true;
}

/* A well-formed Argon2id string of our own costs, whose password nobody knows: what names without a password are checked against. */
static void make_dummy(struct accounts *a, const uint8_t secret[32])
{
        uint8_t bytes[48];
        char salt[23], hash[44];

        crypto_kdf_derive_from_key(bytes, sizeof(bytes), SUBKEY_DUMMY, CONTEXT, secret);
        sodium_bin2base64(salt, sizeof(salt), bytes, 16, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
        sodium_bin2base64(hash, sizeof(hash), bytes + 16, 32, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
        snprintf(a->dummy_hash, sizeof(a->dummy_hash), "$argon2id$v=19$m=%zu,t=%llu,p=1$%s$%s", crypto_pwhash_memlimit_interactive() / 1024,
                 (unsigned long long)crypto_pwhash_opslimit_interactive(), salt, hash);
}

int accounts_new(const struct accounts_options *options, struct accounts **ret_accounts)
{
        struct accounts *a scoped(accounts_free) = NULL;
        uint8_t throttle_key[16];

        if (!issuer_ok(options->issuer) || !options->secret || !options->sign_seed || sodium_init() < 0)
                return -EINVAL;
        a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        a->cache = calloc((size_t)CACHE_SETS * CACHE_WAYS, sizeof(*a->cache));
        crypto_kdf_derive_from_key(throttle_key, sizeof(throttle_key), SUBKEY_THROTTLE, CONTEXT, options->secret);
        a->throttle = throttle_new(throttle_key);
        sodium_memzero(throttle_key, sizeof(throttle_key));
        if (!a->cache || !a->throttle)
                return -ENOMEM;
        snprintf(a->issuer, sizeof(a->issuer), "%s", options->issuer);
        a->access_ms = options->access_ms ? options->access_ms : 15 * 60 * 1000;
        a->refresh_ms = options->refresh_ms ? options->refresh_ms : 30 * 24 * 3600 * UINT64_C(1000);
        a->works_max = options->password_works ? options->password_works : 8;
        begin_mac(&a->key_mac, SUBKEY_KEYS, options->secret);
        begin_mac(&a->refresh_mac, SUBKEY_REFRESH, options->secret);
        begin_mac(&a->refresh_tag, SUBKEY_REFRESH_TAG, options->secret);
        crypto_kdf_derive_from_key(a->draw_key, sizeof(a->draw_key), SUBKEY_DRAW, CONTEXT, options->secret);
        crypto_kdf_derive_from_key(a->cache_key, sizeof(a->cache_key), SUBKEY_CACHE, CONTEXT, options->secret);
        make_dummy(a, options->secret);
        sign_key_from_seed(&a->sign, options->sign_seed);
        if (options->sign_seed_before)
                sign_key_from_seed(&a->sign_before, options->sign_seed_before);
        *ret_accounts = take(a);
        return 0;
}

int accounts_sign_with(struct accounts *a, const uint8_t sign_seed[32])
{
        struct sign_key key;

        sign_key_from_seed(&key, sign_seed);
        if (strcmp(key.id, a->sign.id)) {
                a->sign_before = a->sign;
                a->sign = key;
                /* What was signed by the key that is gone now must not live on here. */
                memset(a->cache, 0, (size_t)CACHE_SETS * CACHE_WAYS * sizeof(*a->cache));
        }
        sodium_memzero(&key, sizeof(key));
        return 0;
}

void accounts_free(struct accounts *a)
{
        struct account *account, *next_account;
        struct key *key, *next_key;
        struct session *session, *next_session;

        HASH_ITER(by_id, a->keys_by_id, key, next_key) {
                HASH_DELETE(by_mac, a->keys_by_mac, key);
                HASH_DELETE(by_id, a->keys_by_id, key);
                free(key);
        }
        HASH_ITER(by_id, a->sessions_by_id, session, next_session) {
                HASH_DELETE(by_id, a->sessions_by_id, session);
                sodium_memzero(session, sizeof(*session));
                free(session);
        }
        HASH_CLEAR(by_name, a->accounts_by_name);
        HASH_ITER(by_id, a->accounts_by_id, account, next_account) {
                HASH_DELETE(by_id, a->accounts_by_id, account);
                sodium_memzero(account, sizeof(*account));
                free(account);
        }
        for (size_t i = 0; i < a->text_count; i++)
                free(a->texts[i]);
        if (a->throttle)
                throttle_free(a->throttle);
        free(a->cache);
        sodium_memzero(a, sizeof(*a));
        free(a);
}

int accounts_refuse(struct accounts *a, int error, const char *format, ...)
{
        va_list list;

        va_start(list, format);
        vsnprintf(a->problem, sizeof(a->problem), format, list);
        va_end(list);
        return error;
}

const char *accounts_problem(const struct accounts *a)
{
        return a->problem;
}

void accounts_clock_at_least(struct accounts *a, int64_t unix_ms)
{
        if (unix_ms > a->clock_ms)
                a->clock_ms = unix_ms;
}

int64_t accounts_clock(struct accounts *a, const struct account_now *now)
{
        a->problem[0] = '\0';
        if (now->monotonic_ms > a->clock_monotonic_ms) {
                if (a->clock_monotonic_ms)
                        a->clock_ms += (int64_t)(now->monotonic_ms - a->clock_monotonic_ms);
                a->clock_monotonic_ms = now->monotonic_ms;
        }
        accounts_clock_at_least(a, now->unix_ms);
        return a->clock_ms;
}

void accounts_draw(struct accounts *a, const struct account_now *now, void *bytes, size_t count)
{
        uint8_t in[64 + sizeof(uint64_t)], seed[randombytes_SEEDBYTES];

        memcpy(in, now->random, 64);
        a->draws++;
        memcpy(in + 64, &a->draws, sizeof(a->draws));
        crypto_generichash(seed, sizeof(seed), in, sizeof(in), a->draw_key, sizeof(a->draw_key));
        randombytes_buf_deterministic(bytes, count, seed);
        sodium_memzero(in, sizeof(in));
        sodium_memzero(seed, sizeof(seed));
}

struct id accounts_new_id(struct accounts *a, const struct account_now *now)
{
        uint8_t random[10];

        accounts_draw(a, now, random, sizeof(random));
        return id_next(&a->last_id, (uint64_t)a->clock_ms, random);
}

struct account *accounts_by_id(const struct accounts *a, const struct id *id)
{
        struct account *account;

        HASH_FIND(by_id, a->accounts_by_id, id, sizeof(*id), account);
        return account && account->loaded ? account : NULL;
}

struct account *accounts_by_name(const struct accounts *a, const char *name)
{
        struct account *account;

        HASH_FIND(by_name, a->accounts_by_name, name, strlen(name), account);
        return account;
}

struct account *accounts_obtain(struct accounts *a, const struct id *id)
{
        struct account *account;

        HASH_FIND(by_id, a->accounts_by_id, id, sizeof(*id), account);
        if (account)
                return account;
        account = calloc(1, sizeof(*account));
        if (!account)
                return NULL;
        account->id = *id;
        HASH_ADD(by_id, a->accounts_by_id, id, sizeof(*id), account);
        return account;
}

void accounts_add_name(struct accounts *a, struct account *account)
{
        account->loaded = true;
        a->account_count++;
        HASH_ADD_KEYPTR(by_name, a->accounts_by_name, account->name, strlen(account->name), account);
}

struct key *accounts_key(const struct accounts *a, const struct id *id)
{
        struct key *key;

        HASH_FIND(by_id, a->keys_by_id, id, sizeof(*id), key);
        return key;
}

struct session *accounts_session(const struct accounts *a, const struct id *id)
{
        struct session *session;

        HASH_FIND(by_id, a->sessions_by_id, id, sizeof(*id), session);
        return session;
}

void accounts_add_key(struct accounts *a, struct key *key)
{
        HASH_ADD(by_id, a->keys_by_id, id, sizeof(key->id), key);
        HASH_ADD(by_mac, a->keys_by_mac, mac, sizeof(key->mac), key);
        DL_APPEND(key->account->keys, key);
        a->key_count += !key->ended;
}

void accounts_add_session(struct accounts *a, struct session *session)
{
        HASH_ADD(by_id, a->sessions_by_id, id, sizeof(session->id), session);
        DL_APPEND(session->account->sessions, session);
        session->account->session_count++;
        a->session_count++;
}

void accounts_drop_session(struct accounts *a, struct session *session)
{
        HASH_DELETE(by_id, a->sessions_by_id, session);
        DL_DELETE(session->account->sessions, session);
        session->account->session_count--;
        a->session_count--;
        sodium_memzero(session, sizeof(*session));
        free(session);
}

bool session_valid(const struct session *session, int64_t clock_ms)
{
        const struct account *account = session->account;

        return !session->ended && session->expires_ms > clock_ms && account->loaded && !account->disabled && session->epoch == account->epoch;
}

bool key_valid(const struct key *key, int64_t clock_ms)
{
        return !key->ended && (!key->expires_ms || key->expires_ms > clock_ms) && key->account->loaded && !key->account->disabled;
}

bool account_can_enter(const struct account *account, int64_t clock_ms)
{
        const struct key *key;

        if (!account->loaded || account->disabled)
                return false;
        if (account->hash[0])
                return true;
        DL_FOREACH(account->keys, key)
                if (key_valid(key, clock_ms) && key->scopes == SCOPES_ALL && !key->expires_ms)
                        return true;
        return false;
}

bool accounts_other_admin(const struct accounts *a, const struct account *but, int64_t clock_ms)
{
        const struct account *account, *next;

        HASH_ITER(by_id, a->accounts_by_id, account, next)
                if (account != but && account->role == ROLE_ADMIN && account_can_enter(account, clock_ms))
                        return true;
        return false;
}

bool accounts_fresh(const struct accounts *a)
{
        return !accounts_other_admin(a, NULL, a->clock_ms);
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
        return !a ? b : !b ? a : a < b ? a : b;
}

void caller_of(struct account_caller *caller, const struct account *account, const struct key *key, const struct session *session)
{
        memset(caller, 0, sizeof(*caller));
        caller->account = account->id;
        caller->role = account->role;
        caller->scopes = key ? key->scopes : SCOPES_ALL;
        caller->limits = account->limits;
        caller->weight = account->weight;
        memcpy(caller->name, account->name, sizeof(caller->name));
        if (session)
                caller->session = session->id;
        if (key) {
                caller->key = key->id;
                caller->models = key->models[0] ? key->models : NULL;
#define LIMIT(name) caller->limits.name = smaller(caller->limits.name, key->limits.name)
                LIMIT(requests_per_minute);
                LIMIT(tasks_per_minute);
                LIMIT(max_leases);
                LIMIT(max_tasks);
                LIMIT(max_connections);
                LIMIT(tokens_per_minute);
                LIMIT(max_generations);
#undef LIMIT
        }
}

int account_identify(struct accounts *a, const struct account_now *now, const char *authorization, size_t length, struct account_caller *ret_caller)
{
        int64_t clock_ms = accounts_clock(a, now);
        int r = -EINVAL;

        if (length > 7 && length <= 7 + TOKEN_MAX && !strncasecmp(authorization, "Bearer ", 7)) {
                authorization += 7;
                length -= 7;
                if (length > 6 && !memcmp(authorization, "berth_", 6))
                        r = key_identify(a, clock_ms, authorization, length, ret_caller);
                else
                        r = token_identify(a, clock_ms, authorization, length, ret_caller);
        }
        if (r == -EINVAL) {
                a->counts.credentials_malformed++;
                if (!a->problem[0])
                        accounts_refuse(a, r, "malformed Authorization: give \"Bearer \" and an API key (berth_...) or an access token");
        } else if (r < 0) {
                a->counts.credentials_refused++;
                accounts_refuse(a, r, "the key or token is not accepted: wrong, expired or ended");
        }
        return r;
}

bool account_model_listed(const char *models, const char *model)
{
        size_t n = strlen(model);

        for (const char *at = models; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
                if (strcspn(at, ",") == n && !memcmp(at, model, n))
                        return true;
        return !models;
}

bool caller_covers(const struct account_caller *by, uint64_t rights)
{
        return !(rights & ~rights_of(by));
}

/* The account of who was identified before, if that has not ended, and the key or session. */
static const struct account *still(const struct accounts *a, const struct account_caller *caller, int64_t clock_ms, const struct key **ret_key,
                                   const struct session **ret_session)
{
        const struct account *account = accounts_by_id(a, &caller->account);

        *ret_key = NULL;
        *ret_session = NULL;
        if (!account || account->disabled)
                return NULL;
        if (!id_is_none(&caller->key)) {
                *ret_key = accounts_key(a, &caller->key);
                return *ret_key && (*ret_key)->account == account && key_valid(*ret_key, clock_ms) ? account : NULL;
        }
        *ret_session = accounts_session(a, &caller->session);
        return *ret_session && (*ret_session)->account == account && session_valid(*ret_session, clock_ms) ? account : NULL;
}

/* identify never makes a caller like the pool itself: a role, and no account. */
static bool is_pool_itself(const struct account_caller *caller)
{
        return caller->role != ROLE_NONE && id_is_none(&caller->account);
}

bool caller_still(const struct accounts *a, const struct account_caller *caller, int64_t clock_ms)
{
        const struct account *account;
        const struct session *session;
        const struct key *key;

        if (caller->role == ROLE_NONE)
                return false;
        if (is_pool_itself(caller))
                return true;
        account = still(a, caller, clock_ms, &key, &session);
        return account && account->role == caller->role;
}

bool account_still(struct accounts *a, const struct account_now *now, struct account_caller *caller)
{
        int64_t clock_ms = accounts_clock(a, now);
        const struct account *account;
        const struct session *session;
        const struct key *key;

        if (caller->role == ROLE_NONE)
                return false;
        if (is_pool_itself(caller))
                return true;
        account = still(a, caller, clock_ms, &key, &session);
        if (account)
                caller_of(caller, account, key, session);
        return account != NULL;
}

void account_end_sessions(struct accounts *a, struct account *account)
{
        account->epoch++;
        while (account->sessions)
                accounts_drop_session(a, account->sessions);
}

void accounts_counts(const struct accounts *a, struct account_counts *ret_counts)
{
        *ret_counts = a->counts;
        ret_counts->accounts = a->account_count;
        ret_counts->keys = a->key_count;
        ret_counts->sessions = a->session_count;
}
