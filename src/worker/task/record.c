/* record.c: JSON lines and CSV, one record at a time; see record.h. */
#include "worker/task/record.h"

#include <string.h>

void record_open(struct record_reader *r, FILE *file, enum record_format format)
{
        *r = (struct record_reader){.file = file, .format = format, .next_line = 1};
}

void record_close(struct record_reader *r)
{
        if (r->file)
                fclose(r->file);
        json_decref(r->names);
        free(r->text);
        *r = (struct record_reader){0};
}

int record_format(const char *name, const char *given, enum record_format *ret)
{
        const char *dot = strrchr(name, '.');
        const char *what = given && given[0] ? given : dot ? dot + 1 : "";

        if (!strcmp(what, "jsonl") || !strcmp(what, "ndjson"))
                *ret = RECORD_JSONL;
        else if (!strcmp(what, "csv"))
                *ret = RECORD_CSV;
        else
                return -EINVAL;
        return 0;
}

static int add(struct record_reader *r, int c)
{
        if (r->length + 1 >= r->size) {
                size_t size = r->size ? 2 * r->size : 4096;
                char *text;

                if (r->length + 1 >= RECORD_BYTES) {
                        r->too_long = true;
                        return 0;
                }
                text = realloc(r->text, size);
                if (!text)
                        return -ENOMEM;
                r->text = text;
                r->size = size;
        }
        r->text[r->length++] = (char)c;
        r->text[r->length] = 0;
        return 0;
}

/* The raw text of the next record: a line, of CSV as many as its quotes span. 1, 0 at the end, -EIO, -ENOMEM. */
static int read_text(struct record_reader *r)
{
        bool quoted = false, any = false;
        int c, n;

        r->length = 0;
        r->too_long = false;
        r->line = r->next_line;
        while ((c = getc_unlocked(r->file)) != EOF) {
                any = true;
                r->bytes++;
                if (c == '\n')
                        r->next_line++;
                if (c == '"' && r->format == RECORD_CSV)
                        quoted = !quoted;
                /* An open quote that swallowed more than a record may have is taken for a fault of this line. */
                if (c == '\n' && (!quoted || r->too_long))
                        break;
                n = add(r, c);
                if (n < 0)
                        return n;
        }
        if (ferror(r->file))
                return -EIO;
        if (any && !r->text) {
                n = add(r, 0);
                if (n < 0)
                        return n;
                r->length = 0;
        }
        if (r->length && r->text[r->length - 1] == '\r')
                r->length--;
        if (r->text)
                r->text[r->length] = 0;
        return any;
}

/* The fields of a row as strings. */
static json_t *row(char *text, size_t length, char why[128])
{
        json_t *list = json_array(), *value;
        size_t at = 0;

        while (list) {
                size_t from = at, out = at;

                if (at < length && text[at] == '"') {
                        bool closed = false;

                        from = out = ++at;
                        while (at < length) {
                                if (text[at] == '"' && at + 1 < length && text[at + 1] == '"') {
                                        at++;
                                } else if (text[at] == '"') {
                                        closed = true;
                                        at++;
                                        break;
                                }
                                text[out++] = text[at++];
                        }
                        if (!closed || (at < length && text[at] != ',')) {
                                snprintf(why, 128, closed ? "something stands behind a closing quote" : "a quote does not end");
                                break;
                        }
                } else {
                        while (at < length && text[at] != ',')
                                at++;
                        out = at;
                }
                value = json_stringn(text + from, out - from);
                if (!value || json_array_append_new(list, value) < 0 || json_array_size(list) > RECORD_FIELDS) {
                        snprintf(why, 128, value ? "more than %d fields" : "no valid UTF-8", RECORD_FIELDS);
                        break;
                }
                if (at >= length)
                        return list;
                at++; /* the comma */
        }
        json_decref(list);
        return NULL;
}

