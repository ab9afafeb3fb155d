/* report-read.c: see report-read.h. */
#include "service/report-read.h"

#include "base/text.h"
#include "service/text.h"

#include <stdarg.h>
#include <stdio.h>

#define TEXT_MOST 320

int report_wrong(struct report_reading *r, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(r->why, REPORT_WHY, format, arguments);
        va_end(arguments);
        return -EINVAL;
}

static bool is_choice(const char *const *choices, const char *text)
{
        for (; *choices; choices++)
                if (!strcmp(*choices, text))
                        return true;
        return false;
}

/* Controls, and what is not seen or turns what is seen around; jansson lets only sound UTF-8 through. */
static bool is_visible(uint32_t c)
{
        return c >= 0x20 && !(c >= 0x7f && c < 0xa0) && c != 0xad && c != 0x61c && c != 0x180e && !(c >= 0x200b && c <= 0x200f) && !(c >= 0x2028 && c <= 0x202e) &&
               !(c >= 0x2060 && c <= 0x206f) && c != 0xfeff && !(c >= 0xfff0 && c <= 0xfffb) && !(c >= 0xe0000 && c <= 0xe0fff);
}

static void copy_visible(char *to, const char *from)
{
        const unsigned char *s = (const unsigned char *)from;

        while (*s) {
                size_t length = *s < 0x80 ? 1 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : 4;
                uint32_t c = length == 1 ? *s : *s & (0x7fU >> length);

                for (size_t i = 1; i < length; i++)
                        c = c << 6 | (s[i] & 0x3f);
                if (is_visible(c)) {
                        memcpy(to, s, length);
                        to += length;
                } else {
                        *to++ = '?';
                }
                s += length;
        }
        *to = 0;
}

int report_member(struct report_reading *r, const char *where, const struct report_member *m, const json_t *value)
{
        char clean[TEXT_MOST];

        if (!value || json_is_null(value)) {
                put_literal(r->text, "null");
                return 0;
        }
        switch (m->kind) {
        case REPORT_TEXT:
        case REPORT_NAME:
                if (!json_is_string(value) || json_string_length(value) >= (size_t)m->most || json_string_length(value) != strlen(json_string_value(value)))
                        return report_wrong(r, "%s.%s: a text of at most %d bytes", where, m->name, (int)m->most - 1);
                if (m->kind == REPORT_TEXT)
                        text_copy_clean(clean, sizeof(clean), json_string_value(value));
                else
                        copy_visible(clean, json_string_value(value));
                put_string(r->text, clean, strlen(clean));
                return 0;
        case REPORT_CHOICE:
                if (!json_is_string(value) || !is_choice(m->choices, json_string_value(value)))
                        return report_wrong(r, "%s.%s: not one of what it can be", where, m->name);
                put_string(r->text, json_string_value(value), json_string_length(value));
                return 0;
        case REPORT_FLAG:
                if (!json_is_boolean(value))
                        return report_wrong(r, "%s.%s: true or false", where, m->name);
                put_text(r->text, json_is_true(value) ? "true" : "false");
                return 0;
        case REPORT_WHOLE:
                if (!json_is_integer(value) || json_integer_value(value) < 0 || (double)json_integer_value(value) > m->most)
                        return report_wrong(r, "%s.%s: a whole number from 0 to %.0f", where, m->name, m->most);
                put_i64(r->text, json_integer_value(value));
                return 0;
        case REPORT_REAL:
                if (!json_is_number(value) || !(json_number_value(value) >= -m->most && json_number_value(value) <= m->most))
                        return report_wrong(r, "%s.%s: a number from %.0f to %.0f", where, m->name, -m->most, m->most);
                put_real(r->text, json_number_value(value));
                return 0;
        }
        return report_wrong(r, "%s", where);
}

int report_members(struct report_reading *r, const char *where, const struct report_member *members, size_t count, const json_t *object)
{
        int result = 0;

        if (!json_is_object(object))
                return report_wrong(r, "%s: an object", where);
        for (size_t i = 0; i < count && !result; i++) {
                strbuf_add(r->text, "%s\"%s\":", i ? "," : "{", members[i].name);
                result = report_member(r, where, &members[i], json_object_get(object, members[i].name));
        }
        return result;
}

int report_list(struct report_reading *r, const char *name, const struct report_member *members, size_t count, size_t most, const json_t *list,
                int (*each)(struct report_reading *r, const json_t *item))
{
        const json_t *item;
        size_t i;

        strbuf_add(r->text, ",\"%s\":[", name);
        if (list && !json_is_null(list) && (!json_is_array(list) || json_array_size(list) > most))
                return report_wrong(r, "%s: an array of at most %zu", name, most);
        json_array_foreach(list, i, item) {
                int result;

                if (i)
                        put_literal(r->text, ",");
                result = report_members(r, name, members, count, item);
                if (!result && each)
                        result = each(r, item);
                if (result < 0)
                        return result;
                put_literal(r->text, "}");
        }
        put_literal(r->text, "]");
        return 0;
}

int report_object(struct report_reading *r, const char *name, const struct report_member *members, size_t count, const json_t *object)
{
        int result;

        strbuf_add(r->text, ",\"%s\":", name);
        if (!object || json_is_null(object)) {
                put_literal(r->text, "null");
                return 0;
        }
        result = report_members(r, name, members, count, object);
        put_literal(r->text, "}");
        return result;
}
