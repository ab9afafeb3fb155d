/* keys.c: routes of API keys. */
#include "gateway/accounts.h"
#include "gateway/commit.h"
#include "gateway/handlers.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

static json_t *scopes_json(uint64_t scopes)
{
        json_t *list;

        if (!scopes)
                return json_null();
        list = json_array();
        for (unsigned right = RIGHT_NONE + 1; right < RIGHTS; right++)
                if (scopes >> right & 1)
                        json_array_append_new(list, json_string(account_right_name(right)));
        return list;
}

static json_t *models_json(const char *models)
{
        json_t *list = models[0] ? json_array() : json_null();

        for (const char *at = models; *at; at += strcspn(at, ","), at += *at == ',')
                json_array_append_new(list, json_stringn(at, strcspn(at, ",")));
        return list;
}

static json_t *key_json(const struct account_view *view)
{
        char id[ID_TEXT], account[ID_TEXT];

        return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "id", id_text("key", &view->id, id), "account", id_text("account", &view->account, account),
                         "label", view->key.label, "scopes", scopes_json(view->key.scopes), "limits", limits_json(&view->key.limits), "expires",
                         time_json(view->key.expires_ms), "used", time_json(view->used_ms), "created", time_json(view->created_ms), "models", models_json(view->key.models));
}

static void add_key(void *context, const struct account_view *view)
{
        struct page *page = context;

        if (!view->ended && page_takes(page, &view->id))
                json_array_append_new(page->data, key_json(view));
}

void handle_keys(struct request *r)
{
        struct account_view view;
        struct page page = {0};

        if (!request_list(r, "key", &page.list, NULL, NULL))
                return;
        if (id_is_none(&page.list.account))
                page.list.account = r->caller.account;
        if (!id_equal(&page.list.account, &r->caller.account) && !account_may(&r->caller, RIGHT_ACCOUNT_READ)) {
                reply_problem(r, "auth.forbidden", NULL, "Keys of other accounts need the right \"%s\".", account_right_name(RIGHT_ACCOUNT_READ));
                return;
        }
        if (account_get(r->server->accounts, &page.list.account, &view) < 0) {
                reply_problem(r, "not_found", NULL, "There is no such account.");
                return;
        }
        page.data = json_array();
        account_keys_each(r->server->accounts, &page.list.account, add_key, &page);
        page_reply(r, &page, "key");
}

static void scopes_of(struct fields *f, struct account_key_spec *spec)
{
        const json_t *list = json_object_get(f->body, "scopes"), *one;
        enum account_right right;
        size_t i;

        if (!list || json_is_null(list))
                return;
        if (!json_is_array(list) || !json_array_size(list)) {
                fields_wrong(f, "scopes", "a list of rights is wanted, or nothing for all that the account has");
                return;
        }
        json_array_foreach(list, i, one) {
                if (!json_is_string(one) || account_right_parse(json_string_value(one), &right) < 0)
                        fields_wrong(f, "scopes", "number %zu is not a right's name; GET /api/v1/me lists yours", i + 1);
                else
                        spec->scopes |= UINT64_C(1) << right;
        }
}

static void models_of(struct fields *f, struct account_key_spec *spec)
{
        const json_t *list = json_object_get(f->body, "models"), *one;
        size_t i, n = 0;

        if (!list || json_is_null(list))
                return;
        if (!json_is_array(list) || !json_array_size(list)) {
                fields_wrong(f, "models", "a list of models' names is wanted, or nothing for all of them");
                return;
        }
        json_array_foreach(list, i, one) {
                const char *name = json_string_value(one);

                if (!name || !name[0] || json_string_length(one) != strlen(name) || strpbrk(name, ", \"\\") || !path_text_is_clean(name, strlen(name))) {
                        fields_wrong(f, "models", "number %zu is not a model's name", i + 1);
                        return;
                }
                if (n + strlen(name) + 2 > sizeof spec->models) {
                        fields_wrong(f, "models", "too many: %zu bytes of names at most", sizeof spec->models - 1);
                        return;
                }
                n += (size_t)snprintf(spec->models + n, sizeof spec->models - n, "%s%s", n ? "," : "", name);
        }
}

void handle_key_create(struct request *r)
{
        struct fields f = fields_of(r, "label account scopes expires limits models");
        const char *label = fields_text(&f, "label", 1, 63, true), *account = fields_text(&f, "account", 1, 60, false);
        struct account_key_spec spec = {0};
        struct account_changes changes = {0};
        struct account_view view;
        struct id owner = r->caller.account, key;
        char address[64], text[ACCOUNT_KEY_TEXT], id[ID_TEXT];
        uint8_t random[64];
        struct account_now now = account_now_of(r, random, address);
        json_t *body;
        int e;

        if (account && id_parse("account", account, &owner) < 0)
                fields_wrong(&f, "account", "not an account's id");
        scopes_of(&f, &spec);
        limits_of(&f, &spec.limits);
        models_of(&f, &spec);
        fields_time(&f, "expires", &spec.expires_ms);
        if (!fields_good(&f))
                return;
        snprintf(spec.label, sizeof spec.label, "%s", label);
        e = account_key_create(r->server->accounts, &now, &r->caller, &owner, &spec, text, sizeof text, &key, &changes);
        if (e < 0) {
                commit_aside(r->server, &changes);
                reply_refusal(r, e);
                return;
        }
        if (account_key_get(r->server->accounts, &key, &view) < 0) {
                commit_aside(r->server, &changes);
                reply_problem(r, "not_found", NULL, "The key ended meanwhile.");
        } else {
                body = key_json(&view);
                json_object_set_new(body, "key", json_string(text));
                reply_header(r, "Location: /api/v1/keys/%s\r\n", id_text("key", &key, id));
                commit_then_reply(r, &changes, 201, body);
        }
        explicit_bzero(text, sizeof text);
}

void handle_key_end(struct request *r)
{
        struct account_changes changes = {0};
        struct id key;
        char address[64];
        uint8_t random[64];
        struct account_now now = account_now_of(r, random, address);
        int e;

        if (!request_id_part(r, 0, "key", &key))
                return;
        e = account_key_end(r->server->accounts, &now, &r->caller, &key, &changes);
        if (e == 0) {
                commit_then_reply(r, &changes, 204, NULL);
        } else {
                commit_aside(r->server, &changes);
                reply_refusal(r, e);
        }
}
