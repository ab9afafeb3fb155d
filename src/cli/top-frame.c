/* top-frame.c: draws `berth top` into a grid; see top-frame.h. */
#include "cli/top-frame.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char shades[STYLE_SHADES] = {'#', '=', '%', '+', '*', '-'};

struct pen {
        struct frame *f;
        unsigned int row, column;
};

static void put(struct pen *p, enum style style, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void put(struct pen *p, enum style style, const char *format, ...)
{
        char text[TOP_WIDTH_MAX + 1];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        if (p->row >= p->f->height)
                return;
        for (const char *s = text; *s && p->column < p->f->width; s++, p->column++)
                p->f->cells[p->row][p->column] = (struct cell){*s >= 32 && *s < 127 ? *s : '?', (uint8_t)style};
}

static void next(struct pen *p)
{
        p->row++;
        p->column = 0;
}

const char *top_sort_name(enum top_sort sort)
{
        static const char *const names[TOP_SORT_N] = {"device", "memory", "wait", "moved", "pid"};
        return (unsigned int)sort < TOP_SORT_N ? names[sort] : "?";
}

/* Bytes per second since the earlier snapshot; negative when it can't be told. */
static double speed(uint64_t now, uint64_t before, const struct snapshot *a, const struct snapshot *b)
{
        if (!b || a->taken_ns <= b->taken_ns || now < before)
                return -1;
        return (double)(now - before) * 1e9 / (double)(a->taken_ns - b->taken_ns);
}

static void rate(struct pen *p, double value)
{
        char text[24];
        put(p, value > 0 ? STYLE_STRONG : STYLE_PLAIN, "%s", value < 0 ? "..." : cli_rate(value, text, sizeof text));
}

/* "200M" for 200 MiB: columns are narrow. */
static char *compact(uint64_t bytes, char *buffer, size_t size)
{
        char *space, *unit;

        text_bytes(bytes, buffer, size);
        space = strchr(buffer, ' ');
        unit = space ? space + 1 : buffer;
        if (space)
                snprintf(space, size - (size_t)(space - buffer), "%c", *unit);
        return buffer;
}

static const char *priority(uint32_t value)
{
        static const char *const names[WIRE_PRIORITY_N] = {"inter", "norm", "batch"};
        return value < WIRE_PRIORITY_N ? names[value] : "?";
}

/* The shade of a client: its place among those of its device, so that bar and list agree. */
static unsigned int shade_of(const struct snapshot *s, size_t client)
{
        unsigned int n = 0;

        for (size_t i = 0; i < client; i++)
                n += s->clients[i].device == s->clients[client].device;
        return n % STYLE_SHADES;
}

/* Residents in their shades, then room, then what Berth never grants. Every resident shows at least one character. */
static void draw_bar(struct pen *p, const struct snapshot *s, const struct wire_STATUS_DEVICE *d, unsigned int length)
{
        uint64_t total = d->total_bytes;
        unsigned int at = 0, room;

        if (!(d->valid & WIRE_VALID_TOTAL) || !total) {
                put(p, STYLE_WEAK, "[memory of the device unavailable]");
                return;
        }
        room = (unsigned int)((double)(d->room_bytes < total ? d->room_bytes : total) / (double)total * length + 0.5);
        put(p, STYLE_PLAIN, "[");
        for (size_t i = 0; i < s->client_count; i++) {
                uint64_t resident = snapshot_resident(&s->clients[i]);
                unsigned int n, shade;

                if (s->clients[i].device != d->index || !resident)
                        continue;
                shade = shade_of(s, i);
                n = (unsigned int)((double)(resident < total ? resident : total) / (double)total * length + 0.5);
                if (!n)
                        n = 1;
                for (; n && at < length; n--, at++)
                        put(p, STYLE_SHADE + shade, "%c", shades[shade]);
        }
        for (; at < room; at++)
                put(p, STYLE_FREE, ".");
        for (; at < length; at++)
                put(p, STYLE_WEAK, " ");
        put(p, STYLE_PLAIN, "]");
}

static void draw_device(struct pen *p, const struct snapshot *s, const struct snapshot *before,
                        const struct wire_STATUS_DEVICE *d)
{
        const struct wire_STATUS_DEVICE *old = snapshot_device(before, d->index);
        char a[16], b[16], c[16];
        double out, in;

        if (!snapshot_shared(d)) {
                put(p, STYLE_STRONG, "%u %.36s", d->index, d->name);
                put(p, STYLE_PLAIN, " %s, watched only: %s of %s in use", wire_kind_name(d->kind),
                    d->valid & WIRE_VALID_USED ? text_bytes(d->used_bytes, a, sizeof a) : "unavailable",
                    d->valid & WIRE_VALID_TOTAL ? text_bytes(d->total_bytes, b, sizeof b) : "unavailable");
                next(p);
                return;
        }
        put(p, STYLE_STRONG, "%u %.36s", d->index, d->name);
        put(p, STYLE_PLAIN, " %s ", wire_kind_name(d->kind));
        put(p, STYLE_PLAIN, " %u program%s, ", d->clients, d->clients == 1 ? "" : "s");
        put(p, d->waiting ? STYLE_WAIT : STYLE_PLAIN, "%u waiting", d->waiting);
        if (d->stuck)
                put(p, STYLE_BAD, ", %u stuck", d->stuck);
        next(p);
        put(p, STYLE_PLAIN, "  ");
        draw_bar(p, s, d, p->f->width / 2 - 4);
        put(p, STYLE_PLAIN, " %s of %s room, %s", text_bytes(d->granted_bytes, a, sizeof a),
            text_bytes(d->room_bytes, b, sizeof b),
            d->valid & WIRE_VALID_TOTAL ? text_bytes(d->total_bytes, c, sizeof c) : "unavailable");
        next(p);
        out = old ? speed(d->out_bytes, old->out_bytes, s, before) : -1;
        in = old ? speed(d->in_bytes, old->in_bytes, s, before) : -1;
        put(p, STYLE_PLAIN, "  out ");
        rate(p, out);
        put(p, STYLE_PLAIN, " (%s)  in ", text_bytes(d->out_bytes, a, sizeof a));
        rate(p, in);
        put(p, STYLE_PLAIN, " (%s)  swapped %s  switches %llu", text_bytes(d->in_bytes, a, sizeof a),
            text_bytes(d->swapped_bytes, b, sizeof b), (unsigned long long)d->switches);
        if (d->slice_ns)
                put(p, STYLE_PLAIN, "  slice %s", text_duration(d->slice_ns, a, sizeof a));
        next(p);
        if (d->max_wait_ns) {
                bool over = d->max_wait_ns > d->max_wait_bound_ns;

                put(p, over ? STYLE_BAD : STYLE_PLAIN, "  longest wait %s of at most %s%s",
                    text_duration(d->max_wait_ns, a, sizeof a), text_duration(d->max_wait_bound_ns, b, sizeof b),
                    over ? ", over its bound" : "");
                next(p);
        }
}

/* Of the width beyond the least: names first, then user and job too, and always something for the last column. */
static int name_width(const struct frame *f)
{
        unsigned int more = f->width - TOP_WIDTH_MIN;

        more = more >= 40 ? more - 28 : more * 2 / 3;
        return 12 + (int)(more > 40 ? 40 : more);
}

/* qsort has no argument for its caller; ties and the order within a device are settled by the index. */
struct line {
        uint64_t key;
        size_t client;
};

static int by_key(const void *a, const void *b)
{
        const struct line *x = a, *y = b;

        if (x->key != y->key)
                return x->key > y->key ? -1 : 1;
        return (x->client > y->client) - (x->client < y->client);
}

static uint64_t key_of(const struct wire_STATUS_CLIENT *c, enum top_sort sort)
{
        switch (sort) {
        case TOP_BY_MEMORY:
                return snapshot_owned(c);
        case TOP_BY_WAIT:
                return c->position ? c->wait_ns + 1 : 0;
        case TOP_BY_MOVED:
                return c->out_bytes + c->in_bytes;
        case TOP_BY_PID:
                return UINT64_MAX - c->pid;
        case TOP_BY_DEVICE:
        case TOP_SORT_N:
                break;
        }
        return 0;
}

static void draw_client(struct pen *p, const struct snapshot *s, const struct snapshot *before, size_t index,
                        bool chosen)
{
        const struct wire_STATUS_CLIENT *c = &s->clients[index], *old = snapshot_client(before, c);
        enum style plain = chosen ? STYLE_CHOSEN : STYLE_PLAIN, state;
        unsigned int shade = shade_of(s, index), wide = p->f->width - TOP_WIDTH_MIN;
        char a[24], b[24], user[33], moved[16];
        double speeds[2] = {-1, -1};

        if (old) {
                speeds[0] = speed(c->out_bytes, old->out_bytes, s, before);
                speeds[1] = speed(c->in_bytes, old->in_bytes, s, before);
        }
        if (speeds[0] < 0 || speeds[1] < 0)
                snprintf(moved, sizeof moved, "...");
        else
                compact((uint64_t)(speeds[0] + speeds[1]), moved, sizeof moved);
        state = chosen ? STYLE_CHOSEN : c->stuck ? STYLE_BAD : c->state == WIRE_RUNNING ? STYLE_GOOD : STYLE_WAIT;
        put(p, STYLE_SHADE + shade, "%c", snapshot_resident(c) ? shades[shade] : ' ');
        put(p, plain, " %2u %7u %-*.*s ", c->device, c->pid, name_width(p->f), name_width(p->f), c->name);
        if (wide >= 40)
                put(p, plain, "%-8.8s %-8.8s ", cli_user(c->uid, user, sizeof user), c->job[0] ? c->job : "-");
        put(p, plain, "%-5s ", priority(c->priority));
        put(p, state, "%-10s ", c->stuck ? "stuck" : wire_state_name(c->state));
        put(p, plain, "%6s/%-6s ", compact(snapshot_resident(c), a, sizeof a), compact(snapshot_owned(c), b, sizeof b));
        put(p, plain, "%7s ", moved);
        if (c->position)
                put(p, chosen ? STYLE_CHOSEN : STYLE_WAIT, "%u. %s %s", c->position, wire_reason_name(c->reason),
                    text_duration(c->wait_ns, a, sizeof a));
        else if (c->slice_left_ns)
                put(p, plain, "left %s", text_duration(c->slice_left_ns, a, sizeof a));
        else
                put(p, plain, "-");
        if (chosen)
                while (p->column < p->f->width)
                        put(p, STYLE_CHOSEN, " ");
        next(p);
}

static void draw_list(struct pen *p, const struct snapshot *s, const struct snapshot *before, struct top_view *view,
                      unsigned int bottom)
{
        struct line *lines scoped_free = calloc(s->client_count + 1, sizeof *lines);
        unsigned int shown, wide = p->f->width - TOP_WIDTH_MIN;

        if (!lines)
                return;
        for (size_t i = 0; i < s->client_count; i++)
                lines[i] = (struct line){key_of(&s->clients[i], view->sort), i};
        qsort(lines, s->client_count, sizeof *lines, by_key);
        put(p, STYLE_TITLE, "  %2s %7s %-*s ", "DV", "PID", name_width(p->f), "NAME");
        if (wide >= 40)
                put(p, STYLE_TITLE, "%-8s %-8s ", "USER", "JOB");
        put(p, STYLE_TITLE, "%-5s %-10s %6s/%-6s %7s %s", "PRIO", "STATE", "ON DEV", "OWNED", "MOVED/S", "WAIT, SLICE");
        while (p->column < p->f->width)
                put(p, STYLE_TITLE, " ");
        next(p);
        shown = bottom > p->row ? bottom - p->row : 0;
        if (view->chosen >= s->client_count)
                view->chosen = s->client_count ? (unsigned int)s->client_count - 1 : 0;
        if (view->first > view->chosen)
                view->first = view->chosen;
        if (shown && view->chosen >= view->first + shown)
                view->first = view->chosen - shown + 1;
        if (!s->client_count)
                put(p, STYLE_WEAK, "  no program yet: berth run -- PROGRAM");
        for (size_t i = view->first; i < s->client_count && i < view->first + shown; i++)
                draw_client(p, s, before, lines[i].client, i == view->chosen);
}

static void draw_help(struct pen *p)
{
        static const char *const lines[] = {
                "",
                "  q, Esc        leave                    h, ?   this help",
                "  Up, Down      choose a line            PgUp, PgDn, Home, End",
                "  d m w v p     sort by device, memory, wait, moved, pid;  s: the next of them",
                "  + -           slower, faster           Space  now",
                "",
                "  The bar shows each program's memory on the device in a shade of its own, the same",
                "  as before its line; dots are room; blanks are the reserve and other programs.",
                "  \"...\" stands where two looks are needed and there was one.",
        };

        for (size_t i = 0; i < ARRAY_SIZE(lines); i++, next(p))
                put(p, STYLE_PLAIN, "%s", lines[i]);
}

void top_frame(const struct snapshot *now, const struct snapshot *before, struct top_view *view, unsigned int width,
               unsigned int height, struct frame *ret)
{
        struct pen p = {.f = ret};
        char a[16], b[16], c[16];

        ret->width = width < TOP_WIDTH_MIN ? TOP_WIDTH_MIN : width > TOP_WIDTH_MAX ? TOP_WIDTH_MAX : width;
        ret->height = height < TOP_HEIGHT_MIN ? TOP_HEIGHT_MIN : height > TOP_HEIGHT_MAX ? TOP_HEIGHT_MAX : height;
        for (unsigned int row = 0; row < ret->height; row++)
                for (unsigned int column = 0; column < ret->width; column++)
                        ret->cells[row][column] = (struct cell){' ', STYLE_PLAIN};
        if (now) {
                put(&p, STYLE_STRONG, "berth top");
                put(&p, STYLE_PLAIN, "%s%s  up %s  arena %s lent of %s  berthd %s pid %u", view->clock ? "  " : "",
                    view->clock ? view->clock : "", text_duration(now->daemon.uptime_ns, a, sizeof a),
                    text_bytes(now->daemon.arena_lent_bytes, b, sizeof b),
                    text_bytes(now->daemon.arena_bytes, c, sizeof c), now->daemon.version, now->daemon.pid);
                next(&p);
                if (view->help) {
                        draw_help(&p);
                } else {
                        /* The list keeps at least six lines. */
                        size_t drawn = 0;

                        for (; drawn < now->device_count && p.row + 4 + 7 < ret->height; drawn++)
                                draw_device(&p, now, before, &now->devices[drawn]);
                        if (drawn < now->device_count) {
                                put(&p, STYLE_WEAK, "... and %zu more device%s: make the terminal higher",
                                    now->device_count - drawn, now->device_count - drawn == 1 ? "" : "s");
                                next(&p);
                        }
                        if (!now->device_count) {
                                put(&p, STYLE_BAD, "no device; `berth doctor' tells what is missing");
                                next(&p);
                        }
                        draw_list(&p, now, before, view, ret->height - 1);
                }
        }
        p.row = ret->height - 1;
        p.column = 0;
        if (view->trouble)
                put(&p, STYLE_BAD, "%s", view->trouble);
        else
                put(&p, STYLE_WEAK, "q leave  h help  Up/Down choose  d m w v p sort (now: %s)  +/- interval",
                    top_sort_name(view->sort));
}

void top_text(const struct frame *f, struct strbuf *b)
{
        unsigned int empty = 0;

        for (unsigned int row = 0; row < f->height; row++) {
                unsigned int width = f->width;

                while (width && f->cells[row][width - 1].c == ' ')
                        width--;
                if (!width) {
                        empty++;
                        continue;
                }
                strbuf_fill(b, '\n', empty);
                empty = 0;
                for (unsigned int column = 0; column < width; column++)
                        strbuf_fill(b, f->cells[row][column].c, 1);
                strbuf_add(b, "\n");
        }
}
