/* edit.c: the catalogue's other half: adding and removing sections of its text, and a command's words; see catalogue.h. */
#include "engine/catalogue.h"

#include "base/error.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

static int no_memory(char message[CONFIG_MESSAGE])
{
        snprintf(message, CONFIG_MESSAGE, "out of memory");
        return -ENOMEM;
}

int catalogue_add(const char *text, size_t bytes, const char *path, const char *name, const struct catalogue_setting *settings, size_t count, struct strbuf *ret,
                  char message[CONFIG_MESSAGE])
{
        struct strbuf b __attribute__((cleanup(strbuf_done_at))) = {0};
        scoped_catalogue struct catalogue before = {0}, after = {0};
        int r = catalogue_parse(text, bytes, path, &before, message);

        if (r < 0)
                return r;
        if (!catalogue_is_name(name)) {
                snprintf(message, CONFIG_MESSAGE, "a model's name has up to %d letters, digits and ._:/@+-, a letter or digit first", CATALOGUE_NAME - 1);
                return -E_CONFIG;
        }
        if (catalogue_find(&before, name)) {
                snprintf(message, CONFIG_MESSAGE, "%s: [model %s] is there already, on line %u; `berth models remove %s' takes it out", path, name, catalogue_find(&before, name)->line, name);
                return -EEXIST;
        }
        strbuf_put(&b, text, bytes);
        if (bytes && text[bytes - 1] != '\n')
                strbuf_put(&b, "\n", 1);
        strbuf_add(&b, "%s[model %s]\n", bytes ? "\n" : "", name);
        for (size_t i = 0; i < count; i++) {
                if (strpbrk(settings[i].value, "\n\r")) {
                        snprintf(message, CONFIG_MESSAGE, "%s: a value has one line", settings[i].name);
                        return -E_CONFIG;
                }
                strbuf_add(&b, "%s = %s\n", settings[i].name, settings[i].value);
        }
        if (b.failed)
                return no_memory(message);
        r = catalogue_parse(b.text, b.length, path, &after, message);
        if (r < 0)
                return r;
        *ret = b;
        b = (struct strbuf){0};
        return 0;
}

/* Whether the line at s, n bytes, is "[model NAME]" with that name. */
static bool names_section(const char *s, size_t n, const char *name)
{
        while (n && strchr(" \t", *s))
                s++, n--;
        while (n && strchr(" \t\r\n", s[n - 1]))
                n--;
        if (n < 8 || strncmp(s, "[model", 6) != 0 || s[n - 1] != ']')
                return false;
        s += 6, n -= 7;
        while (n && strchr(" \t", *s))
                s++, n--;
        while (n && strchr(" \t", s[n - 1]))
                n--;
        return strlen(name) == n && !memcmp(s, name, n);
}

struct line {
        size_t from, to; /* to: behind its '\n' */
        bool section, empty, comment;
};

static struct line line_at(const char *text, size_t bytes, size_t from)
{
        const char *stop = memchr(text + from, '\n', bytes - from);
        struct line l = {.from = from, .to = stop ? (size_t)(stop - text) + 1 : bytes};
        size_t at = from;

        while (at < l.to && strchr(" \t\r\n", text[at]) && text[at])
                at++;
        l.empty = at == l.to;
        l.section = !l.empty && text[at] == '[';
        l.comment = !l.empty && strchr("#;", text[at]) && text[at];
        return l;
}

/* The section goes from its heading to the next one; comments that stand right above the next are that one's, and stay. */
int catalogue_remove(const char *text, size_t bytes, const char *name, struct strbuf *ret)
{
        size_t begin = SIZE_MAX, end = bytes, above = SIZE_MAX, blank = 0;
        struct strbuf b = {0};

        for (size_t at = 0; at < bytes;) {
                struct line l = line_at(text, bytes, at);

                at = l.to;
                if (l.section && begin != SIZE_MAX) {
                        end = above != SIZE_MAX ? above : l.from;
                        break;
                }
                if (l.section && names_section(text + l.from, l.to - l.from, name)) {
                        begin = l.from;
                        above = SIZE_MAX;
                } else if (l.comment) {
                        above = above == SIZE_MAX ? l.from : above;
                } else {
                        above = SIZE_MAX;
                }
                if (begin == SIZE_MAX)
                        blank = l.empty ? blank : l.to;
        }
        if (begin == SIZE_MAX)
                return -ENOENT;
        /* Of the empty lines above and below only those below stay. */
        strbuf_put(&b, text, end == bytes ? blank : begin);
        strbuf_put(&b, text + end, bytes - end);
        if (b.failed) {
                strbuf_done(&b);
                return -ENOMEM;
        }
        *ret = b;
        return 0;
}

/* ---- a command ------------------------------------------------------------------------------------------------------------------ */

static bool place(const char *s, const struct catalogue_entry *e, const struct catalogue_values *v, const char **ret, size_t *ret_length)
{
        const struct {
                const char *name, *value;
        } places[] = {{"{port}", v->port}, {"{host}", v->host}, {"{model}", e->name}, {"{file}", v->file}, {"{folder}", v->folder}};

        for (size_t i = 0; i < ARRAY_SIZE(places); i++)
                if (!strncmp(s, places[i].name, strlen(places[i].name))) {
                        *ret = places[i].value ? places[i].value : "";
                        *ret_length = strlen(places[i].name);
                        return true;
                }
        return false;
}

/* Splits as a shell does: spaces, '…', "…", \. Values come in whole, whatever they hold. */
char **catalogue_argv(const struct catalogue_entry *e, const struct catalogue_values *values, char message[CONFIG_MESSAGE])
{
        struct strbuf b __attribute__((cleanup(strbuf_done_at))) = {0};
        size_t words = 0, at = 0;
        char quote = 0, **argv;
        bool word = false;

        for (const char *s = e->command; *s || word;) {
                const char *value;
                size_t length;

                if (!*s || (!quote && strchr(" \t", *s))) {
                        if (quote) {
                                snprintf(message, CONFIG_MESSAGE, "a quote (%c) is not closed", quote);
                                return NULL;
                        }
                        if (word) {
                                strbuf_put(&b, "", 1);
                                words++;
                        }
                        word = false;
                        s += *s != 0;
                        continue;
                }
                word = true;
                if (quote && *s == quote) {
                        quote = 0;
                        s++;
                } else if (!quote && (*s == '\'' || *s == '"')) {
                        quote = *s++;
                } else if (*s == '\\' && quote != '\'' && s[1] && (!quote || strchr("\\\"", s[1]))) {
                        strbuf_put(&b, s + 1, 1);
                        s += 2;
                } else if (*s == '{' && place(s, e, values, &value, &length)) {
                        strbuf_put(&b, value, strlen(value));
                        s += length;
                } else {
                        strbuf_put(&b, s++, 1);
                }
        }
        if (!words || words > CATALOGUE_WORDS) {
                snprintf(message, CONFIG_MESSAGE, words ? "more than %d words" : "no words", CATALOGUE_WORDS);
                return NULL;
        }
        argv = b.failed ? NULL : malloc((words + 1) * sizeof *argv + b.length);
        if (!argv) {
                (void)no_memory(message);
                return NULL;
        }
        memcpy(argv + words + 1, b.text, b.length);
        for (size_t i = 0; i < words; i++) {
                argv[i] = (char *)(argv + words + 1) + at;
                at += strlen(argv[i]) + 1;
        }
        argv[words] = NULL;
        return argv;
}
