/* test-account.h: what the tests of accounts share: books with known secrets, a clock that is set by hand, chance that counts. */
#pragma once

#include "account/account.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define START_MS INT64_C(1800000000000)

struct world {
        struct accounts *accounts;
        struct account_now now;
        struct account_changes changes;
        uint8_t random[64], secret[32], sign_seed[32];
};

static inline void world_options(struct world *w, struct accounts_options *options)
{
        memset(w->secret, 7, sizeof(w->secret));
        memset(w->sign_seed, 9, sizeof(w->sign_seed));
        *options = (struct accounts_options){.issuer = "https://pool.test", .secret = w->secret, .sign_seed = w->sign_seed};
}

static inline void world_new(struct world *w)
{
        struct accounts_options options;

        memset(w, 0, sizeof(*w));
        world_options(w, &options);
        w->now = (struct account_now){.unix_ms = START_MS, .monotonic_ms = 1000, .random = w->random, .address = "192.0.2.1"};
        assert_int_equal(accounts_new(&options, &w->accounts), 0);
}

static inline void world_free(struct world *w)
{
        accounts_free(w->accounts);
}

static inline void world_pass(struct world *w, int64_t ms)
{
        w->now.unix_ms += ms;
        w->now.monotonic_ms += (uint64_t)ms;
}

static inline struct id world_account(struct world *w, const char *name, enum account_role role)
{
        struct account_spec spec = {.role = role};
        struct id id;

        snprintf(spec.name, sizeof(spec.name), "%s", name);
        assert_int_equal(account_create(w->accounts, &w->now, &account_pool_itself, &spec, &id, &w->changes), 0);
        return id;
}

static inline struct id world_key(struct world *w, const struct id *account, uint64_t scopes, char text[ACCOUNT_KEY_TEXT])
{
        struct account_key_spec spec = {.scopes = scopes};
        struct id id;

        assert_int_equal(account_key_create(w->accounts, &w->now, &account_pool_itself, account, &spec, text, ACCOUNT_KEY_TEXT, &id, &w->changes), 0);
        return id;
}

static inline int world_identify(struct world *w, const char *text, struct account_caller *caller)
{
        char header[8192];

        snprintf(header, sizeof(header), "Bearer %s", text);
        return account_identify(w->accounts, &w->now, header, strlen(header), caller);
}

/* Takes what the last call wants to be stored into other books, as a start after it would. */
static inline void world_copy(const struct account_changes *changes, struct accounts *to)
{
        for (size_t i = 0; i < changes->count; i++)
                if (changes->changes[i].row.table != STORE_AUDIT)
                        assert_int_equal(accounts_load(to, &changes->changes[i].row), 0);
}

/* The audit row among the changes holds these texts. */
static inline void assert_audited(const struct account_changes *changes, const char *verb, const char *other)
{
        for (size_t i = 0; i < changes->count; i++)
                if (changes->changes[i].row.table == STORE_AUDIT) {
                        assert_non_null(strstr(changes->changes[i].row.spec, verb));
                        assert_non_null(strstr(changes->changes[i].row.spec, other));
                        return;
                }
        fail_msg("no audit row for %s", verb);
}

#define PASSWORD "a sentence that nobody guesses"

/* Sign-in as far as the books go: the work's result is given, so that no test hashes but those about hashing. */
static inline int world_sign_in(struct world *w, const char *name, bool right, struct account_tokens *tokens)
{
        struct account_password_work work;
        uint64_t retry_ms = 0;
        int r = account_sign_in_begin(w->accounts, &w->now, name, PASSWORD, &work, &retry_ms);

        if (r < 0)
                return r;
        work.right = right;
        return account_sign_in_end(w->accounts, &w->now, &work, tokens, &w->changes);
}

/* A password without the work of hashing it: a hash of our form that nothing fits. */
static inline void world_password(struct world *w, const struct id *id)
{
        struct account_password_work work;
        uint64_t retry_ms = 0;

        assert_int_equal(account_password_begin(w->accounts, &w->now, &account_pool_itself, id, NULL, PASSWORD, &work, &retry_ms), 0);
        snprintf(work.new_hash, sizeof(work.new_hash), "$argon2id$v=19$m=65536,t=2,p=1$%022d$%043d", 1, 2);
        assert_int_equal(account_password_end(w->accounts, &w->now, &account_pool_itself, &work, &w->changes), 0);
}
