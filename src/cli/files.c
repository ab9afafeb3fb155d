/* files.c: `berth files`: which files are read and written, and by whom, as probes in the kernel count it. */
#include "cli/probes-client.h"
#include "cli/table.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* The first question starts the probes, and the kernel checks each program. */
#define PATIENCE_NS (20 * NS_PER_S)
#define ROWS 40

struct files {
        bool json, total;
};

static const struct argp_option options[] = {
        {"json", 'j', NULL, 0, "print JSON, with processes, drivers' calls and the state of the probes", 0},
        {"total", 't', NULL, 0, "since the probes were started, not of the last second", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct files *f = state->input;

        (void)arg;
        switch (key) {
        case 'j':
                f->json = true;
                return 0;
        case 't':
                f->total = true;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static bool idle(const struct probes_sums *s)
{
        return !(s->opens | s->closes | s->reads | s->writes);
}

static void family(const struct probes_snapshot *s, struct strbuf *b)
{
        const struct probes_family *f = &s->families[PROBES_FILES];

        if (f->state != PROBES_ATTACHED) {
                strbuf_add(b, "files are not counted: %s\n", f->state == PROBES_OFF          ? "observe.files is off in the settings"
                                                             : f->refused_count             ? f->refused[f->refused_count - 1].text
                                                                                            : "unavailable");
                return;
        }
        strbuf_add(b, "counted by %s%s; blind to:", probes_rung_name(f->rung), f->one_in > 1 ? ", sampled" : "");
        for (uint32_t i = 0; i < f->blind_count; i++)
                strbuf_add(b, "%s %s", i ? "," : "", f->blind[i]);
        strbuf_add(b, "%s\n", f->blind_count ? "" : " nothing known");
}

static void show(const struct probes_snapshot *s, bool total, struct strbuf *b)
{
        static const char *const titles[] = {">READ", ">WRITTEN", ">READS", ">WRITES", ">OPENS", ">CLOSES", ">PID", "PROCESS", NULL};
        scoped_table struct table t = {0};
        uint32_t rows = 0;

        family(s, b);
        table_init(&t, titles);
        for (uint32_t i = 0; i < s->uses && rows < ROWS; i++) {
                const struct probes_use *u = &probes_uses(s)[i];
                const struct probes_sums *n = total ? &u->total : &u->now;
                char read_text[16], written[16], name[64];

                if (u->process == PROBES_NONE || u->file == PROBES_NONE || idle(n))
                        continue;
                rows++;
                table_add(&t, "%s", text_bytes(n->read_bytes, read_text, sizeof read_text));
                table_add(&t, "%s", text_bytes(n->write_bytes, written, sizeof written));
                table_add(&t, "%llu", (unsigned long long)n->reads);
                table_add(&t, "%llu", (unsigned long long)n->writes);
                table_add(&t, "%llu", (unsigned long long)n->opens);
                table_add(&t, "%llu", (unsigned long long)n->closes);
                table_add(&t, "%u", probes_processes(s)[u->process].pid);
                table_add(&t, "%s", probes_escape(name, sizeof name, probes_processes(s)[u->process].comm, 16));
        }
        if (!rows) {
                strbuf_add(b, "no file was used%s\n", total ? "" : " in the last second");
                return;
        }
        table_print(&t, 0, b);
}

/* Paths are longer than a table's cells: behind each line. */
static void show_paths(const struct probes_snapshot *s, bool total, struct strbuf *b)
{
        struct strbuf plain = {0};
        uint32_t i = 0, line = 0;

        show(s, total, &plain);
        for (char *at = plain.text, *end; at && *at; at = end + 1, line++) {
                char path[600];

                end = strchr(at, '\n');
                if (!end)
                        break;
                strbuf_put(b, at, (size_t)(end - at));
                if (line == 1 && s->uses && memcmp(at, "no ", 3) != 0)
                        strbuf_add(b, "  FILE");
                for (; line > 1 && i < s->uses; i++) {
                        const struct probes_use *u = &probes_uses(s)[i];

                        if (u->process == PROBES_NONE || u->file == PROBES_NONE || idle(total ? &u->total : &u->now))
                                continue;
                        probes_escape(path, sizeof path, probes_files(s)[u->file].name, sizeof probes_files(s)[u->file].name);
                        strbuf_add(b, "  %s%s", path[0] ? path : "?", probes_files(s)[u->file].flags & PROBES_FILE_DELETED ? " (deleted)" : "");
                        i++;
                        break;
                }
                strbuf_add(b, "\n");
        }
        b->failed |= plain.failed;
        strbuf_done(&plain);
}

static int run(const struct verb *self, int argc, char **argv)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};
        __attribute__((cleanup(probes_unmap_at))) const struct probes_snapshot *s = NULL;
        scoped_connection struct connection c = CONNECTION_CLOSED;
        char message[CLI_MESSAGE];
        struct files f = {0};
        int r;

        cli_parse(self, argc, argv, &f);
        r = connection_open(&c, message);
        if (r >= 0)
                r = probes_fetch_within(&c, PROBES_USUAL, PATIENCE_NS, &s, message);
        if (r < 0) {
                cli_error("%s", message);
                return cli_exit_code(r);
        }
        if (f.json) {
                json_t *o = probes_json(s);
                char *text scoped_free = o ? json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(CLI_DIGITS)) : NULL;

                json_decref(o);
                b.failed |= !text;
                strbuf_add(&b, "%s\n", text ? text : "");
        } else {
                show_paths(s, f.total, &b);
        }
        if (b.failed) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        return cli_print(b.text);
}

const struct verb verb_files = {
        .name = "files",
        .summary = "show which files are read and written, and by whom",
        .more = "Counted by probes in the kernel, which the daemon needs root for; the first question starts them, and a minute after the last they are taken off again, "
                "unless observe.probes says otherwise. Others than root and the daemon's own user see their own processes.\n\n"
                "Examples:\n\n"
                "  berth files\n"
                "  berth files --total --json",
        .options = options,
        .parse = parse,
        .run = run,
};
