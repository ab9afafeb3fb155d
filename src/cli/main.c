/* main.c: `berth VERB …`: finds the verb and hands over. Everything else about a verb is in its own file. */
#include "cli/cli.h"

#include "base/scope.h"

#include <locale.h>
#include <stdio.h>

int main(int argc, char **argv)
{
        char *name scoped_free = NULL;
        const struct verb *verb, *nearest;
        int at;

        setlocale(LC_ALL, "");
        setlocale(LC_NUMERIC, "C"); /* numbers look alike everywhere, in JSON too */
        at = cli_parse_general(argc, argv);
        if (at < 0)
                return CLI_FAILED;
        if (at == 0) {
                cli_help(NULL);
                return CLI_USAGE;
        }
        verb = verb_find(argv[at]);
        if (!verb) {
                nearest = verb_nearest(argv[at]);
                if (nearest)
                        cli_error("there is no verb \"%s\"; did you mean \"%s\"? `berth help' lists them all.",
                                  argv[at], nearest->name);
                else
                        cli_error("there is no verb \"%s\"; `berth help' lists them all.", argv[at]);
                return CLI_USAGE;
        }
        if (asprintf(&name, "berth %s", verb->name) < 0)
                return CLI_FAILED;
        argv[at] = name;
        return verb->run(verb, argc - at, argv + at);
}
