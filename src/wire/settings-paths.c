/* settings-paths.c: where settings and the daemon's socket are found; see settings.h. Linked into the interposer too: only libc, no
 * allocation. */
#include "wire/settings.h"

#include <stdio.h>
#include <unistd.h>

static int fits(int length, size_t size)
{
        return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

int settings_default_path(char *path, size_t size)
{
        const char *given = getenv("BERTH_CONFIG"), *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

        if (given && *given)
                return fits(snprintf(path, size, "%s", given), size);
        if (geteuid() == 0)
                return fits(snprintf(path, size, "/etc/berth/berthd.conf"), size);
        if (xdg && *xdg)
                return fits(snprintf(path, size, "%s/berth/berthd.conf", xdg), size);
        if (home && *home)
                return fits(snprintf(path, size, "%s/.config/berth/berthd.conf", home), size);
        return -ENOENT;
}

static int user_socket(char *path, size_t size)
{
        const char *runtime = getenv("XDG_RUNTIME_DIR");

        if (runtime && *runtime)
                return fits(snprintf(path, size, "%s/berth/node.sock", runtime), size);
        return fits(snprintf(path, size, "/tmp/berth-%u/node.sock", (unsigned int)geteuid()), size);
}

#define SYSTEM_SOCKET "/run/berth/node.sock"

int settings_socket_path(const struct settings *settings, char *path, size_t size)
{
        const char *given = getenv("BERTH_SOCKET");

        if (given && *given)
                return fits(snprintf(path, size, "%s", given), size);
        if (settings->socket[0])
                return fits(snprintf(path, size, "%s", settings->socket), size);
        if (geteuid() == 0)
                return fits(snprintf(path, size, SYSTEM_SOCKET), size);
        return user_socket(path, size);
}

int settings_socket_candidate(unsigned int index, char *path, size_t size)
{
        const char *given = getenv("BERTH_SOCKET");

        if (given && *given)
                return index == 0 ? fits(snprintf(path, size, "%s", given), size) : -ENOENT;
        if (index == 0 && geteuid() != 0)
                return user_socket(path, size);
        if (index == (geteuid() != 0))
                return fits(snprintf(path, size, SYSTEM_SOCKET), size);
        return -ENOENT;
}
