/* doctor-hooks.c: reads the interposer's lines; see doctor-hooks.h. */
#include "cli/doctor-hooks.h"

#include "base/text.h"
#include "cli/table.h"

#include <stdio.h>
#include <string.h>

/* The interposer's word, and the one for people. */
static const struct road {
        const char *word, *shown;
} roads[] = {{"export", "link, dlsym"}, {"proc", "cuGetProcAddress"}, {"link", "link"}, {"dlsym", "dlsym"}};

static const char *road_shown(const char *word)
{
        for (size_t i = 0; i < ARRAY_SIZE(roads); i++)
                if (!strcmp(word, roads[i].word))
                        return roads[i].shown;
        return NULL;
}

static int parse_line(const char *line, size_t length, struct hook *ret)
{
        char copy[160], road[20], extra;
        struct hook h = {.times = 1};

        if (length >= sizeof copy || memchr(line, 0, length))
                return -EINVAL;
        memcpy(copy, line, length);
        copy[length] = 0;
        if (sscanf(copy, "%19s %79s %u %11s %c", road, h.name, &h.version, h.result, &extra) != 4)
                return -EINVAL;
        h.road = road_shown(road);
        if (!h.road || !text_is_clean(h.name, sizeof h.name) ||
            (strcmp(h.result, "hooked") && strcmp(h.result, "passed") && strcmp(h.result, "missing")))
                return -EINVAL;
        *ret = h;
        return 0;
}

static int compare(const void *a, const void *b)
{
        const struct hook *x = a, *y = b;
        int r = strcmp(x->name, y->name);

        if (!r)
                r = strcmp(x->road, y->road);
        if (!r)
                r = (x->version > y->version) - (x->version < y->version);
        return r ? r : strcmp(x->result, y->result);
}

int hooks_parse(const char *text, size_t bytes, struct hooks *ret)
{
        struct hooks h = {0};
        size_t room = 0, kept = 0;

        for (const char *end = text + bytes; text < end;) {
                const char *newline = memchr(text, '\n', (size_t)(end - text));
                size_t length = newline ? (size_t)(newline - text) : (size_t)(end - text);
                struct hook hook;

                if (length && parse_line(text, length, &hook) < 0) {
                        h.malformed++;
                } else if (length && h.count == HOOKS_LIMIT) {
                        h.left_out++;
                } else if (length) {
                        if (h.count == room) {
                                void *grown = realloc(h.list, (room = room ? room * 2 : 64) * sizeof *h.list);

                                if (!grown) {
                                        hooks_done(&h);
                                        return -ENOMEM;
                                }
                                h.list = grown;
                        }
                        h.list[h.count++] = hook;
                }
                text += length + 1;
        }
        if (h.count)
                qsort(h.list, h.count, sizeof *h.list, compare);
        for (size_t i = 0; i < h.count; i++) {
                if (kept && !compare(&h.list[kept - 1], &h.list[i]))
                        h.list[kept - 1].times++;
                else
                        h.list[kept++] = h.list[i];
        }
        h.count = kept;
        *ret = h;
        return 0;
}

void hooks_done(struct hooks *h)
{
        free(h->list);
        *h = (struct hooks){0};
}

void hooks_text(const struct hooks *h, struct strbuf *b)
{
        static const char *const titles[] = {"SYMBOL", "ROAD", ">VERSION", "RESULT", ">TIMES", NULL};
        size_t hooked = 0;
        scoped_table struct table t;

        table_init(&t, titles);
        for (size_t i = 0; i < h->count; i++) {
                const struct hook *k = &h->list[i];

                table_add(&t, "%s", k->name);
                table_add(&t, "%s", k->road);
                if (k->version)
                        table_add(&t, "%u", k->version);
                else
                        table_add(&t, "-");
                table_add(&t, "%s", k->result);
                table_add(&t, "%llu", (unsigned long long)k->times);
                hooked += !strcmp(k->result, "hooked");
        }
        if (h->count) {
                table_print(&t, 0, b);
                strbuf_add(b, "%zu functions by their roads, %zu hooked\n", h->count, hooked);
        } else {
                strbuf_add(b, "the program looked up nothing of the driver under the interposer\n");
        }
        if (h->malformed || h->left_out)
                strbuf_add(b, "%llu lines were not understood, %llu were beyond %d\n", (unsigned long long)h->malformed,
                           (unsigned long long)h->left_out, HOOKS_LIMIT);
}

json_t *hooks_json(const struct hooks *h)
{
        json_t *list = json_array();

        for (size_t i = 0; list && i < h->count; i++) {
                const struct hook *k = &h->list[i];

                json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:s, s:I}", "symbol", k->name, "road", k->road,
                                                      "version", k->version ? json_integer(k->version) : json_null(),
                                                      "result", k->result, "times", (json_int_t)k->times));
        }
        return json_pack("{s:o, s:I, s:I}", "lookups", list, "malformed", (json_int_t)h->malformed, "left_out",
                         (json_int_t)h->left_out);
}
