/* account.h: who someone is and what they may do: accounts, API keys, passwords, sessions, tokens, roles, the audit log's rows.
 *
 * Everything is in memory (loaded from rows at start) and decided here without I/O; what must survive comes out as store changes that the caller
 * commits before it answers. Time and random bytes are arguments, but for password hashing (Argon2id by libsodium, ~ 50 ms and 64 MiB), which is split
 * into a pure part and account_password_work(), which the caller runs on another thread.
 *
 * Secrets. Nothing secret is stored in clear: API keys as HMAC-SHA-256 under the pool's own secret, refresh tokens likewise, passwords as Argon2id
 * strings; the signing key (Ed25519) and the pool's secret are kept in a file of mode 0600 beside the store (account_secrets), never in the store.
 * Comparisons are constant-time. Failures say nothing about which part was wrong.
 *
 * Roles: admin ⊃ operator; auditor (reads everything, changes nothing); user (own tasks only); worker (joins as worker, nothing else). A right is a verb
 * on a kind of thing; the table of rights (rights.def) is deny by default, and every route names the right that it needs.
 */
#pragma once

#include "base/id.h"
#include "base/scope.h"
#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum account_role { ROLE_NONE, ROLE_USER, ROLE_WORKER, ROLE_AUDITOR, ROLE_OPERATOR, ROLE_ADMIN, ROLES };

/* What a caller may do. Each is a row of rights.def: name, and the roles that have it. */
enum account_right {
        RIGHT_NONE,            /* open to everybody: health, documents, sign-in */
        RIGHT_SELF,            /* any identity: about itself */
        RIGHT_TASK_SUBMIT,
        RIGHT_TASK_READ,       /* own; TASK_READ_ALL: everybody's */
        RIGHT_TASK_READ_ALL,
        RIGHT_TASK_CHANGE,     /* own */
        RIGHT_TASK_CHANGE_ALL,
        RIGHT_WORKER_READ,
        RIGHT_WORKER_CHANGE,   /* drain, remove */
        RIGHT_WORKER_JOIN,
        RIGHT_EVENTS_PUSH,
        RIGHT_ARTIFACT,
        RIGHT_ACCOUNT_READ,
        RIGHT_ACCOUNT_CHANGE,
        RIGHT_KEY_OWN,         /* make and end own keys */
        RIGHT_AUDIT_READ,
        RIGHT_METRICS,
        RIGHT_BACKUP,
        RIGHTS
};

/* Limits of an account or a key; 0: none beyond the pool's own. */
struct account_limits {
        uint64_t requests_per_minute, tasks_per_minute, max_leases, max_tasks, max_connections;
};

/* Who is asking, found out by account_identify. */
struct account_caller {
        struct id account, key;        /* key: all zero when it came by a token */
        enum account_role role;
        uint64_t scopes;               /* bit per right that the key or token allows; all ones: what the role has */
        char name[64];
        struct account_limits limits;  /* the smaller of the account's and the key's */
        uint32_t weight;
};

static inline bool account_any_right(const struct account_caller *caller)
{
        return caller->role != ROLE_NONE;
}
/* By role and scopes. */
bool account_may(const struct account_caller *caller, enum account_right right);
const char *account_role_name(enum account_role role);
must_check int account_role_parse(const char *name, enum account_role *ret_role);
const char *account_right_name(enum account_right right);

struct accounts;

struct accounts_options {
        const char *issuer;            /* the "iss" and "aud" of tokens */
        uint64_t access_ms, refresh_ms; /* life of tokens: 15 min, 30 days */
        const uint8_t *secret;         /* 32 bytes: keys HMACs */
        const uint8_t *sign_seed;      /* 32 bytes: Ed25519, current */
        const uint8_t *sign_seed_before; /* the one before, still accepted; NULL: none */
};

/* The two secrets of a pool from `path`, made (mode 0600, atomically) when it is missing. Refuses a file that others can read. */
must_check int account_secrets(const char *path, uint8_t secret[32], uint8_t sign_seed[32], char message[256]);

must_check int accounts_new(const struct accounts_options *options, struct accounts **ret_accounts);
void accounts_free(struct accounts *accounts);
SCOPED_FN(struct accounts *, accounts_free)
/* Rows of STORE_ACCOUNT, STORE_KEY, STORE_SESSION, STORE_SETTING, in any order, at start. -EBADMSG: not ours. */
must_check int accounts_load(struct accounts *accounts, const struct store_row *row);

/* Changes to commit. The texts live until the next call on the same accounts. */
struct account_changes {
        struct store_change changes[4];
        size_t count;
};

struct account_now {
        int64_t unix_ms;
        uint64_t monotonic_ms;      /* throttling and caches go by this one, so that a clock set back opens nothing */
        const uint8_t *random;      /* 64 fresh bytes */
        const char *address;        /* the peer's, for throttling and audit; may be NULL */
};

/* Identity from an Authorization header's value ("Bearer berth_…" key, or "Bearer eyJ…" token). 0; -EACCES: not accepted (wrong, expired, foreign, ended);
 * -EINVAL: malformed. Keys in use are found by their HMAC in a hash table; a token's signature is checked (EdDSA only, kid known, typ at+jwt, iss, aud,
 * exp, nbf with 60 s skew, session not ended). */
