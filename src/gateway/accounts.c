/* accounts.c: routes of accounts and their passwords. */
#include "gateway/accounts.h"

#include "gateway/commit.h"
#include "gateway/connection.h"
#include "gateway/fields.h"
#include "gateway/handlers.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define LIMITS "requests_per_minute tasks_per_minute max_leases max_tasks max_connections tokens_per_minute max_generations"
#define LIMIT_MOST 1000000000

json_t *limits_json(const struct account_limits *limits)
{
        return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "requests_per_minute", (json_int_t)limits->requests_per_minute, "tasks_per_minute",
                         (json_int_t)limits->tasks_per_minute, "max_leases", (json_int_t)limits->max_leases, "max_tasks", (json_int_t)limits->max_tasks,
                         "max_connections", (json_int_t)limits->max_connections, "tokens_per_minute", (json_int_t)limits->tokens_per_minute, "max_generations",
                         (json_int_t)limits->max_generations);
}

void limits_of(struct fields *f, struct account_limits *limits)
{
        const json_t *object = json_object_get(f->body, "limits");
        struct fields inner = {.request = f->request, .body = object, .known = LIMITS};
        const char *name;
        json_t *value;

        if (!object || json_is_null(object))
                return;
        if (!json_is_object(object)) {
                fields_wrong(f, "limits", "an object is wanted");
                return;
        }
        json_object_foreach((json_t *)object, name, value) {
                char word[80];

                snprintf(word, sizeof word, " %.70s ", name);
                if (!strstr(" " LIMITS " ", word))
                        fields_wrong(f, name, "no limit of this name; known are: " LIMITS);
        }
        fields_number(&inner, "requests_per_minute", LIMIT_MOST, &limits->requests_per_minute);
        fields_number(&inner, "tasks_per_minute", LIMIT_MOST, &limits->tasks_per_minute);
        fields_number(&inner, "max_leases", LIMIT_MOST, &limits->max_leases);
        fields_number(&inner, "max_tasks", LIMIT_MOST, &limits->max_tasks);
        fields_number(&inner, "max_connections", LIMIT_MOST, &limits->max_connections);
        fields_number(&inner, "tokens_per_minute", LIMIT_MOST, &limits->tokens_per_minute);
        fields_number(&inner, "max_generations", LIMIT_MOST, &limits->max_generations);
        if (inner.violations) {
                if (!f->violations)
                        f->violations = json_array();
                json_array_extend(f->violations, inner.violations);
                json_decref(inner.violations);
        }
}

static json_t *account_json(const struct account_view *view)
{
        char id[ID_TEXT];

        return json_pack("{s:s, s:s, s:s, s:o, s:i, s:b, s:b, s:o}", "id", id_text("account", &view->id, id), "name", view->spec.name, "role",
                         account_role_name(view->spec.role), "limits", limits_json(&view->spec.limits), "weight",
                         view->spec.weight ? (int)view->spec.weight : 100, "disabled", view->spec.disabled, "has_password", view->has_password, "created",
                         time_json(view->created_ms));
}

/* What can be changed, as a number: so that it is seen when somebody else changed it meanwhile. Never 0. */
static uint64_t account_version(const struct account_view *view)
{
        const struct account_limits *l = &view->spec.limits;
        const uint64_t parts[] = {view->spec.role,  view->spec.weight, view->spec.disabled, l->requests_per_minute, l->tasks_per_minute, l->max_leases,
                                  l->max_tasks, l->max_connections, view->has_password};
        uint64_t hash = UINT64_C(14695981039346656037);

        for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
                for (unsigned byte = 0; byte < 8; byte++)
                        hash = (hash ^ (parts[i] >> (8 * byte) & 0xff)) * UINT64_C(1099511628211);
        return hash ? hash : 1;
}

struct account_now account_now_of(struct request *r, uint8_t random[64], char address[64])
{
        address[0] = 0;
        if (r->connection)
                snprintf(address, 64, "%s", r->connection->address);
        return server_account_now(r->server, random, address);
}

