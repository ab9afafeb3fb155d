/* top-frame.h: one picture of `berth top` as a grid of characters and styles. Pure: the terminal only shows it. */
#pragma once

#include "base/strbuf.h"
#include "cli/snapshot.h"

enum style {
        STYLE_PLAIN,
        STYLE_TITLE, /* column titles */
        STYLE_STRONG,
        STYLE_WEAK,
        STYLE_GOOD,   /* runs */
        STYLE_BAD,    /* stuck, over a bound, trouble */
        STYLE_WAIT,   /* waits, moves */
        STYLE_CHOSEN, /* the line under the cursor */
        STYLE_FREE,   /* room in a bar */
        STYLE_SHADE,  /* first of STYLE_SHADES for residents in a bar */
        STYLE_N = STYLE_SHADE + 6,
};
#define STYLE_SHADES 6

enum top_sort { TOP_BY_DEVICE, TOP_BY_MEMORY, TOP_BY_WAIT, TOP_BY_MOVED, TOP_BY_PID, TOP_SORT_N };

#define TOP_WIDTH_MIN 80
#define TOP_HEIGHT_MIN 24
#define TOP_WIDTH_MAX 400
#define TOP_HEIGHT_MAX 400

struct cell {
        char c; /* printable ASCII */
        uint8_t style;
};

struct frame {
        unsigned int width, height; /* at least the minimum: a smaller terminal shows the upper left part */
        struct cell cells[TOP_HEIGHT_MAX][TOP_WIDTH_MAX];
};

struct top_view {
        enum top_sort sort;
        unsigned int chosen, first; /* line under the cursor and first line shown, of the list of programs */
        bool help;
        const char *trouble; /* shown in place of the key line, or NULL */
        const char *clock;   /* "14:03:22", or NULL */
};

/* Draws now (and the rates since before, which may be NULL). Corrects chosen and first to what there is. */
void top_frame(const struct snapshot *now, const struct snapshot *before, struct top_view *view, unsigned int width,
               unsigned int height, struct frame *ret);

/* As plain lines, without trailing blanks and without empty lines at the end. */
void top_text(const struct frame *f, struct strbuf *b);

const char *top_sort_name(enum top_sort sort);
