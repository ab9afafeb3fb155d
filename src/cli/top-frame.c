/* top-frame.c: puts the parts of `berth top` together in a grid; see top-frame.h. */
#include "cli/top-draw.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LIST_LEAST 7  /* lines of the list, its titles among them, before devices are left out */
#define PLOT_LEAST 5  /* lines of the plots, their title among them */
#define PLOT_MOST 13

const char top_shades[STYLE_SHADES] = {'#', '=', '%', '+', '*', '-'};

static void put(struct pen *p, enum style style, const char *text)
{
        if (p->row >= p->f->height)
                return;
        for (const char *s = text; *s && p->column < p->f->width; s++, p->column++)
                p->f->cells[p->row][p->column] = (struct cell){(unsigned char)(*s >= 32 && *s < 127 ? *s : '?'), (uint8_t)style};
}

void top_put(struct pen *p, enum style style, const char *format, ...)
{
        char text[TOP_WIDTH_MAX + 1];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        put(p, style, text);
}

bool top_fit(struct pen *p, enum style style, const char *format, ...)
{
        char text[TOP_WIDTH_MAX + 1];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        if (p->column + strlen(text) > p->f->width)
                return false;
        put(p, style, text);
        return true;
}

void top_next(struct pen *p)
{
        p->row++;
        p->column = 0;
}

void top_fill(struct pen *p, enum style style, unsigned int column)
{
        while (p->column < column && p->column < p->f->width)
                top_put(p, style, " ");
}

double top_speed(uint64_t now, uint64_t before, const struct snapshot *a, const struct snapshot *b)
{
        return b && a->taken_ns > b->taken_ns ? machine_rate(now, before, a->taken_ns - b->taken_ns) : -1;
}

void top_put_rate(struct pen *p, double value)
{
        char text[24];

        top_put(p, value > 0 ? STYLE_STRONG : STYLE_PLAIN, "%s", value < 0 ? "..." : cli_rate(value, text, sizeof text));
}

char *top_compact(uint64_t bytes, char *buffer, size_t size)
{
        char *space, *unit;

        if (bytes == MACHINE_UNKNOWN) {
                snprintf(buffer, size, "-");
                return buffer;
        }
        text_bytes(bytes, buffer, size);
        space = strchr(buffer, ' ');
        unit = space ? space + 1 : buffer;
        if (space)
                snprintf(space, size - (size_t)(space - buffer), "%c", *unit);
        return buffer;
}

char *top_compact_rate(double value, char *buffer, size_t size)
{
        if (value < 0 || value > 1e18)
                return top_compact(MACHINE_UNKNOWN, buffer, size);
        if (value > 0 && value < 9.95) {
                snprintf(buffer, size, "%.1f", value);
                return buffer;
        }
        top_compact((uint64_t)(value + 0.5), buffer, size);
        /* Not only bytes have rates: 12B of launches would read as twelve thousand million. */
        if (buffer[0] && buffer[strlen(buffer) - 1] == 'B')
                buffer[strlen(buffer) - 1] = 0;
        return buffer;
}

char *top_percent(double permille, char *buffer, size_t size)
{
        if (permille < 0)
                snprintf(buffer, size, "unavailable");
        else
                snprintf(buffer, size, "%.1f%%", permille / 10);
        return buffer;
}

void top_bar(struct pen *p, unsigned int width, const struct top_part *parts, size_t count, const char *text)
{
        unsigned int length = width > 2 ? width - 2 : 0, at = 0, written = (unsigned int)strlen(text), room;
        double sum = 0;

        if (written > length)
                written = length;
        room = length - written;
        top_put(p, STYLE_PLAIN, "[");
        for (size_t i = 0; i < count; i++) {
                unsigned int end;

                sum += parts[i].permille > 0 ? parts[i].permille : 0;
                end = (unsigned int)((sum > 1000 ? 1000 : sum) / 1000 * length + 0.5);
                for (; at < end && at < room; at++)
                        top_put(p, parts[i].style, "|");
        }
        for (; at < room; at++)
                top_put(p, STYLE_PLAIN, " ");
        top_put(p, STYLE_PLAIN, "%.*s]", (int)written, text);
}

unsigned int top_shade_of(const struct snapshot *s, size_t client)
{
        unsigned int n = 0;

        for (size_t i = 0; i < client; i++)
                n += s->clients[i].device == s->clients[client].device;
        return n % STYLE_SHADES;
}

static void draw_help(struct pen *p)
{
        static const char *const lines[] = {
                "",
                "  q, Esc        leave                    h, ?   this help",
                "  Up, Down      choose a line            PgUp, PgDn, Home, End",
                "  Tab, a        programs of Berth, or all processes     t   as a tree",
                "  d m w v l     sort by device, memory on it, wait, moved bytes, launches",
                "  c r o p n     sort by CPU, resident memory, storage, pid, name;  s: the next",
                "  /             filter by part of a name, by pid or user;  Esc: no filter",
                "  Enter         everything about one process, its files among it",
                "  x, F9         send it a signal         N, F7  change how nice it is",
                "  1             each processor           b      no plots",
                "  g  G          whose plots; their length: 2 min, 10 min, 3 h, 7 days",
                "  + -           slower, faster           Space  now",
                "",
                "  A device's bar shows each program's memory on it in a shade of its own, the",
                "  one before its line; dots are room; blanks are the reserve and others' use.",
                "  CPU% is of one processor: 250 are two and a half. In the machine's bar user",
                "  time comes first, then the system's, then stolen and waiting time.",
                "  \"...\" stands where two looks are needed and there was one; \"-\" and",
                "  \"unavailable\" where nothing can be measured: that is not zero.",
        };

        for (size_t i = 0; i < ARRAY_SIZE(lines); i++, top_next(p))
                top_put(p, STYLE_PLAIN, "%s", lines[i]);
}

