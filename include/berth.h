/* berth.h: for programs that want to work along with Berth. Nothing has to: every program runs under it as it is.
 *
 * Nothing to link against but libc: the functions are looked up when they are called. They return 0 or a negative error number, and -ENOSYS where
 * Berth is not there, so that a program can call them anywhere. Any thread may call them at any time, callbacks included.
 */
#ifndef BERTH_H
#define BERTH_H

#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline void *berth_function(const char *name)
{
        return dlsym((void *)0 /* RTLD_DEFAULT */, name);
}

/* Device memory that this process holds unused goes back now, to whoever waits for it. -ENODEV: it uses no shared device. */
static inline int berth_trim(void)
{
        int (*f)(void);

        *(void **)&f = berth_function("berth_trim");
        return f ? f() : -ENOSYS;
}

/* The callback is called when somebody asks this process to give memory back (`berth trim', the daemon): free what is kept for later only. It runs in
 * a thread of its own, one call at a time, with no lock of Berth's held and no CUDA context current. One callback a process: the last one counts,
 * NULL for none; when the call returns, the former callback runs no more (unless it made the call itself). */
static inline int berth_trim_on(void (*callback)(void *argument), void *argument)
{
        int (*f)(void (*)(void *), void *);

        *(void **)&f = berth_function("berth_trim_on");
        return f ? f(callback, argument) : -ENOSYS;
}

/* The exact peak of this process's device memory between begin and end of a window, by name; begin on a name that is there begins it anew. With
 * several devices, the highest of them. At most 16 windows at a time (-ENOSPC), names of 1 to 47 printable ASCII characters (-EINVAL); -ENODEV: no shared
 * device is used yet; end: -ENOENT, there is none of this name. `berth peak' sees the same windows from outside. */
static inline int berth_peak_begin(const char *name)
{
        int (*f)(const char *);

        *(void **)&f = berth_function("berth_peak_begin");
        return f ? f(name) : -ENOSYS;
}

static inline int berth_peak_end(const char *name, uint64_t *ret_bytes)
{
        int (*f)(const char *, uint64_t *);

        *(void **)&f = berth_function("berth_peak_end");
        return f ? f(name, ret_bytes) : -ENOSYS;
}

#ifdef __cplusplus
}
#endif
#endif
