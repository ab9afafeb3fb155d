/* chat.c: `berth chat [MODEL]`: a conversation in the terminal. Ctrl-C ends the answer, Ctrl-D the program; standard input that is no terminal is read line by line. */
#include "cli/generation.h"
#include "cli/terminal-text.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { KEY_SYSTEM = 0x100, KEY_MAX, KEY_URL };

struct ask {
        const char *model, *system, *url;
        long max_tokens;
};

struct chat {
        struct pool_client c;
        char *model;
        json_t *messages; /* what was said, the system's words first */
        long max_tokens;
        bool terminal; /* somebody types */
};

static volatile sig_atomic_t interrupted;

static const struct argp_option options[] = {
        {"system", KEY_SYSTEM, "TEXT", 0, "how the model is to answer", 0},
        {"max-tokens", KEY_MAX, "N", 0, "an answer's length at most", 0},
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

static void say(struct chat *chat, const char *role, const char *text)
{
        json_array_append_new(chat->messages, json_pack("{s:s, s:s}", "role", role, "content", text));
}

/* Forgets all but the system's words; with text those are new (empty: none). */
static void begin_anew(struct chat *chat, const char *text)
{
        json_t *first = json_array_get(chat->messages, 0), *kept = NULL;

        if (!text && first && !strcmp(pool_text(first, "role"), "system"))
                kept = json_incref(first);
        json_array_clear(chat->messages);
        if (kept)
                json_array_append_new(chat->messages, kept);
        if (text && *text)
                say(chat, "system", text);
}

/* The model that is meant when none is named: the only one. */
static int only_model(struct chat *chat, char message[CLI_MESSAGE])
{
        struct strbuf b = {0};
        json_t *answer, *data, *item;
        size_t i;
        int r = pool_ask(&chat->c, &(struct pool_ask){.method = "GET", .path = "/v1/models"}, &answer, message);

        if (r < 0)
                return r;
        data = json_object_get(answer, "data");
        if (json_array_size(data) == 1 && json_is_string(json_object_get(json_array_get(data, 0), "id"))) {
                chat->model = strdup(pool_text(json_array_get(data, 0), "id"));
                r = chat->model ? 0 : -ENOMEM;
        } else if (!json_array_size(data)) {
                snprintf(message, CLI_MESSAGE, "there is no model; `berth models add' adds one");
                r = -ENOENT;
        } else {
                json_array_foreach(data, i, item)
                        strbuf_add(&b, "%s%s", i ? ", " : "", pool_text(item, "id"));
                snprintf(message, CLI_MESSAGE, "which model? There are %.440s", b.text ? b.text : "several");
                r = -EINVAL;
        }
        strbuf_done(&b);
        json_decref(answer);
        return r;
}

static void print_part(void *context, const char *text, size_t length)
{
        struct strbuf b = {0};

        terminal_text(context, &b, text, length);
        if (b.length)
                fwrite(b.text, 1, b.length, stdout);
        fflush(stdout);
        strbuf_done(&b);
}

static void tell(const struct chat *chat, const char *format, const char *text)
{
        if (chat->terminal)
                fputs("\033[2m", stderr);
        fprintf(stderr, format, text);
        fputs(chat->terminal ? "\033[0m\n" : "\n", stderr);
}

/* One question, with all that was said before it. What fails is not part of the conversation. */
static int answer(struct chat *chat, const char *question)
{
        scoped_generation struct generation g = {0};
        struct terminal_text state = {0};
        char message[CLI_MESSAGE], figures[160];
        json_t *body;
        int r;

        say(chat, "user", question);
        body = json_pack("{s:s, s:O}", "model", chat->model, "messages", chat->messages);
        if (chat->max_tokens)
                json_object_set_new(body, "max_tokens", json_integer(chat->max_tokens));
        interrupted = 0;
        r = generation_ask(&chat->c, "/v1/chat/completions", body, print_part, &state, &interrupted, &g, message);
        interrupted = 0;
        json_decref(body);
        if (g.text.length)
                putchar('\n');
        fflush(stdout);
        if (r < 0 || !g.text.length)
                json_array_remove(chat->messages, json_array_size(chat->messages) - 1);
        else
                say(chat, "assistant", g.text.text);
        if (r < 0) {
                cli_error("%s", message);
                return r;
        }
        generation_figures(&g, figures, sizeof figures);
        tell(chat, g.stopped ? "[stopped: %s]" : !strcmp(g.finish, "length") ? "[cut off at its length: %s]" : "[%s]", figures);
        return 0;
}

/* 1: the conversation is over. */
static int command(struct chat *chat, const char *line)
{
        if (!strcmp(line, "/quit") || !strcmp(line, "/exit"))
                return 1;
        if (!strcmp(line, "/clear")) {
                begin_anew(chat, NULL);
                tell(chat, "[%s]", "what was said is forgotten");
        } else if (!strncmp(line, "/system", 7) && (!line[7] || line[7] == ' ')) {
                line += 7 + strspn(line + 7, " ");
                begin_anew(chat, line);
                tell(chat, "[%s]", *line ? "the conversation begins anew, with that" : "the conversation begins anew, without");
        } else {
                tell(chat, "[%s]", "/system TEXT: how the model is to answer; /clear: forget what was said; /quit or Ctrl-D: end; Ctrl-C: stop an answer");
        }
        return 0;
}

static bool is_text(const char *line, size_t count)
{
        json_t *text = memchr(line, '\0', count) ? NULL : json_stringn(line, count);

        json_decref(text);
        return text;
}

static int converse(struct chat *chat)
{
        char *line scoped_free = NULL;
        size_t size = 0;
        int last = 0;

        for (;;) {
                ssize_t n;

                if (chat->terminal)
                        fputs("> ", stderr);
                errno = 0;
                n = getline(&line, &size, stdin);
                if (n < 0 && errno == EINTR) {
                        clearerr(stdin);
                        interrupted = 0;
                        fputc('\n', stderr);
                        continue;
                }
                if (n < 0)
                        break;
                while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
                        line[--n] = '\0';
                if (!n)
                        continue;
                if (line[0] == '/') {
                        if (command(chat, line))
                                return CLI_OK;
                        continue;
                }
                if (!is_text(line, (size_t)n)) {
                        cli_error("that is no text (UTF-8)");
                        last = -EINVAL;
                        continue;
                }
                last = answer(chat, line);
                if (last == -E_UNAVAILABLE && !chat->terminal)
                        break;
        }
        if (chat->terminal)
                fputc('\n', stderr);
        return last < 0 && !chat->terminal ? cli_exit_code(last) : CLI_OK;
}

static int run(const struct verb *self, int argc, char **argv)
{
        struct chat chat = {.messages = json_array(), .terminal = isatty(STDIN_FILENO)};
        char message[CLI_MESSAGE];
        struct ask a = {0};
        int r;

        cli_parse(self, argc, argv, &a);
        chat.max_tokens = a.max_tokens;
        if (a.system)
                say(&chat, "system", a.system);
        r = generation_open(&chat.c, a.url, message);
        if (r >= 0)
                r = a.model ? (chat.model = strdup(a.model)) ? 0 : -ENOMEM : only_model(&chat, message);
        if (r < 0) {
                cli_error("%s", message);
                r = cli_exit_code(r);
        } else {
                catch_interrupts();
                if (chat.terminal)
                        tell(&chat, "%s. /help: what else can be typed; Ctrl-C stops an answer, Ctrl-D ends.", chat.model);
                r = converse(&chat);
        }
        pool_close(&chat.c);
        free(chat.model);
        json_decref(chat.messages);
        return r;
}

const struct verb verb_chat = {
        .name = "chat",
        .arguments = "[MODEL]",
        .summary = "talk with a model",
        .more = "Answers come word by word; after each one stand its length, the time until its first word, and its speed. The model hears all that was said.\n\n"
                "/system TEXT begins anew and says how to answer; /clear forgets what was said; /quit or Ctrl-D ends; Ctrl-C stops an answer.\n\n"
                "Examples:\n\n  berth chat\n  echo 'What is Berth?' | berth chat berth-tiny",
        .options = options,
        .parse = parse,
        .run = run,
};
