/* fuzz-token.c: any bytes as an Authorization header, and as a refresh token, of a pool that has an account with a key and a session. The first byte chooses: raw bytes;
 * "Bearer " and them; the good key or token with bytes changed at places that the input names; the input as header or claims of a token that is signed rightly, so that
 * what lies behind the signature is reached, too. Accepted is only what was made, or what carries its rights; refusals say why, in print.
 */
#include "account/account.h"

#include "fuzz.h"

#include <jansson.h>
#include <sodium.h>
#include <string.h>

#define TEXT_ROOM 2048
#define B64 sodium_base64_VARIANT_URLSAFE_NO_PADDING

static struct accounts *accounts;
static struct account_now now;
static uint8_t chance[64], secret[32], seed[32];
static char key[ACCOUNT_KEY_TEXT];
static struct account_tokens tokens;
static struct id account;
static char header[256];

static void prepare(void)
{
        struct accounts_options options = {.issuer = "https://pool.test", .secret = secret, .sign_seed = seed};
        struct account_key_spec key_spec = {0};
        struct account_spec spec = {.name = "ann", .role = ROLE_USER};
        struct account_password_work work;
        struct account_changes changes;
        uint64_t retry_ms;
        struct id id;
        size_t n = 0;

        if (accounts)
                return;
        now = (struct account_now){.unix_ms = 1800000000000, .monotonic_ms = 1, .random = chance, .address = "::1"};
        promise(!accounts_new(&options, &accounts), "new");
        promise(!account_create(accounts, &now, &account_pool_itself, &spec, &account, &changes), "account");
        promise(!account_key_create(accounts, &now, &account_pool_itself, &account, &key_spec, key, sizeof(key), &id, &changes), "key");
        promise(!account_password_begin(accounts, &now, &account_pool_itself, &account, NULL, "a long sentence", &work, &retry_ms), "password");
        snprintf(work.new_hash, sizeof(work.new_hash), "$argon2id$v=19$m=65536,t=2,p=1$x$y");
        promise(!account_password_end(accounts, &now, &account_pool_itself, &work, &changes), "password");
        promise(!account_sign_in_begin(accounts, &now, "ann", "a long sentence", &work, &retry_ms), "sign in");
        work.right = true;
        promise(!account_sign_in_end(accounts, &now, &work, &tokens, &changes), "sign in");
        promise(!sodium_base642bin((uint8_t *)header, sizeof(header) - 1, tokens.access, (size_t)(strchr(tokens.access, '.') - tokens.access), NULL, &n, NULL, B64), "b64");
        header[n] = '\0';
}

static void identify(const char *text, size_t length, const char *good)
{
        struct account_caller caller;
        char *exact = malloc(length ? length : 1); /* so that a byte too far is seen */
        int r;

        promise(exact, "memory");
        memcpy(exact, text, length);
        r = account_identify(accounts, &now, exact, length, &caller);
        free(exact);
        promise(r == 0 || r == -EINVAL || r == -EACCES, "%d", r);
        if (r) {
                const char *problem = accounts_problem(accounts);

                promise(*problem, "no word");
                for (; *problem; problem++)
                        promise(*problem >= ' ' && *problem <= '~', "character %d", *problem);
                return;
        }
        promise(id_equal(&caller.account, &account) && caller.role == ROLE_USER && !account_may(&caller, RIGHT_TASK_READ_ALL), "somebody else");
        promise(!good || (strlen(good) + 7 == length && !memcmp(text + 7, good, length - 7)), "a changed credential was taken");
}

/* A token of our own signature around the parts. */
static void signed_by_us(const void *first, size_t first_bytes, const void *second, size_t second_bytes)
{
        uint8_t public_key[32], secret_key[64], signature[64];
        static char text[16384];
        size_t n = 7;

        crypto_sign_seed_keypair(public_key, secret_key, seed);
        memcpy(text, "Bearer ", 7);
        sodium_bin2base64(text + n, 6000, first, first_bytes, B64);
        n += strlen(text + n);
        text[n++] = '.';
        sodium_bin2base64(text + n, 6000, second, second_bytes, B64);
        n += strlen(text + n);
        crypto_sign_detached(signature, NULL, (const uint8_t *)text + 7, n - 7, secret_key);
        text[n++] = '.';
        sodium_bin2base64(text + n, 100, signature, sizeof(signature), B64);
        identify(text, n + strlen(text + n), NULL);
}

static void changed(const char *good, struct fuzz_input *in)
{
        char text[TEXT_ROOM];
        size_t n = strlen(good);

        snprintf(text, sizeof(text), "Bearer %s", good);
        while (in->left >= 3)
                text[7 + fuzz_u16(in) % n] = (char)fuzz_byte(in);
        identify(text, 7 + n, good);
}

static void refresh(const uint8_t *data, size_t size, bool change)
{
        struct account_tokens got;
        struct account_changes changes;
        char text[TEXT_ROOM];
        size_t n = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
        int r;

        if (change) {
                struct fuzz_input in = {data, size};

                n = strlen(tokens.refresh);
                memcpy(text, tokens.refresh, n);
                while (in.left >= 2) {
                        uint8_t at = fuzz_byte(&in);

                        text[at % n] = (char)fuzz_byte(&in);
                }
        } else {
                memcpy(text, data, n);
        }
        text[n] = '\0';
        if (!strcmp(text, tokens.refresh))
                return; /* the good one would be used up */
        r = account_refresh(accounts, &now, text, &got, &changes);
        promise((r == -EINVAL || r == -EACCES) && !changes.count, "%d and %zu changes", r, changes.count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct fuzz_input in = {data, size};
        char text[TEXT_ROOM];
        size_t n;

        prepare();
        switch (fuzz_byte(&in) % 7) {
        case 0:
                identify((const char *)in.data, in.left, NULL);
                break;
        case 1:
                n = in.left < sizeof(text) - 7 ? in.left : sizeof(text) - 7;
                memcpy(text, "Bearer ", 7);
                memcpy(text + 7, in.data, n);
                identify(text, 7 + n, NULL);
                break;
        case 2:
                changed(key, &in);
                break;
        case 3:
                changed(tokens.access, &in);
                break;
        case 4:
                signed_by_us(header, strlen(header), in.data, in.left < 3000 ? in.left : 3000);
                break;
        case 5:
                signed_by_us(in.data, in.left < 3000 ? in.left : 3000, "{}", 2);
                break;
        default:
                if (fuzz_byte(&in) & 1)
                        refresh(in.data, in.left, true);
                else
                        refresh(in.data, in.left, false);
        }
        return 0;
}
