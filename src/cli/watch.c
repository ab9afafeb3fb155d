/* watch.c: `berth watch [TASK...]`: live progress and output. */
#include "cli/pool-watch.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

struct ask {
        json_t *ids;
        bool json;
};

static const struct argp_option options[] = {
        {"json", 'j', NULL, 0, "print each event as a line of JSON", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct ask *a = state->input;

        switch (key) {
        case 'j':
                a->json = true;
                return 0;
        case ARGP_KEY_ARG:
                if (!pool_is_id(arg))
                        argp_error(state, "\"%.60s\" is no task's id; `berth tasks' lists them", arg);
                if (!a->ids)
                        a->ids = json_array();
                json_array_append_new(a->ids, json_pack("{s:s}", "id", arg));
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static int run(const struct verb *self, int argc, char **argv)
{
        scoped_pool struct pool_client c = {0};
        char message[CLI_MESSAGE];
        struct ask a = {0};
        json_t *answer;
        int r;

        cli_parse(self, argc, argv, &a);
        r = pool_open(&c, message);
        if (r < 0) {
                cli_error("%s", message);
                json_decref(a.ids);
                return cli_exit_code(r);
        }
        answer = a.ids ? json_pack("{s:o}", "data", a.ids) : NULL;
        r = pool_watch(&c, answer, a.json, false);
        json_decref(answer);
        return r;
}

const struct verb verb_watch = {
        .name = "watch",
        .arguments = "[TASK...]",
        .summary = "follow tasks, with their output, until they end",
        .more = "One task: its output as it comes, then how it ended. Several: a bar each. None: all that happens, until Ctrl-C.\n\n"
                "Examples:\n\n  berth watch task_0192f0c1…\n  berth submit --batch tasks.jsonl | xargs berth watch",
        .options = options,
        .parse = parse,
        .run = run,
};
