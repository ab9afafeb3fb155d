/* ladder.c: rungs in order, any error is "next", every reason is kept; see ladder.h. */
#include "bpf/ladder.h"

#include "base/text.h"

#include <string.h>

void ladder_refused(struct probes_family *f, uint32_t rung, int error, const char *text)
{
        struct probes_refusal *r;

        if (f->refused_count >= ARRAY_SIZE(f->refused))
                return;
        r = &f->refused[f->refused_count++];
        r->rung = rung;
        r->error = error < 0 ? error : -EIO;
        text_copy_clean(r->text, sizeof r->text, text);
}

uint32_t ladder_next(struct ladder *l, struct probes_family *f)
{
        while (l->next < l->count) {
                uint32_t rung = l->rungs[l->next++];

                if (l->forced != PROBES_RUNG_NONE && rung != l->forced)
                        continue;
                if (!(l->refuse & UINT32_C(1) << rung))
                        return rung;
                ladder_refused(f, rung, -ECANCELED, "observe.refuse in the settings names it");
        }
        return PROBES_RUNG_NONE;
}

int ladder_parse_rungs(const char *text, uint32_t *ret_bits, const char **ret_word)
{
        uint32_t bits = 0;

        for (const char *at = text + strspn(text, " ,"); *at; at += strspn(at, " ,")) {
                size_t length = strcspn(at, " ,");
                uint32_t rung = PROBES_RUNG_NONE + 1;

                while (rung < PROBES_RUNG_N &&
                       (strlen(probes_rung_name(rung)) != length || memcmp(probes_rung_name(rung), at, length) != 0))
                        rung++;
                if (rung == PROBES_RUNG_N) {
                        *ret_word = at;
                        return -EINVAL;
                }
                bits |= UINT32_C(1) << rung;
                at += length;
        }
        *ret_bits = bits;
        return 0;
}
