/* generate.c: `berth generate MODEL`: one answer of a model, for scripts and people. */
#include "cli/generation.h"
#include "cli/terminal-text.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { KEY_SYSTEM = 0x100, KEY_MAX, KEY_TEMPERATURE, KEY_SEED, KEY_STOP, KEY_CONTINUE, KEY_URL };

#define PROMPT_BYTES (16u << 20)

struct ask {
        const char *model, *prompt, *system, *url;
        json_t *body;
        bool json, stream, proceed;
};

static const struct argp_option options[] = {
        {"prompt", 'p', "TEXT|@FILE", 0, "what is asked; without it, standard input", 0},
        {"system", KEY_SYSTEM, "TEXT", 0, "how the model is to answer", 0},
        {"max-tokens", KEY_MAX, "N", 0, "the answer's length at most", 0},
        {"temperature", KEY_TEMPERATURE, "T", 0, "0: always the likeliest; up to 2: wilder", 0},
        {"seed", KEY_SEED, "N", 0, "the same seed gives the same answer, as far as the engine can", 0},
        {"stop", KEY_STOP, "TEXT", 0, "the answer ends before this; may be repeated", 0},
        {"continue", KEY_CONTINUE, NULL, 0, "go on with the prompt's text, in place of answering it", 0},
        {"stream", KEY_URL + 1, NULL, 0, "print the text as it comes, also where no terminal is", 0},
        {"json", 'j', NULL, 0, "print one JSON object", 0},
        {"url", KEY_URL, "URL", 0, "ask this server of OpenAI's interface (http://HOST:PORT), with the key in BERTH_TOKEN, in place of the pool", 0},
        {0},
};

static void number(struct argp_state *state, struct ask *a, const char *name, const char *text, bool whole)
{
        char *end;
        double value = strtod(text, &end);

        if (end == text || *end || value != value || value < -9e15 || value > 9e15 || (whole && value != (double)(long long)value))
                argp_error(state, "\"%.40s\": expected a %snumber", text, whole ? "whole " : "");
        else
                json_object_set_new(a->body, name, whole ? json_integer((long long)value) : json_real(value));
}

