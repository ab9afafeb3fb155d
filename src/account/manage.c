/* manage.c: making, changing and listing accounts and keys. Two rules hold everywhere: nobody gives what it has not (caller_covers), and an administrator who can get
 * in is always left (accounts_other_admin). Ending a key is never refused to who may: a stolen one must go even if it was the last.
 */
#include "account/books.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define LIMIT_MAX (UINT64_C(1) << 53) /* JSON numbers are exact up to here */
#define TIME_MAX INT64_C(253402300799999)

bool limits_ok(const struct account_limits *l)
{
        return l->requests_per_minute <= LIMIT_MAX && l->tasks_per_minute <= LIMIT_MAX && l->max_leases <= LIMIT_MAX && l->max_tasks <= LIMIT_MAX &&
               l->max_connections <= LIMIT_MAX && l->tokens_per_minute <= LIMIT_MAX && l->max_generations <= LIMIT_MAX;
}

/* Refused, and the log says so. */
static int denied(struct accounts *a, const struct account_now *now, const struct account_caller *by, const char *verb, const char *object, int error,
                  const char *why, struct account_changes *changes)
{
        int r = audit_add(a, now, by, verb, object, error, changes);

        return r == -ENOMEM ? r : accounts_refuse(a, error, "%s", why);
}

/* What every change by somebody needs first. */
static int begin(struct accounts *a, const struct account_now *now, const struct account_caller *by, enum account_right right, const char *verb,
                 const char *object, struct account_changes *changes)
{
        accounts_clock(a, now);
        changes_begin(a, changes);
        if (!caller_still(a, by, a->clock_ms))
                return accounts_refuse(a, -EACCES, "the credential has ended");
        if (!account_may(by, right))
                return denied(a, now, by, verb, object, -EPERM, "the role, or the key, does not have the right to do that", changes);
        return 0;
}

static int spec_ok(struct accounts *a, const struct account_spec *spec)
{
        if ((unsigned int)spec->role <= ROLE_NONE || (unsigned int)spec->role >= ROLES)
                return accounts_refuse(a, -EINVAL, "role: give user, worker, auditor, operator or admin");
        if (spec->weight > 1000000)
                return accounts_refuse(a, -EINVAL, "weight: 1 to 1000000 (100 is usual)");
        if (!limits_ok(&spec->limits))
                return accounts_refuse(a, -EINVAL, "limits: whole numbers up to 2^53; 0 is none");
        return 0;
}

int account_create(struct accounts *a, const struct account_now *now, const struct account_caller *by, const struct account_spec *spec, struct id *ret_id,
                   struct account_changes *ret_changes)
{
        struct account *account;
        struct id id;
        int r = begin(a, now, by, RIGHT_ACCOUNT_CHANGE, "account.create", spec->name, ret_changes);

        if (r < 0)
                return r;
        r = spec_ok(a, spec);
        if (r < 0)
                return r;
        if (!name_ok(spec->name))
                return accounts_refuse(a, -EINVAL, "name: 1 to 63 characters of a-z, 0-9, '.', '_' and '-'");
        if (!caller_covers(by, rights_of_role(spec->role)))
                return denied(a, now, by, "account.create", spec->name, -EPERM, "the credential in use has not all rights of that role", ret_changes);
        if (accounts_by_name(a, spec->name))
                return accounts_refuse(a, -EEXIST, "that name is taken (names of disabled accounts, too)");
        id = accounts_new_id(a, now);
        account = accounts_obtain(a, &id);
        if (!account)
                return -ENOMEM;
        memcpy(account->name, spec->name, strlen(spec->name) + 1);
        account->role = spec->role;
        account->disabled = spec->disabled;
        account->limits = spec->limits;
        account->weight = spec->weight ? spec->weight : 100;
        account->created_ms = a->clock_ms;
        accounts_add_name(a, account);
        *ret_id = id;
        r = changes_add_account(a, ret_changes, account);
        return r < 0 ? r : audit_add(a, now, by, "account.create", account->name, 0, ret_changes);
}

int account_change(struct accounts *a, const struct account_now *now, const struct account_caller *by, const struct id *id, const struct account_spec *spec,
                   struct account_changes *ret_changes)
{
        struct account *account = accounts_by_id(a, id), was;
        int r = begin(a, now, by, RIGHT_ACCOUNT_CHANGE, "account.change", account ? account->name : "?", ret_changes);

