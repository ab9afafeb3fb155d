/* top.c: `berth top`: the terminal: looks (top-world.h), pictures (top-frame.h) and keys (top-view.h) come together here. */
#include "cli/replay.h"
#include "cli/top-frame.h"
#include "cli/top-world.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"

#include <curses.h>
#include <langinfo.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define INTERVAL_MIN (100 * NS_PER_MS)
#define INTERVAL_MAX (3600 * NS_PER_S)
#define ANSWER_MS 2000

struct top {
        uint64_t interval_ns;
        bool once, mouse;
        struct top_view view;
        struct top_sources sources;
        struct replay *replay; /* in place of the sources */
        const char *file;      /* of it */
        size_t number;         /* of the look to be shown next */
        bool paused, at_given;
        struct top_world past;
        uint64_t past_ns;
        char clock[32], notice[96], message[CLI_MESSAGE];
        struct frame frame;
};

static const struct argp_option options[] = {
        {"interval", 'i', "TIME", 0, "time between two looks (1s)", 0},
        {"once", '1', NULL, 0, "print one picture as plain text and end", 0},
        {"processes", 'a', NULL, 0, "begin with all processes of the machine in place of Berth's programs", 0},
        {"mouse", 'm', NULL, 0, "a click chooses a line, the wheel moves; the terminal's own selection then needs Shift", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct top *t = state->input;

        switch (key) {
        case 'i':
                if (text_parse_duration(arg, &t->interval_ns) < 0 || t->interval_ns < INTERVAL_MIN ||
                    t->interval_ns > INTERVAL_MAX)
                        argp_error(state, "--interval: \"%s\" is no time between 100ms and 1h", arg);
                return 0;
        case '1':
                t->once = true;
                return 0;
        case 'a':
                t->view.list = TOP_PROCESSES;
                t->view.sort = TOP_BY_CPU;
                return 0;
        case 'm':
                t->mouse = true;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

/* On trouble the last picture of the daemon stays, with the message, and the next look connects anew. */
static int look(struct top *t)
{
        int r;

        if (t->replay) {
                r = replay_go(t->replay, t->number, &t->past, &t->past_ns, t->message);
                t->view.trouble = r < 0 ? t->message : NULL;
                t->number = replay_at(t->replay) + !t->paused;
                return r;
        }
        r = top_look(&t->sources, t->view.mode == TOP_WATCH || t->view.mode == TOP_FILTER ? NULL : &t->view.target);

        t->view.trouble = r < 0 ? t->sources.message : NULL;
        return r;
}

static void draw(struct top *t, unsigned int width, unsigned int height)
{
        time_t now = t->replay ? (time_t)(t->past_ns / NS_PER_S) : time(NULL);
        struct tm local;

        if (t->replay && localtime_r(&now, &local) && strftime(t->clock, sizeof t->clock, "%Y-%m-%d %H:%M:%S", &local))
                t->view.clock = t->clock;
        else if (!t->once && localtime_r(&now, &local) && strftime(t->clock, sizeof t->clock, "%H:%M:%S", &local))
                t->view.clock = t->clock;
        top_frame(t->replay ? &t->past : &t->sources.world, &t->view, width, height, &t->frame);
}

static int print_once(struct top *t)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};
        int r = look(t);

        if (r < 0) {
                cli_error("%s", t->replay ? t->message : t->sources.message);
                return cli_exit_code(r);
        }
        /* A line for every program, and no cursor among them. Plots need more than one look. */
        t->view.chosen = UINT32_MAX;
        t->view.plain = true;
        draw(t, 120, TOP_HEIGHT_MAX);
        /* The key line is of no use on paper. */
        for (unsigned int i = 0; i < t->frame.width; i++)
                t->frame.cells[t->frame.height - 1][i] = (struct cell){' ', STYLE_PLAIN};
        top_text(&t->frame, &b);
        if (b.failed) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        return cli_print(b.text);
}

/* https://no-color.org: any text in it means none. */
static bool colours(void)
{
        const char *no = getenv("NO_COLOR");

        return has_colors() && !(no && no[0]);
}

static void start_colours(void)
{
        /* 256 colours: shades of one hue; 8: different colours; none: the characters alone tell residents apart. */
        static const short many[STYLE_SHADES] = {25, 31, 37, 67, 73, 110},
                           few[STYLE_SHADES] = {COLOR_BLUE,  COLOR_CYAN,   COLOR_MAGENTA,
                                                COLOR_GREEN, COLOR_YELLOW, COLOR_WHITE};

        if (!colours())
                return;
        start_color();
        use_default_colors();
        init_pair(STYLE_GOOD, COLOR_GREEN, -1);
        init_pair(STYLE_BAD, COLOR_RED, -1);
        init_pair(STYLE_WAIT, COLOR_YELLOW, -1);
        init_pair(STYLE_USER, COLOR_GREEN, -1);
        init_pair(STYLE_SYSTEM, COLOR_RED, -1);
        init_pair(STYLE_CACHE, COLORS >= 256 ? 75 : COLOR_CYAN, -1);
        for (short i = 0; i < STYLE_SHADES; i++)
                init_pair((short)(STYLE_SHADE + i), COLOR_BLACK, COLORS >= 256 ? many[i] : few[i]);
}

static attr_t attributes(unsigned int style, bool coloured, short *ret_pair)
{
        *ret_pair = 0;
        switch (style) {
        case STYLE_TITLE:
        case STYLE_CHOSEN:
                return A_REVERSE;
        case STYLE_STRONG:
                return A_BOLD;
        case STYLE_WEAK:
        case STYLE_FREE:
                return A_DIM;
        case STYLE_GOOD:
        case STYLE_BAD:
        case STYLE_WAIT:
                *ret_pair = coloured ? (short)style : 0;
                return coloured ? A_NORMAL : A_BOLD;
        default:
                break;
        }
        *ret_pair = style >= STYLE_USER && coloured ? (short)style : 0;
        return A_NORMAL;
}

static void show(struct top *t)
{
        bool coloured = colours();
        int width, height;

        getmaxyx(stdscr, height, width);
        draw(t, (unsigned int)width, (unsigned int)height);
        erase();
        for (int row = 0; row < height && row < (int)t->frame.height; row++) {
                /* A low terminal still ends with the line of trouble or keys. */
                const struct cell *cells = t->frame.cells[row == height - 1 ? (int)t->frame.height - 1 : row];

                for (int column = 0; column < width && column < (int)t->frame.width; column++) {
                        const wchar_t text[2] = {(wchar_t)cells[column].c, 0};
                        attr_t attribute;
                        cchar_t c;
                        short pair;

                        if (cells[column].c == ' ' && cells[column].style == STYLE_PLAIN)
                                continue;
                        attribute = attributes(cells[column].style, coloured, &pair);
                        if (setcchar(&c, text, attribute, pair, NULL) == OK)
                                mvadd_wch(row, column, &c);
                }
        }
        refresh();
}

static void change_interval(struct top *t, bool longer)
{
        uint64_t wanted = longer ? t->interval_ns * 2 : t->interval_ns / 2;

        if (wanted >= INTERVAL_MIN && wanted <= INTERVAL_MAX)
                t->interval_ns = wanted;
}

static int translate(struct top *t, int k)
{
        MEVENT event;

        switch (k) {
        case KEY_UP:
                return TOP_KEY_UP;
        case KEY_DOWN:
                return TOP_KEY_DOWN;
        case KEY_PPAGE:
                return TOP_KEY_PAGE_UP;
        case KEY_NPAGE:
                return TOP_KEY_PAGE_DOWN;
        case KEY_HOME:
                return TOP_KEY_HOME;
        case KEY_END:
                return TOP_KEY_END;
        case KEY_ENTER:
        case '\n':
        case '\r':
                return TOP_KEY_ENTER;
        case 27:
                return TOP_KEY_ESCAPE;
        case KEY_BACKSPACE:
        case 127:
        case 8:
                return TOP_KEY_BACK;
        case '\t':
                return TOP_KEY_TAB;
        case KEY_F(9):
                return TOP_KEY_SIGNAL;
        case KEY_F(7):
        case KEY_F(8):
                return TOP_KEY_NICE;
        case KEY_MOUSE:
                if (getmouse(&event) != OK)
                        return 0;
                if (event.bstate & BUTTON4_PRESSED)
                        return TOP_KEY_UP;
                if (event.bstate & BUTTON5_PRESSED)
                        return TOP_KEY_DOWN;
                top_click(&t->view, (unsigned int)event.y);
                return 0;
        default: /* KEY_RESIZE and anything else: draw again */
                return k < 256 ? k : 0;
        }
}

/* Through a record: true when the key was about that. Nothing is done to processes of the past. */
static bool walk(struct top *t, int k, bool *ret_now)
{
        size_t at = replay_at(t->replay), last = replay_count(t->replay) - 1;

        if (t->view.mode == TOP_FILTER)
                return false;
        switch (k) {
        case ' ':
                t->paused = !t->paused;
                t->number = at + !t->paused;
                break;
        case KEY_LEFT:
                t->number = at > 10 ? at - 10 : 0;
                break;
        case KEY_RIGHT:
                t->number = last - at > 10 ? at + 10 : last;
                break;
        case '<':
                t->number = at > 600 ? at - 600 : 0;
                break;
        case '>':
                t->number = last - at > 600 ? at + 600 : last;
                break;
        case 'x':
        case 'N':
        case KEY_F(7):
        case KEY_F(8):
        case KEY_F(9):
                return true;
        default:
                return false;
        }
        *ret_now = true;
        snprintf(t->notice, sizeof t->notice, "look %zu of %zu%s  Left, Right: 10  < >: 600  Space: go on or stand", (t->number > last ? last : t->number) + 1, last + 1,
                 t->paused ? ", stands" : "");
        t->view.notice = t->notice;
        return true;
}

/* false: leave. */
static bool key(struct top *t, int k, bool *ret_now)
{
        enum top_mode before = t->view.mode;

        if (t->replay && walk(t, k, ret_now))
                return true;
        switch (top_key(&t->view, translate(t, k))) {
        case TOP_LEAVE:
                return false;
        case TOP_NOW:
                *ret_now = true;
                break;
        case TOP_SLOWER:
        case TOP_FASTER:
                change_interval(t, k == '+');
                break;
        case TOP_DO_SIGNAL:
                top_signal(&t->sources, &t->view.target, t->view.signal, t->notice);
                t->view.notice = t->notice;
                *ret_now = true;
                break;
        case TOP_DO_NICE:
                top_renice(&t->sources, &t->view.target, t->view.nice, t->notice);
                t->view.notice = t->notice;
                *ret_now = true;
                break;
        case TOP_GO_ON:
                break;
        }
        if (t->view.mode == TOP_DETAIL && before == TOP_WATCH)
                *ret_now = true;
        return true;
}

static int live(struct top *t)
{
        SCREEN *screen;
        int r = look(t);

        /* Without a daemon the machine and its processes are worth watching all the same; one that comes is found. */
        if (r < 0 && (t->replay || !t->sources.readable)) {
                cli_error("%s", t->replay ? t->message : t->sources.message);
                return cli_exit_code(r);
        }
        if (t->replay ? !t->past.now : r < 0)
                t->view.list = TOP_PROCESSES;
        if (t->view.list == TOP_PROCESSES && t->view.sort == TOP_BY_DEVICE)
                t->view.sort = TOP_BY_CPU;
        t->view.unicode = !strcmp(nl_langinfo(CODESET), "UTF-8");
        screen = newterm(NULL, stdout, stdin);
        if (!screen) {
                cli_error("the terminal \"%s\" is unknown here; set TERM, or use `berth top --once'",
                          getenv("TERM") ? getenv("TERM") : "");
                return CLI_FAILED;
        }
        start_colours();
        cbreak();
        noecho();
        curs_set(0);
        keypad(stdscr, TRUE);
        set_escdelay(50);
        if (t->mouse)
                mousemask(BUTTON1_PRESSED | BUTTON1_CLICKED | BUTTON4_PRESSED | BUTTON5_PRESSED, NULL);
        for (bool stay = true; stay;) {
                uint64_t deadline = clock_now_ns() + t->interval_ns;
                bool now = false;

                while (stay && !now) {
                        uint64_t time = clock_now_ns();
                        int k;

                        show(t);
                        if (time >= deadline)
                                break;
                        timeout((int)((deadline - time) / NS_PER_MS) + 1);
                        k = getch();
                        if (k == ERR) {
                                /* No key, or the terminal is gone. */
                                if (!isatty(STDIN_FILENO))
                                        stay = false;
                                continue;
                        }
                        stay = key(t, k, &now);
                }
                if (stay)
                        (void)look(t);
        }
        endwin();
        delscreen(screen);
        return CLI_OK;
}

extern const struct verb verb_replay;

static int run(const struct verb *self, int argc, char **argv)
{
        struct top *t scoped_free = calloc(1, sizeof *t);
        int r;

        if (!t) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        t->interval_ns = NS_PER_S;
        cli_parse(self, argc, argv, t);
        if (self == &verb_replay && !t->file) {
                return cli_usage(self, "which file? berth replay FILE");
        }
        if (t->file && (r = replay_open(t->file, &t->replay, t->message)) < 0) {
                cli_error("%s", t->message);
                return r == -E_VERSION ? CLI_PROTOCOL : CLI_FAILED;
        }
        if (t->number == SIZE_MAX)
                t->number = t->replay ? replay_count(t->replay) - 1 : 0;
        top_sources_open(&t->sources, ANSWER_MS);
        if (t->once) {
                r = print_once(t);
        } else if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO)) {
                cli_error("top needs a terminal; use `berth top --once' or `berth status'");
                r = CLI_USAGE;
        } else {
                r = live(t);
        }
        top_sources_close(&t->sources);
        replay_free(t->replay);
        return r;
}

