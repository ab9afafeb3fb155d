/* soft.h: which allocations over a soft limit are answered out-of-memory, once each. Pure.
 *
 * A caching allocator that is told so frees what it holds for later and asks again; PyTorch's does. So a request is refused when it would lift the
 * use over the limit, but never twice (the same thread asking for the same size gets it), never a small one (SOFT_SMALLEST), and after a refusal
 * only when the use has grown by an eighth of the limit from the lowest it fell to since: a program without a cache that asks again goes on, at most
 * eight refusals for each time its use grows by the limit. What the hard limit forbids is not decided here.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SOFT_SMALLEST (UINT64_C(1) << 20)

struct soft {
        uint64_t limit; /* 0: none */
        uint64_t level; /* lowest use seen since the last refusal; of no meaning before the first */
        bool refused;   /* there was one */
        bool asked;     /* refuse the next one whatever the use is: a soft trim */
};

/* used: without this request. last: the calling thread's last refused size, 0: none; its own, kept for it from call to call. */
bool soft_refuse(struct soft *soft, uint64_t *last, uint64_t used, uint64_t bytes);
