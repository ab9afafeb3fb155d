/* run.c: `berth run -- PROGRAM`: starts a program so that Berth shares its device memory. */
#include "base/error.h"
#include "base/text.h"
#include "cli/choose.h"
#include "cli/launch.h"
#include "cli/snapshot.h"
#include "cli/summary.h"
#include "cli/watch-start.h"

#include <stdio.h>
#include <string.h>

enum { KEY_NEED = 'n', KEY_QUIET = 'q', KEY_NO_DAEMON = 0x100, KEY_SUMMARY, KEY_SOFT, KEY_JOB_MEMORY, KEY_DEVICE, KEY_WATCH, KEY_ON_HANG, KEY_HANG_AFTER, KEY_WATCH_REPORT, KEY_NOTIFY };

struct run {
        struct launch launch;
        bool no_daemon_ok, quiet;
        const char *device;  /* as given, or NULL */
        const char *summary; /* where its JSON goes */
        struct watch_options watch;
        int program; /* index in argv, 0: none given */
};

static const struct argp_option options[] = {
        {"memory", 'm', "40%|SIZE", 0, "limit the program to a share of each device, or to a size", 0},
        {"soft-memory", KEY_SOFT, "40%|SIZE", 0, "let its allocator free cached memory from this much on, and go on up to --memory", 0},
        {"job-memory", KEY_JOB_MEMORY, "40%|SIZE", 0, "limit all programs of its --job together, on each device", 0},
        {"need", KEY_NEED, "SIZE", 0,
         "device memory that it will need, so that it starts when that much is free at once", 0},
        {"priority", 'p', "interactive|normal|batch", 0, "who goes first (normal)", 0},
        {"job", 'j', "NAME", 0, "programs with the same name come in and go out together", 0},
        {"device", KEY_DEVICE, "auto|INDEX|UUID", 0, "only this device is there for the program; auto: the best for its --need, or else its --memory", 0},
        {"summary", KEY_SUMMARY, "FILE", 0, "when it has ended, write what it took to FILE, as JSON", 0},
        {"watch", KEY_WATCH, NULL, 0, "a process beside it watches whether it gets on, and its memory, and says so", 0},
        {"hang-after", KEY_HANG_AFTER, "TIME", 0, "with --watch: no progress for so long is a hang (45s); 0: never", 0},
        {"on-hang", KEY_ON_HANG, "report|term|kill", 0, "with --watch: what is done about a hang, after its last state was kept (report)", 0},
        {"watch-report", KEY_WATCH_REPORT, "FILE", 0, "with --watch: where its last state goes (berth-watchdog-PID.txt)", 0},
        {"notify", KEY_NOTIFY, NULL, 0, "with --watch: also tell the desktop", 0},
        {"quiet", KEY_QUIET, NULL, 0, "do not tell on standard error what it took", 0},
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
        case KEY_DEVICE:
                r->device = arg;
                return 0;
        case KEY_SOFT:
                r->launch.soft_memory = arg;
                return 0;
        case KEY_JOB_MEMORY:
                r->launch.job_memory = arg;
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
        case KEY_SUMMARY:
                r->summary = arg;
                return 0;
        case KEY_WATCH:
                r->watch.wanted = true;
                return 0;
        case KEY_HANG_AFTER:
                r->watch.wanted = true;
                r->watch.hang_after = arg;
                return 0;
        case KEY_ON_HANG:
                r->watch.wanted = true;
                r->watch.on_hang = arg;
                return 0;
        case KEY_WATCH_REPORT:
                r->watch.wanted = true;
                r->watch.report = arg;
                return 0;
        case KEY_NOTIFY:
                r->watch.wanted = r->watch.desktop = true;
                return 0;
        case KEY_QUIET:
                r->quiet = true;
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

/* By UUID, which means the same to the driver, whatever order it numbers devices in. */
static int pick_device(const struct run *r, const struct snapshot *s, char message[CLI_MESSAGE])
{
        const struct wire_STATUS_DEVICE *d = NULL;
        char uuid[WIRE_UUID_TEXT], size[16];
        uint64_t need = 0;
        uint32_t permille;

        if (!r->device)
                return 0;
        if (!strcmp(r->device, "auto")) {
                if (r->launch.need ? text_parse_bytes(r->launch.need, &need) < 0
                                   : r->launch.memory && text_parse_share(r->launch.memory, &need, &permille) < 0)
                        need = 0;
                d = choose_device(s, need, CHOOSE_ANY).device;
                if (!d)
                        snprintf(message, CLI_MESSAGE, "--device auto: no shared device can ever hold %s; `berth status' shows what there is",
                                 text_bytes(need, size, sizeof size));
        } else {
                d = choose_named(s, r->device);
                if (!d)
                        snprintf(message, CLI_MESSAGE, "--device %.60s: the daemon shares no such device, or several begin so; `berth status' lists them",
                                 r->device);
        }
        if (!d)
                return -ENODEV;
        return setenv("CUDA_VISIBLE_DEVICES", wire_uuid_text(d->uuid, uuid), 1) < 0 ? -errno : 0;
}

/* Who tells the summary must know the run's number before its first program does. Only a file that can't be written stops the program. */
static int start_summary(struct run *r, struct connection *c, const char *program)
{
        scoped_snapshot struct snapshot s = {0};
        const char *slash = strrchr(program, '/');
        char message[CLI_MESSAGE] = "no summary: no random number";
        int error = 0;

        if (r->quiet && !r->summary)
                return 0;
        error = summary_number(&r->launch.run);
        if (error >= 0)
                error = snapshot_fetch_run(c, r->launch.run, &s, message);
        if (error >= 0)
                error = summary_start(c, r->launch.run, slash ? slash + 1 : program, r->summary, !r->quiet, message);
        if (error >= 0)
                return 0;
        cli_error("%s", message);
        r->launch.run = 0;
        return r->summary ? error : 0;
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
        if (r >= 0)
                r = watch_check(&run.watch, message);
        if (r < 0)
                return cli_usage(self, "%s", message);
        if (launch_blocking())
                cli_error("CUDA_LAUNCH_BLOCKING=%.20s is set: each launch waits for its end, which costs time; Berth neither needs nor sets it",
                          getenv("CUDA_LAUNCH_BLOCKING"));
        r = connection_open(&c, message);
        if (r == -E_UNAVAILABLE && run.no_daemon_ok) {
                cli_error("%s; %s runs unshared", message, argv[run.program]);
                if (watch_start(&run.watch, NULL, argv[run.program], message) < 0)
                        cli_error("%s", message);
                return launch_exec(argv + run.program);
        }
        if (r >= 0)
                r = snapshot_fetch(&c, &s, message);
        if (r >= 0)
                r = look_at_devices(&run.launch, &s, message);
        if (r >= 0)
                r = pick_device(&run, &s, message);
        if (r >= 0)
                r = launch_find_library(&run.launch, message);
        if (r >= 0)
                r = launch_find_driver(&run.launch, message);
        if (r >= 0 && launch_find_nvml(&run.launch, message) < 0)
                message[0] = 0; /* the program runs well without; `berth doctor` says why */
        run.launch.socket = c.path;
        if (r < 0) {
                connection_close(&c);
                cli_error("%s", message);
                return cli_exit_code(r);
        }
        r = start_summary(&run, &c, argv[run.program]);
        connection_close(&c);
        if (r < 0)
                return CLI_FAILED;
        r = launch_environment(&run.launch, message);
        if (r < 0) {
                cli_error("%s", message);
                return cli_exit_code(r);
        }
        if (watch_start(&run.watch, run.launch.socket, argv[run.program], message) < 0)
                cli_error("%s", message);
        return launch_exec(argv + run.program);
}

const struct verb verb_run = {
        .name = "run",
        .arguments = "[--] PROGRAM [ARGS...]",
        .words = "@program",
        .summary = "run a program that shares its device with others",
        .more = "The program runs as it is; it is told nothing but a smaller device when --memory is given. "
                "BERTH_DISABLE=1 in its environment "
                "turns Berth off. The exit code is the program's. When it has ended, however it ended, a line for each of its processes on each device "
                "tells peak, average, what was moved and waited, on standard error, unless --quiet is given.\n\n"
                "Examples:\n\n"
                "  berth run -- python3 train.py\n"
                "  berth run --memory 40% --priority batch -- python3 train.py\n"
                "  berth run --watch --on-hang kill -- python3 train.py\n"
                "  berth run --job both -- ./left & berth run --job both -- ./right",
        .options = options,
        .parse = parse,
        .argp_flags = ARGP_IN_ORDER,
        .run = run,
};
