/* fuzz-probes.c: what the probes read of strangers: libraries that a process has mapped, and a snapshot as another process hands it over.
 *
 * The first byte says which. A snapshot that passes its check is walked as a reader does, and cut down to a user's.
 */
#include "bpf/ladder.h"
#include "bpf/probes.h"
#include "bpf/symbols.h"

#include "base/error.h"

#include "fuzz.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void library(const uint8_t *data, size_t size)
{
        static const char *const names[] = {"cuLaunchKernel", "cuMemAlloc_v2", ""};
        uint64_t offsets[3];
        bool cheap;
        int r = symbols_find(data, size, names, 3, offsets);

        promise(r == -EINVAL || (r >= 0 && r <= 3), "%d", r);
        for (int i = 0; r > 0 && i < 3; i++) {
                promise(offsets[i] < size, "%llu of %zu", (unsigned long long)offsets[i], size);
                promise(symbols_probe_at(data, size, offsets[i], &cheap) <= offsets[i] + 4, "moved too far");
        }
}

static void snapshot(const uint8_t *data, size_t size)
{
        struct probes_snapshot *s = malloc(size ? size : 1);
        const struct probes_snapshot *own = NULL;
        char text[64];
        int r, fd;

        promise(s != NULL, "memory");
        memcpy(s, data, size);
        r = probes_check(s, size);
        promise(r == 0 || r == -E_MESSAGE, "%d", r);
        if (r == 0) {
                for (uint32_t i = 0; i < s->files; i++)
                        promise(strlen(probes_escape(text, sizeof text, probes_files(s)[i].name, sizeof probes_files(s)[i].name)) < sizeof text, "not ended");
                for (uint32_t i = 0; i < s->blocks; i++) {
                        const struct probes_block *b = &probes_blocks(s)[i];
                        double half = latency_quantile(&b->total.time, 500), most = latency_quantile(&b->total.time, 1000);

                        promise(strlen(probes_escape(text, sizeof text, b->name, sizeof b->name)) < sizeof text, "not ended");
                        promise(probes_request_kind_name(b->kind)[0] != '?', "%u", b->kind);
                        promise(half >= -1 && most >= -1 && most <= (double)latency_from_ns(LATENCY_BUCKETS - 1), "%f, %f", half, most);
                }
                for (uint32_t i = 0; i < s->runners; i++)
                        promise(strlen(probes_escape(text, sizeof text, probes_runners(s)[i].comm, sizeof probes_runners(s)[i].comm)) < sizeof text, "not ended");
                fd = probes_for_user(s, 1);
                promise(fd >= 0 && probes_map(fd, &own) == 0, "what is cut down is whole");
                promise(own->processes <= s->processes && own->files <= s->files && own->uses <= s->uses && own->runners <= s->runners && own->blocks == s->blocks, "no more than there was");
                probes_unmap(own);
                close(fd);
        }
        free(s);
}

static void words(const uint8_t *data, size_t size)
{
        char *text = malloc(size + 1), shown[40];
        const char *word = NULL;
        uint32_t bits = 0;
        int r;

        promise(text != NULL, "memory");
        memcpy(text, data, size);
        text[size] = 0;
        r = ladder_parse_rungs(text, &bits, &word);
        promise(r == 0 || (r == -EINVAL && word >= text && word <= text + size), "%d", r);
        promise(!(bits >> PROBES_RUNG_N), "%x", bits);
        probes_escape(shown, sizeof shown, text, size);
        for (const char *at = shown; *at; at++)
                promise((unsigned char)*at >= 0x20 && *at != 0x7f, "a control character");
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (!size)
                return 0;
        switch (data[0] % 3) {
        case 0:
                library(data + 1, size - 1);
                break;
        case 1:
                snapshot(data + 1, size - 1);
                break;
        default:
                words(data + 1, size - 1);
                break;
        }
        return 0;
}
