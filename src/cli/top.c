/* top.c: `berth top`: asks the daemon again and again and shows what it says. A daemon that goes away is waited for. */
#include "cli/top-frame.h"

#include "base/clock.h"
#include "base/text.h"

#include <curses.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define INTERVAL_MIN (100 * NS_PER_MS)
#define INTERVAL_MAX (3600 * NS_PER_S)
#define ANSWER_MS 2000

struct top {
        uint64_t interval_ns;
        bool once;
        struct top_view view;
        struct connection connection;
        struct snapshot now, before;
        bool known; /* now holds something */
        char message[CLI_MESSAGE], clock[16];
        struct frame frame;
};

static const struct argp_option options[] = {
        {"interval", 'i', "TIME", 0, "time between two looks (1s)", 0},
        {"once", '1', NULL, 0, "print one picture as plain text and end", 0},
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
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

/* One look. On trouble the last picture stays, with the message, and the next look connects anew. */
static int look(struct top *t)
{
        struct snapshot fresh;
        int r = 0;

        if (t->connection.fd < 0)
                r = connection_open(&t->connection, t->message);
        if (r >= 0)
                r = snapshot_fetch(&t->connection, &fresh, t->message);
        if (r < 0) {
                connection_close(&t->connection);
                t->view.trouble = t->message;
                /* Another daemon counts from zero: no rates across the gap. */
                snapshot_done(&t->before);
                return r;
        }
        snapshot_done(&t->before);
        t->before = t->now;
        t->now = fresh;
        if (t->known && t->before.daemon.pid != t->now.daemon.pid)
                snapshot_done(&t->before);
        t->known = true;
        t->view.trouble = NULL;
        return 0;
}

static void draw(struct top *t, unsigned int width, unsigned int height)
{
        time_t now = time(NULL);
        struct tm local;

        if (!t->once && localtime_r(&now, &local) && strftime(t->clock, sizeof t->clock, "%H:%M:%S", &local))
                t->view.clock = t->clock;
        top_frame(t->known ? &t->now : NULL, t->before.taken_ns ? &t->before : NULL, &t->view, width, height,
                  &t->frame);
}

static int print_once(struct top *t)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};
        int r = look(t);

        if (r < 0) {
                cli_error("%s", t->message);
                return cli_exit_code(r);
        }
        /* A line for every program, and no cursor among them. */
        t->view.chosen = UINT32_MAX;
        draw(t, 120, TOP_HEIGHT_MAX);
        /* The key line is of no use on paper. */
        memset(t->frame.cells[t->frame.height - 1], 0, sizeof t->frame.cells[0]);
        for (unsigned int i = 0; i < t->frame.width; i++)
                t->frame.cells[t->frame.height - 1][i].c = ' ';
        top_text(&t->frame, &b);
        if (b.failed) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        return cli_print(b.text);
}

static void start_colours(void)
{
        /* 256 colours: shades of one hue; 8: different colours; none: the characters alone tell residents apart. */
        static const short many[STYLE_SHADES] = {25, 31, 37, 67, 73, 110},
                           few[STYLE_SHADES] = {COLOR_BLUE,  COLOR_CYAN,   COLOR_MAGENTA,
                                                COLOR_GREEN, COLOR_YELLOW, COLOR_WHITE};

        if (!has_colors())
                return;
        start_color();
        use_default_colors();
        init_pair(STYLE_GOOD, COLOR_GREEN, -1);
        init_pair(STYLE_BAD, COLOR_RED, -1);
        init_pair(STYLE_WAIT, COLOR_YELLOW, -1);
        for (short i = 0; i < STYLE_SHADES; i++)
                init_pair((short)(STYLE_SHADE + i), COLOR_BLACK, COLORS >= 256 ? many[i] : few[i]);
}

static chtype attributes(unsigned int style)
{
        bool colours = has_colors();

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
                return colours ? (chtype)COLOR_PAIR((int)style) : A_BOLD;
        default:
                break;
        }
        return style >= STYLE_SHADE && colours ? (chtype)COLOR_PAIR((int)style) : A_NORMAL;
}