        if (r < 0)
                return r;
        if (!account)
                return accounts_refuse(a, -ENOENT, "there is no such account");
        r = spec_ok(a, spec);
        if (r < 0)
                return r;
        if (spec->name[0] && strncmp(spec->name, account->name, sizeof(spec->name)))
                return accounts_refuse(a, -EINVAL, "name: an account keeps its name; make another account");
        if (!caller_covers(by, rights_of_role(spec->role) | rights_of_role(account->role)))
                return denied(a, now, by, "account.change", account->name, -EPERM, "the credential in use has not all rights of that role", ret_changes);
        was = *account;
        account->role = spec->role;
        account->disabled = spec->disabled;
        if (was.role == ROLE_ADMIN && account_can_enter(&was, a->clock_ms) && (spec->role != ROLE_ADMIN || spec->disabled) &&
            !accounts_other_admin(a, account, a->clock_ms)) {
                account->role = was.role;
                account->disabled = was.disabled;
                return denied(a, now, by, "account.change", account->name, -EBUSY, "that is the last administrator who can get in: make another one first",
                              ret_changes);
        }
        account->limits = spec->limits;
        account->weight = spec->weight ? spec->weight : 100;
        if (account->disabled && !was.disabled)
                account_end_sessions(a, account);
        r = changes_add_account(a, ret_changes, account);
        return r < 0 ? r : audit_add(a, now, by, account->disabled && !was.disabled ? "account.disable" : "account.change", account->name, 0, ret_changes);
}

/* A key that makes a key gives it no longer life and no wider limits than its own. */
static bool within(const struct key *own, const struct account_key_spec *spec)
{
        if (own->expires_ms && (!spec->expires_ms || spec->expires_ms > own->expires_ms))
                return false;
#define LIMIT(name)                                                                                                   \
        if (own->limits.name && (!spec->limits.name || spec->limits.name > own->limits.name)) \
        return false
        LIMIT(requests_per_minute);
        LIMIT(tasks_per_minute);
        LIMIT(max_leases);
        LIMIT(max_tasks);
        LIMIT(max_connections);
        LIMIT(tokens_per_minute);
        LIMIT(max_generations);
#undef LIMIT
        if (!own->models[0])
                return true;
        /* Each of its models is one of the key's. */
        for (const char *at = spec->models; *at; at += strcspn(at, ","), at += *at == ',') {
                char model[ACCOUNT_MODELS] = "";

                memcpy(model, at, strcspn(at, ","));
                if (!account_model_listed(own->models, model))
                        return false;
        }
        return spec->models[0] != 0;
}

int account_key_create(struct accounts *a, const struct account_now *now, const struct account_caller *by, const struct id *account_id,
                       const struct account_key_spec *spec, char *text, size_t size, struct id *ret_key, struct account_changes *ret_changes)
{
        struct account *account = accounts_by_id(a, account_id);
        bool self = account && id_equal(&by->account, account_id);
        const char *object = account ? account->name : "?";
        int r = begin(a, now, by, self ? RIGHT_KEY_OWN : RIGHT_ACCOUNT_CHANGE, "key.create", object, ret_changes);
        const struct key *own;
        struct key *key;
        size_t live = 0;

        if (r < 0)
                return r;
        if (!account)
                return accounts_refuse(a, -ENOENT, "there is no such account");
        if (size < ACCOUNT_KEY_TEXT)
                return -EINVAL;
        if (!text_is_clean(spec->label, sizeof(spec->label)))
                return accounts_refuse(a, -EINVAL, "label: up to 63 printable ASCII characters");
        if (!limits_ok(&spec->limits))
                return accounts_refuse(a, -EINVAL, "limits: whole numbers up to 2^53; 0 is none");
        if (spec->expires_ms && (spec->expires_ms <= a->clock_ms || spec->expires_ms > TIME_MAX))
                return accounts_refuse(a, -EINVAL, "expires: a time in the future (before the year 10000), or none");
        if (spec->scopes && spec->scopes != SCOPES_ALL && spec->scopes >> RIGHTS)
                return accounts_refuse(a, -EINVAL, "scopes: rights that this version knows");
        if (!caller_covers(by, rights_of_role(account->role) & (spec->scopes ? spec->scopes : SCOPES_ALL)))
                return denied(a, now, by, "key.create", object, -EPERM, "the credential in use has not all of those rights", ret_changes);
        own = id_is_none(&by->key) ? NULL : accounts_key(a, &by->key);
        if (own && !within(own, spec))
                return denied(a, now, by, "key.create", object, -EPERM, "a key makes no key with a longer life or wider limits than its own", ret_changes);
        DL_FOREACH(account->keys, key)
                live += !key->ended;
        if (live >= ACCOUNT_KEYS_MAX)
                return accounts_refuse(a, -E_QUOTA, "the account has %d keys: end some first", ACCOUNT_KEYS_MAX);
        key = calloc(1, sizeof(*key));
        if (!key)
                return -ENOMEM;
        key->id = accounts_new_id(a, now);
        key->account = account;
        memcpy(key->label, spec->label, strlen(spec->label) + 1);
        key->scopes = spec->scopes && spec->scopes != SCOPES_ALL ? spec->scopes | 1u << RIGHT_NONE : SCOPES_ALL;
        key->expires_ms = spec->expires_ms;
        key->limits = spec->limits;
        snprintf(key->models, sizeof(key->models), "%s", spec->models);
        key->created_ms = a->clock_ms;
        key_draw(a, now, "berth_", text, size);
        key_mac(a, text, strlen(text), key->mac);
        accounts_add_key(a, key);
        *ret_key = key->id;
        r = changes_add_key(a, ret_changes, key);
        return r < 0 ? r : audit_add(a, now, by, "key.create", object, 0, ret_changes);
}

