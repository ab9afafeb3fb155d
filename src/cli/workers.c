/* workers.c: `berth workers [ID]`: who works for the pool. */
#include "cli/pool-client.h"
#include "cli/table.h"

#include "base/error.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

struct ask {
        const char *id;
        bool json, remove;
};

static const struct argp_option options[] = {
        {"remove", 'r', NULL, 0, "forget the worker; what it has is handed on", 0},
        {"json", 'j', NULL, 0, "print JSON", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct ask *a = state->input;

        switch (key) {
        case 'r':
                a->remove = true;
                return 0;
        case 'j':
                a->json = true;
                return 0;
        case ARGP_KEY_ARG:
                if (a->id)
                        return ARGP_ERR_UNKNOWN;
                a->id = arg;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static void add_number(struct table *t, const json_t *o, const char *name)
{
        const json_t *n = json_object_get(o, name);

        if (json_is_integer(n))
                table_add(t, "%" JSON_INTEGER_FORMAT, json_integer_value(n));
        else
                table_add(t, "-");
}

static void list(const json_t *answer, struct strbuf *b, const void *context)
{
        static const char *const titles[] = {"WORKER", "NAME", "STATE", ">SLOTS", ">BUSY", "DEVICES", ">DONE", ">FAILED", NULL};
        scoped_table struct table t;
        const json_t *one, *device;
        size_t i, j;

        table_init(&t, titles);
        json_array_foreach(json_object_get(answer, "data"), i, one) {
                char name[TABLE_CELL], devices[TABLE_CELL] = "", number[16];

                text_copy_clean(name, sizeof name, pool_text(one, "name"));
                json_array_foreach(json_object_get(one, "devices"), j, device) {
                        size_t n = strlen(devices);
                        json_t *bytes = json_object_get(device, "memory_bytes");

                        snprintf(devices + n, sizeof devices - n, "%s%.12s %s", j ? ", " : "", pool_text(device, "kind"),
                                 json_is_integer(bytes) ? text_bytes((uint64_t)json_integer_value(bytes), number, sizeof number) : "");
                }
                table_add(&t, "%s", pool_text(one, "id"));
                table_add(&t, "%s", name);
                table_add(&t, "%s", pool_text(one, "state"));
                add_number(&t, one, "slots");
                table_add(&t, "%zu", json_array_size(json_object_get(one, "leases")));
                table_add(&t, "%s", devices[0] ? devices : "-");
                add_number(&t, one, "done");
                add_number(&t, one, "failed");
        }
        table_print(&t, 0, b);
}

static int run(const struct verb *self, int argc, char **argv)
{
        struct pool_ask ask = {.method = "GET"};
        struct ask a = {0};
        char path[128];

        cli_parse(self, argc, argv, &a);
        if (a.id && !pool_is_id(a.id))
                return cli_usage(self, "\"%.60s\" is no worker's id", a.id);
        if (a.remove && !a.id)
                return cli_usage(self, "which worker is to be removed?");
        if (a.remove)
                ask.method = "DELETE";
        snprintf(path, sizeof path, "/api/v1/workers%s%s", a.id ? "/" : "?limit=1000", a.id ? a.id : "");
        ask.path = path;
        return pool_print_of(&ask, a.json || (a.id && !a.remove), a.id ? NULL : list, NULL);
}

const struct verb verb_workers = {
        .name = "workers",
        .arguments = "[WORKER]",
        .summary = "list workers, or show one in full",
        .more = "Examples:\n\n  berth workers\n  berth workers --remove worker_0192f0c1…",
        .options = options,
        .parse = parse,
        .run = run,
};
