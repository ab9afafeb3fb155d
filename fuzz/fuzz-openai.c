/* fuzz-openai.c: bodies of OpenAI's clients and what engines answer. The first byte chooses which. Promised: what scan_object takes jansson takes, but for what only jansson refuses (bytes that
 * are not UTF-8, numbers out of range, zero bytes, members twice below the top), and the values found are whole JSON; a stream's events are the same however the bytes were cut, what is handed on
 * is a prefix of what came, ends between two events, and holds sound data only.
 */
#include "gateway/scan.h"
#include "gateway/sse.h"

#include "fuzz.h"

#include <jansson.h>
#include <string.h>

static const char *const names[] = {"model", "stream", "max_tokens", "messages", "usage", NULL};

static void body(const char *text, size_t size)
{
        struct scan_value values[5];
        char name[128];
        uint64_t number;
        size_t at;
        int r = scan_object(text, size, names, values, &at);
        json_error_t error;
        json_t *tree;

        promise(at <= size, "%zu", at);
        if (r < 0)
                return;
        for (int i = 0; i < 5; i++) {
                promise(!values[i].text || (values[i].text >= text && values[i].text + values[i].length <= text + size && values[i].length), "%s", names[i]);
                if (scan_text(&values[i], name, sizeof(name)) == 0)
                        promise(strlen(name) < sizeof(name), "%s", name);
                (void)!scan_number(&values[i], &number);
                (void)!scan_flag(&values[i]);
        }
        tree = json_loadb(text, size, JSON_ALLOW_NUL, &error);
        if (!tree) {
                enum json_error_code code = json_error_code(&error);

                promise(code == json_error_invalid_utf8 || code == json_error_numeric_overflow || code == json_error_null_character || code == json_error_null_byte_in_key ||
                                code == json_error_stack_overflow || strstr(error.text, "Unicode") || strstr(error.text, "UTF-8"),
                        "%s", error.text);
                return;
        }
        promise(json_is_object(tree), "an object");
        if (scan_text(&values[0], name, sizeof(name)) == 0)
                promise(json_is_string(json_object_get(tree, "model")) && !strcmp(json_string_value(json_object_get(tree, "model")), name), "%s", name);
        promise((scan_flag(&values[1]) == 1) == json_is_true(json_object_get(tree, "stream")), "stream");
        json_decref(tree);
}

struct told {
        char *text;
        size_t bytes;
        uint64_t events, tokens, prompt, completion;
        int result;
        bool done, usage, error;
};

static struct told read_all(const char *data, size_t size, size_t step)
{
        struct told told = {.text = malloc(size + 1)};
        struct sse s = {0};

        if (!told.text)
                abort();
        for (size_t at = 0; at < size && told.result == 0; at += step) {
                size_t n = size - at < step ? size - at : step;
                char *copy = malloc(n);
                struct sse_part part;

                if (!copy)
                        abort();
                memcpy(copy, data + at, n);
                told.result = sse_read(&s, copy, n, &part);
                promise(told.bytes + part.bytes <= size, "more than came");
                if (part.bytes)
                        memcpy(told.text + told.bytes, part.text, part.bytes);
                told.bytes += part.bytes;
                free(copy);
        }
        promise(!memcmp(told.text, data, told.bytes), "other bytes than came");
        promise(!told.bytes || told.text[told.bytes - 1] == '\n', "not between two events");
        told.events = s.events;
        told.tokens = s.tokens;
        told.prompt = s.prompt_tokens;
        told.completion = s.completion_tokens;
        told.done = s.done;
        told.usage = s.usage;
        told.error = s.error;
        sse_done(&s);
        return told;
}

static void same(const struct told *a, const struct told *b)
{
        promise(a->result == b->result && a->bytes == b->bytes && a->events == b->events && a->tokens == b->tokens && a->done == b->done && a->usage == b->usage && a->error == b->error &&
                        a->prompt == b->prompt && a->completion == b->completion,
                "%d %d, %zu %zu, %llu %llu", a->result, b->result, a->bytes, b->bytes, (unsigned long long)a->events, (unsigned long long)b->events);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (!size || size > 16384)
                return 0;
        if (data[0] % 2) {
                body((const char *)data + 1, size - 1);
        } else {
                struct told whole = read_all((const char *)data + 1, size - 1, size), bytes = read_all((const char *)data + 1, size - 1, 1), pieces = read_all((const char *)data + 1, size - 1, 7);

                same(&whole, &bytes);
                same(&whole, &pieces);
                free(whole.text);
                free(bytes.text);
                free(pieces.text);
        }
        return 0;
}
