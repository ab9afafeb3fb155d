/* path.c: decoding of request targets and their queries; see path.h. */
#include "gateway/path.h"

#include <stdint.h>
#include <string.h>

static int hex(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

/* One decoded byte; -1: bad writing. *i moves past it. */
static int decode_at(const char *text, size_t length, size_t *i)
{
        int high, low;

        if (text[*i] != '%')
                return (unsigned char)text[(*i)++];
        if (length - *i < 3)
                return -1;
        high = hex(text[*i + 1]);
        low = hex(text[*i + 2]);
        if (high < 0 || low < 0)
                return -1;
        *i += 3;
        return high * 16 + low;
}

/* Bytes of the character that starts at text, 0: not UTF-8 (or an overlong or surrogate one). */
static size_t utf8_bytes(const unsigned char *text, size_t length)
{
        uint32_t c = text[0], least;
        size_t n;

        if (c < 0x80)
                return 1;
        if (c >= 0xc2 && c <= 0xdf)
                n = 2, c &= 0x1f, least = 0x80;
        else if (c >= 0xe0 && c <= 0xef)
                n = 3, c &= 0x0f, least = 0x800;
        else if (c >= 0xf0 && c <= 0xf4)
                n = 4, c &= 0x07, least = 0x10000;
        else
                return 0;
        if (length < n)
                return 0;
        for (size_t i = 1; i < n; i++) {
                if ((text[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (text[i] & 0x3f);
        }
        return c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : n;
}

bool path_text_is_clean(const char *text, size_t length)
{
        for (size_t i = 0, n; i < length; i += n) {
                n = utf8_bytes((const unsigned char *)text + i, length - i);
                if (!n || (unsigned char)text[i] < 0x20 || text[i] == 0x7f)
                        return false;
        }
        return true;
}

static bool segments_are_clean(const char *path)
{
        for (const char *at = path; *at == '/';) {
                size_t n = strcspn(++at, "/");

                if ((n == 0 && !(at == path + 1 && !*at)) || (n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.'))
                        return false;
                at += n;
        }
        return true;
}

/* Where an encoded slash means the same as a plain one. */
static bool names_models(const char *target, size_t length)
{
        static const char *const beginnings[] = {"/v1/models/", "/api/v1/models/"};

        for (size_t i = 0; i < ARRAY_SIZE(beginnings); i++)
                if (length > strlen(beginnings[i]) && !memcmp(target, beginnings[i], strlen(beginnings[i])))
                        return true;
        return false;
}

int path_decode(const char *target, size_t length, struct path *ret_path)
{
        const char *mark = memchr(target, '?', length);
        size_t raw = mark ? (size_t)(mark - target) : length, n = 0;
        char text[PATH_MAX_BYTES];

        if (!raw || target[0] != '/' || memchr(target, '#', length))
                return -EINVAL;
        for (size_t i = 0; i < raw;) {
                bool encoded = target[i] == '%';
                int c = decode_at(target, raw, &i);

                if (c < 0x20 || c == 0x7f || c == '\\' || (encoded && c == '/' && !names_models(target, raw)))
                        return -EINVAL;
                if (n + 1 >= sizeof text)
                        return -ENAMETOOLONG;
                text[n++] = (char)c;
        }
        text[n] = 0;
        if (!path_text_is_clean(text, n) || !segments_are_clean(text))
                return -EINVAL;
        memcpy(ret_path->text, text, n + 1);
        ret_path->query = mark ? mark + 1 : NULL;
        ret_path->query_length = mark ? length - raw - 1 : 0;
        return 0;
}

bool path_match(const char *pattern, const char *path, struct path_part parts[PATH_PARTS])
{
        size_t count = 0;

        while (*pattern) {
                if (*pattern == '{') {
                        const char *end = strchr(pattern, '}');
                        size_t n = strcspn(path, "/"), all = strlen(path), rest = strlen(end + 1);

                        if (end[-1] == '.') /* all of it but what the pattern still wants */
                                n = all > rest ? all - rest : 0;
                        if (n == 0 || n > 127 || count == PATH_PARTS)
                                return false;
                        parts[count++] = (struct path_part){path, n};
                        path += n;
                        pattern = end + 1;
                } else if (*pattern++ != *path++) {
                        return false;
                }
        }
        return !*path;
}

/* The next "name=value" of a query. */
static bool next_pair(const char **query, size_t *length, const char **name, size_t *name_length, const char **value, size_t *value_length)
{
        while (*length) {
                const char *end = memchr(*query, '&', *length), *equals;
                size_t n = end ? (size_t)(end - *query) : *length;

                *name = *query;
                equals = memchr(*query, '=', n);
                *name_length = equals ? (size_t)(equals - *query) : n;
                *value = equals ? equals + 1 : *query + n;
                *value_length = n - (size_t)(*value - *query);
                *query += n + (end ? 1 : 0);
                *length -= n + (end ? 1 : 0);
                if (n)
                        return true;
        }
        return false;
}

/* Decodes with '+' as a space. The length, or -errno. */
static int decode_value(const char *from, size_t length, char *to, size_t size)
{
        size_t n = 0;

        for (size_t i = 0; i < length;) {
                int c = from[i] == '+' ? (i++, ' ') : decode_at(from, length, &i);

                if (c < 0)
                        return -EINVAL;
                if (n + 1 >= size)
                        return -ENAMETOOLONG;
                to[n++] = (char)c;
        }
        to[n] = 0;
        return path_text_is_clean(to, n) ? (int)n : -EINVAL;
}

int query_get(const char *query, size_t length, const char *name, char *value, size_t size)
{
        const char *n, *v;
        size_t n_length, v_length;
        int found = 0, r;

        while (query && next_pair(&query, &length, &n, &n_length, &v, &v_length)) {
                if (n_length != strlen(name) || memcmp(n, name, n_length))
                        continue;
                if (found)
                        return -EINVAL;
                r = decode_value(v, v_length, value, size);
                if (r < 0)
                        return r;
                found = 1;
        }
        return found;
}

int query_check(const char *query, size_t length, const char *known, char *unknown, size_t size)
{
        const char *n, *v;
        size_t n_length, v_length;

        while (query && next_pair(&query, &length, &n, &n_length, &v, &v_length)) {
                bool found = false;

                for (const char *at = known; *at && !found; at += strcspn(at, " "), at += strspn(at, " "))
                        found = strcspn(at, " ") == n_length && !memcmp(at, n, n_length);
                if (!found) {
                        size_t shown = n_length < size - 1 ? n_length : size - 1;

                        for (size_t i = 0; i < shown; i++)
                                unknown[i] = n[i] > 0x20 && n[i] < 0x7f && n[i] != '"' ? n[i] : '?';
                        unknown[shown] = 0;
                        return -ENOENT;
                }
        }
        return 0;
}