static void draw_head(struct pen *p, const struct top_world *w, const struct top_view *v)
{
        char a[16], b[16], c[16];

        top_put(p, STYLE_STRONG, "berth top");
        top_put(p, STYLE_PLAIN, "%s%s", v->clock ? "  " : "", v->clock ? v->clock : "");
        if (w->now) {
                top_put(p, STYLE_PLAIN, "  up %s  arena %s lent of %s", text_duration(w->now->daemon.uptime_ns, a, sizeof a),
                        text_bytes(w->now->daemon.arena_lent_bytes, b, sizeof b), text_bytes(w->now->daemon.arena_bytes, c, sizeof c));
                if (top_fit(p, STYLE_PLAIN, "  berthd %s", w->now->daemon.version))
                        top_fit(p, STYLE_PLAIN, " pid %u", w->now->daemon.pid);
        } else {
                top_put(p, STYLE_WEAK, "  no daemon");
        }
        top_next(p);
}

static void draw_foot(struct pen *p, const struct top_view *v)
{
        p->row = p->f->height - 1;
        p->column = 0;
        switch (v->mode) {
        case TOP_FILTER:
                top_put(p, STYLE_STRONG, "filter: %s_  Enter keeps it, Esc ends it", v->filter);
                return;
        case TOP_SIGNAL:
                top_put(p, STYLE_BAD, "signal for %u %.20s: t TERM  k KILL  i INT  h HUP  s STOP  c CONT  u USR1", v->target.pid, v->target.name);
                return;
        case TOP_CONFIRM:
                top_put(p, STYLE_BAD, "send SIG%s to %u %.30s? y: yes, any other key: no", top_signal_name(v->signal), v->target.pid, v->target.name);
                return;
        case TOP_NICE:
                top_put(p, STYLE_BAD, "%u %.20s nice %d -> %d: Up and Down change it, Enter does it, Esc not", v->target.pid, v->target.name, v->target.nice,
                        v->nice);
                return;
        case TOP_WATCH:
        case TOP_HELP:
        case TOP_DETAIL:
                break;
        }
        if (v->notice)
                top_put(p, STYLE_STRONG, "%s", v->notice);
        else if (v->trouble)
                top_put(p, STYLE_BAD, "%s", v->trouble);
        else if (v->mode == TOP_DETAIL)
                top_put(p, STYLE_WEAK, "Esc back  x signal  N nice  Space now");
        else
                top_put(p, STYLE_WEAK, "q leave  h help  Tab %s  s sort (now: %s)  Enter details  / filter%s%s",
                        v->list == TOP_PROGRAMS ? "processes" : "programs", top_sort_name(v->sort), v->filter[0] ? ": " : "", v->filter);
}

/* Plots get what the list does not need, if that is enough to see something. */
static void draw_watch(struct pen *p, const struct top_world *w, struct top_view *v, unsigned int bottom)
{
        unsigned int left, rows = v->list == TOP_PROCESSES ? 12 : w->now ? (unsigned int)(w->now->client_count < 40 ? w->now->client_count : 40) + 1 : 1;

        top_machine(p, w, v);
        top_devices(p, w, LIST_LEAST + 1);
        left = bottom > p->row ? bottom - p->row : 0;
        rows = rows < LIST_LEAST - 1 ? LIST_LEAST - 1 : rows;
        if (rows > left / 2 && left >= LIST_LEAST - 1 + PLOT_LEAST)
                rows = left / 2 > LIST_LEAST - 1 ? left / 2 : LIST_LEAST - 1;
        if (!v->plain && w->history && left >= rows + PLOT_LEAST)
                top_plots(p, w, v, left - rows > PLOT_MOST ? PLOT_MOST : left - rows);
        top_list(p, w, v, bottom);
}

void top_frame(const struct top_world *world, struct top_view *view, unsigned int width, unsigned int height, struct frame *ret)
{
        struct pen p = {.f = ret};

        ret->width = width < TOP_WIDTH_MIN ? TOP_WIDTH_MIN : width > TOP_WIDTH_MAX ? TOP_WIDTH_MAX : width;
        ret->height = height < TOP_HEIGHT_MIN ? TOP_HEIGHT_MIN : height > TOP_HEIGHT_MAX ? TOP_HEIGHT_MAX : height;
        for (unsigned int row = 0; row < ret->height; row++)
                for (unsigned int column = 0; column < ret->width; column++)
                        ret->cells[row][column] = (struct cell){' ', STYLE_PLAIN};
        draw_head(&p, world, view);
        if (view->mode == TOP_HELP)
                draw_help(&p);
        else if (view->mode == TOP_DETAIL)
                top_detail(&p, world, view, ret->height - 1);
        else
                draw_watch(&p, world, view, ret->height - 1);
        draw_foot(&p, view);
}

/* Code points below 0x10000, as UTF-8. */
static void put_utf8(struct strbuf *b, uint16_t c)
{
        const char text[3] = {(char)(0xe0 | c >> 12), (char)(0x80 | (c >> 6 & 0x3f)), (char)(0x80 | (c & 0x3f))};

        if (c < 128)
                strbuf_fill(b, (char)c, 1);
        else
                strbuf_put(b, text, sizeof text); /* braille is above 0x7ff */
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
                        put_utf8(b, f->cells[row][column].c);
                strbuf_add(b, "\n");
        }
}
