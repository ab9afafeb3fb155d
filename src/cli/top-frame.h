/* top-frame.h: one picture of `berth top` as a grid of characters and styles. Pure: the terminal only shows it. */
#pragma once

#include "base/strbuf.h"
#include "cli/top-view.h"

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
        STYLE_USER,   /* parts of a bar, and the first plot */
        STYLE_SYSTEM,
        STYLE_CACHE,  /* and the second plot */
        STYLE_SHADE,  /* first of STYLE_SHADES for residents in a bar */
        STYLE_N = STYLE_SHADE + 6,
};
#define STYLE_SHADES 6

#define TOP_WIDTH_MIN 80
#define TOP_HEIGHT_MIN 24
#define TOP_WIDTH_MAX 400
#define TOP_HEIGHT_MAX 400

struct cell {
        uint16_t c; /* printable ASCII, or braille in plots when the view has unicode */
        uint8_t style;
};

struct frame {
        unsigned int width, height; /* at least the minimum: a smaller terminal shows the upper left part */
        struct cell cells[TOP_HEIGHT_MAX][TOP_WIDTH_MAX];
};

/* Corrects what the view chose to what there is, and notes what is under the cursor. */
void top_frame(const struct top_world *world, struct top_view *view, unsigned int width, unsigned int height, struct frame *ret);

/* As plain lines in UTF-8, without trailing blanks and without empty lines at the end. */
void top_text(const struct frame *f, struct strbuf *b);
