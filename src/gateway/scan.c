/* scan.c: one pass over JSON, without recursion; see scan.h. */
#include "gateway/scan.h"

#include <errno.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif
#include <stdio.h>
#include <string.h>

struct scanner {
        const char *at, *end;
};

/* What ends a run of plain bytes in a string: quote, backslash, control characters. */
static const bool special[256] = {
        ['"'] = true, ['\\'] = true, [0] = true,  [1] = true,  [2] = true,  [3] = true,  [4] = true,  [5] = true,  [6] = true,  [7] = true,  [8] = true,  [9] = true,
        [10] = true,  [11] = true,   [12] = true, [13] = true, [14] = true, [15] = true, [16] = true, [17] = true, [18] = true, [19] = true, [20] = true, [21] = true,
        [22] = true,  [23] = true,   [24] = true, [25] = true, [26] = true, [27] = true, [28] = true, [29] = true, [30] = true, [31] = true,
};

static void blanks(struct scanner *s)
{
        while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
                s->at++;
}

static int hex(char c)
{
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Many bytes at once while none of them is special. */
static const char *skip_plain(const char *at, const char *end)
{
#ifdef __SSE2__
        const __m128i quotes = _mm_set1_epi8('"'), slashes = _mm_set1_epi8('\\'), least = _mm_set1_epi8(0x1f);

        while (end - at >= 16) {
                __m128i v = _mm_loadu_si128((const __m128i *)(const void *)at);
                __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, least), v);
                unsigned found = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quotes), _mm_cmpeq_epi8(v, slashes)), low));

                if (found)
                        return at + __builtin_ctz(found);
                at += 16;
        }
#else
        const uint64_t ones = UINT64_C(0x0101010101010101), high = UINT64_C(0x8080808080808080);

        while (end - at >= 8) {
                uint64_t v, quote, slash, low;

                memcpy(&v, at, 8);
                quote = v ^ (ones * '"');
                slash = v ^ (ones * '\\');
                low = (v - ones * 0x20) & ~v;
                if ((((quote - ones) & ~quote) | ((slash - ones) & ~slash) | low) & high)
                        break;
                at += 8;
        }
#endif
        while (at < end && !special[(unsigned char)*at])
                at++;
        return at;
}

/* Behind the opening quote; leaves behind the closing one. */
static int string(struct scanner *s, bool *ret_escaped)
{
        for (;;) {
                s->at = skip_plain(s->at, s->end);
                if (s->at >= s->end)
                        return -EINVAL;
                if (*s->at == '"') {
                        s->at++;
                        return 0;
                }
                if (*s->at != '\\' || s->end - s->at < 2)
                        return -EINVAL;
                *ret_escaped = true;
                if (s->at[1] == 'u') {
                        if (s->end - s->at < 6)
                                return -EINVAL;
                        for (int i = 2; i < 6; i++)
                                if (hex(s->at[i]) < 0)
                                        return -EINVAL;
                        s->at += 6;
                } else if (strchr("\"\\/bfnrt", s->at[1]) && s->at[1]) {
                        s->at += 2;
                } else {
                        return -EINVAL;
                }
        }
}

static bool digits(struct scanner *s)
{
        const char *from = s->at;

        while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
                s->at++;
        return s->at > from;
}

static int number(struct scanner *s)
{
        if (*s->at == '-')
                s->at++;
        if (s->at < s->end && *s->at == '0')
                s->at++;
        else if (!digits(s))
                return -EINVAL;
        if (s->at < s->end && *s->at == '.') {
                s->at++;
                if (!digits(s))
                        return -EINVAL;
        }
        if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
                s->at++;
                if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
                        s->at++;
                if (!digits(s))
                        return -EINVAL;
        }
        return 0;
}

static int word(struct scanner *s, const char *text, size_t length)
{
        if ((size_t)(s->end - s->at) < length || memcmp(s->at, text, length))
                return -EINVAL;
        s->at += length;
        return 0;
}

