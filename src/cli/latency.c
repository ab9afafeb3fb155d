/* latency.c: `berth latency`: how long devices and processors let wait, and how many system calls there are, as probes in the kernel count it. */
#include "cli/latency-view.h"
#include "cli/probes-client.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "machine/machine.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The first question starts the probes, and the kernel checks each program. */
#define PATIENCE_NS (20 * NS_PER_S)
#define LOOK_NS (100 * NS_PER_MS)

struct options {
        bool json, total, watch;
        uint64_t interval_ns;
};

static const struct argp_option options[] = {
        {"json", 'j', NULL, 0, "print JSON: of the daemon's last window and since the probes were started; with --watch a line for each look", 0},
        {"total", 't', NULL, 0, "since the probes were started, at once", 0},
        {"interval", 'i', "TIME", 0, "the time that is looked at (1s)", 0},
        {"watch", 'w', NULL, 0, "again and again, until interrupted", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct options *o = state->input;

        switch (key) {
        case 'j':
                o->json = true;
                return 0;
        case 't':
                o->total = true;
                return 0;
        case 'w':
                o->watch = true;
                return 0;
        case 'i':
                if (text_parse_duration(arg, &o->interval_ns) < 0 || o->interval_ns < 100 * NS_PER_MS || o->interval_ns > 3600 * NS_PER_S)
                        argp_error(state, "--interval: \"%s\" is no time between 100ms and 1h", arg);
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static void rest(uint64_t ns)
{
        const struct timespec t = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};

        nanosleep(&t, NULL);
}

/* A snapshot that was taken at least so long after the last one; asks at least every half minute, so that the probes stay. */
static int fetch_after(struct connection *c, const struct options *o, const struct probes_snapshot *last, const struct probes_snapshot **ret, char message[CLI_MESSAGE])
{
        uint64_t began = clock_now_ns();

        for (;;) {
                uint64_t waited = clock_now_ns() - began, left = o->interval_ns > waited ? o->interval_ns - waited : 0;
                int r;

                if (last)
                        rest(left > 30 * NS_PER_S ? 30 * NS_PER_S : left ? left : LOOK_NS);
                r = probes_fetch_within(c, PROBES_LATENCY, PATIENCE_NS, ret, message);
                if (r < 0)
                        return r;
                /* Another process of probes has begun to count anew. */
                if (!last || (*ret)->pid != last->pid || (*ret)->taken_ns - last->taken_ns >= o->interval_ns)
                        return 0;
                probes_unmap(*ret);
                *ret = NULL;
        }
}

/* Beside what probes count, what the kernel tells everybody. */
static void add_pressure(struct strbuf *b)
{
        struct machine *m scoped_free = calloc(1, sizeof *m);
        struct machine_look *look scoped_free = calloc(1, sizeof *look);

        if (!m || !look || machine_open(m, "") < 0)
                return;
        machine_look(m, clock_now_ns(), look);
        machine_close(m);
        strbuf_add(b, "\n");
        latency_pressure(look, b);
}

static int show(const struct probes_snapshot *now, const struct probes_snapshot *before, const struct options *o)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};

        if (o->json) {
                json_t *json = probes_latency_json(now, PROBES_MAX_RUNNERS);
                char *text scoped_free = json ? json_dumps(json, (o->watch ? JSON_COMPACT : JSON_INDENT(1)) | JSON_REAL_PRECISION(CLI_DIGITS)) : NULL;

                json_decref(json);
                b.failed |= !text;
                strbuf_add(&b, "%s\n", text ? text : "");
        } else {
                if (o->watch && isatty(STDOUT_FILENO))
                        strbuf_add(&b, "\033[H\033[2J");
                latency_view(now, before && before->pid == now->pid ? before : NULL, &b);
                add_pressure(&b);
                if (o->watch && !isatty(STDOUT_FILENO))
                        strbuf_add(&b, "\n");
        }
        if (b.failed) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        return cli_print(b.text);
}

static int run(const struct verb *self, int argc, char **argv)
{
        __attribute__((cleanup(probes_unmap_at))) const struct probes_snapshot *before = NULL;
        scoped_connection struct connection c = CONNECTION_CLOSED;
        struct options o = {.interval_ns = NS_PER_S};
        char message[CLI_MESSAGE];
        int r, code;

        cli_parse(self, argc, argv, &o);
        r = connection_open(&c, message);
        if (r >= 0 && !o.json && !o.total)
                r = fetch_after(&c, &o, NULL, &before, message);
        for (bool first = true; r >= 0; first = false) {
                const struct probes_snapshot *now = NULL;

                r = fetch_after(&c, &o, first && (o.json || o.total) ? NULL : before, &now, message);
                if (r < 0)
                        break;
                code = show(now, o.total ? NULL : before, &o);
                probes_unmap_at(&before);
                before = now;
                if (code != CLI_OK || !o.watch)
                        return code;
        }
        cli_error("%s", message);
        return cli_exit_code(r);
}

const struct verb verb_latency = {
        .name = "latency",
        .summary = "show how long programs wait for devices and processors",
        .more = "Requests to block devices, from going to the device until they are done; threads, from being able to run until they do; and, where observe.syscalls = yes "
                "in the settings, system calls. Counted by probes in the kernel, which the daemon needs root for; the first question starts them, and a minute after the last "
                "they are taken off again, unless observe.probes says otherwise. Counts, sums and bytes are exact; quantiles (p50 ...) are estimates, right to their bucket; "
                "LONGEST is since the process was first seen. The machine's figures are there for everybody; others than root and the daemon's own user see their own "
                "processes.\n\n"
                "Examples:\n\n"
                "  berth latency\n"
                "  berth latency --watch --interval 5s\n"
                "  berth latency --json",
        .options = options,
        .parse = parse,
        .run = run,
};
