/* status.c: `berth status`. */
#include "cli/status-render.h"

#include <stdio.h>

struct status {
        bool json;
};

static const struct argp_option options[] = {
        {"json", 'j', NULL, 0, "print JSON; what is unavailable is null", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        (void)arg;
        if (key != 'j')
                return ARGP_ERR_UNKNOWN;
        ((struct status *)state->input)->json = true;
        return 0;
}

static int run(const struct verb *self, int argc, char **argv)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};
        scoped_connection struct connection c = CONNECTION_CLOSED;
        scoped_snapshot struct snapshot s = {0};
        char message[CLI_MESSAGE];
        struct status status = {0};
        int r;

        cli_parse(self, argc, argv, &status);
        r = connection_open(&c, message);
        if (r >= 0)
                r = snapshot_fetch(&c, &s, message);
        if (r < 0) {
                cli_error("%s", message);
                return cli_exit_code(r);
        }
        if (status.json) {
                json_t *o = status_json(&s);
                char *text scoped_free = o ? json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(CLI_DIGITS)) : NULL;

                json_decref(o);
                strbuf_add(&b, "%s\n", text ? text : "");
                b.failed |= !text;
        } else {
                status_text(&s, &b);
        }
        if (b.failed) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        return cli_print(b.text);
}

const struct verb verb_status = {
        .name = "status",
        .summary = "show devices, programs, who waits for what, and what was moved",
        .more = "Examples:\n\n  berth status\n  berth status --json | jq '.devices[0].swapped_bytes'",
        .options = options,
        .parse = parse,
        .run = run,
};
