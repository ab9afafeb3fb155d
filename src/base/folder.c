/* folder.c: one folder after the other from the root on; see folder.h. */
#include "base/folder.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

static int make_one(const char *path, mode_t mode)
{
        struct stat st;

        if (mkdir(path, mode) == 0)
                return 0;
        if (errno != EEXIST)
                return -errno;
        return stat(path, &st) < 0 ? -errno : S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int folder_make(const char *path, mode_t above, mode_t mode)
{
        char part[PATH_MAX];
        size_t length = strlen(path);

        if (length >= sizeof part)
                return -ENAMETOOLONG;
        if (!length)
                return -ENOENT;
        memcpy(part, path, length + 1);
        while (length > 1 && part[length - 1] == '/')
                part[--length] = 0;
        for (char *at = part + 1; *at; at++) {
                int r;

                if (*at != '/')
                        continue;
                *at = 0;
                r = make_one(part, above);
                *at = '/';
                if (r < 0)
                        return r;
        }
        return make_one(part, mode);
}
