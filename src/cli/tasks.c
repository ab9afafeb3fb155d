/* tasks.c: `berth tasks [ID...]`: what the pool has, or one task in full. */
#include "cli/pool-client.h"
#include "cli/table.h"

#include "base/error.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

struct ask {
        const char *id, *state, *type, *limit, *after;
        bool json;
};

static const struct argp_option options[] = {
        {"state", 's', "STATE", 0, "only tasks in this state: held, queued, leased, backoff, done, failed, dead, cancelled, expired", 0},
        {"type", 't', "TYPE", 0, "only tasks of this type", 0},
        {"limit", 'n', "N", 0, "so many, newest first (50)", 0},
        {"after", 'a', "CURSOR", 0, "go on where the last list ended", 0},
        {"json", 'j', NULL, 0, "print JSON", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct ask *a = state->input;

        switch (key) {
        case 's':
                a->state = arg;
                return 0;
        case 't':
                a->type = arg;
                return 0;
        case 'n':
                a->limit = arg;
                return 0;
        case 'a':
                a->after = arg;
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

static void list(const json_t *answer, struct strbuf *b, const void *context)
{
        static const char *const titles[] = {"TASK", "NAME", "TYPE", "STATE", "PRIORITY", ">TRY", ">DONE", "WORKER", "CREATED", NULL};
        scoped_table struct table t;
        const json_t *one;
        size_t i;

        table_init(&t, titles);
        json_array_foreach(json_object_get(answer, "data"), i, one) {
                const json_t *share = json_object_get(json_object_get(one, "progress"), "share");
                char when[24], name[TABLE_CELL];

                text_copy_clean(name, sizeof name, pool_text(one, "name"));
                table_add(&t, "%s", pool_text(one, "id"));
                table_add(&t, "%s", name);
                table_add(&t, "%s", pool_text(one, "type"));
                table_add(&t, "%s", pool_text(one, "state"));
                table_add(&t, "%s", pool_text(one, "priority"));
                table_add(&t, "%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(one, "attempt")));
                if (share)
                        table_add(&t, "%.0f%%", 100 * json_number_value(share));
                else
                        table_add(&t, "-");
                table_add(&t, "%s", pool_text(one, "worker"));
                table_add(&t, "%s", pool_time(one, "created", when, sizeof when));
        }
        table_print(&t, 0, b);
        if (json_is_true(json_object_get(answer, "has_more")))
                strbuf_add(b, "more with --after %s\n", pool_text(answer, "next"));
}

/* Every member on a line of its own; what is deeper as JSON. */
static void one(const json_t *task, struct strbuf *b, const void *context)
{
        const json_t *value;
        const char *name;

        json_object_foreach((json_t *)task, name, value) {
                char *text scoped_free = NULL, clean[1024];

                if (json_is_null(value))
                        continue;
                if (json_is_string(value))
                        text_copy_clean(clean, sizeof clean, json_string_value(value));
                else
                        text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6) | JSON_ENSURE_ASCII);
                strbuf_add(b, "%-16s %s\n", name, text ? text : clean);
        }
}

static int run(const struct verb *self, int argc, char **argv)
{
        struct pool_ask ask = {.method = "GET"};
        struct ask a = {0};
        uint64_t limit = 50;
        char path[700];

        cli_parse(self, argc, argv, &a);
        if (a.limit && text_parse_u64(a.limit, 1, 1000, &limit) < 0)
                return cli_usage(self, "--limit %.40s: a number from 1 to 1000", a.limit);
        if (a.id && !pool_is_id(a.id))
                return cli_usage(self, "\"%.60s\" is no task's id", a.id);
        if (a.id)
                snprintf(path, sizeof path, "/api/v1/tasks/%s", a.id);
        else
                snprintf(path, sizeof path, "/api/v1/tasks?limit=%u%s%.100s%s%.100s%s%.200s", (unsigned int)limit, a.state ? "&state=" : "", a.state ? a.state : "",
                         a.type ? "&type=" : "", a.type ? a.type : "", a.after ? "&after=" : "", a.after ? a.after : "");
        ask.path = path;
        return pool_print_of(&ask, a.json, a.id ? one : list, NULL);
}

const struct verb verb_tasks = {
        .name = "tasks",
        .arguments = "[TASK]",
        .summary = "list tasks, or show one in full",
        .more = "Examples:\n\n  berth tasks --state queued\n  berth tasks task_0192f0c1…",
        .options = options,
        .parse = parse,
        .run = run,
};
