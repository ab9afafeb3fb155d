/* real.h: the real NVML, and the table through which every exported name goes.
 *
 * The library is preloaded by `berth run` and bears NVML's SONAME, so that linking, dlopen by that name and dlsym all end here. Each exported
 * name jumps through its slot: at first to a stub that loads the real library by absolute path, afterwards to the real function or to the
 * wrapper of hooks.def. Names that the real library lacks answer "function not found", as NVML does itself. With BERTH_DISABLE=1 every
 * slot is the real function. Inside a real function that we called, NVML's calls of its own names are never answered by us.
 */
#pragma once

#include "observe/abi/nvml.h"

#include <stdbool.h>

struct real {
#define OWN(symbol, parameters) nvmlReturn_t(*symbol) parameters;
#define USED OWN
#include "nvml/hooks.def"
#undef OWN
#undef USED
};
extern struct real real;

#define OWN(symbol, parameters) nvmlReturn_t hook_##symbol parameters;
#define USED(...)
#include "nvml/hooks.def"
#undef OWN
#undef USED

/* Loads the real library once and fills the slots; called from the stubs. Without one, every slot answers "library not found". */
void berth_load(void);

/* BERTH_DISABLE is set: nothing is answered by us. */
bool real_disabled(void);

/* True while this thread is inside a real function that a wrapper called. */
extern _Thread_local bool real_inside;

/* One call of a real function by a wrapper. */
#define REAL(call)                         \
        ({                                 \
                nvmlReturn_t r_;           \
                                           \
                real_inside = true;        \
                r_ = (call);               \
                real_inside = false;       \
                r_;                        \
        })
