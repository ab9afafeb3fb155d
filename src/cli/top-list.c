/* top-list.c: the list of programs or processes; see top-draw.h. */
#include "cli/top-draw.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

static const char *priority(uint32_t value)
{
        static const char *const names[WIRE_PRIORITY_N] = {"inter", "norm", "batch"};
        return value < WIRE_PRIORITY_N ? names[value] : "?";
}

/* Of the width beyond the least: names first, then user and job too, and always something for the last column. */
static int name_width(const struct frame *f)
{
        unsigned int more = f->width - TOP_WIDTH_MIN;

        more = more >= 40 ? more - 38 : more >= 20 ? more * 2 / 3 - 7 : more * 2 / 3;
        return 12 + (int)(more > 40 ? 40 : more);
}

/* Load in percent of one processor: 250 are two and a half. */
static const char *load(double permille, char *buffer, size_t size)
{
        if (permille < 0)
                snprintf(buffer, size, "-");
        else
                snprintf(buffer, size, permille < 999.5 ? "%.1f" : "%.0f", permille / 10);
        return buffer;
}

static void draw_program(struct pen *p, const struct top_world *w, const struct top_row *r, bool chosen)
{
        const struct wire_STATUS_CLIENT *c = &w->now->clients[r->client];
        enum style plain = chosen ? STYLE_CHOSEN : STYLE_PLAIN, state;
        unsigned int shade = top_shade_of(w->now, r->client), wide = p->f->width - TOP_WIDTH_MIN;
        char a[24], b[24], user[33];

        state = chosen ? STYLE_CHOSEN : c->stuck ? STYLE_BAD : c->state == WIRE_RUNNING ? STYLE_GOOD : STYLE_WAIT;
        top_put(p, STYLE_SHADE + shade, "%c", snapshot_resident(c) ? top_shades[shade] : ' ');
        top_put(p, plain, " %2u %7u %-*.*s ", c->device, c->pid, name_width(p->f), name_width(p->f), c->name);
        if (wide >= 40)
                top_put(p, plain, "%-8.8s %-8.8s ", cli_user(c->uid, user, sizeof user), c->job[0] ? c->job : "-");
        top_put(p, plain, "%-5s ", priority(c->priority));
        top_put(p, state, "%-10s ", c->stuck ? "stuck" : wire_state_name(c->state));
        top_put(p, plain, "%6s/%-6s ", top_compact(snapshot_resident(c), a, sizeof a), top_compact(snapshot_owned(c), b, sizeof b));
        if (wide >= 40)
                top_put(p, plain, "%5s ", load(r->cpu_permille, a, sizeof a));
        if (wide >= 20)
                top_put(p, plain, "%6s ", r->launches < 0 ? "..." : top_compact_rate(r->launches, a, sizeof a));
        top_put(p, plain, "%6s ", r->moved_bytes < 0 ? "..." : top_compact_rate(r->moved_bytes, a, sizeof a));
        if (c->position)
                top_put(p, chosen ? STYLE_CHOSEN : STYLE_WAIT, "%u. %s %s", c->position, wire_reason_name(c->reason), text_duration(c->wait_ns, a, sizeof a));
        else if (c->slice_left_ns)
                top_put(p, plain, "left %s", text_duration(c->slice_left_ns, a, sizeof a));
        else
                top_put(p, plain, "-");
}

static void draw_process(struct pen *p, const struct top_world *w, const struct top_view *v, const struct top_row *r, bool chosen)
{
        enum style plain = chosen ? STYLE_CHOSEN : STYLE_PLAIN;
        const struct machine_process *m = r->process;
        unsigned int depth = r->depth > 20 ? 20 : r->depth;
        char a[24], b[24], c[24], user[33];
        bool berth = r->client != TOP_NONE;

        top_put(p, plain, "%7u %-8.8s %3d ", r->pid, cli_user(r->uid, user, sizeof user), m->stat.nice);
        top_put(p, chosen ? plain : m->stat.state == 'R' ? STYLE_GOOD : m->stat.state == 'D' ? STYLE_BAD : STYLE_PLAIN, "%c ", m->stat.state);
        top_put(p, plain, "%5s %6s ", load(r->cpu_permille, a, sizeof a), top_compact(r->resident_bytes, b, sizeof b));
        top_put(p, plain, "%6s %6s ", top_compact_rate(r->read_bytes, a, sizeof a), top_compact_rate(r->written_bytes, b, sizeof b));
        top_put(p, chosen ? plain : berth ? STYLE_STRONG : STYLE_PLAIN, "%6s %6s ", top_compact(r->device_bytes, a, sizeof a),
                top_compact_rate(r->launches, c, sizeof c));
        if (v->tree && depth) {
                for (unsigned int i = 1; i < depth; i++)
                        top_put(p, plain, "  ");
                top_put(p, chosen ? plain : STYLE_WEAK, "`-");
        }
        top_put(p, chosen ? plain : berth ? STYLE_STRONG : STYLE_PLAIN, "%s", berth ? w->now->clients[r->client].name : r->name);
}

