/* account-identify.c: what it costs to find out who asks: nanoseconds a call for an API key, for an access token that was seen before, and for one that was not, among
 * 10,000 keys and 1,000 sessions. One JSON line. With an argument (key, cached, verified) only that part runs, for an instruction counter.
 */
#include "account/account.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#define KEYS 10000
#define SESSIONS 1000

static struct accounts *accounts;
static struct account_now now;
static uint8_t chance[64], secret[32], seed[32], other_seed[32] = {1};
static char keys[KEYS][80], tokens[SESSIONS][1100];

static void must(int r)
{
        if (r < 0) {
                fprintf(stderr, "account-identify: %d: %s\n", r, accounts_problem(accounts));
                exit(1);
        }
}

static void prepare(void)
{
        struct accounts_options options = {.issuer = "https://pool.example", .secret = secret, .sign_seed = seed};
        struct account_changes changes;

        now = (struct account_now){.unix_ms = 1800000000000, .monotonic_ms = 1, .random = chance, .address = "192.0.2.1"};
        must(accounts_new(&options, &accounts));
        for (int i = 0; i < SESSIONS; i++) {
                struct account_spec spec = {.role = ROLE_USER};
                struct account_password_work work;
                struct account_tokens got;
                uint64_t retry_ms;
                struct id id, key;

                snprintf(spec.name, sizeof(spec.name), "user%d", i);
                must(account_create(accounts, &now, &account_pool_itself, &spec, &id, &changes));
                for (int k = 0; k < KEYS / SESSIONS; k++) {
                        struct account_key_spec key_spec = {0};
                        char *text = keys[i * (KEYS / SESSIONS) + k];

                        memcpy(text, "Bearer ", 7);
                        must(account_key_create(accounts, &now, &account_pool_itself, &id, &key_spec, text + 7, 73, &key, &changes));
                }
                must(account_password_begin(accounts, &now, &account_pool_itself, &id, NULL, "a long sentence", &work, &retry_ms));
                snprintf(work.new_hash, sizeof(work.new_hash), "$argon2id$v=19$m=65536,t=2,p=1$x$y"); /* hashing is not what is measured */
                must(account_password_end(accounts, &now, &account_pool_itself, &work, &changes));
                must(account_sign_in_begin(accounts, &now, spec.name, "a long sentence", &work, &retry_ms));
                work.right = true;
                must(account_sign_in_end(accounts, &now, &work, &got, &changes));
                snprintf(tokens[i], sizeof(tokens[i]), "Bearer %s", got.access);
        }
}

static double key_ns(int rounds)
{
        struct account_caller caller;
        uint64_t begin = clock_now_ns();

        for (int r = 0; r < rounds; r++)
                for (int i = 0; i < KEYS; i++)
                        must(account_identify(accounts, &now, keys[i], 62, &caller));
        return (double)(clock_now_ns() - begin) / rounds / KEYS;
}

static double token_ns(int rounds)
{
        struct account_caller caller;
        uint64_t begin = clock_now_ns();

        for (int r = 0; r < rounds; r++)
                for (int i = 0; i < SESSIONS; i++)
                        must(account_identify(accounts, &now, tokens[i], strlen(tokens[i]), &caller));
        return (double)(clock_now_ns() - begin) / rounds / SESSIONS;
}

int main(int argc, char **argv)
{
        const char *only = argc > 1 ? argv[1] : "";
        double key = 0, verified = 0, cached = 0;

        prepare();
        if (!*only || !strcmp(only, "key"))
                key = key_ns(*only ? 1 : 20);
        if (!*only || !strcmp(only, "verified"))
                verified = token_ns(1);
        if (!*only || !strcmp(only, "cached")) {
                if (*only)
                        token_ns(1);
                cached = token_ns(*only ? 10 : 200);
        }
        if (!*only) {
                /* Another signing key and back to none seen: the turn empties the cache, the key before is still accepted. */
                must(accounts_sign_with(accounts, other_seed));
                double again = token_ns(1);

                verified = again < verified ? again : verified;
        }
        printf("{\"bench\": \"account-identify\", \"key_ns\": %.0f, \"token_cached_ns\": %.0f, \"token_verified_ns\": %.0f, \"keys\": %d, \"sessions\": %d}\n", key, cached,
               verified, KEYS, SESSIONS);
        accounts_free(accounts);
        return 0;
}
