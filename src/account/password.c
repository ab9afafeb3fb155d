/* password.c: signing in with a name and a password, the first start's one-time token, and setting passwords. Each is split: _begin decides whether it is looked at
 * at all (throttle, works under way), the work hashes on another thread, _end believes the work's result only if the account still is what it was. A name that does
 * not exist, has no password or is disabled costs the same work and gets the same answer as a wrong password.
 */
#include "account/books.h"

#include <string.h>

#define PASSWORD_MAX 255
#define SETUP_NAME "(setup)" /* in the throttle; no account can be called that */

void account_password_work(struct account_password_work *work)
{
        work->error = 0;
        work->right = false;
        if (work->hash[0]) {
                errno = 0;
                work->right = !crypto_pwhash_str_verify(work->hash, work->password, strlen(work->password));
                if (!work->right && errno == ENOMEM) /* else that would pass for a wrong password */
                        work->error = -ENOMEM;
        }
        sodium_memzero(work->password, sizeof(work->password));
        if (work->new_password[0] && (!work->hash[0] || work->right) &&
            crypto_pwhash_str_alg(work->new_hash, work->new_password, strlen(work->new_password), crypto_pwhash_opslimit_interactive(),
                                  crypto_pwhash_memlimit_interactive(), crypto_pwhash_ALG_ARGON2ID13))
                work->error = -ENOMEM;
        sodium_memzero(work->new_password, sizeof(work->new_password));
}

_Static_assert(crypto_pwhash_STRBYTES <= sizeof(((struct account_password_work *)0)->new_hash), "a hash fits");

static void put(char *to, size_t size, const char *from)
{
        size_t n = strnlen(from, size - 1);

        memset(to, 0, size);
        memcpy(to, from, n);
}

static int new_password_ok(struct accounts *a, const char *name, const char *password)
{
        size_t n = strnlen(password, PASSWORD_MAX + 1);

        if (n < ACCOUNT_PASSWORD_MIN || n > PASSWORD_MAX)
                return accounts_refuse(a, -EINVAL, "a password has %d to %d bytes; a sentence does well", ACCOUNT_PASSWORD_MIN, PASSWORD_MAX);
        if (strspn(password, (char[]){password[0], '\0'}) == n || !strcasecmp(password, name))
                return accounts_refuse(a, -EINVAL, "that password is the name itself, or one character again and again: choose another");
        return 0;
}

static bool known_address(const struct accounts *a, const struct account *account, const char *address)
{
        const struct session *s;

        if (account)
                DL_FOREACH(account->sessions, s)
                        if (session_valid(s, a->clock_ms) && !strcmp(s->address, address))
                                return true;
        return false;
}

/* Throttle and a place among the works; fills in who and where. */
static int begin(struct accounts *a, const struct account_now *now, enum account_purpose purpose, const char *name, const struct account *account,
                 struct account_password_work *work, uint64_t *ret_retry_ms)
{
        uint32_t *works;
        uint64_t wait;

        memset(work, 0, sizeof(*work));
        put(work->name, sizeof(work->name), name);
        throttle_address(now->address, work->address);
        work->known = known_address(a, account, work->address);
        works = work->known ? &a->works_known : &a->works;
        wait = throttle_try(a->throttle, now->monotonic_ms, work->name, work->address, work->known);
        if (!wait && *works >= a->works_max) {
                throttle_good(a->throttle, now->monotonic_ms, work->name, work->address, false);
                wait = 1000;
        }
        if (wait) {
                a->counts.sign_ins_throttled++;
                *ret_retry_ms = wait;
                return accounts_refuse(a, -E_QUOTA, "too many tries: wait %llu s", (unsigned long long)(wait + 999) / 1000);
        }
        ++*works;
        work->purpose = purpose;
        return 0;
}

/* The work is over; what was not decided is not counted as failed. */
static void finish(struct accounts *a, const struct account_now *now, const struct account_password_work *work, bool good)
{
        uint32_t *works = work->known ? &a->works_known : &a->works;

        if (*works)
                --*works;
        if (good || work->error)
                throttle_good(a->throttle, now->monotonic_ms, work->name, work->address, good);
}

