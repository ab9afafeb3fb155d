/* account.c: `berth account …` and `berth key …`: who may use the pool. */
#include "cli/pool-client.h"
#include "cli/secret.h"
#include "cli/table.h"

#include "base/error.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { KEY_ROLE = 0x100, KEY_WEIGHT, KEY_LEASES, KEY_TASKS, KEY_REQUESTS, KEY_PASSWORD, KEY_EXPIRES, KEY_SCOPE, KEY_ACCOUNT };

struct ask {
        const char *what, *name, *account;
        json_t *body, *limits, *scopes;
        bool json, password;
};

static const struct argp_option account_options[] = {
        {"role", KEY_ROLE, "admin|operator|auditor|user|worker", 0, "what it may do (user)", 0},
        {"password", KEY_PASSWORD, NULL, 0, "ask for a password, for signing in on the page; keys need none", 0},
        {"weight", KEY_WEIGHT, "N", 0, "share beside others: 1 to 1000 (100)", 0},
        {"max-leases", KEY_LEASES, "N", 0, "tasks that run at once", 0},
        {"max-tasks", KEY_TASKS, "N", 0, "unfinished tasks", 0},
        {"requests", KEY_REQUESTS, "N", 0, "requests a minute", 0},
        {"json", 'j', NULL, 0, "print JSON", 0},
        {0},
};

static const struct argp_option key_options[] = {
        {"account", KEY_ACCOUNT, "NAME|ID", 0, "of this account (your own)", 0},
        {"scope", KEY_SCOPE, "RIGHT", 0, "only this right, e.g. task.submit; may be repeated (all of the account)", 0},
        {"expires", KEY_EXPIRES, "DURATION", 0, "ends after this, e.g. 720h (never)", 0},
        {"max-leases", KEY_LEASES, "N", 0, "tasks that run at once", 0},
        {"requests", KEY_REQUESTS, "N", 0, "requests a minute", 0},
        {"json", 'j', NULL, 0, "print JSON", 0},
        {0},
};

static void set(json_t **o, const char *name, json_t *value)
{
        if (!*o)
                *o = json_object();
        json_object_set_new(*o, name, value);
}

static void set_number(struct argp_state *state, json_t **o, const char *name, const char *arg, uint64_t max)
{
        uint64_t n;

        if (text_parse_u64(arg, 0, max, &n) < 0)
                argp_error(state, "\"%.40s\": a number up to %llu is expected", arg, (unsigned long long)max);
        else
                set(o, name, json_integer((json_int_t)n));
}

