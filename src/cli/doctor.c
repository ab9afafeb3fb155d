/* doctor.c: `berth doctor`: is everything there, and does Berth reach a given program. */
#include "cli/doctor-checks.h"
#include "cli/doctor-hooks.h"
#include "cli/launch.h"
#include "cli/snapshot.h"

#include "base/fd.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define HOOKS_FILE (8 << 20) /* more of the interposer's file is not read */

struct doctor {
        bool json;
        int program;
};

static const struct argp_option options[] = {
        {"json", 'j', NULL, 0, "print JSON", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct doctor *d = state->input;

        (void)arg;
        switch (key) {
        case 'j':
                d->json = true;
                return 0;
        case ARGP_KEY_ARG:
                d->program = state->next - 1;
                state->next = state->argc;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

/* As under `berth run'; without a daemon the lookups still show. socket_path is where l->socket may point. */
static int prepare(struct launch *l, char socket_path[sizeof(struct connection)])
{
        scoped_connection struct connection c = CONNECTION_CLOSED;
        scoped_snapshot struct snapshot s = {0};
        char message[CLI_MESSAGE];
        int r = connection_open(&c, message);

        if (r >= 0)
                r = snapshot_fetch(&c, &s, message);
        if (r < 0)
                cli_error("%s; looking without one", message);
        for (size_t i = 0; i < s.device_count; i++)
                if (s.devices[i].kind == WIRE_SOFTWARE) {
                        l->software = true;
                        l->software_devices++;
                        l->software_bytes = s.devices[i].total_bytes;
                }
        snprintf(socket_path, sizeof c.path, "%s", c.path);
        l->socket = r >= 0 ? socket_path : NULL;
        r = launch_find_library(l, message);
        if (r >= 0)
                r = launch_find_driver(l, message);
        if (r < 0)
                cli_error("%s", message);
        else if (launch_find_nvml(l, message) < 0)
                cli_error("%s; NVML shows the whole card", message);
        return r;
}

static int become(const struct launch *l, char **argv, const char *file, bool quiet)
{
        char message[CLI_MESSAGE];

        if (launch_environment(l, message) < 0 || setenv("BERTH_DOCTOR", file, 1) < 0) {
                cli_error("%s", message);
                return CLI_CANNOT_RUN;
        }
        if (quiet)
                dup2(STDERR_FILENO, STDOUT_FILENO);
        return launch_exec(argv);
}

static int wait_for(pid_t child)
{
        int status;

        while (waitpid(child, &status, 0) < 0)
                if (errno != EINTR)
                        return CLI_FAILED;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Runs the program; what the interposer wrote into *ret. Its exit code, or a negative error. */
static int examine(char **argv, bool json, struct hooks *ret)
{
        const char *folder = getenv("TMPDIR");
        char path[PATH_MAX], socket_path[sizeof(struct connection)] = "";
        struct launch l = {0};
        char *text scoped_free = NULL;
        scoped_fd int fd = -1;
        struct stat st;
        ssize_t n = 0;
        pid_t child;
        int code, r;

        r = prepare(&l, socket_path);
        if (r < 0)
                return r;
        snprintf(path, sizeof path, "%s/berth-doctor-XXXXXX", folder && *folder ? folder : "/tmp");
        fd = mkostemp(path, O_CLOEXEC);
        if (fd < 0) {
                r = -errno;
                cli_error("cannot make the file %s: %s", path, strerror(-r));
                return r;
        }
        fflush(NULL);
        /* Ctrl-C ends the program; what it did until then is still shown. */
        signal(SIGINT, SIG_IGN);
        child = fork();
        if (child < 0) {
                r = -errno;
                cli_error("fork: %s", strerror(-r));
                unlink(path);
                return r;
        }
        if (child == 0) {
                signal(SIGINT, SIG_DFL);
                _exit(become(&l, argv, path, json));
        }
        code = wait_for(child);
        r = fstat(fd, &st) < 0 ? -errno : 0;
        unlink(path);
        if (r == 0) {
                size_t bytes = st.st_size > HOOKS_FILE ? HOOKS_FILE : (size_t)st.st_size;

                text = malloc(bytes + 1);
                n = text ? pread(fd, text, bytes, 0) : -1;
                r = n < 0 ? (text ? -errno : -ENOMEM) : hooks_parse(text, (size_t)n, ret);
        }
        if (r < 0) {
                cli_error("reading what the interposer wrote: %s", strerror(-r));
                return r;
        }
        return code;
}

static int print(struct strbuf *b, json_t *o)
{
        if (o) {
                char *text scoped_free = json_dumps(o, JSON_INDENT(2));

                json_decref(o);
                b->failed |= !text;
                strbuf_add(b, "%s\n", text ? text : "");
        }
        if (b->failed) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        return cli_print(b->text);
}

static int run(const struct verb *self, int argc, char **argv)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};
        struct check checks[DOCTOR_CHECKS];
        struct hooks hooks = {0};
        struct doctor d = {0};
        json_t *o = NULL;
        size_t count;
        int code = 0, r;

        cli_parse(self, argc, argv, &d);
        if (d.program) {
                code = examine(argv + d.program, d.json, &hooks);
                if (code < 0)
                        return CLI_FAILED;
                if (code == CLI_NOT_FOUND || code == CLI_CANNOT_RUN)
                        return code;
                if (d.json)
                        o = json_pack("{s:o, s:i}", "program", hooks_json(&hooks), "exit_code", code);
                else
                        hooks_text(&hooks, &b);
                hooks_done(&hooks);
                r = print(&b, o);
                return r ? r : code;
        }
        count = doctor_checks(checks);
        for (size_t i = 0; i < count; i++)
                if (checks[i].finding == FINDING_MISSING)
                        code = CLI_FAILED;
        if (d.json)
                o = json_pack("{s:s, s:o}", "version", BERTH_VERSION, "checks", doctor_json(checks, count));
        else
                doctor_text(checks, count, &b);
        r = print(&b, o);
        return r ? r : code;
}

const struct verb verb_doctor = {
        .name = "doctor",
        .arguments = "\n-- PROGRAM [ARGS...]",
        .words = "@program",
        .summary = "check what is missing on the machine, or in a program",
        .more = "Alone: one line for each thing that Berth relies on, with what to do about it; the exit code is 1 "
                "when something is missing. "
                "With a program: runs it under Berth and lists which functions of the driver it looked up, by which "
                "road, and whether Berth "
                "hooked them; the exit code is the program's.\n\n"
                "Examples:\n\n"
                "  berth doctor\n"
                "  berth doctor -- python3 -c 'import torch; torch.zeros(1).cuda()'",
        .options = options,
        .parse = parse,
        .argp_flags = ARGP_IN_ORDER,
        .run = run,
};
