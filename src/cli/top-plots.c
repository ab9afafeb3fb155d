/* top-plots.c: how one device, or the machine, went lately: its load and its memory side by side; see top-draw.h. */
#include "cli/top-draw.h"

#include "base/clock.h"
#include "base/text.h"
#include "cli/plot.h"
#include "wire/series.h"

#include <stdio.h>
#include <string.h>

struct subject {
        char title[64], load[SERIES_NAME], memory[SERIES_NAME];
        double memory_top; /* bytes; 0: unknown */
};

static void machine_subject(const struct top_world *w, struct subject *ret)
{
        *ret = (struct subject){.title = "machine", .load = SERIES_CPU, .memory = SERIES_MEMORY};
        if (w->look && !w->look->memory_error)
                ret->memory_top = (double)w->look->memory.total;
}

/* The view's subject; one beyond the last device becomes the machine again. */
static void find_subject(const struct top_world *w, struct top_view *v, struct subject *ret)
{
        unsigned int n = 0;

        for (size_t i = 0; w->now && i < w->now->device_count; i++) {
                const struct wire_STATUS_DEVICE *d = &w->now->devices[i];

                if (!snapshot_shared(d) || ++n != v->subject)
                        continue;
                *ret = (struct subject){.memory_top = d->valid & WIRE_VALID_TOTAL ? (double)d->total_bytes : 0};
                snprintf(ret->title, sizeof ret->title, "%u %.40s", d->index, d->name);
                series_device_name(d->index, SERIES_DEVICE_USE, ret->load);
                series_device_name(d->index, SERIES_DEVICE_MEMORY, ret->memory);
                return;
        }
        v->subject = 0;
        machine_subject(w, ret);
}

double top_plot(struct pen *p, const struct top_world *w, const struct top_view *v, const char *series, double top, enum style style, unsigned int column, unsigned int width,
                unsigned int height)
{
        const struct history *h = w->history ? history_set_find(w->history, series) : NULL;
        static struct history_point points[2 * TOP_WIDTH_MAX];
        static float values[2 * TOP_WIDTH_MAX];
        static uint16_t cells[TOP_HEIGHT_MAX * TOP_WIDTH_MAX];
        double greatest = 0;
        bool any = false;

        if (h)
                (void)history_plot(h, w->history_ns, top_spans[v->span] * NS_PER_S, points, (size_t)width * 2);
        for (unsigned int i = 0; i < 2 * width; i++) {
                values[i] = h ? points[i].mean : __builtin_nanf("");
                any |= h && history_known(points[i]);
                greatest = values[i] > greatest ? values[i] : greatest;
        }
        /* Looks that come a little later than once a second pass over a slot now and then: the look after it measured that time, too. */
        for (unsigned int i = 1; i + 1 < 2 * width; i++)
                if (!(values[i] == values[i]) && values[i - 1] == values[i - 1] && values[i + 1] == values[i + 1])
                        values[i] = values[i + 1];
        if (!any) {
                struct pen note = {p->f, p->row + height / 2, column + 2};

                top_put(&note, STYLE_WEAK, "unavailable");
                return 0;
        }
        top = top > 0 ? top : greatest > 0 ? greatest : 1;
        plot_area(values, (float)top, width, height, v->unicode, cells);
        for (unsigned int y = 0; y < height && p->row + y < p->f->height; y++)
                for (unsigned int x = 0; x < width && column + x < p->f->width; x++)
                        p->f->cells[p->row + y][column + x] = (struct cell){cells[y * width + x], (uint8_t)style};
        return top;
}

void top_plots(struct pen *p, const struct top_world *w, struct top_view *v, unsigned int lines)
{
        unsigned int half = p->f->width / 2, height = lines - 1;
        struct subject s;
        char span[16], total[16];

        find_subject(w, v, &s);
        text_duration(top_spans[v->span] * NS_PER_S, span, sizeof span);
        top_put(p, STYLE_WEAK, "%s, last %s: use of 100%%", s.title, span);
        p->column = half;
        top_put(p, STYLE_WEAK, "memory of %s", s.memory_top > 0 ? text_bytes((uint64_t)s.memory_top, total, sizeof total) : "unavailable");
        top_next(p);
        (void)top_plot(p, w, v, s.load, 1000, STYLE_USER, 0, half - 1, height);
        (void)top_plot(p, w, v, s.memory, s.memory_top > 0 ? s.memory_top : 1, STYLE_CACHE, half, p->f->width - half, height);
        p->row += height;
        p->column = 0;
}