static void show(struct top *t)
{
        int width, height;

        getmaxyx(stdscr, height, width);
        draw(t, (unsigned int)width, (unsigned int)height);
        erase();
        for (int row = 0; row < height && row < (int)t->frame.height; row++) {
                /* A low terminal still ends with the line of trouble or keys. */
                const struct cell *cells = t->frame.cells[row == height - 1 ? (int)t->frame.height - 1 : row];

                for (int column = 0; column < width && column < (int)t->frame.width; column++)
                        mvaddch(row, column, (chtype)(unsigned char)cells[column].c | attributes(cells[column].style));
        }
        refresh();
}

static void change_interval(struct top *t, bool longer)
{
        uint64_t wanted = longer ? t->interval_ns * 2 : t->interval_ns / 2;

        if (wanted >= INTERVAL_MIN && wanted <= INTERVAL_MAX)
                t->interval_ns = wanted;
}

/* false: leave. */
static bool key(struct top *t, int k, bool *ret_now)
{
        unsigned int page = 10, *chosen = &t->view.chosen;

        switch (k) {
        case 'q':
        case 'Q':
        case 27:
                if (t->view.help && k == 27)
                        t->view.help = false;
                else
                        return false;
                break;
        case KEY_UP:
        case 'k':
                *chosen -= *chosen > 0;
                break;
        case KEY_DOWN:
        case 'j':
                (*chosen)++;
                break;
        case KEY_PPAGE:
                *chosen -= *chosen > page ? page : *chosen;
                break;
        case KEY_NPAGE:
                *chosen += page;
                break;
        case KEY_HOME:
                *chosen = 0;
                break;
        case KEY_END:
                *chosen = UINT32_MAX / 2;
                break;
        case 'd':
                t->view.sort = TOP_BY_DEVICE;
                break;
        case 'm':
                t->view.sort = TOP_BY_MEMORY;
                break;
        case 'w':
                t->view.sort = TOP_BY_WAIT;
                break;
        case 'v':
                t->view.sort = TOP_BY_MOVED;
                break;
        case 'p':
                t->view.sort = TOP_BY_PID;
                break;
        case 's':
                t->view.sort = (t->view.sort + 1) % TOP_SORT_N;
                break;
        case 'h':
        case '?':
                t->view.help = !t->view.help;
                break;
        case '+':
        case '-':
                change_interval(t, k == '+');
                break;
        case ' ':
                *ret_now = true;
                break;
        default: /* KEY_RESIZE and anything else: draw again */
                break;
        }
        return true;
}

static int live(struct top *t)
{
        SCREEN *screen;
        int r = look(t);

        /* Without any daemon there is nothing to watch; one that goes away later is waited for. */
        if (r < 0) {
                cli_error("%s", t->message);
                return cli_exit_code(r);
        }
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

static int run(const struct verb *self, int argc, char **argv)
{
        struct top *t scoped_free = calloc(1, sizeof *t);
        int r;

        if (!t) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        t->interval_ns = NS_PER_S;
        t->connection = (struct connection)CONNECTION_CLOSED;
        t->connection.timeout_ms = ANSWER_MS;
        cli_parse(self, argc, argv, t);
        if (t->once) {
                r = print_once(t);
        } else if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO)) {
                cli_error("top needs a terminal; use `berth top --once' or `berth status'");
                r = CLI_USAGE;
        } else {
                r = live(t);
        }
        connection_close(&t->connection);
        snapshot_done(&t->now);
        snapshot_done(&t->before);
        return r;
}

const struct verb verb_top = {
        .name = "top",
        .summary = "watch devices and programs live",
        .more = "Keys: q leaves, h explains, arrows choose a line, d m w v p sort by device, memory, wait, moved "
                "bytes, pid; + and - change "
                "the interval.\n\nExamples:\n\n  berth top --interval 500ms\n  berth top --once",
        .options = options,
        .parse = parse,
        .run = run,
};
