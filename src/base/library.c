/* library.c: the real library behind one of ours; see library.h. Linked into libraries that live in foreign processes: nothing here
 * allocates or logs. */
#include "base/library.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const usual = "/usr/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu/nvidia/current:/usr/lib64:/usr/lib:/lib64:/lib:"
                                 "/usr/local/nvidia/lib64:/usr/local/nvidia/lib:/usr/lib/wsl/lib:/run/opengl-driver/lib";

/* dlopen of an absolute path is a distinct object beside us; a path that leads back to ourselves is refused. */
static void *open_other(const char *path, const char *function, const void *ours)
{
        Dl_info they, we;
        void *handle, *found;

        if (access(path, R_OK) < 0)
                return NULL;
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!handle)
                return NULL;
        found = dlsym(handle, function);
        if (found && dladdr(found, &they) && dladdr(ours, &we) && they.dli_fbase != we.dli_fbase)
                return handle;
        dlclose(handle);
        return NULL;
}

static void *find_in_list(const char *list, const char *soname, const char *function, const void *ours)
{
        char path[512];

        while (list && *list) {
                size_t n = strcspn(list, ":");

                if (n && n + 1 + strlen(soname) < sizeof path) {
                        void *handle;

                        memcpy(path, list, n);
                        path[n] = '/';
                        strcpy(path + n + 1, soname);
                        handle = open_other(path, function, ours);
                        if (handle)
                                return handle;
                }
                list += n + (list[n] == ':');
        }
        return NULL;
}

void *library_open_real(const char *soname, const char *given, const char *function, const void *ours)
{
        void *handle;

        if (given && *given)
                return open_other(given, function, ours);
        handle = find_in_list(secure_getenv("LD_LIBRARY_PATH"), soname, function, ours);
        return handle ? handle : find_in_list(usual, soname, function, ours);
}
