/* watch-start.c: see watch-start.h. */
#include "cli/watch-start.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "watchdog/page.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef BERTH_LIBDIR
#define BERTH_LIBDIR "/usr/lib"
#endif

static int find_watchdog(char path[PATH_MAX])
{
        const char *given = getenv("BERTH_WATCHDOG");
        char self[PATH_MAX], candidate[2 * PATH_MAX], *slash;
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

        if (given && *given)
                return realpath(given, path) && access(path, X_OK) == 0 ? 0 : -ENOENT;
        self[n > 0 ? n : 0] = 0;
        slash = strrchr(self, '/');
        if (slash) {
                *slash = 0;
                snprintf(candidate, sizeof candidate, "%s/../watchdog/berth-watchdog", self);
                if (realpath(candidate, path) && access(path, X_OK) == 0)
                        return 0;
        }
        snprintf(candidate, sizeof candidate, "%s/berth/berth-watchdog", BERTH_LIBDIR);
        return realpath(candidate, path) && access(path, X_OK) == 0 ? 0 : -ENOENT;
}

int watch_check(const struct watch_options *o, char message[CLI_MESSAGE])
{
        char path[PATH_MAX];
        uint64_t ns;

        if (!o->wanted)
                return 0;
        if (o->on_hang && strcmp(o->on_hang, "report") != 0 && strcmp(o->on_hang, "term") != 0 && strcmp(o->on_hang, "kill") != 0) {
                snprintf(message, CLI_MESSAGE, "--on-hang: \"%.40s\" is not report, term or kill", o->on_hang);
                return -EINVAL;
        }
        if (o->hang_after && text_parse_duration(o->hang_after, &ns) < 0) {
                snprintf(message, CLI_MESSAGE, "--hang-after: \"%.40s\" is no time, such as 45s or 5min; 0: never", o->hang_after);
                return -EINVAL;
        }
        if (find_watchdog(path) < 0) {
                snprintf(message, CLI_MESSAGE, "--watch: berth-watchdog is not in %s/berth; install it, or set BERTH_WATCHDOG to its path", BERTH_LIBDIR);
                return -ENOENT;
        }
        return 0;
}

/* A page for the program's own count, in memory where there is room for it. The watchdog takes it away at the end. */
static int make_page(char path[PATH_MAX])
{
        const char *folders[] = {getenv("XDG_RUNTIME_DIR"), "/dev/shm", "/tmp"};
        const struct watchdog_page page = {.magic = WATCHDOG_PAGE_MAGIC, .version = 1};

        for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
                scoped_fd int fd = -1;

                if (!folders[i] || !folders[i][0] || (size_t)snprintf(path, PATH_MAX, "%s/berth-progress-XXXXXX", folders[i]) >= PATH_MAX)
                        continue;
                fd = mkostemp(path, O_CLOEXEC);
                if (fd < 0)
                        continue;
                if (ftruncate(fd, WATCHDOG_PAGE_BYTES) == 0 && pwrite(fd, &page, sizeof page, 0) == (ssize_t)sizeof page)
                        return 0;
                (void)unlink(path);
        }
        path[0] = 0;
        return -ENOSPC;
}

static uint64_t own_start(void)
{
        char text[1024], *close_at;
        unsigned long long start = 0;
        scoped_fd int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

        text[n > 0 ? n : 0] = 0;
        close_at = strrchr(text, ')');
        if (!close_at || sscanf(close_at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %llu", &start) != 1)
                return UINT64_MAX;
        return start;
}

struct words {
        char *argv[24];
        size_t count;
        char text[12][64];
        size_t texts;
};

static void add(struct words *w, const char *name, const char *value)
{
        if (w->count + 3 > ARRAY_SIZE(w->argv) || !value)
                return;
        w->argv[w->count++] = (char *)name;
        w->argv[w->count++] = (char *)value;
}

static void add_number(struct words *w, const char *name, uint64_t value)
{
        char *text = w->text[w->texts++];

        snprintf(text, sizeof w->text[0], "%llu", (unsigned long long)value);
        add(w, name, text);
}

int watch_start(const struct watch_options *o, const char *socket, const char *program, char message[CLI_MESSAGE])
{
        char path[PATH_MAX], page[PATH_MAX], report[PATH_MAX], folder[PATH_MAX - 64] = "";
        const char *slash = strrchr(program, '/');
        uint64_t start = own_start();
        struct words w = {0};
        sigset_t all, before;
        pid_t child;
        int r = 0;

        if (!o->wanted)
                return 0;
        r = find_watchdog(path);
        if (r < 0)
                return r;
        (void)make_page(page);
        if (o->report)
                snprintf(report, sizeof report, "%s", o->report);
        else
                snprintf(report, sizeof report, "berth-watchdog-%d.txt", getpid());
        /* It works elsewhere: the path has to be whole. */
        if (report[0] != '/' && getcwd(folder, sizeof folder)) {
                char whole[PATH_MAX];

                if ((size_t)snprintf(whole, sizeof whole, "%s/%s", folder, report) < sizeof whole)
                        memcpy(report, whole, sizeof report);
        }
        add(&w, "berth-watchdog", "--name");
        w.argv[w.count++] = (char *)(slash ? slash + 1 : program);
        add_number(&w, "--pid", (uint64_t)getpid());
        if (start != UINT64_MAX)
                add_number(&w, "--start", start);
        add(&w, "--socket", socket && socket[0] ? socket : NULL);
        add(&w, "--report", report);
        add(&w, "--progress", page[0] ? page : NULL);
        add(&w, "--hang-after", o->hang_after);
        add(&w, "--on-hang", o->on_hang);
        if (o->desktop)
                w.argv[w.count++] = (char *)"--desktop";
        if (o->quiet)
                w.argv[w.count++] = (char *)"--quiet";
        if (page[0] && setenv("BERTH_PROGRESS", page, 1) < 0)
                return -errno;
        fflush(NULL);
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, &before);
        child = fork();
        if (child == 0) {
                /* The program must not find a child that it did not start. */
                if (fork() == 0) {
                        setsid();
                        (void)syscall(SYS_close_range, 3, ~0u, 0);
                        if (chdir("/") == 0) {
                                sigprocmask(SIG_SETMASK, &before, NULL);
                                execv(path, w.argv);
                        }
                }
                _exit(0);
        }
        r = child < 0 ? -errno : 0;
        while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
                ;
        sigprocmask(SIG_SETMASK, &before, NULL);
        if (r < 0)
                snprintf(message, CLI_MESSAGE, "--watch: fork: %s", strerror(-r));
        return r;
}