int account_sign_in_begin(struct accounts *a, const struct account_now *now, const char *name, const char *password, struct account_password_work *ret_work,
                          uint64_t *ret_retry_ms)
{
        const struct account *account;
        int r;

        accounts_clock(a, now);
        if (strnlen(password, PASSWORD_MAX + 1) > PASSWORD_MAX || strnlen(name, 64) > 63)
                return accounts_refuse(a, -EINVAL, "a name has at most 63 bytes and a password at most %d", PASSWORD_MAX);
        account = accounts_by_name(a, name);
        r = begin(a, now, PURPOSE_SIGN_IN, name, account, ret_work, ret_retry_ms);
        if (r < 0)
                return r;
        put(ret_work->password, sizeof(ret_work->password), password);
        put(ret_work->hash, sizeof(ret_work->hash), account && account->hash[0] ? account->hash : a->dummy_hash);
        if (account)
                ret_work->account = account->id;
        return 0;
}

static int wrong(struct accounts *a)
{
        return accounts_refuse(a, -EACCES, "wrong name or password");
}

/* The first admin, by the one-time token. */
static int setup_end(struct accounts *a, const struct account_now *now, const struct account_password_work *work, struct account_tokens *ret_tokens,
                     struct account_changes *changes)
{
        struct account *account;
        struct id id;
        int r;

        if (!a->has_setup || !accounts_fresh(a))
                return accounts_refuse(a, -EALREADY, "there is an administrator already: sign in");
        if (accounts_by_name(a, work->name + strlen(SETUP_NAME)))
                return accounts_refuse(a, -EEXIST, "that name is taken");
        id = accounts_new_id(a, now);
        account = accounts_obtain(a, &id);
        if (!account)
                return -ENOMEM;
        put(account->name, sizeof(account->name), work->name + strlen(SETUP_NAME));
        put(account->hash, sizeof(account->hash), work->new_hash);
        account->role = ROLE_ADMIN;
        account->weight = 100;
        account->created_ms = a->clock_ms;
        accounts_add_name(a, account);
        a->has_setup = false;
        sodium_memzero(a->setup_mac, sizeof(a->setup_mac));
        r = changes_add_account(a, changes, account);
        if (!r)
                r = session_begin(a, now, account, ret_tokens, changes);
        return r < 0 ? r : audit_add(a, now, &ret_tokens->caller, "setup", account->name, 0, changes);
}

int account_sign_in_end(struct accounts *a, const struct account_now *now, const struct account_password_work *work, struct account_tokens *ret_tokens,
                        struct account_changes *ret_changes)
{
        struct account *account;
        struct account_caller by = {0};
        bool good;
        int r;

        accounts_clock(a, now);
        changes_begin(a, ret_changes);
        if (work->purpose != PURPOSE_SIGN_IN && work->purpose != PURPOSE_SETUP)
                return accounts_refuse(a, -EINVAL, "not a work of signing in");
        if (work->purpose == PURPOSE_SETUP) {
                finish(a, now, work, !work->error);
                return work->error ? work->error : setup_end(a, now, work, ret_tokens, ret_changes);
        }
        account = accounts_by_id(a, &work->account);
        good = !work->error && work->right && account && !account->disabled && account->hash[0] && !strcmp(account->hash, work->hash);
        finish(a, now, work, good);
        if (work->error)
                return work->error;
        if (!good) {
                a->counts.sign_ins_failed++;
                r = audit_add(a, now, NULL, "sign_in", account ? account->name : "(unknown name)", -EACCES, ret_changes);
                return r == -ENOMEM ? r : wrong(a);
        }
        a->counts.sign_ins++;
        caller_of(&by, account, NULL, NULL);
        r = session_begin(a, now, account, ret_tokens, ret_changes);
        return r < 0 ? r : audit_add(a, now, &by, "sign_in", account->name, 0, ret_changes);
}

int account_setup_token(struct accounts *a, const struct account_now *now, char *text, size_t size)
{
        accounts_clock(a, now);
        if (!accounts_fresh(a))
                return accounts_refuse(a, -EALREADY, "there is an administrator already");
        if (size < ACCOUNT_KEY_TEXT)
                return -EINVAL;
        key_draw(a, now, "setup_", text, size);
        key_mac(a, text, strlen(text), a->setup_mac);
        a->has_setup = true;
        return 0;
}

int account_setup_begin(struct accounts *a, const struct account_now *now, const char *token, const char *name, const char *password,
                        struct account_password_work *ret_work)
{
        char throttled[64 + sizeof(SETUP_NAME)] = SETUP_NAME, address[64];
        uint8_t mac[MAC];
        uint64_t wait;
        int r;

