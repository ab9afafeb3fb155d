/* models.c: `berth models`: the catalogue of what this machine can serve, edited and listed, and what the pool knows of it. */
#include "cli/catalogue-file.h"
#include "cli/models-start.h"
#include "cli/pool-client.h"
#include "cli/table.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { KEY_MODELS = 0x100, KEY_GGUF, KEY_COMMAND, KEY_URL, KEY_SET, KEY_ALWAYS, KEY_FIRST = 0x200 };

#define SETTINGS 32

struct ask {
        const char *what, *name, *file, *gguf;
        struct catalogue_setting settings[SETTINGS];
        size_t count;
        char *own[SETTINGS]; /* names that --set brought */
        size_t own_count;
        bool json, wait;
};

/* Options that are settings of the section by the same name; the table of the catalogue checks them. */
static const char *const plain[] = {"memory", "host-memory", "parallel", "context", "idle", "labels", "tasks", "port", "health", "start", "device", "key-file", "revision"};

static const struct argp_option options[] = {
        {"gguf", KEY_GGUF, "FILE", 0, "add: serve this file with the llama.cpp server that comes with Berth", 0},
        {"command", KEY_COMMAND, "COMMAND", 0, "add: start this, with {port} and {host} put in", 0},
        {"url", KEY_URL, "URL", 0, "add: a server that is there anyway, http://HOST:PORT", 0},
        {"memory", KEY_FIRST + 0, "SIZE", 0, "add: device memory that it needs (0: it works on the processor)", 0},
        {"host-memory", KEY_FIRST + 1, "SIZE", 0, "add: host memory that it needs", 0},
        {"parallel", KEY_FIRST + 2, "N", 0, "add: requests that it works on at once (4)", 0},
        {"context", KEY_FIRST + 3, "N", 0, "add: tokens of its context window", 0},
        {"idle", KEY_FIRST + 4, "TIME", 0, "add: stopped when so long nobody asked for it; 0: never (10min)", 0},
        {"always", KEY_ALWAYS, NULL, 0, "add: started with the worker and kept, also when nobody asks for it", 0},
        {"labels", KEY_FIRST + 5, "LIST", 0, "add: words, separated by commas", 0},
        {"tasks", KEY_FIRST + 6, "LIST", 0, "add: of chat, completion, embedding", 0},
        {"port", KEY_FIRST + 7, "N", 0, "add: that it listens on (0: a free one)", 0},
        {"health", KEY_FIRST + 8, "PATH", 0, "add: path that answers 2xx once it can work (/health)", 0},
        {"start", KEY_FIRST + 9, "TIME", 0, "add: it must be healthy within so long (10min)", 0},
        {"device", KEY_FIRST + 10, "auto|all|INDEX|UUID", 0, "add: which device", 0},
        {"key-file", KEY_FIRST + 11, "FILE", 0, "add, with --url: file that holds the key which that server asks for", 0},
        {"revision", KEY_FIRST + 12, "TEXT", 0, "add: part of a cached answer's key", 0},
        {"set", KEY_SET, "NAME=VALUE", 0, "add: any other setting of docs/engines.md; may be given several times", 0},
        {"models", KEY_MODELS, "FILE", 0, "the catalogue (models.conf in the folder of `berth up')", 0},
        {"wait", 'w', NULL, 0, "start: until it is ready; fails, and says why, when it can't be", 0},
        {"json", 'j', NULL, 0, "print JSON", 0},
        {0},
};

static void give(struct argp_state *state, const char *name, const char *value)
{
        struct ask *a = state->input;

        if (a->count == SETTINGS)
                argp_error(state, "more than %d settings", SETTINGS);
        else
                a->settings[a->count++] = (struct catalogue_setting){name, value};
}

