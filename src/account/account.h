/* account.h: who someone is and what they may do: accounts, API keys, passwords, sessions, tokens, roles, the audit log's rows.
 *
 * Everything is in memory (loaded from rows at start) and decided here without I/O; what must survive comes out as store changes that the caller
 * commits before it answers. Memory changes at once, so that an end (key, session, account) holds from the call on, whatever becomes of the commit; a
 * commit that failed for the moment is to be tried again with the same rows. Time and random bytes are arguments, but for password hashing (Argon2id by
 * libsodium, ~ 50 ms and 64 MiB), which is split into a pure part and account_password_work(), which the caller runs on another thread.
 *
 * Secrets. Nothing secret is stored in clear: API keys as HMAC-SHA-256 under the pool's own secret, refresh tokens likewise, passwords as Argon2id
 * strings; the signing key (Ed25519) and the pool's secret are kept in a file of mode 0600 beside the store (account_secrets_read), never in the store.
 * Comparisons are constant-time. Failures say nothing about which part was wrong.
 *
 * Roles: admin ⊃ operator; auditor (reads everything, changes nothing); user (own tasks only); worker (joins as worker, nothing else). A right is a verb
 * on a kind of thing; the table of rights (rights.def) is deny by default, and every route names the right that it needs.
 *
 * Time. Expiry goes by unix time that never goes back: the highest seen (also in loaded rows), and on from there by the monotonic clock. So a clock set
 * back revives nothing; one that was far ahead and was put right makes keys with an expiry end early until the next start, or for good if rows were
 * written meanwhile. Signing in keeps working through either.
 */
#pragma once

#include "base/id.h"
#include "base/scope.h"
#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum account_role { ROLE_NONE, ROLE_USER, ROLE_WORKER, ROLE_AUDITOR, ROLE_OPERATOR, ROLE_ADMIN, ROLES };

/* What a caller may do: RIGHT_NONE, RIGHT_SELF, RIGHT_TASK_SUBMIT … as in rights.def, where each is explained. */
enum account_right {
#define RIGHT(symbol, ...) RIGHT_##symbol,
#include "rights.def"
#undef RIGHT
        RIGHTS
};

/* Limits of an account or a key; 0: none beyond the pool's own. */
struct account_limits {
        uint64_t requests_per_minute, tasks_per_minute, max_leases, max_tasks, max_connections;
        uint64_t tokens_per_minute, max_generations; /* of models: reserved before, settled after; requests at a time */
};

/* Who is asking, found out by account_identify. */
struct account_caller {
        struct id account, key;        /* key: all zero when it came by a token */
        struct id session;             /* all zero when it came by a key */
        enum account_role role;        /* ROLE_NONE: nobody (an all-zero caller) */
        uint64_t scopes;               /* bit per right that the key or token allows; all ones: what the role has */
        char name[64];
        struct account_limits limits;  /* the smaller of the account's and the key's */
        const char *models;            /* that the key may ask, as in account_key_spec; NULL: all. The key's own text: good until the next call on the accounts */
        uint32_t weight;
};

/* The pool itself: for what its own process or its machine's owner does (first start, command line on the store). Never handed to a connection. */
extern const struct account_caller account_pool_itself;

static inline bool account_any_right(const struct account_caller *caller)
{
        return caller->role != ROLE_NONE;
}
/* By role and scopes. */
bool account_may(const struct account_caller *caller, enum account_right right);
const char *account_role_name(enum account_role role);
must_check int account_role_parse(const char *name, enum account_role *ret_role);
const char *account_right_name(enum account_right right);
must_check int account_right_parse(const char *name, enum account_right *ret_right);
/* "see own tasks …": rights.def's text. */
const char *account_right_text(enum account_right right);
bool account_role_has(enum account_role role, enum account_right right);

struct accounts;

struct accounts_options {
        const char *issuer;            /* the "iss" and "aud" of tokens: printable, without quotes and backslashes, ≤ 150 bytes */
        uint64_t access_ms, refresh_ms; /* life of tokens; 0: 15 min, 30 days */
        const uint8_t *secret;         /* 32 bytes: keys HMACs */
        const uint8_t *sign_seed;      /* 32 bytes: Ed25519, current */
        const uint8_t *sign_seed_before; /* the one before, still accepted; NULL: none */
        uint32_t password_works;       /* unfinished password works of strangers at a time; 0: 8. As many again for who signed in from there before */
};