        accounts_clock(a, now);
        if (!accounts_fresh(a))
                return accounts_refuse(a, -EALREADY, "there is an administrator already: sign in");
        throttle_address(now->address, address);
        wait = throttle_try(a->throttle, now->monotonic_ms, SETUP_NAME, address, false);
        if (wait) {
                a->counts.sign_ins_throttled++;
                return accounts_refuse(a, -E_QUOTA, "too many tries: wait %llu s", (unsigned long long)(wait + 999) / 1000);
        }
        key_mac(a, token, strnlen(token, 256), mac);
        if (!a->has_setup || sodium_memcmp(mac, a->setup_mac, MAC))
                return accounts_refuse(a, -EACCES, "the set-up token is not the newest one: look at what the pool printed when it started last");
        throttle_good(a->throttle, now->monotonic_ms, SETUP_NAME, address, false);
        if (!name_ok(name) || strlen(name) + sizeof(SETUP_NAME) > sizeof(ret_work->name))
                return accounts_refuse(a, -EINVAL, "a name has 1 to 56 characters of a-z, 0-9, '.', '_' and '-'");
        r = new_password_ok(a, name, password);
        if (r < 0)
                return r;
        if (accounts_by_name(a, name))
                return accounts_refuse(a, -EEXIST, "that name is taken");
        memcpy(throttled + sizeof(SETUP_NAME) - 1, name, strlen(name) + 1);
        r = begin(a, now, PURPOSE_SETUP, throttled, NULL, ret_work, &wait);
        if (r < 0)
                return r;
        put(ret_work->new_password, sizeof(ret_work->new_password), password);
        return 0;
}

int account_password_begin(struct accounts *a, const struct account_now *now, const struct account_caller *by, const struct id *id, const char *old,
                           const char *password, struct account_password_work *ret_work, uint64_t *ret_retry_ms)
{
        const struct account *account;
        bool self;
        int r;

        accounts_clock(a, now);
        if (!caller_still(a, by, a->clock_ms))
                return accounts_refuse(a, -EACCES, "the credential has ended");
        account = accounts_by_id(a, id);
        self = account && id_equal(&by->account, id);
        if (!self && !account_may(by, RIGHT_ACCOUNT_CHANGE))
                return accounts_refuse(a, -EPERM, "only an administrator sets others' passwords");
        if (!account)
                return accounts_refuse(a, -ENOENT, "there is no such account");
        if (!caller_covers(by, rights_of_role(account->role)))
                return accounts_refuse(a, -EPERM, "a password gives all rights of its account: the credential in use has less");
        r = new_password_ok(a, account->name, password);
        if (r < 0)
                return r;
        if (self && account->hash[0] && !old)
                return accounts_refuse(a, -EINVAL, "give the present password, too");
        if (old && strnlen(old, PASSWORD_MAX + 1) > PASSWORD_MAX)
                return accounts_refuse(a, -EINVAL, "a password has at most %d bytes", PASSWORD_MAX);
        r = begin(a, now, PURPOSE_SET, account->name, account, ret_work, ret_retry_ms);
        if (r < 0)
                return r;
        ret_work->account = *id;
        put(ret_work->new_password, sizeof(ret_work->new_password), password);
        if (self && account->hash[0]) {
                put(ret_work->password, sizeof(ret_work->password), old);
                put(ret_work->hash, sizeof(ret_work->hash), account->hash);
        }
        return 0;
}

int account_password_end(struct accounts *a, const struct account_now *now, const struct account_caller *by, const struct account_password_work *work,
                         struct account_changes *ret_changes)
{
        bool good = !work->error && (!work->hash[0] || work->right);
        struct account *account;
        int r;

        accounts_clock(a, now);
        changes_begin(a, ret_changes);
        if (work->purpose != PURPOSE_SET)
                return accounts_refuse(a, -EINVAL, "not a work of setting a password");
        finish(a, now, work, good);
        if (work->error)
                return work->error;
        account = accounts_by_id(a, &work->account);
        if (!account)
                return accounts_refuse(a, -ENOENT, "there is no such account");
        /* Anything may have changed while the other thread hashed. */
        if (!caller_still(a, by, a->clock_ms) || !caller_covers(by, rights_of_role(account->role)))
                return accounts_refuse(a, -EACCES, "the credential has ended or lost rights meanwhile");
        if (!good || (work->hash[0] && strcmp(work->hash, account->hash))) {
                r = audit_add(a, now, by, "account.password", account->name, -EACCES, ret_changes);
                return r == -ENOMEM ? r : accounts_refuse(a, -EACCES, "the present password is wrong");
        }
        put(account->hash, sizeof(account->hash), work->new_hash);
        account_end_sessions(a, account);
        r = changes_add_account(a, ret_changes, account);
        return r < 0 ? r : audit_add(a, now, by, "account.password", account->name, 0, ret_changes);
}
