/* pool-simple.c: the verbs that are one request about one thing: cancel, prioritise, drain, why, backup. */
#include "cli/pool-client.h"

#include "base/error.h"
#include "base/strbuf.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

struct ask {
        const char *first, *second;
        bool json, off;
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct ask *a = state->input;

        switch (key) {
        case 'o':
                a->off = true;
                return 0;
        case 'j':
                a->json = true;
                return 0;
        case ARGP_KEY_ARG:
                if (a->second)
                        return ARGP_ERR_UNKNOWN;
                *(a->first ? &a->second : &a->first) = arg;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static const struct argp_option only_json[] = {
        {"json", 'j', NULL, 0, "print JSON", 0},
        {0},
};

static void state_line(const json_t *answer, struct strbuf *b, const void *context)
{
        const struct ask *a = context;

        strbuf_add(b, "%s %s", a->first, pool_text(answer, "state"));
        if (json_object_get(answer, "priority") && a->second)
                strbuf_add(b, ", priority %s", pool_text(answer, "priority"));
        strbuf_add(b, "\n");
}

/* ---- cancel ------------------------------------------------------------------------------------------------------ */

static int run_cancel(const struct verb *self, int argc, char **argv)
{
        struct pool_ask ask = {.method = "POST"};
        struct ask a = {0};
        char path[128];

        cli_parse(self, argc, argv, &a);
        if (!a.first || a.second || !pool_is_id(a.first))
                return cli_usage(self, "which task? its id, as `berth tasks' lists it");
        snprintf(path, sizeof path, "/api/v1/tasks/%s/cancel", a.first);
        ask.path = path;
        return pool_print_of(&ask, a.json, state_line, &a);
}

const struct verb verb_cancel = {
        .name = "cancel",
        .arguments = "TASK",
        .summary = "cancel a task, running or not",
        .more = "One that has ended stays as it is.\n\nExample:\n\n  berth cancel task_0192f0c1…",
        .options = only_json,
        .parse = parse,
        .run = run_cancel,
};

/* ---- prioritise -------------------------------------------------------------------------------------------------- */

static int run_prioritise(const struct verb *self, int argc, char **argv)
{
        struct pool_ask ask = {.method = "PATCH"};
        struct ask a = {0};
        char path[128];
        json_t *body;
        int r;

        cli_parse(self, argc, argv, &a);
        if (!a.first || !a.second || !pool_is_id(a.first))
                return cli_usage(self, "which task, and which priority: urgent, high, normal, low or idle?");
        body = json_pack("{s:s}", "priority", a.second);
        if (!body)
                return cli_usage(self, "\"%.40s\" is no priority", a.second);
        snprintf(path, sizeof path, "/api/v1/tasks/%s", a.first);
        ask.path = path;
        ask.body = body;
        r = pool_print_of(&ask, a.json, state_line, &a);
        json_decref(body);
        return r;
}

const struct verb verb_prioritise = {
        .name = "prioritise",
        .arguments = "TASK urgent|high|normal|low|idle",
        .summary = "change a task's priority",
        .more = "Example:\n\n  berth prioritise task_0192f0c1… urgent",
        .options = only_json,
        .parse = parse,
        .run = run_prioritise,
};

/* ---- drain ------------------------------------------------------------------------------------------------------- */

static const struct argp_option drain_options[] = {
        {"off", 'o', NULL, 0, "give it new work again", 0},
        {"json", 'j', NULL, 0, "print JSON", 0},
        {0},
};

static int run_drain(const struct verb *self, int argc, char **argv)
{
        struct pool_ask ask = {.method = "PATCH", .if_match = "*"};
        struct ask a = {0};
        char path[128];
        json_t *body;
        int r;

        cli_parse(self, argc, argv, &a);
        if (!a.first || a.second || !pool_is_id(a.first))
                return cli_usage(self, "which worker? its id, as `berth workers' lists it");
        body = json_pack("{s:s}", "state", a.off ? "active" : "draining");
        snprintf(path, sizeof path, "/api/v1/workers/%s", a.first);
        ask.path = path;
        ask.body = body;
        r = pool_print_of(&ask, a.json, state_line, &a);
        json_decref(body);
        return r;
}

const struct verb verb_drain = {
        .name = "drain",
        .arguments = "WORKER",
        .summary = "let a worker finish what it has and give it nothing new",
        .more = "Examples:\n\n  berth drain worker_0192f0c1…\n  berth drain --off worker_0192f0c1…",
        .options = drain_options,
        .parse = parse,
        .run = run_drain,
};

/* ---- why --------------------------------------------------------------------------------------------------------- */

static json_int_t number(const json_t *o, const char *name)
{
        return json_integer_value(json_object_get(o, name));
}

#define D JSON_INTEGER_FORMAT

static void because(const json_t *answer, struct strbuf *b, const void *context)
{
        const json_t *one;
        char text[16];
        size_t i;

        strbuf_add(b, "%s\n", pool_text(answer, "text"));
        if (json_object_get(answer, "worker") && json_object_get(answer, "slots")) {
                strbuf_add(b, "  slots      %" D ", %" D " of them free\n", number(answer, "slots"), number(answer, "ready"));
                strbuf_add(b, "  queued     %" D " in the pool, %" D " of them it could take\n", number(answer, "queued"), number(answer, "fitting"));
                return;
        }
        if (number(answer, "position") > 0)
                strbuf_add(b, "  ahead      %" D " task%s\n", number(answer, "position"), number(answer, "position") == 1 ? "" : "s");
        if (json_is_number(json_object_get(answer, "eta_ms")))
                strbuf_add(b, "  starts in  about %s\n", text_duration((uint64_t)json_number_value(json_object_get(answer, "eta_ms")) * 1000000, text, sizeof text));
        if (json_is_integer(json_object_get(answer, "fitting")))
                strbuf_add(b, "  workers    %" D " could take it, %" D " of them are free\n", number(answer, "fitting"), number(answer, "fitting_ready"));
        json_array_foreach(json_object_get(answer, "unmet"), i, one)
                strbuf_add(b, "  %-26s %" D " of %" D " worker%s\n", pool_text(one, "need"), number(one, "matched"), number(one, "total"), number(one, "total") == 1 ? "" : "s");
}

static int run_why(const struct verb *self, int argc, char **argv)
{
        struct pool_ask ask = {.method = "GET"};
        struct ask a = {0};
        char path[128];

        cli_parse(self, argc, argv, &a);
        if (!a.first || a.second || !pool_is_id(a.first))
                return cli_usage(self, "why what? the id of a task or of a worker");
        snprintf(path, sizeof path, "/api/v1/%s/%s/why", strncmp(a.first, "worker_", 7) ? "tasks" : "workers", a.first);
        ask.path = path;
        return pool_print_of(&ask, a.json, because, &a);
}

const struct verb verb_why = {
        .name = "why",
        .arguments = "TASK|WORKER",
        .summary = "explain why a task does not run yet, or a worker is idle",
        .more = "Examples:\n\n  berth why task_0192f0c1…\n  berth why worker_0192f0c1…",
        .options = only_json,
        .parse = parse,
        .run = run_why,
};

/* ---- backup ------------------------------------------------------------------------------------------------------ */

static void copied(const json_t *answer, struct strbuf *b, const void *context)
{
        const struct ask *a = context;
        char number[16];

        strbuf_add(b, "copied to %s", a->first);
        if (json_is_integer(json_object_get(answer, "bytes")))
                strbuf_add(b, ", %s", text_bytes((uint64_t)json_integer_value(json_object_get(answer, "bytes")), number, sizeof number));
        strbuf_add(b, "\n");
}

static int run_backup(const struct verb *self, int argc, char **argv)
{
        struct pool_ask ask = {.method = "POST", .path = "/api/v1/backup", .timeout_s = 24 * 3600};
        struct ask a = {0};
        json_t *body;
        int r;

        cli_parse(self, argc, argv, &a);
        if (!a.first || a.second || a.first[0] != '/')
                return cli_usage(self, "where to? an absolute path on the pool's machine, of a file that does not exist yet");
        body = json_pack("{s:s}", "path", a.first);
        if (!body)
                return cli_usage(self, "the path is not UTF-8 text");
        ask.body = body;
        r = pool_print_of(&ask, a.json, copied, &a);
        json_decref(body);
        return r;
}

const struct verb verb_backup = {
        .name = "backup",
        .arguments = "PATH",
        .summary = "copy the pool's store while it runs",
        .more = "The copy is an SQLite file, whatever the store is, and can be served with `berth pool --store PATH'. Artifacts and the file of secrets are not "
                "in it.\n\nExample:\n\n  berth backup /var/backups/pool-2026-11-21.db",
        .options = only_json,
        .parse = parse,
        .run = run_backup,
};