static int scalar(struct scanner *s)
{
        bool escaped;

        switch (*s->at) {
        case '"':
                s->at++;
                return string(s, &escaped);
        case 't':
                return word(s, "true", 4);
        case 'f':
                return word(s, "false", 5);
        case 'n':
                return word(s, "null", 4);
        default:
                return number(s);
        }
}

/* A member's name and its colon. */
static int name(struct scanner *s, struct scan_value *ret_name, bool *ret_escaped)
{
        int r;

        blanks(s);
        *ret_escaped = false;
        if (s->at >= s->end || *s->at != '"')
                return -EINVAL;
        ret_name->text = s->at++;
        r = string(s, ret_escaped);
        if (r < 0)
                return r;
        ret_name->length = (size_t)(s->at - ret_name->text);
        blanks(s);
        if (s->at >= s->end || *s->at != ':')
                return -EINVAL;
        s->at++;
        return 0;
}

/* A whole value, however deep. */
static int value(struct scanner *s)
{
        char open[SCAN_DEPTH];
        struct scan_value ignored;
        unsigned depth = 0;
        bool escaped;
        int r;

        for (;;) {
                blanks(s);
                if (s->at >= s->end)
                        return -EINVAL;
                if (*s->at == '{' || *s->at == '[') {
                        char closing = *s->at == '{' ? '}' : ']';

                        if (depth + 1 >= SCAN_DEPTH)
                                return -E2BIG;
                        s->at++;
                        open[depth++] = closing;
                        blanks(s);
                        if (s->at < s->end && *s->at == closing) {
                                s->at++;
                                depth--;
                        } else {
                                r = closing == '}' ? name(s, &ignored, &escaped) : 0;
                                if (r < 0)
                                        return r;
                                continue;
                        }
                } else {
                        r = scalar(s);
                        if (r < 0)
                                return r;
                }
                for (;;) {
                        if (!depth)
                                return 0;
                        blanks(s);
                        if (s->at >= s->end)
                                return -EINVAL;
                        if (*s->at == open[depth - 1]) {
                                s->at++;
                                depth--;
                                continue;
                        }
                        if (*s->at++ != ',')
                                return -EINVAL;
                        r = open[depth - 1] == '}' ? name(s, &ignored, &escaped) : 0;
                        if (r < 0)
                                return r;
                        break;
                }
        }
}

static int find(const struct scan_value *found, bool escaped, const char *const *names)
{
        char text[64];

        if (escaped && scan_text(found, text, sizeof(text)) < 0)
                return -1;
        for (int i = 0; names[i]; i++)
                if (escaped ? !strcmp(text, names[i]) : names[i][0] == found->text[1] && strlen(names[i]) == found->length - 2 && !memcmp(found->text + 1, names[i], found->length - 2))
                        return i;
        return -1;
}

static int members(struct scanner *s, const char *const *names, struct scan_value *values)
{
        blanks(s);
        if (s->at >= s->end || *s->at != '{')
                return -EINVAL;
        s->at++;
        blanks(s);
        if (s->at < s->end && *s->at == '}') {
                s->at++;
                return 0;
        }
        for (;;) {
                struct scan_value found;
                const char *from;
                bool escaped;
                int i, r = name(s, &found, &escaped);

                if (r < 0)
                        return r;
                i = find(&found, escaped, names);
                blanks(s);
                from = s->at;
                r = value(s);
                if (r < 0)
                        return r;
                if (i >= 0) {
                        if (values[i].text)
                                return -EEXIST;
                        values[i] = (struct scan_value){.text = from, .length = (size_t)(s->at - from)};
                }
                blanks(s);
                if (s->at >= s->end)
                        return -EINVAL;
                if (*s->at == '}') {
                        s->at++;
                        return 0;
                }
                if (*s->at++ != ',')
                        return -EINVAL;
        }
}

