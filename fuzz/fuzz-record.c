/* fuzz-record.c: any bytes as records of `berth record': refused, or a world whose figures are within bounds and whose names are clean. Sums are put right, so
 * that what lies behind them is reached. */
#include "cli/record.h"

#include "base/error.h"
#include "base/text.h"
#include "fuzz.h"

#include <string.h>

struct head {
        uint32_t magic, flags, packed, unpacked;
        uint64_t sum;
};

static void mend(char *bytes, size_t count)
{
        for (size_t at = 0; at + sizeof(struct head) <= count;) {
                uint64_t sum = UINT64_C(0xcbf29ce484222325);
                struct head h;

                memcpy(&h, bytes + at, sizeof h);
                if (h.packed > count - at - sizeof h)
                        return;
                memset(bytes + at + sizeof h - 8, 0, 8);
                for (size_t i = 0; i < sizeof h + h.packed; i++)
                        sum = (sum ^ (uint8_t)bytes[at + i]) * UINT64_C(0x100000001b3);
                h.sum = sum;
                memcpy(bytes + at, &h, sizeof h);
                at += sizeof h + h.packed;
        }
}

static void look_at(const struct record_look *l)
{
        promise(l->snapshot.device_count <= WIRE_MAX_DEVICES && l->processes.count <= RECORD_PROCESSES, "bounds");
        for (size_t i = 0; i < l->snapshot.client_count; i++)
                promise(text_is_clean(l->snapshot.clients[i].name, sizeof l->snapshot.clients[i].name), "a name");
        for (size_t i = 0; i < l->processes.count; i++)
                promise(text_is_clean(l->processes.list[i].stat.name, sizeof l->processes.list[i].stat.name), "a name");
        promise(!l->probes || (probes_check(l->probes, l->probes->bytes) == 0 && l->probes->processes <= RECORD_PROBED), "probes");
        promise(!l->has_machine || l->look->stat.cpus <= MACHINE_CPUS, "processors");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct record_state state = {0};
        char *bytes scoped_free = malloc(size + 1);
        size_t at = RECORD_HEAD_BYTES;

        promise(bytes != NULL, "memory");
        memcpy(bytes, data, size);
        if (size < RECORD_HEAD_BYTES || record_check_head(bytes, size) < 0)
                return 0;
        mend(bytes + at, size - at);
        while (at < size) {
                struct record_look l = {0};
                size_t length = 0;
                bool key;
                int r = record_get(&state, bytes + at, size - at, &length, &key, &l);

                promise(r == 0 || r == -EAGAIN || r == -E_MESSAGE || r == -ENOMEM, "%d", r);
                if (r < 0)
                        break;
                promise(length <= size - at, "length");
                look_at(&l);
                record_look_done(&l);
                at += length;
        }
        record_state_done(&state);
        return 0;
}
