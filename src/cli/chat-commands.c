/* chat-commands.c: /help, /model, /clear and the others; see chat.h. */
#include "cli/chat.h"

#include "base/strbuf.h"
#include "cli/terminal-text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char help[] = "  /model           which models there are\n"
                           "  /model NAME      talk with another one; it hears what was said so far\n"
                           "  /system TEXT     begin anew, and say how the model is to answer\n"
                           "  /clear           forget what was said and begin anew\n"
                           "  /quit, Ctrl-D    end\n"
                           "  Ctrl-C           stop an answer, or forget the line\n"
                           "\n"
                           "Several lines: end a line with \\, put the whole between two \"\"\", or paste it.%s";
static const char help_keys[] = "\nAlt-Enter begins a new line, Up and Ctrl-R bring back what you said before, Tab completes a command.";

const char *const chat_commands[] = {"/help", "/model", "/system", "/clear", "/quit", "/exit", NULL};

void chat_say(struct chat *chat, const char *role, const char *text)
{
        json_array_append_new(chat->messages, json_pack("{s:s, s:s}", "role", role, "content", text));
}

void chat_note(const struct chat *chat, const char *format, ...)
{
        scoped(strbuf_done) struct strbuf made = {0}, shown = {0};
        struct terminal_text state = {0};
        char *text scoped_free = NULL;
        va_list args;

        va_start(args, format);
        if (vasprintf(&text, format, args) < 0)
                text = NULL;
        va_end(args);
        if (!text)
                return;
        terminal_text(&state, &shown, text, strlen(text));
        strbuf_add(&made, "%s%s%s\n", chat->dim ? "\033[2m" : "", shown.length ? shown.text : "", chat->dim ? "\033[0m" : "");
        if (made.text)
                fputs(made.text, stderr);
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
                chat_say(chat, "system", text);
}

/* By name: the pool tells them in no order. Few; inserted one by one. */
static void insert_name(json_t *names, json_t *name)
{
        size_t at = 0;

        while (at < json_array_size(names) && strcmp(json_string_value(json_array_get(names, at)), json_string_value(name)) < 0)
                at++;
        json_array_insert(names, at, name);
}

/* The names of all models, the caller's; NULL with message when they can't be had. */
static json_t *all_models(struct chat *chat, int *ret, char message[CLI_MESSAGE])
{
        json_t *answer = NULL, *names = NULL, *item;
        size_t i;

        *ret = pool_ask(&chat->c, &(struct pool_ask){.method = "GET", .path = "/v1/models"}, &answer, message);
        if (*ret >= 0) {
                names = json_array();
                json_array_foreach(json_object_get(answer, "data"), i, item)
                        if (json_is_string(json_object_get(item, "id")))
                                insert_name(names, json_object_get(item, "id"));
        }
        json_decref(answer);
        return names;
}

static void list_names(const json_t *names, const char *between, struct strbuf *b)
{
        json_t *name;
        size_t i;

        json_array_foreach(names, i, name)
                strbuf_add(b, "%s%s", i ? between : "", json_string_value(name));
}

int chat_only_model(struct chat *chat, char message[CLI_MESSAGE])
{
        scoped(strbuf_done) struct strbuf b = {0};
        json_t *names;
        int r;

        names = all_models(chat, &r, message);
        if (!names)
                return r;
        if (json_array_size(names) == 1) {
                chat->model = strdup(json_string_value(json_array_get(names, 0)));
                r = chat->model ? 0 : -ENOMEM;
        } else if (!json_array_size(names)) {
                snprintf(message, CLI_MESSAGE, "there is no model yet; `berth help models' shows how to add one");
                r = -ENOENT;
        } else {
                list_names(names, ", ", &b);
                snprintf(message, CLI_MESSAGE, "which model? Say `berth chat NAME' with one of: %.400s", b.text ? b.text : "several");
                r = -EINVAL;
        }
        json_decref(names);
        return r;
}

static void list_models(struct chat *chat)
{
        scoped(strbuf_done) struct strbuf b = {0};
        char message[CLI_MESSAGE];
        json_t *names, *name;
        size_t i;
        int r;

        names = all_models(chat, &r, message);
        if (!names) {
                cli_error("%s", message);
                return;
        }
        json_array_foreach(names, i, name)
                strbuf_add(&b, "%s%s %s", i ? "\n" : "", strcmp(json_string_value(name), chat->model) ? " " : "*", json_string_value(name));
        chat_note(chat, "%s", b.length ? b.text : "there is no model");
        json_decref(names);
}

int chat_check_model(struct chat *chat, const char *name, char message[CLI_MESSAGE])
{
        scoped(strbuf_done) struct strbuf b = {0};
        json_t *names, *item;
        bool known = false;
        size_t i;
        int r;

        names = all_models(chat, &r, message);
        json_array_foreach(names, i, item)
                known |= !strcmp(json_string_value(item), name);
        r = 0;
        if (json_array_size(names) && !known) {
                list_names(names, ", ", &b);
                snprintf(message, CLI_MESSAGE, "there is no model %.100s, only: %.360s", name, b.text ? b.text : "");
                r = -ENOENT;
        }
        json_decref(names);
        return r;
}

static void change_model(struct chat *chat, const char *name)
{
        char message[CLI_MESSAGE], *copy;

        if (chat_check_model(chat, name, message) < 0) {
                chat_note(chat, "%s", message);
        } else if ((copy = strdup(name))) {
                free(chat->model);
                chat->model = copy;
                chat_note(chat, "[%s from now on; it hears what was said so far]", name);
        }
}

/* What stands behind the command's name, or NULL when line is another command. */
static const char *after(const char *line, const char *name)
{
        size_t length = strlen(name);

        if (strncmp(line, name, length) || (line[length] && line[length] != ' ' && line[length] != '\n'))
                return NULL;
        return line + length + strspn(line + length, " \n");
}

bool chat_is_command(const char *line)
{
        size_t word = strcspn(line, " \n");

        return line[0] == '/' && !memchr(line + 1, '/', word - 1);
}

int chat_command(struct chat *chat, const char *line)
{
        const char *rest;

        if (after(line, "/quit") || after(line, "/exit") || after(line, "/bye"))
                return 1;
        if (after(line, "/help") || after(line, "/?")) {
                chat_note(chat, help, chat->edited ? help_keys : "");
        } else if (after(line, "/clear")) {
                begin_anew(chat, NULL);
                chat_note(chat, "[what was said is forgotten]");
        } else if ((rest = after(line, "/system"))) {
                begin_anew(chat, rest);
                chat_note(chat, *rest ? "[the conversation begins anew, with that]" : "[the conversation begins anew, without]");
        } else if ((rest = after(line, "/model"))) {
                char *name scoped_free = strndup(rest, strcspn(rest, " \n"));

                if (name && *name)
                        change_model(chat, name);
                else
                        list_models(chat);
        } else {
                chat_note(chat, "there is no command %.*s; /help shows them all", (int)strcspn(line, " \n"), line);
        }
        return 0;
}
