/* chat-input.c: see chat-input.h. libedit reads characters through next_character(), so that signals are heard and its terminal is always put back. */
#include "cli/chat-input.h"

#include "cli/chat-draft.h"
#include "cli/chat-history.h"

#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define PASTE_BEGINS "\033[200~"
#define PASTE_ENDS L"\033[201~"
#define PASTE_ENDS_LENGTH 6
#define WITH_PASTE "\033[?2004h" /* the terminal is to mark what is pasted */
#define WITHOUT_PASTE "\033[?2004l"

struct chat_input {
        bool terminal, over;
        char *path; /* of the history, or NULL */
        char *line; /* where nothing is edited */
        size_t size;
        struct chat_draft draft;
        const volatile sig_atomic_t *interrupted;
        const char *const *words;
        EditLine *edit;
        History *history;
        mbstate_t partial; /* of the character that is being read */
        struct sigaction old[4];
};

static const int watched[] = {SIGWINCH, SIGCONT, SIGTERM, SIGHUP};
static volatile sig_atomic_t resized, continued, ended;

static void hear(int number)
{
        if (number == SIGWINCH)
                resized = 1;
        else if (number == SIGCONT)
                continued = 1;
        else
                ended = number;
}

/* libedit's: 1 character in *ret, 0 at the end, -1 for errors, errno told. */
static int next_character(EditLine *edit, wchar_t *ret)
{
        struct chat_input *in;
        ssize_t n;
        char byte;

        el_get(edit, EL_CLIENTDATA, &in);
        for (;;) {
                if (*in->interrupted || ended) {
                        errno = EINTR;
                        return -1;
                }
                n = read(STDIN_FILENO, &byte, 1);
                if (n == 0)
                        return 0;
                if (n < 0) {
                        if (errno != EINTR)
                                return -1;
                        if (resized)
                                el_resize(edit);
                        if (continued) {
                                el_set(edit, EL_PREP_TERM, 1);
                                el_set(edit, EL_REFRESH);
                        }
                        resized = continued = 0;
                        continue;
                }
                switch (mbrtowc(ret, &byte, 1, &in->partial)) {
                case (size_t)-1:
                        in->partial = (mbstate_t){0};
                        continue; /* no character: as if it had not been typed */
                case (size_t)-2:
                        continue;
                case 0:
                        *ret = L'\0';
                        return 1;
                default:
                        return 1;
                }
        }
}

/* What comes between the marks is text, whatever keys it looks like. */
static unsigned char paste(EditLine *edit, int key)
{
        wchar_t text[1024], c;
        size_t n = 0, all = 0;

        (void)key;
        while (next_character(edit, &c) == 1) {
                text[n++] = c == L'\r' ? L'\n' : c;
                text[n] = L'\0';
                if (n >= PASTE_ENDS_LENGTH && !wcscmp(text + n - PASTE_ENDS_LENGTH, PASTE_ENDS)) {
                        n -= PASTE_ENDS_LENGTH;
                        break;
                }
                /* Enough for the end's mark stays, the rest goes to the line. */
                if (n + 1 == sizeof text / sizeof text[0]) {
                        size_t put = n - PASTE_ENDS_LENGTH;
                        wchar_t kept = text[put];

                        text[put] = L'\0';
                        all += put;
                        if (all <= CHAT_MESSAGE_BYTES)
                                el_winsertstr(edit, text);
                        text[put] = kept;
                        wmemmove(text, text + put, PASTE_ENDS_LENGTH + 1);
                        n = PASTE_ENDS_LENGTH;
                }
        }
        while (n && text[n - 1] == L'\n')
                n--;
        text[n] = L'\0';
        for (wchar_t *p = text; *p; p++)
                if (*p < L' ' && *p != L'\n' && *p != L'\t')
                        *p = L' ';
        el_winsertstr(edit, text);
        return CC_REFRESH; /* an end or a Ctrl-C in the middle is told again to whoever reads next */
}

static unsigned char begin_line(EditLine *edit, int key)
{
        (void)key;
        return el_insertstr(edit, "\n") < 0 ? CC_ERROR : CC_REFRESH;
}

