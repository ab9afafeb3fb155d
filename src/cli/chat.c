/* chat.c: `berth chat [MODEL]`: a conversation in the terminal. Ctrl-C ends the answer, Ctrl-D the program; standard input that is no terminal is read line by line. */
#include "cli/chat.h"

#include "base/clock.h"
#include "base/error.h"
#include "cli/chat-history.h"
#include "cli/chat-input.h"
#include "cli/generation.h"
#include "cli/terminal-text.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { KEY_SYSTEM = 0x100, KEY_MAX, KEY_URL, KEY_NO_HISTORY };

struct ask {
        const char *model, *system, *url;
        long max_tokens;
        bool no_history;
};

static volatile sig_atomic_t interrupted;

static const struct argp_option options[] = {
        {"system", KEY_SYSTEM, "TEXT", 0, "how the model is to answer", 0},
        {"max-tokens", KEY_MAX, "N", 0, "an answer's length at most", 0},
        {"no-history", KEY_NO_HISTORY, NULL, 0, "neither bring back nor keep what is said here", 0},
        {"url", KEY_URL, "URL", 0, "talk to this server of OpenAI's interface (http://HOST:PORT), with the key in BERTH_TOKEN, in place of the pool", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct ask *a = state->input;
        char *end;

        switch (key) {
        case KEY_SYSTEM:
                a->system = arg;
                return 0;
        case KEY_MAX:
                a->max_tokens = strtol(arg, &end, 10);
                if (*end || a->max_tokens < 1 || a->max_tokens > 1 << 20)
                        argp_error(state, "\"%.40s\": expected a whole number from 1", arg);
                return 0;
        case KEY_NO_HISTORY:
                a->no_history = true;
                return 0;
        case KEY_URL:
                a->url = arg;
                return 0;
        case ARGP_KEY_ARG:
                if (a->model)
                        argp_error(state, "\"%.60s\": one model, please", arg);
                a->model = arg;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static void interrupt(int number)
{
        (void)number;
        interrupted = 1;
}

/* Without SA_RESTART: a Ctrl-C while nothing is said ends the reading of the line, not the program. */
static void catch_interrupts(void)
{
        struct sigaction action = {.sa_handler = interrupt};

        sigemptyset(&action.sa_mask);
        sigaction(SIGINT, &action, NULL);
}

/* What one answer is shown with. */
struct showing {
        struct chat *chat;
        struct terminal_text state;
        uint64_t begin;
        bool waits; /* a line says why nothing comes yet */
};

static void print_part(void *context, const char *text, size_t length)
{
        scoped(strbuf_done) struct strbuf b = {0};
        struct showing *s = context;

        if (s->waits && s->chat->edited)
                fputs("\r\033[K", stderr);
        s->waits = false;
        terminal_text(&s->state, &b, text, length);
        if (b.length)
                fwrite(b.text, 1, b.length, stdout);
        fflush(stdout);
}

/* In place on a terminal that can; else once. */
static void print_wait(void *context, const char *text, size_t length)
{
        scoped(strbuf_done) struct strbuf b = {0};
        struct terminal_text state = {0};
        struct showing *s = context;

        if (!s->chat->terminal || (s->waits && !s->chat->edited))
                return;
        terminal_text(&state, &b, text, length > 120 ? 120 : length);
        if (s->chat->edited)
                fprintf(stderr, "\r\033[K%s[%s, %.0f s]%s", s->chat->dim ? "\033[2m" : "", b.length ? b.text : "waiting", (double)(clock_now_ns() - s->begin) / 1e9,
                        s->chat->dim ? "\033[0m" : "");
        else
                fprintf(stderr, "[%s]\n", b.length ? b.text : "waiting");
        s->waits = true;
}

/* One question, with all that was said before it. What fails is not part of the conversation. */
static int answer(struct chat *chat, const char *question)
{
        struct showing showing = {.chat = chat, .begin = clock_now_ns()};
        struct generation_listener listener = {.text = print_part, .waits = print_wait, .context = &showing, .stop = &interrupted};
        scoped_generation struct generation g = {0};
        char message[CLI_MESSAGE], figures[160];
        json_t *body;
        int r;

        chat_say(chat, "user", question);
        body = json_pack("{s:s, s:O}", "model", chat->model, "messages", chat->messages);
        if (chat->max_tokens)
                json_object_set_new(body, "max_tokens", json_integer(chat->max_tokens));
        interrupted = 0;
        r = generation_ask(&chat->c, "/v1/chat/completions", body, &listener, &g, message);
        interrupted = 0;
        json_decref(body);
        if (showing.waits && chat->edited)
                fputs("\r\033[K", stderr);
        if (g.text.length)
                putchar('\n');
        fflush(stdout);
        if (r < 0 || !g.text.length)
                json_array_remove(chat->messages, json_array_size(chat->messages) - 1);
        else
                chat_say(chat, "assistant", g.text.text);
        if (r < 0) {
                cli_error("%s", message);
                return r;
        }
        generation_figures(&g, figures, sizeof figures);
        chat_note(chat, g.stopped ? "[stopped: %s]" : !strcmp(g.finish, "length") ? "[cut off at its length: %s]" : "[%s]", figures);
        return 0;
}

static bool is_text(const char *line, size_t count)
{
        json_t *text = memchr(line, '\0', count) ? NULL : json_stringn(line, count);

        json_decref(text);
        return text;
}

static int converse(struct chat *chat, struct chat_input *in)
{
        const char *text;
        size_t length;
        int last = 0, r;

        while ((r = chat_input_read(in, &text, &length)) != 0) {
                interrupted = 0;
                if (r == -EINTR) {
                        fputc('\n', stderr);
                        if (chat->edited)
                                chat_note(chat, "[Ctrl-D or /quit ends]");
                } else if (r == -E2BIG) {
                        cli_error("that is longer than 1 MiB and was not sent");
                        last = r;
                } else if (r < 0) {
                        cli_error("can't read what is said: %s", strerror(-r));
                        return CLI_FAILED;
                } else if (!length) {
                        continue;
                } else if (!is_text(text, length)) {
                        cli_error("that is no text (UTF-8)");
                        last = -EINVAL;
                } else if (chat_is_command(text)) {
                        if (chat_command(chat, text))
                                return CLI_OK;
                } else {
                        last = answer(chat, text);
                        if (last == -E_UNAVAILABLE && !chat->terminal)
                                break;
                }
        }
        if (chat->terminal)
                fputc('\n', stderr);
        return last < 0 && !chat->terminal ? cli_exit_code(last) : CLI_OK;
}

/* No history (no home, a disk that is full) is no reason not to talk. */
static int open_input(const struct ask *a, struct chat_input **ret)
{
        char path[4096];
        bool keep = !a->no_history && chat_history_path(path, sizeof path) == 0;
        int r = chat_input_open(ret, keep ? path : NULL, &interrupted, chat_commands);

        if (r < 0 && r != -ENOMEM) {
                cli_error("what you said before can't be read from %s: %s", path, strerror(-r));
                r = 0;
        }
        return r;
}

static int talk(struct chat *chat, const struct ask *a)
{
        scoped(chat_input_close) struct chat_input *in = NULL;
        int r = open_input(a, &in);

        if (r < 0) {
                cli_error("%s", strerror(-r));
                return CLI_FAILED;
        }
        chat->terminal = chat_input_is_terminal(in);
        chat->edited = chat_input_is_edited(in);
        chat->dim = chat->edited && !getenv("NO_COLOR");
        catch_interrupts();
        if (chat->terminal)
                chat_note(chat, "%s answers. /help: what else can be typed; Ctrl-C stops an answer, Ctrl-D ends.", chat->model);
        return converse(chat, in);
}

static int run(const struct verb *self, int argc, char **argv)
{
        struct chat chat = {.messages = json_array()};
        char message[CLI_MESSAGE] = "out of memory";
        struct ask a = {0};
        int r;

        cli_parse(self, argc, argv, &a);
        chat.max_tokens = a.max_tokens;
        if (a.system)
                chat_say(&chat, "system", a.system);
        r = generation_open(&chat.c, a.url, message);
        if (r >= 0)
                r = a.model ? (chat.model = strdup(a.model)) ? 0 : -ENOMEM : chat_only_model(&chat, message);
        if (r >= 0 && a.model && !a.url && isatty(STDIN_FILENO))
                r = chat_check_model(&chat, a.model, message);
        if (r < 0) {
                cli_error("%s", message);
                r = cli_exit_code(r);
        } else {
                r = talk(&chat, &a);
        }
        pool_close(&chat.c);
        free(chat.model);
        json_decref(chat.messages);
        return r;
}

const struct verb verb_chat = {
        .name = "chat",
        .arguments = "[MODEL]",
        .summary = "talk with a model in the terminal",
        .more = "Answers come word by word; after each one you see its length in tokens, the time until its first word, and its speed. The model hears everything "
                "that was said before. Without MODEL the only one there is answers.\n\n"
                "On a terminal, lines can be edited, and Up brings back what you said before, in earlier conversations too (it is kept in "
                "~/.local/state/berth/chat-history). A message of several lines: paste it, press Alt-Enter for a new line, end lines with \\, or put it between two \"\"\".\n\n"
                "/help lists what else can be typed: /model NAME changes the model, /system TEXT says how to answer, /clear begins anew, /quit or Ctrl-D ends. Ctrl-C "
                "stops an answer, not the program.\n\n"
                "Examples:\n\n  berth chat\n  berth chat qwen --system 'Answer in one sentence.'\n  echo 'What is Berth?' | berth chat berth-tiny",
        .options = options,
        .parse = parse,
        .run = run,
};
