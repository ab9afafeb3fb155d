/* berth.h: for programs that want to work along with Berth. Nothing has to: every program runs under it as it is.
 *
 * Nothing to link against but libc: the functions are looked up when they are called. They return 0 or a negative error number, and -ENOSYS where
 * Berth is not there, so that a program can call them anywhere. Any thread may call them at any time, callbacks included.
 */
#ifndef BERTH_H
#define BERTH_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* Tells the watchdog of `berth run --watch' that the program gets on: steps done so far, which only has to change, and what it is at ("load", "train"; NULL:
 * as before). From then on these steps alone say whether it hangs. A store into a page of memory: no system call but for the first. -ENOSYS: nobody
 * watches. One thread at a time. */
static inline int berth_progress(uint64_t steps, const char *phase)
{
        static volatile unsigned char *page;
        static int tried;
        const char *path = getenv("BERTH_PROGRESS");

        if (!tried) {
                int fd = path && path[0] ? open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;
                void *mapped = fd < 0 || lseek(fd, 0, SEEK_END) < 4096 ? MAP_FAILED : mmap((void *)0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

                if (fd >= 0)
                        (void)close(fd);
                page = mapped == MAP_FAILED ? (volatile unsigned char *)0 : (volatile unsigned char *)mapped;
                tried = 1;
        }
        if (!page)
                return -ENOSYS;
        if (phase) {
                size_t i;

                for (i = 0; i < 47 && phase[i]; i++)
                        page[32 + i] = (unsigned char)phase[i];
                page[32 + i] = 0;
        }
        __atomic_store_n((uint64_t *)(page + 8), steps ? steps : 1, __ATOMIC_RELAXED);
        return 0;
}

#ifdef __cplusplus
}
#endif
#endif
