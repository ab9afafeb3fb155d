/* top-draw.h: the parts of a picture share a pen. For top-*.c only. */
#pragma once

#include "cli/top-frame.h"

struct pen {
        struct frame *f;
        unsigned int row, column;
};

extern const char top_shades[STYLE_SHADES];

/* Text from the pen's place on, cut at the edge; what is not printable ASCII becomes '?'. */
void top_put(struct pen *p, enum style style, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same, or nothing where not all of it has room: half a number is a wrong one. False: nothing. */
bool top_fit(struct pen *p, enum style style, const char *format, ...) __attribute__((format(printf, 3, 4)));
void top_next(struct pen *p);
/* Blanks up to a column, in a style. */
void top_fill(struct pen *p, enum style style, unsigned int column);

/* "200M" for 200 MiB: columns are narrow. "-" for MACHINE_UNKNOWN. */
char *top_compact(uint64_t bytes, char *buffer, size_t size);
/* The same of a rate; "-" when negative. */
char *top_compact_rate(double value, char *buffer, size_t size);
/* A share in permille as "12.3%", "unavailable" when negative. */
char *top_percent(double permille, char *buffer, size_t size);

/* Between brackets: parts in permille of the whole, each in its style, and a text at the right end. Negative parts: unavailable, all of it. */
struct top_part {
        double permille;
        enum style style;
};
void top_bar(struct pen *p, unsigned int width, const struct top_part *parts, size_t count, const char *text);

/* Bytes per second between two snapshots; negative when it can't be told. */
double top_speed(uint64_t now, uint64_t before, const struct snapshot *a, const struct snapshot *b);
void top_put_rate(struct pen *p, double value);
/* The shade of a client: its place among those of its device, so that bar and list agree. */
unsigned int top_shade_of(const struct snapshot *s, size_t client);

/* top-panels.c */
void top_machine(struct pen *p, const struct top_world *w, const struct top_view *v);
/* As many devices as leave `least` lines below. */
void top_devices(struct pen *p, const struct top_world *w, unsigned int least);
/* top-plots.c: `lines` lines in all. */
void top_plots(struct pen *p, const struct top_world *w, struct top_view *v, unsigned int lines);
/* One series as an area of width × height from the pen's line and that column on, over the view's span. top: the value at the upper edge; 0: the greatest that there is,
 * which is returned (0: nothing is known, and said). */
double top_plot(struct pen *p, const struct top_world *w, const struct top_view *v, const char *series, double top, enum style style, unsigned int column, unsigned int width,
                unsigned int height);
/* top-list.c: up to the line `bottom`. */
void top_list(struct pen *p, const struct top_world *w, struct top_view *v, unsigned int bottom);
/* top-detail.c */
void top_detail(struct pen *p, const struct top_world *w, const struct top_view *v, unsigned int bottom);