/* The secrets of a pool. Wipe it (account_secrets_wipe) after accounts_new. Pool servers of one PostgreSQL store need the same file. */
struct account_secrets {
        uint8_t secret[32], sign_seed[32], sign_seed_before[32];
        bool has_before;
};
#define ACCOUNT_MESSAGE 256
/* From `path`, made (mode 0600, atomically, fsync) when it is missing. -EPERM: others can read it, or it is somebody else's; -EBADMSG: damaged; message says
 * what to do. */
must_check int account_secrets_read(const char *path, struct account_secrets *ret_secrets, char message[ACCOUNT_MESSAGE]);
/* A new signing key into the file; the current one becomes the one before (whose tokens are accepted while they live), the one before that is gone. */
must_check int account_secrets_rotate(const char *path, struct account_secrets *ret_secrets, char message[ACCOUNT_MESSAGE]);
void account_secrets_wipe(struct account_secrets *secrets);

/* -EINVAL: options. */
must_check int accounts_new(const struct accounts_options *options, struct accounts **ret_accounts);
void accounts_free(struct accounts *accounts);
SCOPED_FN(struct accounts *, accounts_free)
/* Signs with this seed from now on; the current one is still accepted. */
must_check int accounts_sign_with(struct accounts *accounts, const uint8_t sign_seed[32]);
/* Rows of STORE_ACCOUNT, STORE_KEY, STORE_SESSION, STORE_SETTING, in any order, at start; later again for rows that another pool server changed.
 * -EBADMSG: not ours, and nothing changed; accounts_problem says what. */
must_check int accounts_load(struct accounts *accounts, const struct store_row *row);
/* Why the last call on these accounts was refused, as a sentence for people; "" when it was not. Never a secret, never which part of a credential was
 * wrong. Valid until the next call. */
const char *accounts_problem(const struct accounts *accounts);

/* Changes to commit. The texts live until the next call on the same accounts that returns changes. A refusal may bring changes too (an audit row, a session that a
 * replayed token ended): commit whenever count is not 0, whatever the result. */
struct account_changes {
        struct store_change changes[4];
        size_t count;
};

struct account_now {
        int64_t unix_ms;
        uint64_t monotonic_ms;      /* throttling and caches go by this one, so that a clock set back opens nothing */
        const uint8_t *random;      /* 64 fresh bytes: all that is drawn in one call is derived from them */
        const char *address;        /* the peer's, for throttling and audit; may be NULL */
};

/* Identity from an Authorization header's value ("Bearer berth_…" key, or "Bearer eyJ…" token). 0; -EACCES: not accepted (wrong, expired, foreign, ended);
 * -EINVAL: malformed. Keys in use are found by their HMAC in a hash table; a token's signature is checked (EdDSA only, kid known, typ at+jwt, iss, aud,
 * exp, nbf with 60 s skew, session not ended). */
must_check int account_identify(struct accounts *accounts, const struct account_now *now, const char *authorization, size_t length,
                                struct account_caller *ret_caller);

/* For connections that stay open: true while the account, and the key or session that the caller came by, have not ended; *caller is brought up to date (role,
 * limits). Costs two look-ups. */
bool account_still(struct accounts *accounts, const struct account_now *now, struct account_caller *caller);

/* First start: true while no admin exists that can get in (enabled, with a password or an unlimited key). The one-time token for the sign-in link (a new one each start; only the newest works). */
bool accounts_fresh(const struct accounts *accounts);
must_check int account_setup_token(struct accounts *accounts, const struct account_now *now, char *text, size_t size);

/* Password work: what costs. Fill in on the loop's thread (…_begin), run account_password_work on another, hand back (…_end) once, also when nobody waits for
 * the answer any more: unfinished works are counted. */
enum account_purpose { PURPOSE_NONE, PURPOSE_SIGN_IN, PURPOSE_SETUP, PURPOSE_SET };
struct account_password_work {
        char password[256];          /* to check against hash; wiped by the work */
        char hash[128];              /* "": nothing to check. Unknown names get a dummy, so that they take as long */
        char new_password[256];      /* to make new_hash of; "": none; wiped by the work */
        char new_hash[128];
        bool right;                  /* result of the check */
        int error;                   /* -ENOMEM: not decided */
        struct id account;
        enum account_purpose purpose;
        bool known;
        char name[64];
        char address[64];
};
void account_password_work(struct account_password_work *work);
#define ACCOUNT_PASSWORD_MIN 12 /* bytes of a new one; at most 255 */

