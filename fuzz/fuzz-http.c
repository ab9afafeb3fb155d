/* fuzz-http.c: what the pool's door takes apart by itself: targets and queries, ranges and tags, WebSocket frames in any split. The first byte chooses which. Promised:
 * a path that is taken is clean and is taken again as it is; a query's value is text; a range lies within its file; frames told are the same however the
 * bytes were cut, and never longer than allowed.
 */
#include "gateway/frame.h"
#include "gateway/path.h"
#include "gateway/range.h"
#include "gateway/routes.h"

#include "fuzz.h"

#include <string.h>

#define LIMIT 512

static void targets(const char *text, size_t size)
{
        struct path_part parts[PATH_PARTS];
        struct path path, again;
        const struct route *route;
        char allow[64], value[QUERY_VALUE], unknown[16];

        if (path_decode(text, size, &path) < 0)
                return;
        promise(path.text[0] == '/' && !strstr(path.text, "//") && path_text_is_clean(path.text, strlen(path.text)), "%s", path.text);
        for (const char *at = path.text; (at = strchr(at, '/')); at++)
                promise(strncmp(at, "/../", 4) && strcmp(at, "/..") && strncmp(at, "/./", 3) && strcmp(at, "/."), "%s", path.text);
        if (!strpbrk(path.text, "%?#"))
                promise(path_decode(path.text, strlen(path.text), &again) == 0 && !strcmp(again.text, path.text), "%s", path.text);
        for (enum http_way way = WAY_GET; way <= WAY_OTHER; way++)
                if (route_find(way, path.text, &route, parts, allow) == 0)
                        for (unsigned i = 0; i < PATH_PARTS && parts[i].text; i++)
                                promise(parts[i].text > path.text && parts[i].text + parts[i].length <= path.text + strlen(path.text), "%s", path.text);
        if (query_get(path.query, path.query_length, "limit", value, sizeof value) == 1)
                promise(strlen(value) < sizeof value && path_text_is_clean(value, strlen(value)), "%s", value);
        if (query_check(path.query, path.query_length, "limit after", unknown, sizeof unknown) < 0)
                promise(strlen(unknown) < sizeof unknown, "%s", unknown);
}

static void headers(const char *text, uint64_t total)
{
        uint64_t first, count, all, epoch, number;
        bool any;

        if (range_parse(text, total, &first, &count) == 0)
                promise(count && first < total && count <= total - first, "%s of %llu", text, (unsigned long long)total);
        if (range_parse_content(text, &first, &count, &all) == 0)
                promise(first <= all && count <= all - first, "%s", text);
        if (etag_parse(text, &number, &any) == 0)
                promise(any ? !number : number && etag_listed(text, number), "%s", text);
        (void)etag_listed(text, 1);
        if (event_id_parse(text, &epoch, &number) == 0)
                promise(strchr(text, '-'), "%s", text);
}

struct told {
        uint64_t hash;
        unsigned count;
        int result;
};

static struct told frames(const uint8_t *data, size_t size, size_t part)
{
        struct frame_reader reader;
        struct told told = {.hash = 1};

        frame_reader_init(&reader, LIMIT);
        for (size_t at = 0; at < size && told.result >= 0; at += part) {
                size_t n = size - at < part ? size - at : part;
                uint8_t *copy = malloc(n), *left = copy;
                struct frame_message message;

                if (!copy)
                        break;
                memcpy(copy, data + at, n);
                do {
                        told.result = frame_read(&reader, &left, &n, &message);
                        if (told.result != 1)
                                break;
                        promise(message.length <= LIMIT, "%zu", message.length);
                        told.count++;
                        told.hash = told.hash * 31 + message.opcode;
                        for (size_t i = 0; i < message.length; i++)
                                told.hash = told.hash * 31 + (uint8_t)message.text[i];
                } while (true);
                free(copy);
        }
        frame_reader_done(&reader);
        return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char text[4096];
        size_t n;

        if (!size || size > sizeof text)
                return 0;
        n = size - 1;
        memcpy(text, data + 1, n);
        text[n] = 0;
        switch (data[0] % 3) {
        case 0:
                targets(text, n);
                break;
        case 1:
                headers(text, n * 7 % 1000);
                break;
        default: {
                struct told whole = frames(data + 1, n, n ? n : 1), bytes = frames(data + 1, n, 1), pieces = frames(data + 1, n, 7);

                promise(whole.result == bytes.result && whole.hash == bytes.hash && whole.count == bytes.count, "one by one");
                promise(whole.result == pieces.result && whole.hash == pieces.hash, "by seven");
        }
        }
        return 0;
}