static int parse(int key, char *arg, struct argp_state *state)
{
        static const char *const names[] = {"memory", "host_memory", "parallel", "context", "idle", "labels", "tasks", "port", "health", "start", "device", "key_file", "revision"};
        struct ask *a = state->input;
        char *equals;

        _Static_assert(ARRAY_SIZE(names) == ARRAY_SIZE(plain), "one setting for each option");
        if (key >= KEY_FIRST && key < KEY_FIRST + (int)ARRAY_SIZE(names)) {
                give(state, names[key - KEY_FIRST], arg);
                return 0;
        }
        switch (key) {
        case KEY_MODELS:
                a->file = arg;
                return 0;
        case KEY_GGUF:
                a->gguf = arg;
                give(state, "kind", "llama");
                return 0;
        case KEY_COMMAND:
                give(state, "kind", "command");
                give(state, "command", arg);
                return 0;
        case KEY_URL:
                give(state, "kind", "url");
                give(state, "url", arg);
                return 0;
        case KEY_ALWAYS:
                give(state, "always", "yes");
                return 0;
        case KEY_SET:
                equals = strchr(arg, '=');
                if (!equals || equals == arg || a->own_count == SETTINGS) {
                        argp_error(state, "--set %.60s: not of the form NAME=VALUE", arg);
                        return EINVAL;
                }
                a->own[a->own_count] = strndup(arg, (size_t)(equals - arg));
                give(state, a->own[a->own_count++], equals + 1);
                return 0;
        case 'w':
                a->wait = true;
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

/* ---- what the pool knows ---------------------------------------------------------------------------------------------------- */

/* The pool's list of models; NULL: no pool answers, or none that knows of models. */
static json_t *ask_pool(char message[CLI_MESSAGE])
{
        const struct pool_ask ask = {.method = "GET", .path = "/api/v1/models", .timeout_s = 10};
        scoped_pool struct pool_client c = {0};
        json_t *answer = NULL;

        if (pool_open(&c, message) >= 0 && pool_ask(&c, &ask, &answer, message) >= 0)
                return answer;
        json_decref(answer);
        return NULL;
}

static json_t *find_told(const json_t *answer, const char *name)
{
        json_t *one;
        size_t i;

        json_array_foreach (json_object_get(answer, "data"), i, one)
                if (!strcmp(pool_text(one, "name"), name))
                        return one;
        return NULL;
}

static json_t *entry_json(const struct catalogue_entry *e)
{
        json_t *o = json_pack("{s:s, s:s, s:i}", "name", e->name, "kind", catalogue_kind_name(e->kind), "line", (int)e->line);
        char text[300];

        if (e->file[0])
                json_object_set_new(o, "file", json_string(e->file));
        if (e->command[0])
                json_object_set_new(o, "command", json_string(e->command));
        if (e->environment[0])
                json_object_set_new(o, "environment", json_string(e->environment));
        for (size_t i = 0; i < catalogue_table.count; i++) {
                const struct config_entry *setting = &catalogue_table.entries[i];
                uint64_t number;

                if (setting->type == CONFIG_CHOICE)
                        continue;
                if (setting->type == CONFIG_BOOL) {
                        json_object_set_new(o, setting->name, json_boolean(*((const bool *)((const char *)e + setting->offset))));
                        continue;
                }
                memcpy(&number, (const char *)e + setting->offset, sizeof number);
                if (setting->type == CONFIG_BYTES || setting->type == CONFIG_NUMBER)
                        json_object_set_new(o, setting->name, json_integer((json_int_t)number));
                else if (setting->type == CONFIG_DURATION)
                        json_object_set_new(o, setting->name, json_real((double)number / 1e9));
                else if (config_format(setting, e, text, sizeof text)[0])
                        json_object_set_new(o, setting->name, json_string(text));
        }
        return o;
}

/* ---- list, show --------------------------------------------------------------------------------------------------------------- */

static void add_row(struct table *t, const char *name, const struct catalogue_entry *e, const json_t *told, bool answered)
{
        const json_t *worker;
        char size[16], note[2 * TABLE_CELL] = ""; /* longer than a cell, so that the table shows where it cuts */
        const char *state = told ? pool_text(told, "state") : answered ? "not told" : "unavailable";
        size_t i;

        table_add(t, "%s", name);
        table_add(t, "%s", e ? catalogue_kind_name(e->kind) : "-");
        table_add(t, "%s", !strcmp(state, "ready") && json_is_false(json_object_get(told, "resident")) ? "swapped out" : state);
        if (json_is_integer(json_object_get(told, "running")) && json_is_integer(json_object_get(told, "waiting")))
                table_add(t, "%" JSON_INTEGER_FORMAT "+%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(told, "running")),
                          json_integer_value(json_object_get(told, "waiting")));
        else
                table_add(t, "-");
        table_add(t, "%s", !e ? "-" : e->memory ? text_bytes(e->memory, size, sizeof size) : "none");
        json_array_foreach (json_object_get(told, "workers"), i, worker)
                if (pool_text(worker, "text")[0] && strcmp(pool_text(worker, "text"), "-") != 0)
                        text_copy_clean(note, sizeof note, pool_text(worker, "text"));
        table_add(t, "%s", note[0] ? note : e ? "" : "on other machines");
}

static int list(const struct catalogue *c, const char *path, const char *fault, bool as_json)
{
        static const char *const titles[] = {"MODEL", "KIND", "STATE", ">REQUESTS", ">DEVICE MEMORY", "NOTE", NULL};
        scoped_table struct table t = {0};
        struct strbuf b __attribute__((cleanup(strbuf_done_at))) = {0};
        char message[CLI_MESSAGE] = "";
        json_t *answer = ask_pool(message), *one, *all;
        size_t i;
        int r;

        if (as_json) {
                all = json_array();
                for (uint32_t k = 0; k < c->count; k++) {
                        one = entry_json(&c->entries[k]);
                        json_object_set_new(one, "pool", json_incref(find_told(answer, c->entries[k].name) ?: json_null()));
                        json_array_append_new(all, one);
                }
                json_array_foreach (json_object_get(answer, "data"), i, one)
                        if (!catalogue_find(c, pool_text(one, "name")))
                                json_array_append_new(all, json_pack("{s:s, s:O}", "name", pool_text(one, "name"), "pool", one));
                one = json_pack("{s:s, s:s?, s:b, s:o}", "catalogue", path, "fault", fault, "pool_answers", (int)(answer != NULL), "models", all);
                r = pool_print_json(one);
                json_decref(one);
                json_decref(answer);
                return r;
        }
        table_init(&t, titles);
        for (uint32_t k = 0; k < c->count; k++)
                add_row(&t, c->entries[k].name, &c->entries[k], find_told(answer, c->entries[k].name), answer != NULL);
        json_array_foreach (json_object_get(answer, "data"), i, one)
                if (!catalogue_find(c, pool_text(one, "name"))) {
                        char name[TABLE_CELL];

                        text_copy_clean(name, sizeof name, pool_text(one, "name"));
                        add_row(&t, name, NULL, one, true);
                }
        if (t.rows || t.filled)
                table_print(&t, 0, &b);
        else
                strbuf_add(&b, "No models: neither in %s nor in the pool. `berth models add' adds one.\n", path);
        r = b.failed ? CLI_FAILED : cli_print(b.text);
        if (!answer)
                cli_error("what runs is not known: %s", message);
        json_decref(answer);
        return r;
}

static int show(const struct catalogue *c, const char *path, const char *name)
{
        const struct catalogue_entry *e = catalogue_find(c, name);
        char message[CLI_MESSAGE] = "";
        json_t *answer = ask_pool(message), *told = find_told(answer, name), *o;
        int r;

        if (!e && !told) {
                cli_error("there is no model \"%s\" in %s%s", name, path, answer ? ", nor in the pool" : "");
                json_decref(answer);
                return CLI_FAILED;
        }
        o = e ? entry_json(e) : json_pack("{s:s}", "name", name);
        json_object_set_new(o, "pool", json_incref(told ? told : json_null()));
        r = pool_print_json(o);
        json_decref(o);
        json_decref(answer);
        return r;
}

/* ---- add, remove --------------------------------------------------------------------------------------------------- */

static bool is_gguf(const char *path)
{
        scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        char magic[4];

        return fd >= 0 && read(fd, magic, sizeof magic) == sizeof magic && !memcmp(magic, "GGUF", sizeof magic);
}

static int changed_json(const char *name, const char *path)
{
        json_t *o = json_pack("{s:s, s:s}", "name", name, "catalogue", path);
        int r = pool_print_json(o);

        json_decref(o);
        return r;
}

static int add(const struct verb *self, struct ask *a, const char *path, char message[CONFIG_MESSAGE])
{
        char *full scoped_free = NULL;
        size_t kinds = 0;
        int r;

        for (size_t i = 0; i < a->count; i++)
                kinds += !strcmp(a->settings[i].name, "kind");
        if (kinds != 1)
                return cli_usage(self, kinds ? "one of --gguf, --command and --url serves a model, not several" : "what serves it? one of --gguf FILE, --command '…' or --url URL");
        if (a->gguf) {
                full = realpath(a->gguf, NULL);
                if (!full) {
                        cli_error("--gguf %s: %s", a->gguf, strerror(errno));
                        return CLI_FAILED;
                }
                if (!is_gguf(full)) {
                        cli_error("--gguf %s: this is no GGUF file (it would begin with the letters GGUF); safetensors and others have to be converted first, or served by --command", a->gguf);
                        return CLI_FAILED;
                }
                if (a->count == SETTINGS)
                        return cli_usage(self, "too many settings");
                a->settings[a->count++] = (struct catalogue_setting){"file", full};
        }
        r = catalogue_file_add(path, a->name, a->settings, a->count, message);
        if (r < 0) {
                cli_error("%s", message[0] ? message : error_text(r));
                return r == -E_CONFIG ? CLI_CONFIG : CLI_FAILED;
        }
        if (a->json)
                return changed_json(a->name, path);
        printf("%s is in %s. A worker that serves that file offers it from now on: `berth chat %s' asks it, `berth models' shows its state.\n", a->name, path, a->name);
        return cli_print(NULL);
}

static int take_out(const struct ask *a, const char *path, char message[CONFIG_MESSAGE])
{
        int r = catalogue_file_remove(path, a->name, message);

        if (r < 0) {
                cli_error("%s", message[0] ? message : error_text(r));
                return r == -E_CONFIG ? CLI_CONFIG : CLI_FAILED;
        }
        if (a->json)
                return changed_json(a->name, path);
        printf("%s is not in %s any more. If it runs, it ends.\n", a->name, path);
        return cli_print(NULL);
}

static int run(const struct verb *self, int argc, char **argv)
{
        char path[500], message[CONFIG_MESSAGE] = "", fault[CONFIG_MESSAGE] = "";
        scoped_catalogue struct catalogue c = {0};
        struct ask a = {0};
        bool lists;
        int r;

        cli_parse(self, argc, argv, &a);
        lists = !a.what || !strcmp(a.what, "list");
        if (!lists && strcmp(a.what, "add") && strcmp(a.what, "remove") && strcmp(a.what, "show") && strcmp(a.what, "start") && strcmp(a.what, "stop"))
                return cli_usage(self, "\"%.40s\": list, add, remove, show, start or stop?", a.what);
        if (!lists && !a.name)
                return cli_usage(self, "which model?");
        if (lists && a.name)
                return cli_usage(self, "\"list\" takes no name; \"show\" shows one");
        if (a.count && (lists || strcmp(a.what, "add")))
                return cli_usage(self, "settings are for \"add\"");
        if (a.wait && (lists || strcmp(a.what, "start")))
                return cli_usage(self, "--wait is for \"start\"");
        if (!lists && !catalogue_is_name(a.name))
                return cli_usage(self, "\"%.100s\" is no name of a model: up to %d letters, digits and ._:/@+-", a.name, CATALOGUE_NAME - 1);
        if (!lists && (!strcmp(a.what, "start") || !strcmp(a.what, "stop")))
                return models_wish(&(struct wish){.what = a.what, .name = a.name, .wait = a.wait, .json = a.json});
        r = a.file ? (snprintf(path, sizeof path, "%s", a.file) < (int)sizeof path ? 0 : -ENAMETOOLONG) : catalogue_file_find(path, sizeof path);
        if (r < 0)
                return cli_usage(self, "which catalogue? --models FILE, or set HOME");
        if (!lists && !strcmp(a.what, "add"))
                r = add(self, &a, path, message);
        else if (!lists && !strcmp(a.what, "remove"))
                r = take_out(&a, path, message);
        else {
                /* A wrong catalogue is told, and what the pool knows is shown all the same. */
                r = catalogue_file_read(path, &c, fault);
                if (r < 0)
                        cli_error("%s", fault[0] ? fault : error_text(r));
                if (lists)
                        r = list(&c, path, r < 0 ? fault : NULL, a.json) || r < 0 ? CLI_CONFIG : CLI_OK;
                else
                        r = show(&c, path, a.name);
        }
        for (size_t i = 0; i < a.own_count; i++)
                free(a.own[i]);
        return r;
}

const struct verb verb_models = {
        .name = "models",
        .arguments = "[list]\nadd NAME\nremove NAME\nshow NAME\nstart NAME\nstop NAME",
        .words = "list add remove show start stop",
        .summary = "add, list, start and stop models",
        .more = "The models of a machine stand in a file, the catalogue (docs/engines.md explains it); the worker there notices changes by itself. STATE is what the pool knows: ready, "
                "swapped out (its memory is on the host, at least in part), starting, or cold (the first request starts it); REQUESTS are running+waiting. A NOTE that is cut stands in full in \"show\".\n\n"
                "Examples:\n\n  berth models\n  berth models add tiny --gguf tiny.gguf\n"
                "  berth models add coder --memory 20GiB \\\n    --command 'llama-server -m /models/coder.gguf --host {host} --port {port}'\n"
                "  berth models add far --url http://10.0.0.7:8000\n  berth models start --wait tiny",
        .options = options,
        .parse = parse,
        .run = run,
};