int scan_object(const char *text, size_t length, const char *const *names, struct scan_value *values, size_t *ret_at)
{
        struct scanner s = {.at = text, .end = text + length};
        int r;

        for (int i = 0; names[i]; i++)
                values[i] = (struct scan_value){0};
        r = members(&s, names, values);
        if (r == 0) {
                blanks(&s);
                if (s.at != s.end)
                        r = -EINVAL;
        }
        if (ret_at)
                *ret_at = (size_t)(s.at - text);
        return r;
}

static uint32_t four(const char *at)
{
        return (uint32_t)(hex(at[0]) << 12 | hex(at[1]) << 8 | hex(at[2]) << 4 | hex(at[3]));
}

static size_t put_utf8(char *to, uint32_t c)
{
        if (c < 0x80) {
                to[0] = (char)c;
                return 1;
        }
        if (c < 0x800) {
                to[0] = (char)(0xc0 | c >> 6);
                to[1] = (char)(0x80 | (c & 0x3f));
                return 2;
        }
        if (c < 0x10000) {
                to[0] = (char)(0xe0 | c >> 12);
                to[1] = (char)(0x80 | (c >> 6 & 0x3f));
                to[2] = (char)(0x80 | (c & 0x3f));
                return 3;
        }
        to[0] = (char)(0xf0 | c >> 18);
        to[1] = (char)(0x80 | (c >> 12 & 0x3f));
        to[2] = (char)(0x80 | (c >> 6 & 0x3f));
        to[3] = (char)(0x80 | (c & 0x3f));
        return 4;
}

static bool is_null(const struct scan_value *v)
{
        return !v->text || (v->length == 4 && !memcmp(v->text, "null", 4));
}

int scan_text(const struct scan_value *v, char *text, size_t size)
{
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        const char *at, *end;
        size_t n = 0;

        if (is_null(v))
                return -ENOENT;
        if (v->length < 2 || v->text[0] != '"')
                return -EINVAL;
        at = v->text + 1;
        end = v->text + v->length - 1;
        while (at < end) {
                uint32_t c;

                if (n + 5 > size)
                        return -ENAMETOOLONG;
                if (*at != '\\') {
                        text[n++] = *at++;
                        continue;
                }
                if (at[1] != 'u') {
                        text[n++] = to[strchr(from, at[1]) - from];
                        at += 2;
                        continue;
                }
                c = four(at + 2);
                at += 6;
                if (c >= 0xd800 && c < 0xdc00) {
                        uint32_t low = end - at >= 6 && at[0] == '\\' && at[1] == 'u' ? four(at + 2) : 0;

                        if (low < 0xdc00 || low > 0xdfff)
                                return -EINVAL;
                        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                        at += 6;
                } else if ((c >= 0xdc00 && c <= 0xdfff) || !c) {
                        return -EINVAL;
                }
                n += put_utf8(text + n, c);
        }
        text[n] = 0;
        return 0;
}

int scan_number(const struct scan_value *v, uint64_t *ret)
{
        char text[32];
        double number;
        uint64_t whole = 0;
        size_t i;

        if (is_null(v))
                return -ENOENT;
        if (!v->length || v->length >= sizeof(text) || v->text[0] < '0' || v->text[0] > '9')
                return -EINVAL;
        for (i = 0; i < v->length && i < 18 && v->text[i] >= '0' && v->text[i] <= '9'; i++)
                whole = whole * 10 + (uint64_t)(v->text[i] - '0');
        if (i == v->length) {
                *ret = whole;
                return 0;
        }
        memcpy(text, v->text, v->length);
        text[v->length] = 0;
        number = strtod(text, NULL);
        if (!(number >= 0 && number < 1e15) || number != (double)(uint64_t)number)
                return -EINVAL;
        *ret = (uint64_t)number;
        return 0;
}

int scan_flag(const struct scan_value *v)
{
        if (is_null(v) || (v->length == 5 && !memcmp(v->text, "false", 5)))
                return 0;
        return v->length == 4 && !memcmp(v->text, "true", 4) ? 1 : -EINVAL;
}
