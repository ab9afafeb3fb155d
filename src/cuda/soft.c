/* soft.c: the decision about one allocation; see soft.h. */
#include "cuda/soft.h"

bool soft_refuse(struct soft *s, uint64_t *last, uint64_t used, uint64_t bytes)
{
        if (bytes <= SOFT_SMALLEST)
                return false;
        if (used < s->level)
                s->level = used;
        if (*last == bytes) { /* asks again */
                *last = 0;
                s->level = used + bytes;
                return false;
        }
        if (!s->asked) {
                if (!s->limit || used + bytes <= s->limit)
                        return false;
                if (s->refused && used + bytes < s->level + s->limit / 8)
                        return false;
        }
        s->asked = false;
        s->refused = true;
        s->level = used;
        *last = bytes;
        return true;
}
