/* reload.c: `berth reload`: the daemon reads its settings again. */
#include "cli/connection.h"

#include <jansson.h>
#include <stdio.h>

static const struct argp_option options[] = {
        {"json", 'j', NULL, 0, "print JSON", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        (void)arg;
        if (key != 'j')
                return ARGP_ERR_UNKNOWN;
        *(bool *)state->input = true;
        return 0;
}

/* Also of what failed: a program that reloads wants the line of the mistake, too. */
static int print_json(const char *fault)
{
        json_t *o = json_pack("{s:b, s:s?}", "reloaded", fault == NULL, "error", fault);
        char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
        int r = text ? (puts(text), cli_print(NULL)) : CLI_FAILED;

        free(text);
        json_decref(o);
        return r;
}

static int run(const struct verb *self, int argc, char **argv)
{
        scoped_connection struct connection c = CONNECTION_CLOSED;
        struct wire_message m = {0};
        char message[CLI_MESSAGE];
        bool json = false;
        int r;

        cli_parse(self, argc, argv, &json);
        r = connection_open(&c, message);
        if (r >= 0)
                r = connection_send(&c, &m, WIRE_RELOAD, message);
        if (r >= 0)
                r = connection_expect(&c, WIRE_DONE, &m, NULL, message);
        if (r < 0) {
                cli_error("%s", message);
                if (json)
                        print_json(message);
                return cli_exit_code(r);
        }
        return json ? print_json(NULL) : cli_print("the settings are in force\n");
}

const struct verb verb_reload = {
        .name = "reload",
        .summary = "let the daemon read its settings again",
        .more = "A file with a mistake changes nothing; the mistake is named with its line. Only the daemon's own user "
                "and root may do this.\n\n"
                "Examples:\n\n  berth config check /etc/berth/berthd.conf\n  berth reload",
        .options = options,
        .parse = parse,
        .run = run,
};