/* Tab: the one word that can be meant, or as much as all that can be meant have in common. */
static unsigned char complete(EditLine *edit, int key)
{
        const LineInfo *line = el_line(edit);
        size_t typed = (size_t)(line->cursor - line->buffer), common = 0;
        const char *found = NULL;
        struct chat_input *in;
        char rest[64];
        unsigned int count = 0;

        (void)key;
        el_get(edit, EL_CLIENTDATA, &in);
        for (const char *const *w = in->words; *w; w++) {
                if (strncmp(*w, line->buffer, typed))
                        continue;
                if (!count++) {
                        found = *w;
                        common = strlen(found);
                }
                while (strncmp(*w, found, common))
                        common--;
        }
        if (!found || !typed || common < typed || line->cursor != line->lastchar)
                return CC_ERROR;
        snprintf(rest, sizeof rest, "%.*s%s", (int)(common - typed), found + typed, count == 1 ? " " : "");
        return el_insertstr(edit, rest) < 0 ? CC_ERROR : CC_REFRESH;
}

static char *prompt(EditLine *edit)
{
        static char first[] = "> ", more[] = "… ", plain[] = ". ";
        struct chat_input *in;

        el_get(edit, EL_CLIENTDATA, &in);
        return !in->draft.open ? first : MB_CUR_MAX > 1 ? more : plain;
}

static void enter(void *context, const char *text)
{
        struct chat_input *in = context;
        HistEvent event;

        history(in->history, &event, H_ENTER, text);
}

static void bind_keys(EditLine *edit)
{
        static const char *const keys[][2] = {
                {PASTE_BEGINS, "berth-paste"},   {"\033\r", "berth-new-line"},      {"\033\n", "berth-new-line"},     {"\t", "berth-complete"},
                {"\033[3~", "ed-delete-next-char"}, {"\033[1~", "ed-move-to-beg"},  {"\033[4~", "ed-move-to-end"},    {"\033[H", "ed-move-to-beg"},
                {"\033[F", "ed-move-to-end"},    {"\033OH", "ed-move-to-beg"},      {"\033OF", "ed-move-to-end"},     {"\033[1;5C", "em-next-word"},
                {"\033[1;5D", "ed-prev-word"},   {"^W", "ed-delete-prev-word"},     {"^R", "em-inc-search-prev"},
        };

        /* Wide: of narrow names libedit keeps copies that it never frees. */
        el_wset(edit, EL_ADDFN, L"berth-paste", L"take pasted text", paste);
        el_wset(edit, EL_ADDFN, L"berth-new-line", L"begin a line", begin_line);
        el_wset(edit, EL_ADDFN, L"berth-complete", L"complete a word", complete);
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                el_set(edit, EL_BIND, keys[i][0], keys[i][1], NULL);
}

static int open_editor(struct chat_input *in)
{
        struct sigaction action = {.sa_handler = hear};
        HistEvent event;

        /* Terminals speak UTF-8, also where nobody said so (LANG in containers). */
        if (strcmp(nl_langinfo(CODESET), "UTF-8"))
                setlocale(LC_CTYPE, "C.UTF-8");
        in->history = history_init();
        in->edit = el_init("berth", stdin, stderr, stderr);
        if (!in->history || !in->edit)
                return -ENOMEM;
        history(in->history, &event, H_SETSIZE, (int)CHAT_HISTORY_LINES);
        history(in->history, &event, H_SETUNIQUE, 1);
        el_set(in->edit, EL_CLIENTDATA, in);
        el_set(in->edit, EL_PROMPT, prompt);
        el_set(in->edit, EL_EDITOR, "emacs");
        el_set(in->edit, EL_HIST, history, in->history);
        el_set(in->edit, EL_GETCFN, next_character);
        bind_keys(in->edit);
        el_source(in->edit, NULL);
        sigemptyset(&action.sa_mask);
        for (size_t i = 0; i < ARRAY_SIZE(watched); i++)
                sigaction(watched[i], &action, &in->old[i]);
        fputs(WITH_PASTE, stderr);
        return in->path ? chat_history_load(in->path, enter, in) : 0;
}