static int parse(int key, char *arg, struct argp_state *state)
{
        struct ask *a = state->input;

        switch (key) {
        case 'p':
                a->prompt = arg;
                return 0;
        case KEY_SYSTEM:
                a->system = arg;
                return 0;
        case KEY_MAX:
                number(state, a, "max_tokens", arg, true);
                return 0;
        case KEY_TEMPERATURE:
                number(state, a, "temperature", arg, false);
                return 0;
        case KEY_SEED:
                number(state, a, "seed", arg, true);
                return 0;
        case KEY_STOP:
                if (!json_object_get(a->body, "stop"))
                        json_object_set_new(a->body, "stop", json_array());
                json_array_append_new(json_object_get(a->body, "stop"), json_string(arg));
                return 0;
        case KEY_CONTINUE:
                a->proceed = true;
                return 0;
        case KEY_URL + 1:
                a->stream = true;
                return 0;
        case 'j':
                a->json = true;
                return 0;
        case KEY_URL:
                a->url = arg;
                return 0;
        case ARGP_KEY_ARG:
                if (a->model)
                        argp_error(state, "\"%.60s\": one model, please; the prompt goes to --prompt", arg);
                a->model = arg;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

/* The whole of a file, or of standard input for NULL. */
static int read_prompt(const char *path, struct strbuf *b)
{
        FILE *file = path ? fopen(path, "re") : stdin;
        size_t n;

        if (!file) {
                cli_error("can't read %s: %s", path, strerror(errno));
                return -EINVAL;
        }
        do {
                if (!strbuf_reserve(b, 65536))
                        break;
                n = fread(b->text + b->length, 1, 65536, file);
                b->length += n;
                b->text[b->length] = '\0';
        } while (n && b->length <= PROMPT_BYTES);
        n = (size_t)ferror(file);
        if (path)
                fclose(file);
        if (n || b->failed || b->length > PROMPT_BYTES) {
                cli_error("%s: %s", path ? path : "standard input", b->length > PROMPT_BYTES ? "longer than 16 MiB" : "can't be read");
                return -EINVAL;
        }
        /* The last line's end belongs to the file, not to what is asked. */
        if (b->length && b->text[b->length - 1] == '\n')
                b->text[--b->length] = '\0';
        return 0;
}

static json_t *messages(const struct ask *a, const char *prompt)
{
        json_t *list = json_array();

        if (a->system)
                json_array_append_new(list, json_pack("{s:s, s:s}", "role", "system", "content", a->system));
        json_array_append_new(list, json_pack("{s:s, s:s}", "role", "user", "content", prompt));
        return list;
}

struct printing {
        struct terminal_text state;
        bool terminal;
};

static void print_part(void *context, const char *text, size_t length)
{
        scoped(strbuf_done) struct strbuf b = {0};
        struct printing *p = context;

        if (p->terminal)
                terminal_text(&p->state, &b, text, length);
        else
                strbuf_put(&b, text, length);
        if (b.length)
                fwrite(b.text, 1, b.length, stdout);
        fflush(stdout);
}

static int print_all(const struct ask *a, const struct generation *g, bool printed, struct printing *p)
{
        json_t *o;
        int r;

        if (!a->json) {
                if (!printed && g->text.length)
                        print_part(p, g->text.text, g->text.length);
                if (!g->text.length || g->text.text[g->text.length - 1] != '\n')
                        putchar('\n');
                return cli_print(NULL);
        }
        o = json_pack("{s:s, s:s%, s:s*, s:b}", "model", a->model, "text", g->text.length ? g->text.text : "", g->text.length, "finish",
                      g->finish[0] ? g->finish : NULL, "stopped", g->stopped);
        json_object_set_new(o, "prompt_tokens", g->prompt < 0 ? json_null() : json_integer(g->prompt));
        json_object_set_new(o, "completion_tokens", g->tokens < 0 ? json_null() : json_integer(g->tokens));
        json_object_set_new(o, "first_text_s", g->first_ns ? json_real((double)g->first_ns / 1e9) : json_null());
        json_object_set_new(o, "whole_s", json_real((double)g->whole_ns / 1e9));
        r = pool_print_json(o);
        json_decref(o);
        return r;
}

static int ask_and_print(const struct ask *a, struct pool_client *c)
{
        scoped_generation struct generation g = {0};
        struct printing p = {.terminal = isatty(STDOUT_FILENO)};
        bool live = !a->json && (a->stream || p.terminal);
        struct generation_listener listener = {.text = live ? print_part : NULL, .context = &p};
        char message[CLI_MESSAGE];
        int r = generation_ask(c, a->proceed ? "/v1/completions" : "/v1/chat/completions", a->body, &listener, &g, message);

        if (r < 0) {
                if (live && g.text.length)
                        putchar('\n');
                cli_error("%s", message);
                return cli_exit_code(r);
        }
        return print_all(a, &g, live, &p);
}

static int run(const struct verb *self, int argc, char **argv)
{
        scoped_pool struct pool_client c = {0};
        scoped(strbuf_done) struct strbuf read = {0};
        struct ask a = {.body = json_object()};
        char message[CLI_MESSAGE];
        const char *prompt;
        int r;

        cli_parse(self, argc, argv, &a);
        if (!a.model)
                return json_decref(a.body), cli_usage(self, "which model? `berth models' lists them");
        prompt = a.prompt;
        if (!prompt || prompt[0] == '@') {
                if (read_prompt(prompt ? prompt + 1 : NULL, &read) < 0)
                        return json_decref(a.body), CLI_FAILED;
                prompt = read.length ? read.text : "";
        }
        json_object_set_new(a.body, "model", json_string(a.model));
        json_object_set_new(a.body, a.proceed ? "prompt" : "messages", a.proceed ? json_string(prompt) : messages(&a, prompt));
        r = generation_open(&c, a.url, message);
        if (r < 0) {
                cli_error("%s", message);
                r = cli_exit_code(r);
        } else {
                r = ask_and_print(&a, &c);
        }
        json_decref(a.body);
        return r;
}

const struct verb verb_generate = {
        .name = "generate",
        .arguments = "MODEL",
        .summary = "get one answer from a model, for scripts",
        .more = "The answer goes to standard output, unchanged unless that is a terminal, where what could steer it is made visible.\n\n"
                "Examples:\n\n  berth generate berth-tiny --prompt 'What is Berth?'\n  berth generate --json --max-tokens 50 qwen <question.txt",
        .options = options,
        .parse = parse,
        .run = run,
};
