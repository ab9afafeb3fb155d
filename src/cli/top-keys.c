/* top-keys.c: what a key does to the view; see top-view.h. Nothing is done to a process but after a second key that says yes. */
#include "cli/top-view.h"

#include <signal.h>
#include <string.h>

#define PAGE 10

const uint64_t top_spans[TOP_SPANS] = {120, 600, 10800, 604800};

static const struct {
        char key;
        int number;
        const char *name;
} signals[] = {
        {'t', SIGTERM, "TERM"}, {'k', SIGKILL, "KILL"}, {'i', SIGINT, "INT"},   {'h', SIGHUP, "HUP"},
        {'s', SIGSTOP, "STOP"}, {'c', SIGCONT, "CONT"}, {'u', SIGUSR1, "USR1"},
};

const char *top_signal_name(int number)
{
        for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
                if (signals[i].number == number)
                        return signals[i].name;
        return "?";
}

static void move(struct top_view *v, unsigned int to)
{
        v->chosen = to;
        v->moved = true;
}

static bool cursor(struct top_view *v, int key)
{
        switch (key) {
        case TOP_KEY_UP:
        case 'k':
                move(v, v->chosen - (v->chosen > 0));
                return true;
        case TOP_KEY_DOWN:
        case 'j':
                move(v, v->chosen + 1);
                return true;
        case TOP_KEY_PAGE_UP:
                move(v, v->chosen - (v->chosen > PAGE ? PAGE : v->chosen));
                return true;
        case TOP_KEY_PAGE_DOWN:
                move(v, v->chosen + PAGE);
                return true;
        case TOP_KEY_HOME:
                move(v, 0);
                return true;
        case TOP_KEY_END:
                move(v, UINT32_MAX / 2);
                return true;
        default:
                return false;
        }
}

static bool order(struct top_view *v, int key)
{
        static const struct {
                char key;
                enum top_sort sort;
        } sorts[] = {
                {'d', TOP_BY_DEVICE}, {'m', TOP_BY_MEMORY},   {'w', TOP_BY_WAIT},  {'v', TOP_BY_MOVED},    {'p', TOP_BY_PID},
                {'c', TOP_BY_CPU},    {'r', TOP_BY_RESIDENT}, {'o', TOP_BY_FILES}, {'l', TOP_BY_LAUNCHES}, {'n', TOP_BY_NAME},
        };

        if (key == 's') {
                v->sort = (v->sort + 1) % TOP_SORT_N;
                return true;
        }
        for (size_t i = 0; i < ARRAY_SIZE(sorts); i++)
                if (sorts[i].key == key) {
                        v->sort = sorts[i].sort;
                        return true;
                }
        return false;
}

/* A mode about the process under the cursor; nothing when there is none. */
static void about(struct top_view *v, enum top_mode mode)
{
        if (v->mode == TOP_WATCH)
                v->target = v->under;
        if (!v->target.pid)
                return;
        v->nice = v->target.nice;
        v->mode = mode;
}

static enum top_act watch(struct top_view *v, int key)
{
        if (cursor(v, key) || order(v, key))
                return TOP_GO_ON;
        switch (key) {
        case 'q':
        case 'Q':
        case TOP_KEY_ESCAPE:
                if (key == TOP_KEY_ESCAPE && v->filter[0]) {
                        v->filter[0] = 0;
                        break;
                }
                return TOP_LEAVE;
        case 'h':
        case '?':
                v->mode = TOP_HELP;
                break;
        case TOP_KEY_TAB:
        case 'a':
                v->list = v->list == TOP_PROGRAMS ? TOP_PROCESSES : TOP_PROGRAMS;
                if (v->list == TOP_PROCESSES && v->sort == TOP_BY_DEVICE)
                        v->sort = TOP_BY_CPU;
                else if (v->list == TOP_PROGRAMS && v->sort == TOP_BY_CPU)
                        v->sort = TOP_BY_DEVICE;
                break;
        case 't':
                v->list = TOP_PROCESSES;
                v->tree = !v->tree;
                break;
        case '/':
        case 'f':
                v->mode = TOP_FILTER;
                break;
        case '1':
                v->processors = !v->processors;
                break;
        case 'g':
                if (v->plain)
                        v->plain = false;
                else
                        v->subject++; /* beyond the last: the picture makes it the machine again */
                break;
        case 'G':
                v->span = (v->span + 1) % TOP_SPANS;
                break;
        case 'b':
                v->plain = !v->plain;
                break;
        case TOP_KEY_ENTER:
                about(v, TOP_DETAIL);
                break;
        case 'x':
        case TOP_KEY_SIGNAL:
                about(v, TOP_SIGNAL);
                break;
        case 'N':
        case TOP_KEY_NICE:
                about(v, TOP_NICE);
                break;
        case '+':
                return TOP_SLOWER;
        case '-':
                return TOP_FASTER;
        case ' ':
                return TOP_NOW;
        default:
                break;
        }
        return TOP_GO_ON;
}

