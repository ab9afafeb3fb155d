/* installed.c: looks for files of ours from where the running program lies; see installed.h. */
#include "base/installed.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int installed_find(const char *relative, char *path, size_t size)
{
        static const char *const places[] = {"../../..", "../share/berth", "../../share/berth"};
        char self[PATH_MAX], joined[PATH_MAX + 512], full[PATH_MAX], *slash;
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

        self[n > 0 ? n : 0] = 0;
        slash = strrchr(self, '/');
        if (!slash || strlen(relative) > 400)
                return -ENOENT;
        *slash = 0;
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                snprintf(joined, sizeof joined, "%s/%s/%s", self, places[i], relative);
                if (!realpath(joined, full))
                        continue;
                if (snprintf(path, size, "%s", full) >= (int)size)
                        return -ENAMETOOLONG;
                return 0;
        }
        return -ENOENT;
}
