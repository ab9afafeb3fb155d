/* fuzz-history.c: any bytes as a saved history: refused, or taken whole; what was taken can be saved, loaded and plotted. */
#include "base/history.h"

#include "base/error.h"
#include "fuzz.h"

#include <string.h>

#define S UINT64_C(1000000000)

/* The sum at the end is put right, so that what is behind it is reached. */
static void mend(char *bytes, size_t count)
{
        uint64_t sum = UINT64_C(0xcbf29ce484222325);

        for (size_t i = 0; i < count - 8; i++)
                sum = (sum ^ (uint8_t)bytes[i]) * UINT64_C(0x100000001b3);
        memcpy(bytes + count - 8, &sum, 8);
}

static void use(struct history_set *set, uint64_t now)
{
        struct history_point columns[7];

        for (size_t i = 0; i < history_set_count(set); i++) {
                promise(history_set_find(set, history_set_name(set, i)) == history_set_at(set, i), "names are unique");
                for (uint64_t span = S; span < 10000 * S; span *= 7)
                        (void)history_plot(history_set_at(set, i), now, span, columns, 7);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct history_level levels[] = {{S, 6}, {5 * S, 4}};
        scoped(history_set_free) struct history_set *set = NULL, *again = NULL;
        char *bytes scoped_free = NULL, *saved scoped_free = NULL;
        uint64_t now = size > 8 ? (data[8] % 64) * S : 0;
        size_t count = 0;
        int r;

        if (size < 9)
                return 0;
        bytes = malloc(size);
        promise(bytes != NULL && history_set_new(levels, 2, 8, &set) == 0 && history_set_new(levels, 2, 8, &again) == 0, "memory");
        memcpy(bytes, data, size);
        if (data[size - 1] & 1)
                mend(bytes, size);
        r = history_set_load(set, now, bytes, size);
        promise(r <= 0 && (r == 0 || history_set_count(set) == 0), "%d", r);
        if (r == 0) {
                use(set, now);
                promise(history_set_save(set, &saved, &count) == 0, "saved");
                r = history_set_load(again, now, saved, count);
                promise(r == 0 && history_set_count(again) == history_set_count(set), "what was saved comes back: %d", r);
        }
        (void)history_set_put(set, "more", now, 1);
        use(set, now);
        return 0;
}