int account_key_end(struct accounts *a, const struct account_now *now, const struct account_caller *by, const struct id *id,
                    struct account_changes *ret_changes)
{
        struct key *key = accounts_key(a, id);
        bool self = key && id_equal(&by->account, &key->account->id);
        char object[ID_TEXT];
        int r;

        id_text("key", id, object);
        /* A key may always end itself. */
        r = begin(a, now, by, key && id_equal(&by->key, id) ? RIGHT_SELF : self ? RIGHT_KEY_OWN : RIGHT_ACCOUNT_CHANGE, "key.end", object, ret_changes);
        if (r < 0)
                return r;
        if (!key || !key->account->loaded)
                return accounts_refuse(a, -ENOENT, "there is no such key");
        if (!self && !caller_covers(by, rights_of_role(key->account->role)))
                return denied(a, now, by, "key.end", object, -EPERM, "the credential in use has not all rights of that key's account", ret_changes);
        if (!key->ended) {
                key->ended = true;
                a->key_count--;
        }
        r = changes_add_key(a, ret_changes, key);
        return r < 0 ? r : audit_add(a, now, by, "key.end", object, 0, ret_changes);
}

static void view_account(const struct account *account, struct account_view *view)
{
        memset(view, 0, sizeof(*view));
        view->id = view->account = account->id;
        memcpy(view->spec.name, account->name, sizeof(view->spec.name));
        view->spec.role = account->role;
        view->spec.limits = account->limits;
        view->spec.weight = account->weight;
        view->spec.disabled = account->disabled;
        view->created_ms = account->created_ms;
        view->has_password = account->hash[0] != '\0';
}

static void view_key(const struct key *key, struct account_view *view)
{
        view_account(key->account, view);
        view->id = key->id;
        memcpy(view->key.label, key->label, sizeof(view->key.label));
        view->key.scopes = key->scopes == SCOPES_ALL ? 0 : key->scopes;
        view->key.expires_ms = key->expires_ms;
        view->key.limits = key->limits;
        memcpy(view->key.models, key->models, sizeof(view->key.models));
        view->created_ms = key->created_ms;
        view->used_ms = key->used_ms;
        view->ended = key->ended;
}

static int account_order(const struct account *x, const struct account *y)
{
        return memcmp(&x->id, &y->id, sizeof(x->id));
}

static int key_order(const struct key *x, const struct key *y)
{
        return memcmp(&x->id, &y->id, sizeof(x->id));
}

/* The order of the tables' lists is nobody's state: they are put in order where somebody looks, and mostly are. */
void accounts_each(const struct accounts *accounts, void (*view)(void *context, const struct account_view *view), void *context)
{
        struct accounts *a = (struct accounts *)accounts;
        struct account *account, *next;
        struct account_view v;

        HASH_SRT(by_id, a->accounts_by_id, account_order);
        HASH_ITER(by_id, a->accounts_by_id, account, next) {
                if (!account->loaded)
                        continue;
                view_account(account, &v);
                view(context, &v);
        }
}

void account_keys_each(const struct accounts *accounts, const struct id *of, void (*view)(void *context, const struct account_view *view), void *context)
{
        struct accounts *a = (struct accounts *)accounts;
        struct key *key, *next;
        struct account_view v;

        HASH_SRT(by_id, a->keys_by_id, key_order);
        HASH_ITER(by_id, a->keys_by_id, key, next) {
                if (!key->account->loaded || (of && !id_equal(of, &key->account->id)))
                        continue;
                view_key(key, &v);
                view(context, &v);
        }
}

int account_get(const struct accounts *a, const struct id *id, struct account_view *ret_view)
{
        const struct account *account = accounts_by_id(a, id);

        if (!account)
                return -ENOENT;
        view_account(account, ret_view);
        return 0;
}

int account_find(const struct accounts *a, const char *name, struct account_view *ret_view)
{
        const struct account *account = strnlen(name, 64) < 64 ? accounts_by_name(a, name) : NULL;

        if (!account)
                return -ENOENT;
        view_account(account, ret_view);
        return 0;
}

int account_key_get(const struct accounts *a, const struct id *id, struct account_view *ret_view)
{
        const struct key *key = accounts_key(a, id);

        if (!key || !key->account->loaded)
                return -ENOENT;
        view_key(key, ret_view);
        return 0;
}