static void type(struct top_view *v, int key)
{
        size_t length = strlen(v->filter);

        if (key == TOP_KEY_ENTER) {
                v->mode = TOP_WATCH;
        } else if (key == TOP_KEY_ESCAPE) {
                v->filter[0] = 0;
                v->mode = TOP_WATCH;
        } else if (key == TOP_KEY_BACK) {
                v->filter[length ? length - 1 : 0] = 0;
        } else if (key >= ' ' && key < 127 && length + 1 < sizeof v->filter) {
                v->filter[length] = (char)key;
                v->filter[length + 1] = 0;
        } else {
                (void)(key != 'k' && key != 'j' && cursor(v, key));
        }
}

static enum top_act detail(struct top_view *v, int key)
{
        if (key == 'x' || key == TOP_KEY_SIGNAL)
                v->mode = TOP_SIGNAL;
        else if (key == 'N' || key == TOP_KEY_NICE)
                about(v, TOP_NICE);
        else if (key == ' ')
                return TOP_NOW;
        else if (key == 'q' || key == TOP_KEY_ESCAPE || key == TOP_KEY_ENTER)
                v->mode = TOP_WATCH;
        return TOP_GO_ON;
}

static void choose_signal(struct top_view *v, int key)
{
        for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
                if (signals[i].key == key) {
                        v->signal = signals[i].number;
                        v->mode = TOP_CONFIRM;
                        return;
                }
        v->mode = TOP_WATCH;
}

static enum top_act nice_value(struct top_view *v, int key)
{
        if (key == TOP_KEY_UP || key == '+')
                v->nice += v->nice < 19;
        else if (key == TOP_KEY_DOWN || key == '-')
                v->nice -= v->nice > -20;
        else {
                v->mode = TOP_WATCH;
                return key == TOP_KEY_ENTER && v->nice != v->target.nice ? TOP_DO_NICE : TOP_GO_ON;
        }
        return TOP_GO_ON;
}

enum top_act top_key(struct top_view *v, int key)
{
        v->notice = NULL;
        switch (v->mode) {
        case TOP_FILTER:
                type(v, key);
                return TOP_GO_ON;
        case TOP_DETAIL:
                return detail(v, key);
        case TOP_SIGNAL:
                choose_signal(v, key);
                return TOP_GO_ON;
        case TOP_CONFIRM:
                v->mode = TOP_WATCH;
                return key == 'y' || key == 'Y' ? TOP_DO_SIGNAL : TOP_GO_ON;
        case TOP_NICE:
                return nice_value(v, key);
        case TOP_HELP:
                v->mode = TOP_WATCH;
                return key == 'q' ? TOP_LEAVE : TOP_GO_ON;
        case TOP_WATCH:
                break;
        }
        return watch(v, key);
}

void top_click(struct top_view *v, unsigned int line)
{
        if (v->mode == TOP_WATCH && line >= v->list_line && line < v->list_line + v->list_lines)
                move(v, v->first + line - v->list_line);
}
