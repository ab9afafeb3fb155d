/* load.c: rows of the store, read into the books. A row is taken wholly or not at all: it is read into a value of its own, every member with its type and bounds, and
 * only then moved in. A row that is there already is brought up to date. Unknown members are left alone; scopes with unknown names give nothing.
 */
#include "account/books.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define TIME_MAX INT64_C(253402300799999) /* the end of the year 9999 */
#define NUMBER_MAX (INT64_C(1) << 53)

static int bad(struct accounts *a, const char *what)
{
        return accounts_refuse(a, -EBADMSG, "a stored row of accounts is damaged: %s. Restore the store from a backup", what);
}

static json_t *parse(const char *text, size_t bytes)
{
        json_t *json = text && bytes <= 65536 ? json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL) : NULL;

        if (json && !json_is_object(json)) {
                json_decref(json);
                return NULL;
        }
        return json;
}

static bool number(const json_t *json, const char *name, int64_t max, int64_t *ret_number)
{
        const json_t *member = json_object_get(json, name);

        if (!json_is_integer(member) || json_integer_value(member) < 0 || json_integer_value(member) > max)
                return false;
        *ret_number = json_integer_value(member);
        return true;
}

/* Printable text that fits, "" included. json_string_length: no hidden part behind a NUL. */
static bool string(const json_t *json, const char *name, char *to, size_t size)
{
        const json_t *member = json_object_get(json, name);
        const char *text = json_string_value(member);

        if (!text || json_string_length(member) >= size || strlen(text) != json_string_length(member) || !text_is_clean(text, size))
                return false;
        memset(to, 0, size);
        memcpy(to, text, strlen(text));
        return true;
}

static bool flag(const json_t *json, const char *name, bool *ret_flag)
{
        const json_t *member = json_object_get(json, name);

        if (!json_is_boolean(member))
                return false;
        *ret_flag = json_boolean_value(member);
        return true;
}

static bool mac_of(const char *hex, uint8_t mac[MAC])
{
        size_t n = 0;

        return hex && strlen(hex) == 2 * MAC && !sodium_hex2bin(mac, MAC, hex, 2 * MAC, NULL, &n, NULL) && n == MAC;
}

