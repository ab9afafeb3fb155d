/* text.c: JSON written straight into a growing string, and times read; see text.h. */
#include "service/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

void put_u64(struct strbuf *b, uint64_t value)
{
        char digits[20], *p = digits + sizeof(digits);

        do
                *--p = (char)('0' + value % 10);
        while (value /= 10);
        strbuf_put(b, p, (size_t)(digits + sizeof(digits) - p));
}

void put_i64(struct strbuf *b, int64_t value)
{
        if (value < 0)
                put_literal(b, "-");
        put_u64(b, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

/* Length of the UTF-8 sequence at p, or 0 when it is none (overlong, surrogate, cut). */
static size_t utf8(const unsigned char *p, size_t left)
{
        if (p[0] < 0x80)
                return 1;
        if (p[0] >= 0xc2 && p[0] <= 0xdf && left >= 2 && (p[1] & 0xc0) == 0x80)
                return 2;
        if (left >= 3 && (p[0] & 0xf0) == 0xe0 && (p[1] & 0xc0) == 0x80 && (p[2] & 0xc0) == 0x80 && !(p[0] == 0xe0 && p[1] < 0xa0) &&
            !(p[0] == 0xed && p[1] > 0x9f))
                return 3;
        if (left >= 4 && p[0] >= 0xf0 && p[0] <= 0xf4 && (p[1] & 0xc0) == 0x80 && (p[2] & 0xc0) == 0x80 && (p[3] & 0xc0) == 0x80 &&
            !(p[0] == 0xf0 && p[1] < 0x90) && !(p[0] == 0xf4 && p[1] > 0x8f))
                return 4;
        return 0;
}

void put_string(struct strbuf *b, const char *text, size_t bytes)
{
        static const char hex[] = "0123456789abcdef";
        size_t start = 0, i = 0;

        put_literal(b, "\"");
        while (i < bytes) {
                unsigned char c = (unsigned char)text[i];
                size_t n = utf8((const unsigned char *)text + i, bytes - i);

                if (n && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
                        i += n;
                        continue;
                }
                strbuf_put(b, text + start, i - start);
                if (!n)
                        put_literal(b, "?");
                else if (c == '"' || c == '\\')
                        strbuf_put(b, (char[]){'\\', (char)c}, 2);
                else if (c == '\n')
                        put_literal(b, "\\n");
                else if (c == '\t')
                        put_literal(b, "\\t");
                else if (c == '\r')
                        put_literal(b, "\\r");
                else
                        strbuf_put(b, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
                start = ++i;
        }
        strbuf_put(b, text + start, bytes - start);
        put_literal(b, "\"");
}

void put_id(struct strbuf *b, const char *prefix, const struct id *id)
{
        char text[ID_TEXT + 2];

        text[0] = '"';
        id_text(prefix, id, text + 1);
        put_text(b, text);
        put_literal(b, "\"");
}

void put_time(struct strbuf *b, int64_t unix_ms)
{
        static _Thread_local time_t known = -1;
        static _Thread_local char date[24];
        time_t seconds = (time_t)(unix_ms / 1000);
        unsigned int ms = (unsigned int)(unix_ms % 1000);
        struct tm tm;

        if (unix_ms <= 0 || unix_ms >= INT64_C(253402300800000)) {
                put_literal(b, "null");
                return;
        }
        if (seconds != known) {
                gmtime_r(&seconds, &tm);
                strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
                known = seconds;
        }
        put_literal(b, "\"");
        strbuf_put(b, date, 19);
        strbuf_put(b, (char[]){'.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10), 'Z', '"'}, 6);
}

static int dump(const char *bytes, size_t count, void *context)
{
        struct strbuf *b = context;

        strbuf_put(b, bytes, count);
        return b->failed ? -1 : 0;
}

int put_json(struct strbuf *b, const json_t *value)
{
        return json_dump_callback(value, dump, b, JSON_COMPACT | JSON_ENCODE_ANY) < 0 ? -ENOMEM : 0;
}

void put_real(struct strbuf *b, double value)
{
        char text[40];
        size_t n;

        if (!isfinite(value) || fabs(value) > 1e15) {
                put_literal(b, "null");
                return;
        }
        snprintf(text, sizeof(text), "%.6f", value);
        n = strlen(text);
        while (text[n - 1] == '0')
                text[--n] = '\0';
        if (text[n - 1] == '.')
                text[--n] = '\0';
        put_text(b, text);
}

size_t put_length(struct strbuf *b)
{
        put_literal(b, "10000000");
        return b->length - 8;
}

/* JSON knows no leading zeros, so the number is counted on from 10000000. */
void fill_length(struct strbuf *b, size_t place, uint32_t value)
{
        if (b->failed)
                return;
        value += 10000000;
        for (int i = 7; i >= 0; i--, value /= 10)
                b->text[place + (size_t)i] = (char)('0' + value % 10);
}

static bool digits(const char **p, int count, int *ret)
{
        *ret = 0;
        for (int i = 0; i < count; i++, (*p)++) {
                if (**p < '0' || **p > '9')
                        return false;
                *ret = *ret * 10 + (**p - '0');
        }
        return true;
}

/* Days since 1970-01-01 of a date of the Gregorian calendar. */
static int64_t days(int year, int month, int day)
{
        int64_t y = month <= 2 ? year - 1 : year, era = y / 400, of_era = y - era * 400;
        int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

        return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

int time_parse(const char *p, int64_t *ret_unix_ms)
{
        static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        int year, month, day, hour, minute, second, ms = 0, scale = 100, sign = 0, off_hour = 0, off_minute = 0;
        bool leap;

        if (!digits(&p, 4, &year) || *p++ != '-' || !digits(&p, 2, &month) || *p++ != '-' || !digits(&p, 2, &day) ||
            (*p != 'T' && *p != 't' && *p != ' '))
                return -EINVAL;
        p++;
        if (!digits(&p, 2, &hour) || *p++ != ':' || !digits(&p, 2, &minute) || *p++ != ':' || !digits(&p, 2, &second))
                return -EINVAL;
        if (*p == '.') {
                if (*++p < '0' || *p > '9')
                        return -EINVAL;
                for (; *p >= '0' && *p <= '9'; p++, scale /= 10)
                        ms += (*p - '0') * scale;
        }
        if (*p == '+' || *p == '-') {
                sign = *p++ == '+' ? 1 : -1;
                if (!digits(&p, 2, &off_hour) || *p++ != ':' || !digits(&p, 2, &off_minute))
                        return -EINVAL;
        } else if (*p != 'Z' && *p != 'z') {
                return -EINVAL;
        } else {
                p++;
        }
        leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        if (*p || year < 1970 || month < 1 || month > 12 || day < 1 || day > lengths[month - 1] + (month == 2 && leap) || hour > 23 || minute > 59 ||
            second > 60 || off_hour > 23 || off_minute > 59)
                return -EINVAL;
        *ret_unix_ms = ((days(year, month, day) * 24 + hour) * 60 + minute) * INT64_C(60000) + second * INT64_C(1000) + ms -
                       sign * (off_hour * 60 + off_minute) * INT64_C(60000);
        return *ret_unix_ms < 0 ? -EINVAL : 0;
}
