/* run.c: `berth run -- PROGRAM`: starts a program so that Berth shares its device memory. */
#include "base/error.h"
#include "cli/launch.h"
#include "cli/snapshot.h"

#include <stdio.h>
#include <string.h>

enum { KEY_NEED = 'n', KEY_NO_DAEMON = 0x100 };

struct run {
        struct launch launch;
        bool no_daemon_ok;
        int program; /* index in argv, 0: none given */
};

static const struct argp_option options[] = {
        {"memory", 'm', "40%|SIZE", 0, "limit the program to a share of each device, or to a size", 0},
        {"need", KEY_NEED, "SIZE", 0,
         "device memory that it will need, so that it starts when that much is free at once", 0},
        {"priority", 'p', "interactive|normal|batch", 0, "who goes first (normal)", 0},
        {"job", 'j', "NAME", 0, "programs with the same name come in and go out together", 0},
        {"no-daemon-ok", KEY_NO_DAEMON, NULL, 0, "when no daemon answers, run the program unshared", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct run *r = state->input;

        switch (key) {
        case 'm':
                r->launch.memory = arg;
                return 0;
        case KEY_NEED:
                r->launch.need = arg;
                return 0;
        case 'p':
                r->launch.priority = arg;
                return 0;
        case 'j':
                r->launch.job = arg;
                return 0;
        case KEY_NO_DAEMON:
                r->no_daemon_ok = true;
                return 0;
        case ARGP_KEY_ARG:
                r->program = state->next - 1;
                state->next = state->argc;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

/* What kind of device the daemon shares decides which driver the program gets. */
static int look_at_devices(struct launch *l, const struct snapshot *s, char message[CLI_MESSAGE])
{
        size_t shared = 0;

        for (size_t i = 0; i < s->device_count; i++) {
                const struct wire_STATUS_DEVICE *d = &s->devices[i];

                shared += snapshot_shared(d);
                if (d->kind != WIRE_SOFTWARE)
                        continue;
                l->software = true;
                l->software_devices++;
                if (d->valid & WIRE_VALID_TOTAL)
                        l->software_bytes = d->total_bytes;
        }
        if (!shared) {
                snprintf(message, CLI_MESSAGE, "the daemon shares no device; `berth doctor' tells what is missing");
                return -ENODEV;
        }
        return 0;
}

static int run(const struct verb *self, int argc, char **argv)
{
        struct connection c = CONNECTION_CLOSED;
        scoped_snapshot struct snapshot s = {0};
        char message[CLI_MESSAGE];
        struct run run = {0};
        int r;

        cli_parse(self, argc, argv, &run);
        if (!run.program)
                return cli_usage(self, "which program? berth run [OPTIONS] -- PROGRAM [ARGS...]");
        r = launch_check(&run.launch, message);
        if (r < 0)
                return cli_usage(self, "%s", message);
        r = connection_open(&c, message);
        if (r == -E_UNAVAILABLE && run.no_daemon_ok) {
                cli_error("%s; %s runs unshared", message, argv[run.program]);
                return launch_exec(argv + run.program);
        }
        if (r >= 0)
                r = snapshot_fetch(&c, &s, message);
        if (r >= 0)
                r = look_at_devices(&run.launch, &s, message);
        if (r >= 0)
                r = launch_find_library(&run.launch, message);
        if (r >= 0)
                r = launch_find_driver(&run.launch, message);
        run.launch.socket = c.path;
        if (r >= 0)
                r = launch_environment(&run.launch, message);
        connection_close(&c);
        if (r < 0) {
                cli_error("%s", message);
                return cli_exit_code(r);
        }
        return launch_exec(argv + run.program);
}

const struct verb verb_run = {
        .name = "run",
        .arguments = "[--] PROGRAM [ARGS...]",
        .words = "@program",
        .summary = "start a program whose device memory Berth shares",
        .more = "The program runs as it is; it is told nothing but a smaller device when --memory is given. "
                "BERTH_DISABLE=1 in its environment "
                "turns Berth off. The exit code is the program's.\n\n"
                "Examples:\n\n"
                "  berth run -- python3 train.py\n"
                "  berth run --memory 40% --priority batch -- python3 train.py\n"
                "  berth run --job both -- ./left & berth run --job both -- ./right",
        .options = options,
        .parse = parse,
        .argp_flags = ARGP_IN_ORDER,
        .run = run,
};