const struct verb verb_top = {
        .name = "top",
        .summary = "watch devices, programs and the machine live",
        .more = "Devices, programs, the machine and all of its processes, with plots of the last minutes up to seven days. Keys: q leaves, h explains, arrows "
                "choose a line, Tab goes from Berth's programs to all processes and back, Enter shows all of one process, x sends a signal and N changes how nice "
                "it is, both after a question. Colours are left out when NO_COLOR is set; a terminal that is not UTF-8 gets plain characters. Without a daemon it "
                "watches the machine alone.\n\nExamples:\n\n  berth top --interval 500ms\n  berth top --once",
        .options = options,
        .parse = parse,
        .run = run,
};

static const struct argp_option replay_options[] = {
        {"interval", 'i', "TIME", 0, "time between two looks, whatever it was when they were taken (1s)", 0},
        {"once", '1', NULL, 0, "print one picture as plain text and end", 0},
        {"at", 't', "N", 0, "begin with this look, from 1; with --once the last one when not given", 0},
        {"processes", 'a', NULL, 0, "begin with processes in place of Berth's programs", 0},
        {0},
};

static int parse_replay(int key, char *arg, struct argp_state *state)
{
        struct top *t = state->input;
        uint64_t number;

        switch (key) {
        case 't':
                if (text_parse_u64(arg, 1, UINT32_MAX, &number) < 0)
                        argp_error(state, "--at: \"%s\" is no number of a look", arg);
                t->number = (size_t)number - 1;
                t->at_given = true;
                return 0;
        case ARGP_KEY_ARG:
                if (t->file)
                        argp_error(state, "one file; \"%s\" is too much", arg);
                t->file = arg;
                return 0;
        case ARGP_KEY_END:
                if (t && t->once && !t->at_given)
                        t->number = SIZE_MAX;
                return 0;
        case 'm':
                return ARGP_ERR_UNKNOWN;
        default:
                return parse(key, arg, state);
        }
}

const struct verb verb_replay = {
        .name = "replay",
        .arguments = "FILE",
        .summary = "look at a recording in the live view",
        .more = "Space stands and goes on, Left and Right go by ten looks, < and > by 600; all else is as in `berth top', but that nothing is done to processes.\n\n"
                "Examples:\n\n  berth replay night.berth\n  berth replay --once --at 3600 night.berth",
        .options = replay_options,
        .parse = parse_replay,
        .run = run,
};
