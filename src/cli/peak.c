/* peak.c: `berth peak begin|show|end NAME PID`: the exact peak of a program over a stretch of time with a name. */
#include "cli/connection.h"

#include "base/strbuf.h"
#include "base/text.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct ask {
        const char *words[3];
        int words_n;
        bool json;
};

static const struct argp_option options[] = {
        {"json", 'j', NULL, 0, "print JSON", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct ask *a = state->input;

        if (key == 'j') {
                a->json = true;
                return 0;
        }
        if (key != ARGP_KEY_ARG || a->words_n == 3)
                return ARGP_ERR_UNKNOWN;
        a->words[a->words_n++] = arg;
        return 0;
}

static void add_text(struct strbuf *b, const struct wire_PEAK_IS *p)
{
        char peak[16], used[16], whole[16];

        strbuf_add(b, "device %u: peak %s (%llu bytes), in use now %s, peak since it came %s\n", p->device, text_bytes(p->peak_bytes, peak, sizeof peak),
                   (unsigned long long)p->peak_bytes, text_bytes(p->used_bytes, used, sizeof used), text_bytes(p->whole_peak_bytes, whole, sizeof whole));
}

static void add_json(json_t *list, const struct wire_PEAK_IS *p)
{
        json_array_append_new(list, json_pack("{s:I, s:I, s:I, s:I}", "device", (json_int_t)p->device, "peak_bytes", (json_int_t)p->peak_bytes,
                                              "used_bytes", (json_int_t)p->used_bytes, "whole_peak_bytes", (json_int_t)p->whole_peak_bytes));
}

static int fetch(const struct ask *a, struct wire_message *m, struct strbuf *b, json_t *list)
{
        scoped_connection struct connection c = CONNECTION_CLOSED;
        char message[CLI_MESSAGE];
        int r = connection_open(&c, message);

        if (r >= 0)
                r = connection_send(&c, m, WIRE_PEAK, message);
        while (r >= 0) {
                r = connection_receive(&c, m, NULL, message);
                if (r < 0 || m->header.type == WIRE_DONE)
                        break;
                if (m->header.type != WIRE_PEAK_IS)
                        continue;
                if (a->json)
                        add_json(list, &m->PEAK_IS);
                else
                        add_text(b, &m->PEAK_IS);
        }
        if (r < 0)
                cli_error("%s", message);
        return r;
}

static int run(const struct verb *self, int argc, char **argv)
{
        static const char *const actions[WIRE_PEAK_N] = {"begin", "show", "end"};
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};
        struct wire_message m = {.PEAK = {.action = WIRE_PEAK_N}};
        struct ask a = {0};
        json_t *list;
        uint64_t pid;
        int r;

        cli_parse(self, argc, argv, &a);
        for (uint32_t i = 0; a.words_n && i < WIRE_PEAK_N; i++)
                if (!strcmp(a.words[0], actions[i]))
                        m.PEAK.action = i;
        if (m.PEAK.action == WIRE_PEAK_N)
                return cli_usage(self, "what to do? begin, show or end");
        if (a.words_n < 3)
                return cli_usage(self, "which window, and of which process? berth peak %s NAME PID", a.words[0]);
        if (!a.words[1][0] || strlen(a.words[1]) >= sizeof m.PEAK.name || !text_is_clean(a.words[1], sizeof m.PEAK.name))
                return cli_usage(self, "\"%.60s\" is no name of 1 to %zu printable ASCII characters", a.words[1], sizeof m.PEAK.name - 1);
        if (text_parse_u64(a.words[2], 1, INT32_MAX, &pid) < 0)
                return cli_usage(self, "\"%.60s\" is no process number", a.words[2]);
        m.PEAK.pid = (uint32_t)pid;
        memcpy(m.PEAK.name, a.words[1], strlen(a.words[1]));
        list = json_array();
        r = fetch(&a, &m, &b, list);
        if (r >= 0 && a.json) {
                json_t *o = json_pack("{s:s, s:I, s:O}", "window", a.words[1], "pid", (json_int_t)pid, "devices", list);
                char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;

                strbuf_add(&b, "%s\n", text ? text : "");
                b.failed |= !text;
                free(text);
                json_decref(o);
        }
        json_decref(list);
        if (r < 0)
                return cli_exit_code(r);
        if (b.failed) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        return cli_print(b.text);
}

const struct verb verb_peak = {
        .name = "peak",
        .arguments = "begin|show|end NAME PID",
        .words = "begin show end",
        .summary = "measure a program's exact peak of device memory",
        .more = "begin starts a window of this name, or starts it anew; show and end tell the most device memory that the program owned at any "
                "instant since, on each device; end gives the window's place back. Nothing is sampled: spikes of any length count. Windows "
                "disturb neither each other nor the program's peak as a whole; a program has at most 16. For root, the daemon's own user and "
                "the program's.\n\n"
                "Examples:\n\n"
                "  berth peak begin warm-up 4711\n"
                "  berth peak end --json warm-up 4711",
        .options = options,
        .parse = parse,
        .run = run,
};