static int next_csv(struct record_reader *r, json_t **ret, char why[128])
{
        json_t *values = row(r->text, r->length, why), *o, *v;
        size_t i;

        if (!values)
                return -EINVAL;
        if (!r->names) {
                json_t *seen = json_object();

                json_array_foreach (values, i, v)
                        json_object_set(seen, json_string_value(v), v);
                i = json_object_size(seen);
                json_decref(seen);
                if (i != json_array_size(values)) {
                        json_decref(values);
                        snprintf(why, 128, "the first row names a field twice");
                        return -EINVAL;
                }
                r->names = values;
                return 2; /* not a record */
        }
        if (json_array_size(values) != json_array_size(r->names)) {
                snprintf(why, 128, "%zu fields where the first row names %zu", json_array_size(values), json_array_size(r->names));
                json_decref(values);
                return -EINVAL;
        }
        o = json_object();
        json_array_foreach (r->names, i, v)
                json_object_set(o, json_string_value(v), json_array_get(values, i));
        json_decref(values);
        *ret = o;
        return 1;
}

int record_next(struct record_reader *r, json_t **ret, char why[128])
{
        for (;;) {
                json_error_t error;
                int n = read_text(r);

                if (n <= 0)
                        return n;
                if (r->too_long) {
                        snprintf(why, 128, "a record of more than %u bytes", RECORD_BYTES);
                        return -EINVAL;
                }
                if (!r->length && !(r->format == RECORD_CSV && r->names && json_array_size(r->names) == 1))
                        continue; /* an empty line is no record and no fault */
                if (r->format == RECORD_CSV) {
                        n = next_csv(r, ret, why);
                        if (n == 2)
                                continue;
                        return n;
                }
                *ret = json_loadb(r->text, r->length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
                if (json_is_object(*ret))
                        return 1;
                snprintf(why, 128, "%.100s", *ret ? "no object" : error.text);
                json_decref(*ret);
                *ret = NULL;
                return -EINVAL;
        }
}

static void put_csv(FILE *file, const char *s, size_t n)
{
        bool quote = !n;

        for (size_t i = 0; i < n; i++)
                quote |= s[i] == '"' || s[i] == ',' || s[i] == '\n' || s[i] == '\r';
        if (quote)
                putc_unlocked('"', file);
        for (size_t i = 0; i < n; i++) {
                if (s[i] == '"')
                        putc_unlocked('"', file);
                putc_unlocked(s[i], file);
        }
        if (quote)
                putc_unlocked('"', file);
}

int record_write(struct record_writer *w, const json_t *record)
{
        const char *key;
        json_t *v;
        size_t i;

        if (w->format == RECORD_JSONL) {
                if (json_dumpf(record, w->file, JSON_COMPACT) < 0 || putc('\n', w->file) == EOF)
                        return -EIO;
                w->records++;
                return 0;
        }
        if (!w->names) {
                w->names = json_array();
                json_object_foreach ((json_t *)record, key, v) {
                        json_array_append_new(w->names, json_string(key));
                        if (json_array_size(w->names) > 1)
                                putc_unlocked(',', w->file);
                        put_csv(w->file, key, strlen(key));
                }
                putc_unlocked('\n', w->file);
        }
        json_array_foreach (w->names, i, v) {
                const json_t *value = json_object_get(record, json_string_value(v));
                char *text scoped_free = NULL;

                if (i)
                        putc_unlocked(',', w->file);
                if (json_is_string(value)) {
                        put_csv(w->file, json_string_value(value), json_string_length(value));
                } else if (value && !json_is_null(value)) {
                        text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
                        put_csv(w->file, text ? text : "", text ? strlen(text) : 0);
                }
        }
        w->records++;
        return putc('\n', w->file) == EOF ? -EIO : 0;
}

int record_finish(struct record_writer *w)
{
        int r = 0;

        if (w->file && (fflush(w->file) != 0 || ferror(w->file)))
                r = errno ? -errno : -EIO;
        if (w->file)
                fclose(w->file);
        w->file = NULL;
        json_decref(w->names);
        w->names = NULL;
        return r;
}
