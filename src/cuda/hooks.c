/* hooks.c: the wrappers of gated calls, generated from hooks.def: pass the gate, call the real function, count. */
#include "cuda/lane.h"
#include "cuda/real.h"

#define LAUNCH true
#define COPY false
#define AWAIT (lane_awaits(), false)

#define GATED(symbol, parameters, arguments, kind)       \
        CUresult hook_##symbol parameters                \
        {                                                \
                struct page_lane *lane = lane_enter();   \
                CUresult result = real.symbol arguments; \
                                                         \
                lane_leave(lane, kind);                  \
                return result;                           \
        }
#define GATED2(symbol, suffix, parameters, arguments, kind) \
        GATED(symbol, parameters, arguments, kind)          \
        GATED(symbol##suffix, parameters, arguments, kind)
#define OWN(...)
#define USED(...)
#include "cuda/hooks.def"