must_check int account_identify(struct accounts *accounts, const struct account_now *now, const char *authorization, size_t length,
                                struct account_caller *ret_caller);

/* First start: true while no admin exists. The one-time token for the sign-in link (a new one each start; only the newest works). */
bool accounts_fresh(const struct accounts *accounts);
must_check int account_setup_token(struct accounts *accounts, const struct account_now *now, char *text, size_t size);

/* Password work: what costs. Fill in on the loop's thread, run account_password_work on another, hand back. */
struct account_password_work {
        char password[256];          /* wiped after the work */
        char hash[128];              /* to check against; "" to make one. Unknown names get a dummy, so that they take as long */
        bool right;                  /* result of a check */
        int error;
        struct id account;
        int purpose;                 /* enum account_purpose */
        char name[64];
        char address[64];
};
enum account_purpose { PURPOSE_SIGN_IN, PURPOSE_SETUP, PURPOSE_SET };
void account_password_work(struct account_password_work *work);

/* Sign-in: name and password → work; -E_QUOTA and *ret_retry_ms when throttled (per name and per address, growing). */
must_check int account_sign_in_begin(struct accounts *accounts, const struct account_now *now, const char *name, const char *password,
                                     struct account_password_work *ret_work, uint64_t *ret_retry_ms);

struct account_tokens {
        char access[1024], refresh[128];
        uint64_t access_expires_ms;  /* unix */
        struct id session;
        struct account_caller caller;
};
/* The work is done: tokens, or -EACCES (counted for the throttle). */
must_check int account_sign_in_end(struct accounts *accounts, const struct account_now *now, const struct account_password_work *work,
                                   struct account_tokens *ret_tokens, struct account_changes *ret_changes);
/* New tokens for a refresh token; the old one is used up. One used twice ends its whole family (-EACCES), both parties must sign in again. */
must_check int account_refresh(struct accounts *accounts, const struct account_now *now, const char *refresh, struct account_tokens *ret_tokens,
                               struct account_changes *ret_changes);
must_check int account_sign_out(struct accounts *accounts, const struct account_now *now, const struct id *session, struct account_changes *ret_changes);
/* The one-time token makes the first admin: name and password → work with PURPOSE_SETUP, ended by account_sign_in_end. -EACCES, -EALREADY, -EINVAL. */
must_check int account_setup_begin(struct accounts *accounts, const struct account_now *now, const char *token, const char *name, const char *password,
                                   struct account_password_work *ret_work);

struct account_spec {
        char name[64];               /* 1-63 of [a-z0-9._-], unique */
        enum account_role role;
        struct account_limits limits;
        uint32_t weight;             /* 0: 100 */
        bool disabled;
};
/* Management. by: who asks, must have the right, and may never give more than it has itself (-EPERM). Every one adds an audit row. */
must_check int account_create(struct accounts *accounts, const struct account_now *now, const struct account_caller *by, const struct account_spec *spec,
                              struct id *ret_id, struct account_changes *ret_changes);
must_check int account_change(struct accounts *accounts, const struct account_now *now, const struct account_caller *by, const struct id *id,
                              const struct account_spec *spec, struct account_changes *ret_changes);
must_check int account_password_begin(struct accounts *accounts, const struct account_now *now, const struct account_caller *by, const struct id *id,
                                      const char *password, struct account_password_work *ret_work);
must_check int account_password_end(struct accounts *accounts, const struct account_now *now, const struct account_caller *by,
                                    const struct account_password_work *work, struct account_changes *ret_changes);

struct account_key_spec {
        char label[64];
        uint64_t scopes;             /* bits of rights; 0: the account's */
        int64_t expires_ms;          /* unix; 0: never */
        struct account_limits limits;
};
/* A new key for an account; its text, shown once: "berth_" + 43 characters + 6 of checksum. */
must_check int account_key_create(struct accounts *accounts, const struct account_now *now, const struct account_caller *by, const struct id *account,
                                  const struct account_key_spec *spec, char *text, size_t size, struct id *ret_key, struct account_changes *ret_changes);
must_check int account_key_end(struct accounts *accounts, const struct account_now *now, const struct account_caller *by, const struct id *key,
                               struct account_changes *ret_changes);

/* For lists: calls view for each account (or key of an account), in order of id. */
struct account_view {
        struct id id, account;
        struct account_spec spec;
        struct account_key_spec key;
        int64_t created_ms, used_ms;
        bool has_password;
};
void accounts_each(const struct accounts *accounts, void (*view)(void *context, const struct account_view *view), void *context);
void account_keys_each(const struct accounts *accounts, const struct id *account, void (*view)(void *context, const struct account_view *view), void *context);
/* Public keys of tokens, as a JWKS document. */
must_check int account_jwks(const struct accounts *accounts, char *text, size_t size);
/* An audit row: who did what to what, with which outcome. */
must_check int account_audit(struct accounts *accounts, const struct account_now *now, const struct account_caller *by, const char *verb,
                             const char *object, int outcome, struct account_changes *ret_changes);
