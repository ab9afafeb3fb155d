/* fields.c: members of JSON bodies; see fields.h. */
#include "gateway/fields.h"

#include "base/strbuf.h"
#include "service/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void fields_wrong(struct fields *f, const char *path, const char *format, ...)
{
        va_list arguments;
        char text[200];

        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        if (!f->violations)
                f->violations = json_array();
        if (json_array_size(f->violations) < 20)
                json_array_append_new(f->violations, json_pack("{s:s, s:s}", "path", path, "text", text));
}

struct fields fields_of(struct request *r, const char *known)
{
        struct fields f = {.request = r, .body = r->json, .known = known};
        const char *name;
        json_t *value;

        if (r->json && !json_is_object(r->json)) {
                fields_wrong(&f, "", "an object is wanted");
                f.body = NULL;
                return f;
        }
        json_object_foreach(r->json, name, value) {
                size_t n = strlen(name);
                bool found = false;

                for (const char *at = known; *at && !found; at += strcspn(at, " "), at += strspn(at, " "))
                        found = strcspn(at, " ") == n && !memcmp(at, name, n);
                if (!found)
                        fields_wrong(&f, name, "not known here; known are: %s", known);
        }
        return f;
}

static const json_t *get(const struct fields *f, const char *name)
{
        const json_t *value = json_object_get(f->body, name);

        return json_is_null(value) ? NULL : value;
}

const char *fields_text(struct fields *f, const char *name, size_t least, size_t most, bool needed)
{
        const json_t *value = get(f, name);

        if (!value) {
                if (needed)
                        fields_wrong(f, name, "needed");
                return NULL;
        }
        if (!json_is_string(value)) {
                fields_wrong(f, name, "a text is wanted");
                return NULL;
        }
        if (json_string_length(value) < least || json_string_length(value) > most) {
                fields_wrong(f, name, "%zu to %zu bytes are wanted", least, most);
                return NULL;
        }
        return json_string_value(value);
}

bool fields_number(struct fields *f, const char *name, uint64_t most, uint64_t *ret)
{
        const json_t *value = get(f, name);

        if (!value)
                return false;
        if (!json_is_integer(value) || json_integer_value(value) < 0 || (uint64_t)json_integer_value(value) > most) {
                fields_wrong(f, name, "a whole number from 0 to %llu is wanted", (unsigned long long)most);
                return false;
        }
        *ret = (uint64_t)json_integer_value(value);
        return true;
}

bool fields_bool(struct fields *f, const char *name, bool *ret)
{
        const json_t *value = get(f, name);

        if (!value)
                return false;
        if (!json_is_boolean(value)) {
                fields_wrong(f, name, "true or false is wanted");
                return false;
        }
        *ret = json_is_true(value);
        return true;
}

bool fields_time(struct fields *f, const char *name, int64_t *ret)
{
        const json_t *value = json_object_get(f->body, name);

        if (!value)
                return false;
        *ret = 0;
        if (json_is_null(value))
                return true;
        if (!json_is_string(value) || time_parse(json_string_value(value), ret) < 0) {
                fields_wrong(f, name, "a time such as 2026-11-21T12:00:00Z is wanted");
                return false;
        }
        return true;
}

bool fields_good(struct fields *f)
{
        if (!f->violations)
                return true;
        reply_problem(f->request, "request.schema", json_pack("{s:o}", "violations", take(f->violations)), "The body is not what is taken here.");
        return false;
}

json_t *time_json(int64_t unix_ms)
{
        struct strbuf b = {0};
        json_t *value;

        put_time(&b, unix_ms);
        value = b.failed || !b.text || b.text[0] != '"' ? json_null() : json_stringn(b.text + 1, b.length - 2);
        strbuf_done(&b);
        return value;
}
