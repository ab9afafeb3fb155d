/* trim.c: `berth trim PID|NAME|--all`: programs are asked to give back device memory that they do not need. */
#include "cli/connection.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

struct ask {
        const char *whom;
        bool all, soft;
};

static const struct argp_option options[] = {
        {"all", 'a', NULL, 0, "all programs, of other users too for root and the daemon's own user", 0},
        {"soft", 's', NULL, 0, "also let the next large allocation fail once, so that the program's allocator frees its cache", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct ask *a = state->input;

        switch (key) {
        case 'a':
                a->all = true;
                return 0;
        case 's':
                a->soft = true;
                return 0;
        case ARGP_KEY_ARG:
                if (a->whom)
                        return ARGP_ERR_UNKNOWN;
                a->whom = arg;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static int run(const struct verb *self, int argc, char **argv)
{
        scoped_connection struct connection c = CONNECTION_CLOSED;
        struct wire_message m = {0};
        char message[CLI_MESSAGE], line[64];
        struct ask a = {0};
        uint64_t pid = 0;
        int r;

        cli_parse(self, argc, argv, &a);
        if (a.all == !!a.whom)
                return cli_usage(self, "which programs? a process number, a name, or --all");
        if (a.whom && (!a.whom[0] || strlen(a.whom) >= sizeof m.TRIM_ASK.name || !text_is_clean(a.whom, sizeof m.TRIM_ASK.name)))
                return cli_usage(self, "\"%.80s\" is no name of 1 to %zu printable ASCII characters", a.whom, sizeof m.TRIM_ASK.name - 1);
        m.TRIM_ASK.soft = a.soft;
        if (a.whom && text_parse_u64(a.whom, 1, INT32_MAX, &pid) < 0)
                memcpy(m.TRIM_ASK.name, a.whom, strlen(a.whom));
        m.TRIM_ASK.pid = (uint32_t)pid;
        r = connection_open(&c, message);
        if (r >= 0)
                r = connection_send(&c, &m, WIRE_TRIM_ASK, message);
        if (r >= 0)
                r = connection_expect(&c, WIRE_TRIMMED, &m, NULL, message);
        if (r < 0) {
                cli_error("%s", message);
                return cli_exit_code(r);
        }
        if (m.TRIMMED.forbidden) {
                cli_error("%s is another user's program: only its user, root and the daemon's own user may ask it", a.whom ? a.whom : "this");
                return CLI_FORBIDDEN;
        }
        if (a.whom && !m.TRIMMED.programs) {
                cli_error("no program %s on a shared device; `berth status' lists them", a.whom);
                return CLI_FAILED;
        }
        snprintf(line, sizeof line, "%u program%s asked\n", m.TRIMMED.programs, m.TRIMMED.programs == 1 ? " was" : "s were");
        return cli_print(line);
}

const struct verb verb_trim = {
        .name = "trim",
        .arguments = "PID|NAME\n--all",
        .summary = "ask programs to give back memory they do not need",
        .more = "Device memory that Berth keeps for a program unused goes back at once, and a program that asked to be told (berth.h, berth.py) frees "
                "what it holds for later. With --soft, its next large allocation fails once: PyTorch's allocator, and others that cache, free "
                "their caches then and try again; a program that takes any failure for the end ends.\n\n"
                "Examples:\n\n"
                "  berth trim 4711\n"
                "  berth trim --soft python3\n"
                "  berth trim --all",
        .options = options,
        .parse = parse,
        .run = run,
};
