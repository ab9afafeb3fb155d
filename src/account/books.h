/* books.h: inside the account room only: the books in memory, and what its sources call of each other.
 *
 * Accounts, keys and sessions are found in hash tables (uthash) by id; accounts also by name, keys by the HMAC of their text. Each key and session points to
 * its account and stands in its list. Rows may be loaded in any order, so an account that was only named so far stands there as one that is not `loaded`:
 * nobody sees it, and nothing of it is accepted.
 */
#pragma once

#include "account/account.h"
#include "account/throttle.h"
#include "base/error.h"

#include <jansson.h>
#include <sodium.h>

/* uthash would exit; running out of memory in the middle of a change of the books has no better end than the process's. */
#define uthash_fatal(message) abort()
#include <uthash.h>
#include <utlist.h>

#define ACCOUNT_KEYS_MAX 1000     /* unended keys of an account */
#define ACCOUNT_SESSIONS_MAX 64   /* of an account: the one that was refreshed longest ago ends for a new one */
#define TOKEN_MAX 1024            /* bytes of an access token */
#define SKEW_MS 60000
#define SCOPES_ALL UINT64_MAX
#define MAC 32

struct account {
        struct id id;
        char name[64];
        enum account_role role;
        bool loaded, disabled;
        struct account_limits limits;
        uint32_t weight;
        char hash[128];             /* Argon2id string; "": no password */
        uint64_t epoch;             /* sessions of an earlier one have ended */
        int64_t created_ms;
        struct key *keys;
        struct session *sessions;
        size_t session_count;
        UT_hash_handle by_id, by_name;
};

struct key {
        struct id id;
        struct account *account;
        uint8_t mac[MAC];
        char label[64];
        uint64_t scopes;            /* SCOPES_ALL, or bits with RIGHT_NONE's always set */
        int64_t expires_ms, created_ms, used_ms;
        struct account_limits limits;
        char models[ACCOUNT_MODELS];
        bool ended;
        struct key *prev, *next;
        UT_hash_handle by_id, by_mac;
};

struct session {
        struct id id;
        struct account *account;
        uint32_t generation;
        uint8_t mac[MAC], mac_before[MAC]; /* of the refresh token, and of the one before it */
        bool has_before;            /* the one before may be taken once more */
        bool ended;
        uint64_t epoch;
        int64_t created_ms, rotated_ms, expires_ms;
        char address[64];           /* of the last rotation */
        struct session *prev, *next;
        UT_hash_handle by_id;
};

struct sign_key {
        uint8_t public_key[crypto_sign_PUBLICKEYBYTES], secret_key[crypto_sign_SECRETKEYBYTES];
        char id[48];                /* RFC 7638 thumbprint */
        bool there;
};

/* A token whose signature was checked: found by a keyed 128-bit hash of its text, so that the text need not be kept. */
struct cached_token {
        uint8_t hash[16];
        struct id session, account;
        int64_t expires_ms;
};
#define CACHE_SETS 2048u
#define CACHE_WAYS 4u

struct accounts {
        char issuer[208];
        uint64_t access_ms, refresh_ms;
        crypto_auth_hmacsha256_state key_mac, refresh_mac, refresh_tag; /* begun with a key each, copied for each use */
        uint8_t draw_key[32], cache_key[16];
        uint64_t draws;
        struct sign_key sign, sign_before;
        struct account *accounts_by_id, *accounts_by_name;
        struct key *keys_by_id, *keys_by_mac;
        struct session *sessions_by_id;
        uint64_t account_count, key_count, session_count; /* loaded accounts, unended keys, sessions */
        struct cached_token *cache;     /* CACHE_SETS × CACHE_WAYS */
        struct throttle *throttle;
        uint32_t works, works_known, works_max;
        char dummy_hash[128];
        uint8_t setup_mac[MAC];
        bool has_setup;
        struct id last_id;
        int64_t clock_ms;               /* never goes back; see accounts_clock */
        uint64_t clock_monotonic_ms;
        uint64_t audit_monotonic_ms, audit_tokens, audit_left_out;
        char *texts[16];
        size_t text_count;
        char problem[256];
        struct account_counts counts;
};