/* Sign-in: name and password → work; -E_QUOTA and *ret_retry_ms when throttled: per address, and per name from that address, growing; a name under attack
 * from many addresses gets stricter for each of them, but the first try from an address that has not failed is always looked at. */
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
/* New tokens for a refresh token; the old one is used up. One used twice ends its whole family (-EACCES), both parties must sign in again; but once after each
 * rotation, within 10 s and from the same address, the token just used up is taken again (its answer was lost) and replaces the one that it brought. */
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
/* Management. by: who asks, must have the right, and may never give more than it has itself (-EPERM): no role or scope beyond its own, and
 * no key beyond the expiry and limits of the key that asks. Every one an audit row. -ENOENT, -EEXIST (name taken), -EINVAL (malformed), -EBUSY (the last
 * admin that can get in), -E_QUOTA (too many keys). */
must_check int account_create(struct accounts *accounts, const struct account_now *now, const struct account_caller *by, const struct account_spec *spec,
                              struct id *ret_id, struct account_changes *ret_changes);
/* The whole spec; its name must be the account's, or "". Disabling ends all its sessions for good and lets its keys rest until it is enabled again. */
must_check int account_change(struct accounts *accounts, const struct account_now *now, const struct account_caller *by, const struct id *id,
                              const struct account_spec *spec, struct account_changes *ret_changes);
/* A new password; ends all sessions of the account. old: the present one, needed by who changes its own and has one (throttled like signing in); else NULL. */
must_check int account_password_begin(struct accounts *accounts, const struct account_now *now, const struct account_caller *by, const struct id *id,
                                      const char *old, const char *password, struct account_password_work *ret_work, uint64_t *ret_retry_ms);
must_check int account_password_end(struct accounts *accounts, const struct account_now *now, const struct account_caller *by,
                                    const struct account_password_work *work, struct account_changes *ret_changes);

#define ACCOUNT_MODELS 512
struct account_key_spec {
        char label[64];
        uint64_t scopes;             /* bits of rights; 0: the account's */
        int64_t expires_ms;          /* unix; 0: never */
        struct account_limits limits;
        char models[ACCOUNT_MODELS]; /* names that it may ask, with commas between; "": all */
};
/* The model is one of a key's (models may be NULL). */
bool account_model_listed(const char *models, const char *model);
/* A new key for an account; its text, shown once: "berth_" + 43 letters and digits (256 random bits) + 6 of checksum. size ≥ ACCOUNT_KEY_TEXT; wipe it after use. */
#define ACCOUNT_KEY_TEXT 64
must_check int account_key_create(struct accounts *accounts, const struct account_now *now, const struct account_caller *by, const struct id *account,
                                  const struct account_key_spec *spec, char *text, size_t size, struct id *ret_key, struct account_changes *ret_changes);
must_check int account_key_end(struct accounts *accounts, const struct account_now *now, const struct account_caller *by, const struct id *key,
                               struct account_changes *ret_changes);

/* For lists: calls view for each account (or key of an account; NULL: all keys), in order of id. One account or key: 0, -ENOENT. */
struct account_view {
        struct id id, account;
        struct account_spec spec;
        struct account_key_spec key;
        int64_t created_ms, used_ms; /* used_ms: 0: not since this start */
        bool has_password, ended;
};
void accounts_each(const struct accounts *accounts, void (*view)(void *context, const struct account_view *view), void *context);
void account_keys_each(const struct accounts *accounts, const struct id *account, void (*view)(void *context, const struct account_view *view), void *context);
must_check int account_get(const struct accounts *accounts, const struct id *id, struct account_view *ret_view);
must_check int account_find(const struct accounts *accounts, const char *name, struct account_view *ret_view);
must_check int account_key_get(const struct accounts *accounts, const struct id *key, struct account_view *ret_view);
/* Public keys of tokens, as a JWKS document. */
must_check int account_jwks(const struct accounts *accounts, char *text, size_t size);
/* An audit row: who did what to what, with which outcome. */
must_check int account_audit(struct accounts *accounts, const struct account_now *now, const struct account_caller *by, const char *verb,
                             const char *object, int outcome, struct account_changes *ret_changes);

/* What was counted since the start: for metrics. */
struct account_counts {
        uint64_t keys_accepted, tokens_accepted, tokens_cached; /* cached: of the accepted, those whose signature was checked before */
        uint64_t credentials_malformed, credentials_refused;
        uint64_t sign_ins, sign_ins_failed, sign_ins_throttled, refreshes, replays;
        uint64_t audit_left_out;                                /* refusals beyond what the audit log takes from strangers (1/s, 60 at once) */
        uint64_t accounts, keys, sessions;                      /* there are */
};
void accounts_counts(const struct accounts *accounts, struct account_counts *ret_counts);
