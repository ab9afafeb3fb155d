/* rows.c: what the books hold, written as rows for the store. load.c reads the same back; test-account-rows.c holds one against the other. */
#include "account/books.h"

#include <string.h>

void changes_begin(struct accounts *a, struct account_changes *changes)
{
        for (size_t i = 0; i < a->text_count; i++)
                free(a->texts[i]);
        a->text_count = 0;
        changes->count = 0;
}

static const char *keep(struct accounts *a, char *text)
{
        if (text && a->text_count < ARRAY_SIZE(a->texts)) {
                a->texts[a->text_count++] = text;
                return text;
        }
        free(text);
        return NULL;
}

int changes_add_row(struct accounts *a, struct account_changes *changes, const struct store_row *row, const char *text_key, json_t *spec, json_t *status)
{
        char *spec_text = spec ? json_dumps(spec, JSON_COMPACT) : NULL, *status_text = status ? json_dumps(status, JSON_COMPACT) : NULL;
        struct store_change change = {.kind = STORE_PUT, .row = *row};

        json_decref(spec);
        json_decref(status);
        change.row.spec = keep(a, spec_text);
        change.row.status = keep(a, status_text);
        change.row.text_key = text_key ? keep(a, strdup(text_key)) : NULL;
        if (!change.row.spec || !change.row.status || (text_key && !change.row.text_key) || changes->count == ARRAY_SIZE(changes->changes))
                return -ENOMEM;
        change.row.spec_bytes = strlen(change.row.spec);
        change.row.status_bytes = strlen(change.row.status);
        changes->changes[changes->count++] = change;
        return 0;
}

static json_t *limits_json(const struct account_limits *limits)
{
        json_t *json = json_object();

#define LIMIT(name)             \
        if (limits->name)       \
        json_object_set_new(json, #name, json_integer((json_int_t)limits->name))
        LIMIT(requests_per_minute);
        LIMIT(tasks_per_minute);
        LIMIT(max_leases);
        LIMIT(max_tasks);
        LIMIT(max_connections);
        LIMIT(tokens_per_minute);
        LIMIT(max_generations);
#undef LIMIT
        return json;
}

int changes_add_account(struct accounts *a, struct account_changes *changes, const struct account *account)
{
        struct store_row row = {.table = STORE_ACCOUNT, .id = account->id, .account = account->id, .state = account->disabled, .kind = account->role};

        return changes_add_row(a, changes, &row, account->name, json_pack("{s:s, s:I}", "name", account->name, "created", (json_int_t)account->created_ms),
                               json_pack("{s:s, s:b, s:o, s:I, s:s, s:I}", "role", account_role_name(account->role), "disabled", account->disabled, "limits",
                                         limits_json(&account->limits), "weight", (json_int_t)account->weight, "hash", account->hash, "epoch",
                                         (json_int_t)account->epoch));
}

int changes_add_key(struct accounts *a, struct account_changes *changes, const struct key *key)
{
        struct store_row row = {.table = STORE_KEY, .id = key->id, .account = key->account->id, .state = key->ended};
        json_t *spec = json_pack("{s:s, s:I, s:I, s:o}", "label", key->label, "created", (json_int_t)key->created_ms, "expires", (json_int_t)key->expires_ms,
                                 "limits", limits_json(&key->limits));
        char mac[2 * MAC + 1];

        if (key->models[0])
                json_object_set_new(spec, "models", json_string(key->models));
        if (key->scopes != SCOPES_ALL) {
                json_t *scopes = json_array();

                for (int r = RIGHT_NONE + 1; r < RIGHTS; r++)
                        if (key->scopes >> r & 1)
                                json_array_append_new(scopes, json_string(account_right_name(r)));
                json_object_set_new(spec, "scopes", scopes);
        }
        return changes_add_row(a, changes, &row, sodium_bin2hex(mac, sizeof(mac), key->mac, MAC), spec, json_pack("{s:b}", "ended", key->ended));
}

int changes_add_session(struct accounts *a, struct account_changes *changes, const struct session *session)
{
        struct store_row row = {.table = STORE_SESSION, .id = session->id, .account = session->account->id, .state = session->ended,
                                .until_ms = session->expires_ms};
        char mac[2 * MAC + 1];
        json_t *status = json_pack("{s:I, s:s, s:I, s:I, s:I, s:s, s:b}", "generation", (json_int_t)session->generation, "mac",
                                   sodium_bin2hex(mac, sizeof(mac), session->mac, MAC), "rotated", (json_int_t)session->rotated_ms, "expires",
                                   (json_int_t)session->expires_ms, "epoch", (json_int_t)session->epoch, "address", session->address, "ended", session->ended);

        if (session->has_before)
                json_object_set_new(status, "before", json_string(sodium_bin2hex(mac, sizeof(mac), session->mac_before, MAC)));
        return changes_add_row(a, changes, &row, NULL, json_pack("{s:I}", "created", (json_int_t)session->created_ms), status);
}