static bool limits(const json_t *json, struct account_limits *ret_limits)
{
        const json_t *object = json_object_get(json, "limits");
        struct account_limits got = {0};
        int64_t value;

        if (!json_is_object(object))
                return false;
#define LIMIT(name)                                             \
        if (json_object_get(object, #name)) {                   \
                if (!number(object, #name, NUMBER_MAX, &value)) \
                        return false;                           \
                got.name = (uint64_t)value;                     \
        }
        LIMIT(requests_per_minute)
        LIMIT(tasks_per_minute)
        LIMIT(max_leases)
        LIMIT(max_tasks)
        LIMIT(max_connections)
        LIMIT(tokens_per_minute)
        LIMIT(max_generations)
#undef LIMIT
        *ret_limits = got;
        return true;
}

/* Of our own making, or of one that costs no more than 1 GiB and 16 passes: a damaged row may not stop the thread that checks passwords. */
static bool hash_ok(const char *hash)
{
        unsigned int memory, passes;
        int end = 0;

        if (!hash[0])
                return true;
        return sscanf(hash, "$argon2id$v=19$m=%7u,t=%2u,p=1$%n", &memory, &passes, &end) == 2 && end && hash[end] && memory <= 1u << 20 && passes <= 16;
}

static int load_account(struct accounts *a, const struct store_row *row, const json_t *spec, const json_t *status)
{
        struct account got = {0}, *account, *namesake;
        int64_t weight, epoch;
        char role[32];

        if (!string(spec, "name", got.name, sizeof(got.name)) || !name_ok(got.name) || (row->text_key && strcmp(row->text_key, got.name)))
                return bad(a, "an account's name");
        if (!number(spec, "created", TIME_MAX, &got.created_ms) || !string(status, "role", role, sizeof(role)) || account_role_parse(role, &got.role) ||
            !flag(status, "disabled", &got.disabled) || !limits(status, &got.limits) || !number(status, "weight", 1000000, &weight) || !weight ||
            !string(status, "hash", got.hash, sizeof(got.hash)) || !number(status, "epoch", NUMBER_MAX, &epoch))
                return bad(a, "an account's members");
        if (!hash_ok(got.hash))
                return bad(a, "a password's hash");
        namesake = accounts_by_name(a, got.name);
        if (namesake && !id_equal(&namesake->id, &row->id))
                return bad(a, "two accounts of one name");
        account = accounts_obtain(a, &row->id);
        if (!account)
                return -ENOMEM;
        if (account->loaded && strcmp(account->name, got.name))
                return bad(a, "an account that changed its name");
        account->role = got.role;
        account->disabled = got.disabled;
        account->limits = got.limits;
        account->weight = (uint32_t)weight;
        memcpy(account->hash, got.hash, sizeof(account->hash));
        if ((uint64_t)epoch > account->epoch) /* never back: an end stays an end */
                account->epoch = (uint64_t)epoch;
        account->created_ms = got.created_ms;
        if (!account->loaded) {
                memcpy(account->name, got.name, sizeof(account->name));
                accounts_add_name(a, account);
        }
        accounts_clock_at_least(a, got.created_ms);
        return 0;
}

static bool scopes(const json_t *spec, uint64_t *ret_scopes)
{
        const json_t *array = json_object_get(spec, "scopes"), *item;
        enum account_right right;
        size_t i;

        *ret_scopes = SCOPES_ALL;
        if (!array)
                return true;
        if (!json_is_array(array))
                return false;
        *ret_scopes = 1u << RIGHT_NONE;
        json_array_foreach(array, i, item) {
                if (!json_is_string(item))
                        return false;
                if (!account_right_parse(json_string_value(item), &right))
                        *ret_scopes |= UINT64_C(1) << right;
        }
        return true;
}

static int load_key(struct accounts *a, const struct store_row *row, const json_t *spec, const json_t *status)
{
        struct key got = {.id = row->id}, *key, *same;
        bool ended;

        if (!mac_of(row->text_key, got.mac) || id_is_none(&row->account))
                return bad(a, "a key's hash or account");
        if (!string(spec, "label", got.label, sizeof(got.label)) || !number(spec, "created", TIME_MAX, &got.created_ms) ||
            !number(spec, "expires", TIME_MAX, &got.expires_ms) || !limits(spec, &got.limits) || !scopes(spec, &got.scopes) ||
            !flag(status, "ended", &ended))
                return bad(a, "a key's members");
        if (json_object_get(spec, "models") && !string(spec, "models", got.models, sizeof(got.models)))
                return bad(a, "a key's models");
        key = accounts_key(a, &row->id);
        HASH_FIND(by_mac, a->keys_by_mac, got.mac, MAC, same);
        if (same != key || (key && !id_equal(&key->account->id, &row->account)))
                return bad(a, "two keys of one hash, or of one id");
        if (key) {
                if (ended && !key->ended) {
                        key->ended = true;
                        a->key_count--;
                }
                return 0;
        }
        key = malloc(sizeof(*key));
        got.account = key ? accounts_obtain(a, &row->account) : NULL;
        if (!got.account) {
                free(key);
                return -ENOMEM;
        }
        *key = got;
        key->ended = ended;
        accounts_add_key(a, key);
        accounts_clock_at_least(a, key->created_ms);
        return 0;
}

static int load_session(struct accounts *a, const struct store_row *row, const json_t *spec, const json_t *status)
{
        const json_t *before = json_object_get(status, "before");
        struct session got = {.id = row->id}, *session;
        int64_t generation, epoch;

        if (id_is_none(&row->account) || !number(spec, "created", TIME_MAX, &got.created_ms) || !number(status, "generation", UINT32_MAX, &generation) ||
            !mac_of(json_string_value(json_object_get(status, "mac")), got.mac) || !number(status, "rotated", TIME_MAX, &got.rotated_ms) ||
            !number(status, "expires", TIME_MAX, &got.expires_ms) || !number(status, "epoch", NUMBER_MAX, &epoch) ||
            !string(status, "address", got.address, sizeof(got.address)) || !flag(status, "ended", &got.ended) ||
            (before && !mac_of(json_string_value(before), got.mac_before)))
                return bad(a, "a session's members");
        got.has_before = before != NULL;
        got.generation = (uint32_t)generation;
        got.epoch = (uint64_t)epoch;
        session = accounts_session(a, &row->id);
        if (session && !id_equal(&session->account->id, &row->account))
                return bad(a, "two sessions of one id");
        accounts_clock_at_least(a, got.rotated_ms);
        if (got.ended) {
                if (session)
                        accounts_drop_session(a, session);
                return 0;
        }
        if (session) {
                if (got.generation > session->generation) {
                        session->generation = got.generation;
                        memcpy(session->mac, got.mac, MAC);
                        memcpy(session->mac_before, got.mac_before, MAC);
                        session->has_before = got.has_before;
                        session->rotated_ms = got.rotated_ms;
                        session->expires_ms = got.expires_ms;
                        memcpy(session->address, got.address, sizeof(got.address));
                }
                return 0;
        }
        session = malloc(sizeof(*session));
        got.account = session ? accounts_obtain(a, &row->account) : NULL;
        if (!got.account) {
                free(session);
                return -ENOMEM;
        }
        *session = got;
        accounts_add_session(a, session);
        return 0;
}

int accounts_load(struct accounts *a, const struct store_row *row)
{
        json_t *spec, *status;
        int r;

        a->problem[0] = '\0';
        if (row->table == STORE_SETTING)
                return 0; /* none of ours so far */
        if (row->table != STORE_ACCOUNT && row->table != STORE_KEY && row->table != STORE_SESSION)
                return bad(a, "it is of another table");
        if (id_is_none(&row->id))
                return bad(a, "it has no id");
        spec = parse(row->spec, row->spec_bytes);
        status = parse(row->status, row->status_bytes);
        if (!spec || !status)
                r = bad(a, "its text is no JSON object");
        else if (row->table == STORE_ACCOUNT)
                r = load_account(a, row, spec, status);
        else if (row->table == STORE_KEY)
                r = load_key(a, row, spec, status);
        else
                r = load_session(a, row, spec, status);
        json_decref(spec);
        json_decref(status);
        if (!r && memcmp(&row->id, &a->last_id, sizeof(a->last_id)) > 0)
                a->last_id = row->id;
        return r;
}
