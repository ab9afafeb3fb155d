/* reload.c: `berth reload`: the daemon reads its settings again. */
#include "cli/connection.h"

#include <stdio.h>

static int run(const struct verb *self, int argc, char **argv)
{
        scoped_connection struct connection c = CONNECTION_CLOSED;
        struct wire_message m = {0};
        char message[CLI_MESSAGE];
        int r;

        cli_parse(self, argc, argv, NULL);
        r = connection_open(&c, message);
        if (r >= 0)
                r = connection_send(&c, &m, WIRE_RELOAD, message);
        if (r >= 0)
                r = connection_expect(&c, WIRE_DONE, &m, NULL, message);
        if (r < 0) {
                cli_error("%s", message);
                return cli_exit_code(r);
        }
        return cli_print("the settings are in force\n");
}

const struct verb verb_reload = {
        .name = "reload",
        .summary = "let the daemon read its settings again",
        .more = "A file with a mistake changes nothing; the mistake is named with its line. Only the daemon's own user "
                "and root may do this.\n\n"
                "Examples:\n\n  berth config check /etc/berth/berthd.conf\n  berth reload",
        .run = run,
};
