/* pass.c: JSON handed on without a tree; see pass.h. */
#include "service/pass.h"

#include <stdint.h>
#include <string.h>

#define DEPTH 16
#define WIDTH 16 /* members of an object: each name is compared with those before */

struct reader {
        const char *at, *end;
        struct strbuf *out;
        const char *from; /* not put out yet: from here up to at */
};

static void put_out(struct reader *r)
{
        if (r->out && r->at > r->from)
                strbuf_put(r->out, r->from, (size_t)(r->at - r->from));
}

static void skip_blanks(struct reader *r)
{
        if (r->at == r->end || (unsigned char)*r->at > ' ')
                return;
        put_out(r);
        while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r'))
                r->at++;
        r->from = r->at;
}

/* Eight bytes that need no look each: ASCII, no control character, quote or backslash. */
static bool all_plain(const char *at)
{
        const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
        uint64_t word, quote, back;

        memcpy(&word, at, 8);
        quote = word ^ (ones * '"');
        back = word ^ (ones * '\\');
        return !((word | (word - ones * 0x20) | (quote - ones) | (back - ones)) & high);
}

static size_t utf8(const unsigned char *p, size_t left)
{
        if (p[0] >= 0xc2 && p[0] <= 0xdf && left >= 2 && (p[1] & 0xc0) == 0x80)
                return 2;
        if (p[0] >= 0xe0 && p[0] <= 0xef && left >= 3 && (p[1] & 0xc0) == 0x80 && (p[2] & 0xc0) == 0x80 && !(p[0] == 0xe0 && p[1] < 0xa0) && !(p[0] == 0xed && p[1] > 0x9f))
                return 3;
        if (p[0] >= 0xf0 && p[0] <= 0xf4 && left >= 4 && (p[1] & 0xc0) == 0x80 && (p[2] & 0xc0) == 0x80 && (p[3] & 0xc0) == 0x80 && !(p[0] == 0xf0 && p[1] < 0x90) &&
            !(p[0] == 0xf4 && p[1] > 0x8f))
                return 4;
        return 0;
}

/* escapes: those that come out as they went in may be there. */
static bool string(struct reader *r, bool escapes)
{
        if (r->at == r->end || *r->at != '"')
                return false;
        for (r->at++; r->at < r->end; r->at++) {
                unsigned char c;
                size_t n;

                while (r->end - r->at >= 8 && all_plain(r->at))
                        r->at += 8;
                if (r->at == r->end)
                        return false;
                c = (unsigned char)*r->at;
                if (c == '"') {
                        r->at++;
                        return true;
                }
                if (c == '\\') {
                        if (!escapes || ++r->at == r->end || !*r->at || !strchr("\"\\bfnrt", *r->at))
                                return false;
                } else if (c < 0x20) {
                        return false;
                } else if (c >= 0x80) {
                        n = utf8((const unsigned char *)r->at, (size_t)(r->end - r->at));
                        if (!n)
                                return false;
                        r->at += n - 1;
                }
        }
        return false;
}

static bool number(struct reader *r)
{
        bool minus = r->at < r->end && *r->at == '-';
        const char *digits = r->at += minus;

        while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
                r->at++;
        if (r->at == digits || r->at - digits > 18 || (*digits == '0' && (r->at - digits > 1 || minus)))
                return false;
        return r->at == r->end || !strchr(".eE", *r->at) || !*r->at;
}

static bool word(struct reader *r, const char *text, size_t bytes)
{
        if ((size_t)(r->end - r->at) < bytes || memcmp(r->at, text, bytes))
                return false;
        r->at += bytes;
        return true;
}

static bool value(struct reader *r, unsigned depth);

static bool object(struct reader *r, unsigned depth)
{
        struct text_span names[WIDTH];

        r->at++;
        skip_blanks(r);
        if (r->at < r->end && *r->at == '}')
                return r->at++, true;
        for (unsigned n = 0; n < WIDTH; n++) {
                const char *begin = r->at + 1;

                if (!string(r, false))
                        return false;
                names[n] = (struct text_span){begin, (size_t)(r->at - 1 - begin)};
                for (unsigned i = 0; i < n; i++)
                        if (span_is(names[i], names[n].text, names[n].bytes))
                                return false;
                skip_blanks(r);
                if (r->at == r->end || *r->at++ != ':')
                        return false;
                skip_blanks(r);
                if (!value(r, depth))
                        return false;
                skip_blanks(r);
                if (r->at == r->end || (*r->at != ',' && *r->at != '}'))
                        return false;
                if (*r->at++ == '}')
                        return true;
                skip_blanks(r);
        }
        return false;
}

static bool array(struct reader *r, unsigned depth)
{
        r->at++;
        skip_blanks(r);
        if (r->at < r->end && *r->at == ']')
                return r->at++, true;
        for (;;) {
                if (!value(r, depth))
                        return false;
                skip_blanks(r);
                if (r->at == r->end || (*r->at != ',' && *r->at != ']'))
                        return false;
                if (*r->at++ == ']')
                        return true;
                skip_blanks(r);
        }
}

static bool value(struct reader *r, unsigned depth)
{
        if (r->at == r->end || depth == DEPTH)
                return false;
        switch (*r->at) {
        case '{':
                return object(r, depth + 1);
        case '[':
                return array(r, depth + 1);
        case '"':
                return string(r, true);
        case 't':
                return word(r, "true", 4);
        case 'f':
                return word(r, "false", 5);
        case 'n':
                return word(r, "null", 4);
        default:
                return number(r);
        }
}

ptrdiff_t pass_value(const char *text, size_t bytes, struct strbuf *out)
{
        struct reader r = {text, text + bytes, out, text};

        if (!value(&r, 0))
                return -1;
        put_out(&r);
        return r.at - text;
}

int pass_member(const char *text, size_t bytes, size_t *at, struct text_span *name, struct text_span *value_span)
{
        struct reader r = {text + *at, text + bytes, NULL, text};
        bool first = !*at;

        skip_blanks(&r);
        if (r.at == r.end || (*r.at != (first ? '{' : ',') && (first || *r.at != '}')))
                return -1;
        if (*r.at++ != '}') {
                skip_blanks(&r);
                if (r.at == r.end)
                        return -1;
                if (*r.at == '"') {
                        name->text = r.at + 1;
                        if (!string(&r, false))
                                return -1;
                        name->bytes = (size_t)(r.at - 1 - name->text);
                        skip_blanks(&r);
                        if (r.at == r.end || *r.at++ != ':')
                                return -1;
                        skip_blanks(&r);
                        value_span->text = r.at;
                        if (!value(&r, 1))
                                return -1;
                        value_span->bytes = (size_t)(r.at - value_span->text);
                        *at = (size_t)(r.at - text);
                        return 1;
                }
                if (!first || *r.at++ != '}')
                        return -1;
        }
        skip_blanks(&r);
        return r.at == r.end ? 0 : -1;
}

bool pass_payload(const char *text, size_t bytes, struct strbuf *rest, struct strbuf *payload)
{
        struct text_span name, one, found = {NULL, 0};
        size_t at = 0;
        int r;

        while ((r = pass_member(text, bytes, &at, &name, &one)) == 1)
                if (SPAN_IS(name, "payload")) {
                        if (found.text)
                                return false;
                        found = one;
                }
        if (r || !found.text || pass_value(found.text, found.bytes, payload) < 0)
                return false;
        strbuf_put(rest, text, (size_t)(found.text - text));
        strbuf_put(rest, "null", 4);
        strbuf_put(rest, found.text + found.bytes, bytes - (size_t)(found.text + found.bytes - text));
        return !rest->failed && !payload->failed;
}
