/* real.h: the real driver, and the table through which every exported name goes.
 *
 * The interposer is preloaded and bears the driver's SONAME, so that every way to the driver (link, dlopen + dlsym, cuGetProcAddress)
 * ends here. Each exported name jumps through its slot: at first to a stub that loads the real driver by absolute path, afterwards
 * to the real function or, when Berth is on and hooks the name, to the wrapper. With BERTH_DISABLE=1 every slot is the real function.
 */
#pragma once

#include "cuda/abi/cuda.h"

#include <stdbool.h>
#include <stdint.h>

/* Typed pointers to the real functions of hooks.def, NULL where the driver lacks one. Valid after berth_load(). */
struct real {
#define GATED(symbol, parameters, arguments, kind) CUresult(*symbol) parameters;
#define GATED2(symbol, suffix, parameters, arguments, kind) \
        CUresult(*symbol) parameters;                       \
        CUresult(*symbol##suffix) parameters;
#define OWN(symbol, parameters, arguments) CUresult(*symbol) parameters;
#define USED(symbol, parameters, arguments) CUresult(*symbol) parameters;
#include "cuda/hooks.def"
#undef GATED
#undef GATED2
#undef OWN
#undef USED
};
extern struct real real;

extern void *berth_slots[];
extern const char *const berth_names[];
extern const unsigned int berth_names_n;

/* Loads the real driver once and fills the slots; called from the stubs and safe to call again. Without a driver every slot answers
 * CUDA_ERROR_NO_DEVICE, as a machine without one would. */
void berth_load(void);

/* Are hooks on? False with BERTH_DISABLE=1, without a driver, or in the child of a program that had used the driver before its fork. */
extern bool berth_enabled;

/* The wrapper that stands for a pointer to a real function, or NULL when that function is not hooked. */
void *real_wrapper_of(const void *function);

/* The wrapper for an un-suffixed name where exactly one hooked symbol of that version bears it (per-thread default stream form or not), or
 * NULL. */
void *real_wrapper_by_name(const char *name, int version, bool per_thread);

/* The hand-written and generated wrappers. */
#define GATED(symbol, parameters, arguments, kind) CUresult hook_##symbol parameters;
#define GATED2(symbol, suffix, parameters, arguments, kind) \
        CUresult hook_##symbol parameters;                  \
        CUresult hook_##symbol##suffix parameters;
#define OWN(symbol, parameters, arguments) CUresult hook_##symbol parameters;
#define USED(...)
#include "cuda/hooks.def"
#undef GATED
#undef GATED2
#undef OWN
#undef USED

/* Lines for `berth doctor`: how a name was looked up and what the program got. No-op unless BERTH_DOCTOR names a file. */
void real_doctor(const char *road, const char *name, int version, const char *result);

/* own-context.c: page and fork handlers, once, before the first hooked call. */
void own_start(void);
/* own-vmm.c: in a forked child. */
void own_vmm_forked(void);
/* own-context.c: a context of the device exists; its work is waited for when memory moves. */
void own_remember(CUdevice device, CUcontext context);
/* own-green.c, in a forked child. */
void own_green_forked(void);
