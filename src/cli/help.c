/* help.c: `berth help [VERB]`. */
#include "cli/cli.h"

struct help {
        const char *verb;
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct help *h = state->input;

        if (key != ARGP_KEY_ARG || h->verb)
                return ARGP_ERR_UNKNOWN;
        h->verb = arg;
        return 0;
}

static int run(const struct verb *self, int argc, char **argv)
{
        struct help h = {0};
        const struct verb *verb = NULL;

        cli_parse(self, argc, argv, &h);
        if (h.verb) {
                verb = verb_find(h.verb);
                if (!verb) {
                        const struct verb *nearest = verb_nearest(h.verb);

                        return nearest ? cli_usage(self, "there is no verb \"%s\"; did you mean \"%s\"?", h.verb,
                                                   nearest->name)
                                       : cli_usage(self, "there is no verb \"%s\"", h.verb);
                }
        }
        cli_help(verb);
        return cli_print(NULL);
}

const struct verb verb_help = {
        .name = "help",
        .arguments = "[VERB]",
        .words = "@verb",
        .summary = "explain a verb, or list them all",
        .more = "Example:\n\n  berth help run",
        .parse = parse,
        .run = run,
};