static void draw_titles(struct pen *p, const struct top_view *v)
{
        unsigned int wide = p->f->width - TOP_WIDTH_MIN;

        if (v->list == TOP_PROCESSES) {
                top_put(p, STYLE_TITLE, "%7s %-8s %3s S %5s %6s %6s %6s %6s %6s %s", "PID", "USER", "NI", "CPU%", "RES", "READ/S", "WRIT/S", "DEVMEM",
                        "LAUN/S", v->tree ? "NAME (tree)" : "NAME");
        } else {
                top_put(p, STYLE_TITLE, "  %2s %7s %-*s ", "DV", "PID", name_width(p->f), "NAME");
                if (wide >= 40)
                        top_put(p, STYLE_TITLE, "%-8s %-8s ", "USER", "JOB");
                top_put(p, STYLE_TITLE, "%-5s %-10s %6s/%-6s ", "PRIO", "STATE", "ON DEV", "OWNED");
                if (wide >= 40)
                        top_put(p, STYLE_TITLE, "%5s ", "CPU%");
                if (wide >= 20)
                        top_put(p, STYLE_TITLE, "%6s ", "LAUN/S");
                top_put(p, STYLE_TITLE, "%6s %s", "MOVE/S", "WAIT, SLICE");
        }
        top_fill(p, STYLE_TITLE, p->f->width);
        top_next(p);
}

static struct top_target target_of(const struct top_world *w, const struct top_row *r)
{
        struct top_target t = {.pid = r->pid, .start_ticks = MACHINE_UNKNOWN};

        if (r->client != TOP_NONE)
                t.device = w->now->clients[r->client].device;
        if (r->process) {
                t.start_ticks = r->process->stat.start_ticks;
                t.nice = r->process->stat.nice;
        }
        text_copy_clean(t.name, sizeof t.name, r->name);
        return t;
}

/* The cursor stays with its process, unless a key moved it. */
static void follow(const struct top_world *w, struct top_view *v, const struct top_row *rows, size_t count)
{
        for (size_t i = 0; !v->moved && v->under.pid && i < count; i++) {
                if (rows[i].pid != v->under.pid)
                        continue;
                if (v->list == TOP_PROGRAMS && w->now->clients[rows[i].client].device != v->under.device)
                        continue;
                v->chosen = (unsigned int)i;
                break;
        }
        v->moved = false;
        if (v->chosen >= count)
                v->chosen = count ? (unsigned int)count - 1 : 0;
}

void top_list(struct pen *p, const struct top_world *w, struct top_view *v, unsigned int bottom)
{
        bool cursor = v->chosen != UINT32_MAX;
        struct top_row *rows scoped_free = NULL;
        unsigned int shown;
        size_t count = 0;

        draw_titles(p, v);
        if (top_rows(w, v, &rows, &count) < 0) {
                top_put(p, STYLE_BAD, "  out of memory");
                return;
        }
        shown = bottom > p->row ? bottom - p->row : 0;
        if (cursor)
                follow(w, v, rows, count);
        else
                v->chosen = 0;
        if (v->first > v->chosen)
                v->first = v->chosen;
        if (shown && v->chosen >= v->first + shown)
                v->first = v->chosen - shown + 1;
        if (v->first + shown > count)
                v->first = count > shown ? (unsigned int)count - shown : 0;
        v->list_line = p->row;
        v->list_lines = count < shown ? (unsigned int)count : shown;
        v->under = cursor && count ? target_of(w, &rows[v->chosen]) : (struct top_target){0};
        if (!count && v->filter[0])
                top_put(p, STYLE_WEAK, "  nothing has \"%s\" in its name, is it by number or by user", v->filter);
        else if (!count && v->list == TOP_PROGRAMS)
                top_put(p, STYLE_WEAK, "  no program yet: berth run -- PROGRAM; Tab: all processes");
        else if (!count)
                top_put(p, STYLE_WEAK, "  the processes of this machine can't be read");
        for (size_t i = v->first; i < count && i < v->first + shown; i++) {
                bool chosen = cursor && i == v->chosen;

                if (v->list == TOP_PROCESSES)
                        draw_process(p, w, v, &rows[i], chosen);
                else
                        draw_program(p, w, &rows[i], chosen);
                if (chosen)
                        top_fill(p, STYLE_CHOSEN, p->f->width);
                top_next(p);
        }
        if (!cursor)
                v->chosen = UINT32_MAX;
}