/* accounts.c */
int64_t accounts_clock(struct accounts *accounts, const struct account_now *now);
void accounts_clock_at_least(struct accounts *accounts, int64_t unix_ms);
/* bytes derived from the call's random ones; each draw of a process is another, also when a caller hands in the same bytes again. */
void accounts_draw(struct accounts *accounts, const struct account_now *now, void *bytes, size_t count);
struct id accounts_new_id(struct accounts *accounts, const struct account_now *now);
struct account *accounts_by_id(const struct accounts *accounts, const struct id *id); /* loaded ones only */
struct account *accounts_by_name(const struct accounts *accounts, const char *name);
struct account *accounts_obtain(struct accounts *accounts, const struct id *id); /* made, not loaded, when missing; NULL: no memory */
void accounts_add_name(struct accounts *accounts, struct account *account);
struct key *accounts_key(const struct accounts *accounts, const struct id *id);
struct session *accounts_session(const struct accounts *accounts, const struct id *id);
void accounts_add_key(struct accounts *accounts, struct key *key);
void accounts_add_session(struct accounts *accounts, struct session *session);
void accounts_drop_session(struct accounts *accounts, struct session *session);
/* Sets what accounts_problem says, and returns error. */
int accounts_refuse(struct accounts *accounts, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool session_valid(const struct session *session, int64_t clock_ms);
bool key_valid(const struct key *key, int64_t clock_ms);
/* Gets in: enabled, and with a password or an unlimited key. */
bool account_can_enter(const struct account *account, int64_t clock_ms);
bool accounts_other_admin(const struct accounts *accounts, const struct account *but, int64_t clock_ms);
void caller_of(struct account_caller *caller, const struct account *account, const struct key *key, const struct session *session);

/* Nobody grants what it has not: all rights of that role, or those bits. */
bool caller_covers(const struct account_caller *by, uint64_t rights);
/* The caller as of now: neither its account nor its key or session ended since it was identified, and the role is the same. */
bool caller_still(const struct accounts *accounts, const struct account_caller *caller, int64_t clock_ms);
bool limits_ok(const struct account_limits *limits);
/* Ends all sessions of the account, in memory; in the store by the account's new epoch. */
void account_end_sessions(struct accounts *accounts, struct account *account);

/* rights.c */
uint64_t rights_of_role(enum account_role role);
uint64_t rights_of(const struct account_caller *caller);
bool name_ok(const char *name);

/* rows.c: books to rows. Each frees what the call before left (changes_begin) and adds one change; -ENOMEM. */
void changes_begin(struct accounts *accounts, struct account_changes *changes);
must_check int changes_add_account(struct accounts *accounts, struct account_changes *changes, const struct account *account);
must_check int changes_add_key(struct accounts *accounts, struct account_changes *changes, const struct key *key);
must_check int changes_add_session(struct accounts *accounts, struct account_changes *changes, const struct session *session);
/* spec, status: taken over. Of row, what is not text. text_key: of the books or NULL; copied. */
must_check int changes_add_row(struct accounts *accounts, struct account_changes *changes, const struct store_row *row, const char *text_key, json_t *spec,
                               json_t *status);

/* audit.c. verb, object: short printable texts. A refusal (outcome < 0) of a stranger is left out, and counted, when there were too many. */
must_check int audit_add(struct accounts *accounts, const struct account_now *now, const struct account_caller *by, const char *verb, const char *object,
                         int outcome, struct account_changes *changes);

/* base64.c. -EINVAL: not strict base64url, or more than size bytes. */
must_check int base64_decode(const char *text, size_t length, uint8_t *bytes, size_t size, size_t *ret_count);

/* key.c: "berth_…" */
must_check int key_text_check(const char *text, size_t length);
must_check int key_identify(struct accounts *accounts, int64_t clock_ms, const char *text, size_t length, struct account_caller *ret_caller);
/* prefix + 43 random letters and digits + checksum; mac of it under the pool's secret. */
void key_draw(struct accounts *accounts, const struct account_now *now, const char *prefix, char *text, size_t size);
void key_mac(const struct accounts *accounts, const char *text, size_t length, uint8_t mac[MAC]);

/* token.c */
must_check int token_identify(struct accounts *accounts, int64_t clock_ms, const char *text, size_t length, struct account_caller *ret_caller);
must_check int token_make(struct accounts *accounts, const struct account_now *now, const struct session *session, struct account_tokens *tokens);
void sign_key_from_seed(struct sign_key *key, const uint8_t seed[32]);

/* session.c */
must_check int session_begin(struct accounts *accounts, const struct account_now *now, struct account *account, struct account_tokens *ret_tokens,
                             struct account_changes *changes);