/* ---- lists ------------------------------------------------------------------------------------------------------- */

bool page_takes(struct page *page, const struct id *id)
{
        if (memcmp(id->bytes, page->list.after.bytes, sizeof id->bytes) <= 0)
                return false;
        if (json_array_size(page->data) >= page->list.limit) {
                page->more = true;
                return false;
        }
        page->last = *id;
        return true;
}

void page_reply(struct request *r, struct page *page, const char *prefix)
{
        char next[ID_TEXT];
        json_t *body;

        body = json_pack("{s:s, s:o, s:b, s:s*}", "object", "list", "data", take(page->data), "has_more", page->more, "next",
                         page->more ? id_text(prefix, &page->last, next) : NULL);
        if (page->more)
                reply_header(r, "Link: <%s?limit=%zu&after=%s>; rel=\"next\"\r\n", r->path.text, page->list.limit, next);
        reply_json(r, 200, body);
}

static void add_account(void *context, const struct account_view *view)
{
        struct page *page = context;

        if (page_takes(page, &view->id))
                json_array_append_new(page->data, account_json(view));
}

void handle_accounts(struct request *r)
{
        struct page page = {0};

        if (!request_list(r, "account", &page.list, NULL, NULL))
                return;
        page.data = json_array();
        accounts_each(r->server->accounts, add_account, &page);
        page_reply(r, &page, "account");
}

/* ---- one --------------------------------------------------------------------------------------------------------- */

static bool account_part(struct request *r, struct account_view *ret_view)
{
        struct id id;

        if (!request_id_part(r, 0, "account", &id))
                return false;
        if (account_get(r->server->accounts, &id, ret_view) == 0)
                return true;
        reply_problem(r, "not_found", NULL, "There is no such account.");
        return false;
}

void handle_account(struct request *r)
{
        struct account_view view;

        if (!account_part(r, &view))
                return;
        reply_header(r, "ETag: \"%llu\"\r\n", (unsigned long long)account_version(&view));
        reply_json(r, 200, account_json(&view));
}

static void spec_of(struct fields *f, struct account_spec *spec)
{
        const char *role = fields_text(f, "role", 1, 20, false);
        uint64_t weight;

        if (role && (account_role_parse(role, &spec->role) < 0 || spec->role == ROLE_NONE))
                fields_wrong(f, "role", "admin, operator, auditor, user or worker is wanted");
        if (fields_number(f, "weight", 1000, &weight))
                spec->weight = (uint32_t)weight;
        fields_bool(f, "disabled", &spec->disabled);
        limits_of(f, &spec->limits);
}

/* The account of a request whose change is durable, as it is now. */
static void reply_account(struct request *r, const struct id *id, const struct account_changes *changes, int status)
{
        struct account_view view;
        char text[ID_TEXT];

        if (account_get(r->server->accounts, id, &view) < 0) {
                reply_problem(r, "not_found", NULL, "There is no such account any more.");
                return;
        }
        if (status == 201)
                reply_header(r, "Location: /api/v1/accounts/%s\r\n", id_text("account", id, text));
        reply_header(r, "ETag: \"%llu\"\r\n", (unsigned long long)account_version(&view));
        commit_then_reply(r, changes, status, account_json(&view));
}

/* ---- passwords --------------------------------------------------------------------------------------------------- */

static void password_set(struct request *r, struct account_password_work *work)
{
        struct account_changes changes = {0};
        char address[64];
        uint8_t random[64];
        struct account_now now = account_now_of(r, random, address);
        struct id id = work->account;
        int error = work->error, e;

        e = account_password_end(r->server->accounts, &now, &r->caller, work, &changes);
        if (!r->connection) {
                commit_aside(r->server, &changes);
                request_release(r);
        } else if (e < 0) {
                commit_aside(r->server, &changes);
                if (error)
                        reply_problem(r, "pool.busy", NULL, "Too many passwords are being worked on; try again in a moment.");
                else
                        reply_refusal(r, e);
        } else if (r->route->handle == handle_account_create) {
                reply_account(r, &id, &changes, 201);
        } else {
                commit_then_reply(r, &changes, 204, NULL);
        }
}

