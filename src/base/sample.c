/* sample.c: a table of settings as a sample file and as a page of the manual; see sample.h. */
#include "base/sample.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

static const char *kind_of(const struct config_entry *e)
{
        switch (e->type) {
        case CONFIG_BYTES:
                return "a size such as 512MiB";
        case CONFIG_SHARE:
                return "a size such as 8GiB, or a percentage";
        case CONFIG_DURATION:
                return "a time such as 500ms, 30s, 5min";
        case CONFIG_NUMBER:
                return "a number";
        case CONFIG_BOOL:
                return "yes or no";
        case CONFIG_CHOICE:
                return "one of";
        case CONFIG_STRING:
                return "text";
        }
        return "text";
}

/* "a number, 1 to 8", "one of auto, cuda, software". */
static void accepted(const struct config_entry *e, struct strbuf *b)
{
        char low[32], high[32];

        strbuf_add(b, "%s", kind_of(e));
        if (e->type == CONFIG_CHOICE) {
                for (const char *p = e->choices; *p;) {
                        size_t n = strcspn(p, "|");

                        strbuf_add(b, "%s%.*s", p == e->choices ? " " : ", ", (int)n, p);
                        p += n + (p[n] == '|');
                }
        } else if (e->max && e->type == CONFIG_BYTES) {
                strbuf_add(b, ", %s to %s", text_bytes(e->min, low, sizeof low), text_bytes(e->max, high, sizeof high));
        } else if (e->max && e->type == CONFIG_DURATION) {
                strbuf_add(b, ", %s to %s", text_duration(e->min, low, sizeof low),
                           text_duration(e->max, high, sizeof high));
        } else if (e->max) {
                strbuf_add(b, ", %llu to %llu", (unsigned long long)e->min, (unsigned long long)e->max);
        }
}

/* Comment lines of at most 100 columns. */
static void comment(struct strbuf *b, const char *text)
{
        size_t column = 0;

        while (*text) {
                size_t n = strcspn(text, " ");

                if (column && column + 1 + n > 98) {
                        strbuf_add(b, "\n");
                        column = 0;
                }
                strbuf_add(b, "%s%.*s", column ? " " : "# ", (int)n, text);
                column += n + (column ? 1 : 2);
                text += n + (text[n] == ' ');
        }
        strbuf_add(b, "\n");
}

void sample_config(const struct config_table *table, const char *heading, struct strbuf *b)
{
        const char *section = "";

        strbuf_add(b, "%s", heading);
        for (size_t i = 0; i < table->count; i++) {
                const struct config_entry *e = &table->entries[i];
                __attribute__((cleanup(strbuf_done_at))) struct strbuf words = {0};

                if (strcmp(section, e->section)) {
                        strbuf_add(b, "\n[%s]\n", e->section);
                        section = e->section;
                }
                strbuf_add(&words, "%s (", e->help);
                accepted(e, &words);
                strbuf_add(&words, "%s)", e->live ? "" : "; needs a restart");
                b->failed |= words.failed;
                comment(b, words.text ? words.text : "");
                strbuf_add(b, ";%s = %s\n", e->name, e->fallback);
        }
}

/* scdoc takes these for markup. */
static void escaped(struct strbuf *b, const char *text)
{
        for (; *text; text++)
                strbuf_add(b, strchr("_*\\#`[]|<>~", *text) ? "\\%c" : "%c", *text);
}

void sample_manual(const struct config_table *table, struct strbuf *b)
{
        const char *section = "";

        for (size_t i = 0; i < table->count; i++) {
                const struct config_entry *e = &table->entries[i];
                __attribute__((cleanup(strbuf_done_at))) struct strbuf words = {0};

                if (strcmp(section, e->section)) {
                        strbuf_add(b, "## [%s]\n\n", e->section);
                        section = e->section;
                }
                strbuf_add(b, "*%s* = ", e->name);
                escaped(b, *e->fallback ? e->fallback : "(empty)");
                strbuf_add(b, "\n\t");
                escaped(b, e->help);
                accepted(e, &words);
                b->failed |= words.failed;
                strbuf_add(b, ".++\nAccepted: ");
                escaped(b, words.text ? words.text : "");
                strbuf_add(b, ".%s", e->live ? "" : " Needs a restart.");
                if (e->environment) {
                        strbuf_add(b, " Environment: ");
                        escaped(b, e->environment);
                        strbuf_add(b, ".");
                }
                strbuf_add(b, "\n\n");
        }
}