static int parse(int key, char *arg, struct argp_state *state)
{
        struct ask *a = state->input;
        char text[40];
        uint64_t ns;
        time_t at;

        switch (key) {
        case KEY_ROLE:
                set(&a->body, "role", json_string(arg));
                return 0;
        case KEY_PASSWORD:
                a->password = true;
                return 0;
        case KEY_WEIGHT:
                set_number(state, &a->body, "weight", arg, 1000);
                return 0;
        case KEY_LEASES:
                set_number(state, &a->limits, "max_leases", arg, 1000000);
                return 0;
        case KEY_TASKS:
                set_number(state, &a->limits, "max_tasks", arg, 1000000000);
                return 0;
        case KEY_REQUESTS:
                set_number(state, &a->limits, "requests_per_minute", arg, 1000000000);
                return 0;
        case KEY_EXPIRES:
                if (text_parse_duration(arg, &ns) < 0)
                        argp_error(state, "--expires %.40s: a duration such as 720h is expected", arg);
                at = time(NULL) + (time_t)(ns / 1000000000);
                strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime(&at));
                set(&a->body, "expires", json_string(text));
                return 0;
        case KEY_SCOPE:
                if (!a->scopes)
                        a->scopes = json_array();
                json_array_append_new(a->scopes, json_string(arg));
                return 0;
        case KEY_ACCOUNT:
                a->account = arg;
                return 0;
        case 'j':
                a->json = true;
                return 0;
        case ARGP_KEY_ARG:
                if (a->name)
                        return ARGP_ERR_UNKNOWN;
                *(a->what ? &a->name : &a->what) = arg;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

/* The account's id: as given, or looked up by its name. */
static int find_account(struct pool_client *c, const char *name, char id[64], char message[CLI_MESSAGE])
{
        struct pool_ask ask = {.method = "GET", .path = "/api/v1/accounts?limit=1000"};
        json_t *answer = NULL;
        const json_t *one;
        size_t i;
        int r;

        if (!strncmp(name, "account_", 8) && strlen(name) == 40) {
                snprintf(id, 64, "%s", name);
                return 0;
        }
        r = pool_ask(c, &ask, &answer, message);
        if (r >= 0) {
                r = -ENOENT;
                snprintf(message, CLI_MESSAGE, "there is no account \"%.60s\"; `berth account list' shows them", name);
                json_array_foreach(json_object_get(answer, "data"), i, one) {
                        if (!strcmp(pool_text(one, "name"), name)) {
                                snprintf(id, 64, "%s", pool_text(one, "id"));
                                r = 0;
                        }
                }
        }
        json_decref(answer);
        return r;
}

static void list_accounts(const json_t *answer, struct strbuf *b, const void *context)
{
        static const char *const titles[] = {"ACCOUNT", "NAME", "ROLE", ">WEIGHT", "STATE", "CREATED", NULL};
        scoped_table struct table t;
        const json_t *one;
        size_t i;

        table_init(&t, titles);
        json_array_foreach(json_object_get(answer, "data"), i, one) {
                char when[24];

                table_add(&t, "%s", pool_text(one, "id"));
                table_add(&t, "%s", pool_text(one, "name"));
                table_add(&t, "%s", pool_text(one, "role"));
                table_add(&t, "%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(one, "weight")));
                table_add(&t, "%s", json_is_true(json_object_get(one, "disabled")) ? "disabled" : "active");
                table_add(&t, "%s", pool_time(one, "created", when, sizeof when));
        }
        table_print(&t, 0, b);
}

static void list_keys(const json_t *answer, struct strbuf *b, const void *context)
{
        static const char *const titles[] = {"KEY", "LABEL", "USED", "EXPIRES", "CREATED", NULL};
        scoped_table struct table t;
        const json_t *one;
        size_t i;

        table_init(&t, titles);
        json_array_foreach(json_object_get(answer, "data"), i, one) {
                char created[24], used[24], expires[24], label[TABLE_CELL];

                text_copy_clean(label, sizeof label, pool_text(one, "label"));
                table_add(&t, "%s", pool_text(one, "id"));
                table_add(&t, "%s", label);
                table_add(&t, "%s", pool_time(one, "used", used, sizeof used));
                table_add(&t, "%s", pool_time(one, "expires", expires, sizeof expires));
                table_add(&t, "%s", pool_time(one, "created", created, sizeof created));
        }
        table_print(&t, 0, b);
}

static void only_id(const json_t *answer, struct strbuf *b, const void *context)
{
        strbuf_add(b, "%s\n", pool_text(answer, "id"));
}

static void only_key(const json_t *answer, struct strbuf *b, const void *context)
{
        strbuf_add(b, "%s\n", pool_text(answer, "key"));
}

static int set_password(struct pool_client *c, const struct ask *a, const char *id)
{
        struct pool_ask ask = {.method = "POST"};
        char path[128], password[SECRET_BYTES];
        json_t *body;
        int r = secret_ask_twice("New password: ", password);

        if (r < 0)
                return CLI_FAILED;
        body = json_pack("{s:s}", "password", password);
        secret_wipe(password);
        snprintf(path, sizeof path, "/api/v1/accounts/%s/password", id);
        ask.path = path;
        ask.body = body;
        r = pool_print(c, &ask, a->json, NULL, NULL);
        json_decref(body);
        return r;
}

static int account(const struct verb *self, struct pool_client *c, struct ask *a, char message[CLI_MESSAGE])
{
        struct pool_ask ask = {.method = "GET", .path = "/api/v1/accounts?limit=1000"};
        char id[64] = "", path[128];
        int r;

        if (!a->what || !strcmp(a->what, "list"))
                return pool_print(c, &ask, a->json, list_accounts, NULL);
        if (!a->name)
                return cli_usage(self, "which account?");
        if (!strcmp(a->what, "create")) {
                char password[SECRET_BYTES];

                set(&a->body, "name", json_string(a->name));
                if (!json_object_get(a->body, "role"))
                        set(&a->body, "role", json_string("user"));
                if (a->password) {
                        if (secret_ask_twice("Password: ", password) < 0)
                                return CLI_FAILED;
                        set(&a->body, "password", json_string(password));
                        secret_wipe(password);
                }
                ask = (struct pool_ask){.method = "POST", .path = "/api/v1/accounts", .body = a->body};
                return pool_print(c, &ask, a->json, only_id, NULL);
        }
        if (strcmp(a->what, "change") && strcmp(a->what, "disable") && strcmp(a->what, "enable") && strcmp(a->what, "password"))
                return cli_usage(self, "\"%.40s\": list, create, change, disable, enable or password?", a->what);
        r = find_account(c, a->name, id, message);
        if (r < 0) {
                cli_error("%s", message);
                return cli_exit_code(r);
        }
        if (!strcmp(a->what, "password") || a->password)
                return set_password(c, a, id);
        if (strcmp(a->what, "change"))
                set(&a->body, "disabled", json_boolean(!strcmp(a->what, "disable")));
        if (!a->body)
                return cli_usage(self, "what is to change? --role, --weight, --max-leases …");
        snprintf(path, sizeof path, "/api/v1/accounts/%s", id);
        ask = (struct pool_ask){.method = "PATCH", .path = path, .body = a->body, .if_match = "*"};
        return pool_print(c, &ask, a->json, NULL, NULL);
}

static int key(const struct verb *self, struct pool_client *c, struct ask *a, char message[CLI_MESSAGE])
{
        struct pool_ask ask = {.method = "GET"};
        char id[64] = "", path[160];
        int r;

        if (a->account) {
                r = find_account(c, a->account, id, message);
                if (r < 0) {
                        cli_error("%s", message);
                        return cli_exit_code(r);
                }
        }
        if (!a->what || !strcmp(a->what, "list")) {
                snprintf(path, sizeof path, "/api/v1/keys?limit=1000%s%s", id[0] ? "&account=" : "", id);
                ask.path = path;
                return pool_print(c, &ask, a->json, list_keys, NULL);
        }
        if (!a->name)
                return cli_usage(self, "%s", strcmp(a->what, "create") ? "which key? its id, as `berth key list' shows it" : "a label, so that you know it again?");
        if (!strcmp(a->what, "create")) {
                set(&a->body, "label", json_string(a->name));
                if (id[0])
                        set(&a->body, "account", json_string(id));
                if (a->scopes)
                        json_object_set(a->body, "scopes", a->scopes);
                ask = (struct pool_ask){.method = "POST", .path = "/api/v1/keys", .body = a->body};
                return pool_print(c, &ask, a->json, only_key, NULL);
        }
        if (strcmp(a->what, "end"))
                return cli_usage(self, "\"%.40s\": list, create or end?", a->what);
        if (!pool_is_id(a->name))
                return cli_usage(self, "\"%.60s\" is no key's id", a->name);
        snprintf(path, sizeof path, "/api/v1/keys/%s", a->name);
        ask = (struct pool_ask){.method = "DELETE", .path = path};
        return pool_print(c, &ask, a->json, NULL, NULL);
}

static int run(const struct verb *self, int argc, char **argv)
{
        scoped_pool struct pool_client c = {0};
        char message[CLI_MESSAGE];
        struct ask a = {0};
        int r;

        cli_parse(self, argc, argv, &a);
        r = pool_open(&c, message);
        if (r < 0) {
                cli_error("%s", message);
                r = cli_exit_code(r);
        } else {
                if (a.limits)
                        set(&a.body, "limits", json_incref(a.limits));
                r = !strcmp(self->name, "key") ? key(self, &c, &a, message) : account(self, &c, &a, message);
        }
        json_decref(a.body);
        json_decref(a.limits);
        json_decref(a.scopes);
        return r;
}

const struct verb verb_account = {
        .name = "account",
        .arguments = "[list]\ncreate NAME\nchange NAME\ndisable NAME\nenable NAME\npassword NAME",
        .words = "list create change disable enable password",
        .summary = "list, make and change accounts: who may use the pool",
        .more = "The first admin signs in with the link that `berth up' prints.\n\nExamples:\n\n  berth account create ada --role user --max-leases 8\n"
                "  berth account password ada",
        .options = account_options,
        .parse = parse,
        .run = run,
};

const struct verb verb_key = {
        .name = "key",
        .arguments = "[list]\ncreate LABEL\nend KEY",
        .words = "list create end",
        .summary = "list, make and end keys for programs and workers",
        .more = "A key is shown once, when it is made.\n\nExamples:\n\n  berth key create 'nightly jobs' --scope task.submit --scope task.read\n"
                "  berth key create node7 --account node7 --scope worker.join",
        .options = key_options,
        .parse = parse,
        .run = run,
};