static void start_password(struct request *r, const struct id *id, const char *old, const char *password)
{
        struct account_password_work work;
        char address[64];
        uint8_t random[64];
        struct account_now now = account_now_of(r, random, address);
        uint64_t retry_ms = 0;
        int e = account_password_begin(r->server->accounts, &now, &r->caller, id, old, password, &work, &retry_ms);

        if (e == -E_QUOTA) {
                r->allowance.retry_s = retry_ms / 1000 + 1;
                reply_problem(r, "limit.sign_in", NULL, "Too many tries; wait %llu s.", (unsigned long long)r->allowance.retry_s);
        } else if (e < 0) {
                reply_refusal(r, e);
        } else {
                password_start(r, &work, password_set);
        }
}

void handle_account_password(struct request *r)
{
        struct fields f = fields_of(r, "password old");
        const char *password = fields_text(&f, "password", ACCOUNT_PASSWORD_MIN, 255, true), *old = fields_text(&f, "old", 1, 255, false);
        struct id id;

        if (!fields_good(&f) || !request_id_part(r, 0, "account", &id))
                return;
        start_password(r, &id, old, password);
}

/* ---- making and changing ----------------------------------------------------------------------------------------- */

/* The account is durable; its password comes next. */
static void created(void *context, const struct service_answer *answer)
{
        struct request *r = context;
        struct id *id = r->work;

        r->work = NULL;
        if (answer->status >= 400 || !r->connection) {
                request_done(r, answer);
        } else {
                r->pending = false;
                start_password(r, id, NULL, json_string_value(json_object_get(r->json, "password")));
        }
        free(id);
}

void handle_account_create(struct request *r)
{
        struct account_spec spec = {.role = ROLE_USER};
        struct fields f = fields_of(r, "name role weight limits disabled password");
        const char *name = fields_text(&f, "name", 1, 63, true), *password = fields_text(&f, "password", ACCOUNT_PASSWORD_MIN, 255, false);
        struct account_changes changes = {0};
        struct id id, *kept = NULL;
        char address[64];
        uint8_t random[64];
        struct account_now now = account_now_of(r, random, address);
        int e;

        spec_of(&f, &spec);
        if (!fields_good(&f))
                return;
        snprintf(spec.name, sizeof spec.name, "%s", name);
        if (password && !(kept = malloc(sizeof *kept))) {
                reply_problem(r, "pool.busy", NULL, "Out of memory.");
                return;
        }
        e = account_create(r->server->accounts, &now, &r->caller, &spec, &id, &changes);
        if (e < 0) {
                free(kept);
                commit_aside(r->server, &changes);
                reply_refusal(r, e);
        } else if (!password) {
                reply_account(r, &id, &changes, 201);
        } else {
                *kept = id;
                r->work = kept;
                request_begin(r);
                service_commit(r->server->service, &changes, created, r);
        }
}

void handle_account_change(struct request *r)
{
        struct account_changes changes = {0};
        struct account_view view;
        struct fields f = fields_of(r, "role weight limits disabled");
        char address[64];
        uint8_t random[64];
        struct account_now now = account_now_of(r, random, address);
        uint64_t version;
        int e;

        if (!account_part(r, &view)) {
                json_decref(f.violations);
                return;
        }
        spec_of(&f, &view.spec);
        if (!fields_good(&f) || !request_if_match(r, &version))
                return;
        if (version) {
                struct account_view before;

                if (account_get(r->server->accounts, &view.id, &before) < 0 || account_version(&before) != version) {
                        reply_problem(r, "request.precondition", NULL, "The account was changed meanwhile: look at it again.");
                        return;
                }
        }
        e = account_change(r->server->accounts, &now, &r->caller, &view.id, &view.spec, &changes);
        if (e < 0) {
                commit_aside(r->server, &changes);
                reply_refusal(r, e);
        } else {
                reply_account(r, &view.id, &changes, 200);
        }
}
