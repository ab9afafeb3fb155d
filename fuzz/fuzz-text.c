/* fuzz-text.c: any text to every parser of numbers, and what they accepted through the formatters. */
#include "base/log.h"
#include "base/text.h"
#include "wire/wire.h"

#include "fuzz.h"

#include <errno.h>
#include <string.h>

static void expected(int r)
{
        promise(r == 0 || r == -EINVAL || r == -ERANGE, "%d", r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const uint64_t untouched = UINT64_C(0x5a5a5a5a5a5a5a5a);
        char *text = malloc(size + 1), shown[16], clean[24];
        uint64_t value = untouched, bytes = untouched;
        uint32_t permille = 0, priority = 0;
        enum log_level level;
        bool flag;
        int r;

        promise(text != NULL, "memory");
        memcpy(text, data, size);
        text[size] = 0;

        r = text_parse_bytes(text, &value);
        expected(r);
        promise(r == 0 || value == untouched, "written on failure");
        if (r == 0) {
                promise(strlen(text_bytes(value, shown, sizeof shown)) < sizeof shown, "%s", shown);
                promise(text_parse_share(text, &bytes, &permille) == 0 && bytes == value && permille == 0, "a size is a share too: %s", text);
        } else {
                r = text_parse_share(text, &bytes, &permille);
                expected(r);
                promise(r < 0 || (bytes == 0 && permille >= 1 && permille <= 1000), "%u", permille);
        }

        value = untouched;
        r = text_parse_duration(text, &value);
        expected(r);
        promise(r == 0 || value == untouched, "written on failure");
        if (r == 0)
                promise(strlen(text_duration(value, shown, sizeof shown)) < sizeof shown, "%s", shown);

        value = untouched;
        r = text_parse_u64(text, 10, 1000, &value);
        expected(r);
        promise(r == 0 ? value >= 10 && value <= 1000 : value == untouched, "%llu", (unsigned long long)value);

        expected(text_parse_bool(text, &flag));
        expected(wire_priority_parse(text, &priority));
        promise(priority < WIRE_PRIORITY_N, "%u", priority);
        expected(log_level_parse(text, &level));

        memset(clean, 'x', sizeof clean);
        text_copy_clean(clean, sizeof clean, text);
        promise(text_is_clean(clean, sizeof clean), "not clean");
        for (size_t i = strlen(clean); i < sizeof clean; i++)
                promise(clean[i] == 0, "not zero-filled at %zu", i);
        (void)text_is_clean((const char *)data, size);
        free(text);
        return 0;
}
