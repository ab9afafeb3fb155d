/* own.c: descent and environment of processes; see own.h. */
#include "nvml/own.h"

#include "base/fd.h"
#include "base/scope.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GENERATIONS 64
#define ENVIRONMENT (1 << 20)

/* Parent and start time, fields 4 and 22 of /proc/PID/stat, after the name, which may hold anything. */
static bool look(pid_t pid, pid_t *ret_parent, uint64_t *ret_start)
{
        char path[32], text[1024], *p;
        scoped_fd int fd = -1;
        ssize_t n;

        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        if (n <= 0)
                return false;
        text[n] = 0;
        p = strrchr(text, ')');
        if (!p || strlen(p) < 4)
                return false;
        *ret_parent = (pid_t)strtol(p + 4, NULL, 10);
        for (int i = 0; p && i < 20; i++)
                p = strchr(p + 1, ' ');
        if (!p)
                return false;
        *ret_start = strtoull(p + 1, NULL, 10);
        return true;
}

static bool descends(pid_t pid, pid_t root, uint64_t root_start)
{
        for (int i = 0; i < GENERATIONS && pid > 0; i++) {
                pid_t parent;
                uint64_t start;

                if (!look(pid, &parent, &start))
                        return false;
                if (pid == root)
                        return !root_start || start == root_start;
                pid = parent;
        }
        return false;
}

/* Does /proc/PID/environ hold this entry? Read in pieces; what may be the entry's beginning is kept for the next one. */
static bool has_entry(pid_t pid, const char *entry)
{
        char path[32], text[4096];
        size_t size = strlen(entry) + 1, kept = 1, total = 0;
        scoped_fd int fd = -1;

        snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        text[0] = 0; /* as if an entry had ended before the first */
        while (fd >= 0 && total < ENVIRONMENT) {
                ssize_t n = read(fd, text + kept, sizeof text - kept);

                if (n <= 0)
                        return false;
                total += (size_t)n;
                kept += (size_t)n;
                for (size_t i = 0; i + size < kept; i++)
                        if (!text[i] && !memcmp(text + i + 1, entry, size))
                                return true;
                if (kept > size) {
                        memmove(text, text + kept - size, size);
                        kept = size;
                }
        }
        return false;
}

bool own_process_of(const char *run, pid_t pid)
{
        char entry[64], *rest;
        long root;
        uint64_t start;

        if (pid <= 0)
                return false;
        if (pid == getpid())
                return true;
        if (!run || !*run)
                return descends(pid, getpid(), 0);
        if (strlen(run) >= sizeof entry - sizeof "BERTH_RUN=")
                return false;
        root = strtol(run, &rest, 10);
        start = strtoull(rest, NULL, 10);
        if (root > 0 && start && descends(pid, (pid_t)root, start))
                return true;
        snprintf(entry, sizeof entry, "BERTH_RUN=%s", run);
        return has_entry(pid, entry);
}

bool own_process(pid_t pid)
{
        return own_process_of(secure_getenv("BERTH_RUN"), pid);
}
