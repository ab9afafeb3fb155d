/* parse.c: argp for `berth` itself and for every verb, from the verbs' descriptors; see cli.h. */
#include "cli/cli.h"

#include "base/scope.h"
#include "base/strbuf.h"

#include <stdio.h>
#include <string.h>

static const char overview[] =
        "Berth lets AI programs share accelerators that can't hold them all. On a machine, the daemon berthd decides whose memory is on the device and moves "
        "the rest to host memory. Above the machines, a pool serves models and hands tasks to workers.";

static const char afterwards[] = "Environment: BERTH_SOCKET, the daemon's socket; BERTH_CONFIG, its configuration "
                                 "file; BERTH_POOL and BERTH_TOKEN, a pool's address and a key; BERTH_FOLDER, where `berth up' keeps things; BERTH_DISABLE=1, the certain way "
                                 "out for a program.\n\n"
                                 "Exit codes: 0 done, 1 failed, 2 wrong usage, 69 no daemon or pool answers, 76 daemon of "
                                 "another kind or version, 77 not "
                                 "permitted, 78 wrong configuration; `berth run' ends with the program's own code, 126 "
                                 "when it can't be executed, 127 when it "
                                 "is not found.";

enum { KEY_VERSION = 'V', KEY_SOCKET = 's' };

static const struct argp_option general[] = {
        {"socket", KEY_SOCKET, "PATH", 0, "talk to the daemon at this socket", 0},
        {"version", KEY_VERSION, NULL, 0, "print the version", -1},
        {0},
};

static int parse_general(int key, char *arg, struct argp_state *state)
{
        switch (key) {
        case KEY_VERSION:
                puts("berth " BERTH_VERSION);
                exit(cli_print(NULL));
        case KEY_SOCKET:
                if (setenv("BERTH_SOCKET", arg, 1) < 0)
                        argp_failure(state, CLI_FAILED, errno, "--socket");
                return 0;
        case ARGP_KEY_ARG:
                /* The verb; what follows is its own business. */
                *(int *)state->input = state->next - 1;
                state->next = state->argc;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static char *list_of_verbs(int key, const char *text, void *input)
{
        struct strbuf b = {0};

        (void)input;
        if (key != ARGP_KEY_HELP_PRE_DOC)
                return (char *)text;
        strbuf_add(&b, "%s\n", text);
        for (const struct verb *const *v = verbs; *v; v++) {
                if (verb_group_title(*v))
                        strbuf_add(&b, "\n%s:", verb_group_title(*v));
                strbuf_add(&b, "\n  %-11s %s%s", (*v)->name, (*v)->summary, v[1] && verb_group_title(v[1]) ? "\n" : "");
        }
        strbuf_add(&b, "\n\n`berth help VERB' explains one, with examples.");
        return b.failed ? (char *)text : b.text;
}

/* argp joins what stands before and after the options with a vertical tab. */
static struct argp general_argp(char **doc)
{
        if (asprintf(doc, "%s\v%s", overview, afterwards) < 0)
                *doc = NULL;
        return (struct argp){.options = general,
                             .parser = parse_general,
                             .args_doc = "VERB [ARGUMENTS...]",
                             .doc = *doc,
                             .help_filter = list_of_verbs};
}

static struct argp verb_argp(const struct verb *verb, char **doc)
{
        if (asprintf(doc, "%c%s.\v%s", verb->summary[0] - ('a' <= verb->summary[0] && verb->summary[0] <= 'z' ? 32 : 0),
                     verb->summary + 1, verb->more ? verb->more : "") < 0)
                *doc = NULL;
        return (struct argp){.options = verb->options, .parser = verb->parse, .args_doc = verb->arguments, .doc = *doc};
}

void cli_parse(const struct verb *verb, int argc, char **argv, void *input)
{
        char *doc scoped_free = NULL;
        struct argp argp = verb_argp(verb, &doc);
        int r = (int)argp_parse(&argp, argc, argv, verb->argp_flags, NULL, input);

        if (r) {
                cli_error("%s: %s", verb->name, strerror(r));
                exit(CLI_FAILED);
        }
}

void cli_help(const struct verb *verb)
{
        char *doc scoped_free = NULL, *name scoped_free = NULL;
        char *argv[] = {(char *)"berth", (char *)"--help", NULL};
        struct argp argp = verb ? verb_argp(verb, &doc) : general_argp(&doc);

        if (verb && asprintf(&name, "berth %s", verb->name) >= 0)
                argv[0] = name;
        /* argp_help() alone knows nothing of --help itself. */
        (void)argp_parse(&argp, 2, argv, ARGP_NO_EXIT, NULL, NULL);
}

int cli_parse_general(int argc, char **argv)
{
        char *doc scoped_free = NULL;
        struct argp argp = general_argp(&doc);
        int at = 0;

        argp_err_exit_status = CLI_USAGE;
        return argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &at) ? -1 : at;
}