int chat_input_open(struct chat_input **ret, const char *history_path, const volatile sig_atomic_t *interrupted, const char *const *words)
{
        struct chat_input *in = calloc(1, sizeof *in);
        const char *kind = getenv("TERM");

        *ret = in;
        if (!in)
                return -ENOMEM;
        in->interrupted = interrupted;
        in->words = words;
        in->terminal = isatty(STDIN_FILENO);
        if (!in->terminal || !isatty(STDERR_FILENO) || !kind || !kind[0] || !strcmp(kind, "dumb"))
                return 0;
        if (history_path && !(in->path = strdup(history_path)))
                return -ENOMEM;
        return open_editor(in);
}

void chat_input_close(struct chat_input *in)
{
        if (in->edit) {
                fputs(WITHOUT_PASTE, stderr);
                el_end(in->edit);
                for (size_t i = 0; i < ARRAY_SIZE(watched); i++)
                        sigaction(watched[i], &in->old[i], NULL);
        }
        if (in->history)
                history_end(in->history);
        strbuf_done(&in->draft.text);
        free(in->path);
        free(in->line);
        free(in);
}

bool chat_input_is_terminal(const struct chat_input *in)
{
        return in->terminal;
}

bool chat_input_is_edited(const struct chat_input *in)
{
        return in->edit;
}

/* Where nothing is edited: waits for a whole line, or the end; false: Ctrl-C. A Ctrl-C just before the wait is seen, too. */
static bool line_comes(const struct chat_input *in)
{
        struct pollfd descriptor = {.fd = STDIN_FILENO, .events = POLLIN};

        while (!*in->interrupted)
                if (poll(&descriptor, 1, 100) > 0)
                        return true;
        return false;
}

/* A line without its end: 1; 0: none; -EINTR. */
static int read_line(struct chat_input *in, const char **ret_line, size_t *ret_length)
{
        ssize_t n;

        errno = 0;
        if (in->edit) {
                int count = 0;

                el_set(in->edit, EL_PREP_TERM, 1); /* before the prompt: what is typed as soon as it shows is for us */
                *ret_line = el_gets(in->edit, &count);
                if (!*ret_line)
                        return count < 0 && errno == EINTR && !ended ? -EINTR : 0;
                n = count;
        } else {
                if (in->terminal)
                        fputs(in->draft.open ? ". " : "> ", stderr);
                if (in->terminal && !line_comes(in))
                        return -EINTR;
                n = getline(&in->line, &in->size, stdin);
                if (n < 0 && errno == EINTR) {
                        clearerr(stdin);
                        return -EINTR;
                }
                if (n < 0)
                        return 0;
                *ret_line = in->line;
        }
        while (n && ((*ret_line)[n - 1] == '\n' || (*ret_line)[n - 1] == '\r'))
                n--;
        *ret_length = (size_t)n;
        return 1;
}

/* The history is a convenience: a disk that is full ends no conversation. */
static void keep(struct chat_input *in)
{
        if (!in->edit || memchr(in->draft.text.text, '\0', in->draft.text.length))
                return;
        enter(in, in->draft.text.text);
        if (in->path && chat_history_add(in->path, in->draft.text.text) < 0) {
                free(in->path);
                in->path = NULL;
        }
}

int chat_input_read(struct chat_input *in, const char **ret_text, size_t *ret_length)
{
        const char *line;
        size_t length;
        int r;

        if (in->over)
                return 0;
        chat_draft_clear(&in->draft);
        do {
                r = read_line(in, &line, &length);
                if (r < 0) {
                        chat_draft_clear(&in->draft);
                        return r;
                }
                if (r == 0) {
                        in->over = true;
                        if (!chat_draft_end(&in->draft) || in->terminal)
                                return 0;
                        break;
                }
                r = chat_draft_add(&in->draft, line, length);
                if (r < 0)
                        return r;
        } while (r == 0);
        *ret_text = in->draft.text.length ? in->draft.text.text : "";
        *ret_length = in->draft.text.length;
        if (in->draft.text.length)
                keep(in);
        return 1;
}
