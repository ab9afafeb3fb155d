/* trim.c: what can be asked of programs on shared devices. `berth trim PID|NAME|--all`: to give back device memory that they do not need;
 * `berth prefetch PID|NAME`: their memory comes in before they ask for it. */
#include "cli/connection.h"

#include "base/scope.h"
#include "base/text.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct ask {
        const char *whom;
        bool all, soft, json;
};

static const struct argp_option options[] = {
        {"all", 'a', NULL, 0, "all programs, of other users too for root and the daemon's own user", 0},
        {"soft", 's', NULL, 0, "also let the next large allocation fail once, so that the program's allocator frees its cache", 0},
        {"json", 'j', NULL, 0, "print JSON", 0},
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
        case 'j':
                a->json = true;
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

/* Whom it is about, into a message's number and name. */
static int name_whom(const struct verb *self, const char *whom, uint32_t *ret_pid, char *ret_name, size_t size)
{
        uint64_t pid = 0;

        if (whom && (!whom[0] || strlen(whom) >= size || !text_is_clean(whom, size)))
                return cli_usage(self, "\"%.80s\" is no name of 1 to %zu printable ASCII characters", whom, size - 1);
        if (whom && text_parse_u64(whom, 1, INT32_MAX, &pid) < 0)
                memcpy(ret_name, whom, strlen(whom));
        *ret_pid = (uint32_t)pid;
        return 0;
}

static int print_json(const struct wire_message *m)
{
        json_t *o = json_pack("{s:i, s:i}", "programs", (int)m->TRIMMED.programs, "forbidden", (int)m->TRIMMED.forbidden);
        char *text scoped_free = o ? json_dumps(o, JSON_INDENT(2)) : NULL;

        json_decref(o);
        return text ? (puts(text), cli_print(NULL)) : CLI_FAILED;
}

/* Says it to the daemon, and tells what came of it. */
static int tell(const char *whom, struct wire_message *m, enum wire_type type, const char *what, bool json)
{
        scoped_connection struct connection c = CONNECTION_CLOSED;
        char message[CLI_MESSAGE], line[64];
        int r;

        r = connection_open(&c, message);
        if (r >= 0)
                r = connection_send(&c, m, type, message);
        if (r >= 0)
                r = connection_expect(&c, WIRE_TRIMMED, m, NULL, message);
        if (r < 0) {
                cli_error("%s", message);
                return cli_exit_code(r);
        }
        if (json && (r = print_json(m)))
                return r;
        if (m->TRIMMED.forbidden) {
                cli_error("%s is another user's program: only its user, root and the daemon's own user may ask it", whom ? whom : "this");
                return CLI_FORBIDDEN;
        }
        if (whom && !m->TRIMMED.programs) {
                cli_error("no program %s on a shared device; `berth status' lists them", whom);
                return CLI_FAILED;
        }
        if (json)
                return CLI_OK;
        snprintf(line, sizeof line, "%u program%s %s\n", m->TRIMMED.programs, m->TRIMMED.programs == 1 ? " was" : "s were", what);
        return cli_print(line);
}

static int run(const struct verb *self, int argc, char **argv)
{
        struct wire_message m = {0};
        struct ask a = {0};
        int r;

        cli_parse(self, argc, argv, &a);
        if (a.all == !!a.whom)
                return cli_usage(self, "which programs? a process number, a name, or --all");
        r = name_whom(self, a.whom, &m.TRIM_ASK.pid, m.TRIM_ASK.name, sizeof m.TRIM_ASK.name);
        m.TRIM_ASK.soft = a.soft;
        return r ? r : tell(a.whom, &m, WIRE_TRIM_ASK, "asked", a.json);
}

const struct verb verb_trim = {
        .name = "trim",
        .arguments = "PID|NAME\n--all",
        .summary = "ask programs to give back memory that they don't need",
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

/* ---- before they ask --------------------------------------------------------------------------------------------- */

struct ahead {
        const char *whom;
        uint64_t ns;
        bool json;
};

static const struct argp_option ahead_options[] = {
        {"for", 'f', "DURATION", 0, "how long it is expected (30s); 0: not any more", 0},
        {"json", 'j', NULL, 0, "print JSON", 0},
        {0},
};

static int parse_ahead(int key, char *arg, struct argp_state *state)
{
        struct ahead *a = state->input;

        switch (key) {
        case 'f':
                if (text_parse_duration(arg, &a->ns) < 0 || a->ns > UINT32_MAX * UINT64_C(1000000))
                        argp_error(state, "--for: \"%s\" is no duration up to 49 days, such as 30s", arg);
                return 0;
        case 'j':
                a->json = true;
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

static int run_prefetch(const struct verb *self, int argc, char **argv)
{
        struct ahead a = {.ns = UINT64_C(30000000000)};
        struct wire_message m = {0};
        int r;

        cli_parse(self, argc, argv, &a);
        if (!a.whom)
                return cli_usage(self, "which program? a process number, or a name");
        r = name_whom(self, a.whom, &m.PREFETCH.pid, m.PREFETCH.name, sizeof m.PREFETCH.name);
        m.PREFETCH.milliseconds = (uint32_t)(a.ns / 1000000);
        return r ? r : tell(a.whom, &m, WIRE_PREFETCH, "announced", a.json);
}

const struct verb verb_prefetch = {
        .name = "prefetch",
        .arguments = "PID|NAME",
        .summary = "bring a program's memory in before it is needed",
        .more = "For whoever knows what will be wanted next. The memory comes in as the device has room, and takes the place of idle programs at most: nobody who "
                "works or waits gives anything up for it. A number also names all processes of that group, a name those of that job.\n\n"
                "Examples:\n\n"
                "  berth prefetch 4711\n"
                "  berth prefetch --for 2min llama-server",
        .options = ahead_options,
        .parse = parse_ahead,
        .run = run_prefetch,
};
