/* sse.c: event streams read; see sse.h. */
#include "gateway/sse.h"

#include "gateway/scan.h"

#include <errno.h>
#include <string.h>

int usage_read(const struct scan_value *usage, uint64_t *ret_prompt, uint64_t *ret_completion)
{
        static const char *const names[] = {"prompt_tokens", "completion_tokens", NULL};
        struct scan_value values[2];
        uint64_t prompt, completion = 0;

        if (!usage->text || usage->text[0] != '{' || scan_object(usage->text, usage->length, names, values, NULL) < 0 || scan_number(&values[0], &prompt) < 0)
                return -ENOENT;
        if (values[1].text && scan_number(&values[1], &completion) < 0)
                return -ENOENT;
        *ret_prompt = prompt;
        *ret_completion = completion;
        return 0;
}

/* Any text in the choices: a first event that only names the role has none. */
static bool has_text(const struct scan_value *choices)
{
        static const char *const marks[] = {"\"content\":", "\"text\":", "\"reasoning_content\":", "\"arguments\":"};

        for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
                const char *at = choices->text, *end = choices->text + choices->length;
                size_t n = strlen(marks[i]);

                while ((at = memmem(at, (size_t)(end - at), marks[i], n))) {
                        at += n;
                        while (at < end && *at == ' ')
                                at++;
                        if (end - at > 1 && at[0] == '"' && at[1] != '"')
                                return true;
                }
        }
        return false;
}

static int look_into(struct sse *s, const char *text, size_t length)
{
        static const char *const names[] = {"choices", "usage", "error", NULL};
        struct scan_value values[3];

        s->events++;
        if (length == 6 && !memcmp(text, "[DONE]", 6)) {
                s->done = true;
                return 0;
        }
        if (s->done || scan_object(text, length, names, values, NULL) < 0)
                return -EINVAL;
        if (values[0].text && values[0].length > 2 && has_text(&values[0]))
                s->tokens++;
        if (values[1].text && usage_read(&values[1], &s->prompt_tokens, &s->completion_tokens) == 0)
                s->usage = true;
        if (values[2].text && values[2].text[0] != 'n')
                s->error = true;
        return 0;
}

static bool is_field(const char *line, size_t length, const char *name, size_t n)
{
        return length >= n && !memcmp(line, name, n) && (length == n || line[n] == ':');
}

/* One event's lines. Data on several lines, which is rare, is looked at in a copy. */
static int event(struct sse *s, const char *text, size_t length)
{
        const char *data = NULL, *end = text + length;
        char *joined scoped_free = NULL;
        size_t data_bytes = 0;

        for (const char *line = text, *next; line < end; line = next) {
                const char *stop = memchr(line, '\n', (size_t)(end - line)), *value;
                size_t n;

                next = stop ? stop + 1 : end;
                stop = stop ? stop : end;
                if (stop > line && stop[-1] == '\r')
                        stop--;
                n = (size_t)(stop - line);
                if (!n || line[0] == ':')
                        continue;
                if (!is_field(line, n, "data", 4)) {
                        if (is_field(line, n, "event", 5) || is_field(line, n, "id", 2) || is_field(line, n, "retry", 5))
                                continue;
                        return -EINVAL;
                }
                value = line + 4 + (n > 4) + (n > 5 && line[5] == ' ');
                n = (size_t)(stop - value);
                if (!data) {
                        data = value;
                        data_bytes = n;
                        continue;
                }
                if (!joined) {
                        joined = malloc(length);
                        if (!joined)
                                return -ENOMEM;
                        memcpy(joined, data, data_bytes);
                        data = joined;
                }
                joined[data_bytes] = '\n';
                memcpy(joined + data_bytes + 1, value, n);
                data_bytes += n + 1;
        }
        return data ? look_into(s, data, data_bytes) : 0;
}

/* Behind the blank line that ends the first event, or NULL. from: where to begin looking, nothing before it ends one. */
static const char *event_end(const char *text, const char *from, const char *end)
{
        const char *at = from - text > 2 ? from - 2 : text;

        while ((at = memchr(at, '\n', (size_t)(end - at)))) {
                at++;
                if (at < end && *at == '\n')
                        return at + 1;
                if (end - at >= 2 && at[0] == '\r' && at[1] == '\n')
                        return at + 2;
                if (at >= end)
                        break;
        }
        return NULL;
}

/* Behind what is kept, which moves to the front. */
static int keep(struct sse *s, const char *text, size_t length)
{
        size_t had = s->kept_end - s->kept_begin;

        if (had + length > SSE_EVENT_MAX)
                return -E2BIG;
        if (s->kept_begin)
                memmove(s->kept, s->kept + s->kept_begin, had);
        s->kept_begin = 0;
        s->kept_end = had;
        if (s->kept_size < had + length) {
                size_t size = s->kept_size ? s->kept_size : 1024;
                char *more;

                while (size < had + length)
                        size *= 2;
                more = realloc(s->kept, size);
                if (!more)
                        return -ENOMEM;
                s->kept = more;
                s->kept_size = size;
        }
        memcpy(s->kept + had, text, length);
        s->kept_end += length;
        return 0;
}

int sse_read(struct sse *s, const char *data, size_t length, struct sse_part *part)
{
        uint64_t before = s->tokens;
        const char *text = data, *at, *from = data, *stop, *end;
        bool kept = !sse_is_whole(s);
        int r = 0;

        *part = (struct sse_part){0};
        if (kept) {
                size_t had = s->kept_end - s->kept_begin;

                r = keep(s, data, length);
                if (r < 0)
                        return r;
                text = s->kept;
                length = s->kept_end;
                from = text + had;
        }
        end = text + length;
        for (at = text; (stop = event_end(at, from, end)); at = from = stop) {
                r = event(s, at, (size_t)(stop - at));
                if (r < 0)
                        break;
        }
        part->text = text;
        part->bytes = (size_t)(at - text);
        part->tokens = s->tokens - before;
        if (r < 0)
                return r;
        if (kept)
                s->kept_begin = part->bytes;
        else if (end > at)
                return keep(s, at, (size_t)(end - at));
        return 0;
}

void sse_done(struct sse *s)
{
        free(s->kept);
        s->kept = NULL;
        s->kept_begin = s->kept_end = s->kept_size = 0;
}
