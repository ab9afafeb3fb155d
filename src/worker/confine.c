/* confine.c: finds out what confinement works here, and builds bubblewrap's command line; see confine.h. */
#include "worker/confine.h"

#include "base/error.h"
#include "base/text.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef BERTH_LIBEXECDIR
#define BERTH_LIBEXECDIR "/usr/libexec/berth"
#endif
#ifndef BERTH_BINDIR
#define BERTH_BINDIR "/usr/bin"
#endif
#define TMP_BYTES "536870912" /* of /tmp and /dev/shm each; both lie in memory */

static const char *const names[] = {"auto", "off", "basic", "bwrap"};

int confine_mode_parse(const char *s, enum confine_mode *ret)
{
        for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
                if (!strcmp(s, names[i])) {
                        *ret = (enum confine_mode)i;
                        return 0;
                }
        return -EINVAL;
}

const char *confine_name(enum confine_mode mode)
{
        return names[mode];
}

/* Beside this program, in the build tree's other folder, or installed. */
static bool find_program(const char *name, const char *build_folder, const char *installed, char path[PATH_MAX])
{
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        char *slash;

        if (n > 0) {
                char beside[PATH_MAX];

                self[n] = 0;
                slash = strrchr(self, '/');
                *slash = 0;
                if (snprintf(beside, sizeof beside, "%s/%s", self, name) < PATH_MAX && access(beside, X_OK) == 0 && realpath(beside, path))
                        return true;
                if (snprintf(beside, sizeof beside, "%s/%s/%s", self, build_folder, name) < PATH_MAX && access(beside, X_OK) == 0 && realpath(beside, path))
                        return true;
        }
        if (snprintf(path, PATH_MAX, "%s/%s", installed, name) < PATH_MAX && access(path, X_OK) == 0)
                return true;
        path[0] = 0;
        return false;
}

static bool find_in_path(const char *name, char path[PATH_MAX])
{
        const char *list = getenv("PATH");

        for (const char *p = list && *list ? list : "/usr/local/bin:/usr/bin:/bin"; p; p = strchr(p, ':')) {
                p += *p == ':';
                if (snprintf(path, PATH_MAX, "%.*s/%s", (int)strcspn(p, ":"), p, name) < PATH_MAX && path[0] == '/' && access(path, X_OK) == 0)
                        return true;
        }
        path[0] = 0;
        return false;
}

/* Runs it with nothing to say; true when it ended with 0 within ten seconds. */
static bool works(char **argv)
{
        char *const environment[] = {(char *)"PATH=/usr/bin:/bin", NULL};
        pid_t pid = fork();
        int status;

        if (pid < 0)
                return false;
        if (!pid) {
                int null = open("/dev/null", O_RDWR);

                dup2(null, 0);
                dup2(null, 1);
                dup2(null, 2);
                dup2(null, 3);
                alarm(10);
                execve(argv[0], argv, environment);
                _exit(127);
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return false;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool try_bwrap(struct confine *c)
{
        const struct confine_task t = {.work = "/tmp"};
        char **argv scoped_free = confine_argv(c, &t);
        size_t n = 0;
        bool r;

        if (!argv)
                return false;
        while (argv[n + 1])
                n++;
        /* berth-task's place is taken by its --version, which needs nothing: mounts, namespaces and the program itself are tried. */
        {
                char **with scoped_free = calloc(n + 3, sizeof *with);

                if (!with)
                        return false;
                memcpy(with, argv, (n + 1) * sizeof *with);
                with[n + 1] = (char *)"--version";
                r = works(with);
        }
        return r;
}

static void describe(struct confine *c)
{
        static const char *const what[] = {
                "", "none (limits only)", "basic: no namespaces", "bubblewrap: own mount, pid, ipc, uts and network namespaces",
        };

        snprintf(c->words, sizeof c->words, "%s%s%s; memory and processes of a task are watched", what[c->mode],
                 c->mode == CONFINE_OFF ? "" : c->root ? ", another user" : c->mode == CONFINE_BWRAP ? ", user namespace" : ", the worker's user",
                 c->filter ? ", system call filter" : "");
}

int confine_find(enum confine_mode asked, struct confine *ret, char message[SPEC_MESSAGE])
{
        struct confine c = {.root = geteuid() == 0};

        message[0] = 0;
        if (!find_program("berth-task", "task", BERTH_LIBEXECDIR, c.task)) {
                snprintf(message, SPEC_MESSAGE, "berth-task is neither beside this program nor in %s; install it", BERTH_LIBEXECDIR);
                return -E_UNAVAILABLE;
        }
        if (!find_program("berth", "../cli", BERTH_BINDIR, c.berth))
                (void)find_in_path("berth", c.berth);
        c.mode = asked == CONFINE_AUTO ? CONFINE_BWRAP : asked;
        if (c.mode == CONFINE_BWRAP) {
                if (!find_in_path("bwrap", c.bwrap))
                        snprintf(message, SPEC_MESSAGE, "bubblewrap is not installed (apt-get install bubblewrap)");
                else if (!try_bwrap(&c))
                        snprintf(message, SPEC_MESSAGE, "bubblewrap does not work here: `%.100s --unshare-all --ro-bind / / true' says why", c.bwrap);
                if (message[0] && asked == CONFINE_BWRAP)
                        return -E_UNAVAILABLE;
                if (message[0])
                        c.mode = CONFINE_BASIC;
        }
        c.root = c.root && c.mode != CONFINE_OFF;
#if defined(__x86_64__) || defined(__aarch64__)
        c.filter = c.mode != CONFINE_OFF;
#endif
        describe(&c);
        *ret = c;
        return 0;
}

const char *confine_work(const struct confine *c, const struct confine_task *t)
{
        return c->mode == CONFINE_BWRAP ? "/task" : t->work;
}

#define WORDS 2048

#define TEXT_BYTES 65536

struct words {
        char **list; /* WORDS of them, then TEXT_BYTES of text that some point to */
        size_t count, used;
};

static void add(struct words *w, const char *word)
{
        if (w->count + 1 < WORDS)
                w->list[w->count++] = (char *)word;
}

static void add_all(struct words *w, const char *const *list)
{
        for (; *list; list++)
                add(w, *list);
}

static void bind(struct words *w, const char *how, const char *path)
{
        add(w, how);
        add(w, path);
        add(w, path);
}

/* The folders above it, which bubblewrap would make for itself alone. */
static void open_way(struct words *w, const char *path)
{
        for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                char *to = (char *)(w->list + WORDS) + w->used;
                size_t bytes = (size_t)(slash - path);

                if (w->used + bytes + 1 > TEXT_BYTES)
                        return;
                memcpy(to, path, bytes);
                to[bytes] = 0;
                w->used += bytes + 1;
                add(w, "--perms");
                add(w, "0755");
                add(w, "--dir");
                add(w, to);
        }
}

/* /bin and the like are links into /usr on merged systems, folders of their own elsewhere. */
static void add_system(struct words *w)
{
        static const char *const top[] = {"/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32"};
        static const char *const to[] = {"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/lib32", "usr/libx32"};
        static const char *const etc[] = {
                "/etc/ld.so.cache", "/etc/ld.so.conf",   "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/passwd", "/etc/group",   "/etc/nsswitch.conf",
                "/etc/hosts",       "/etc/ssl/certs",    "/etc/ca-certificates", "/etc/pki",       "/etc/localtime", "/etc/mime.types", "/etc/services",
                "/etc/protocols",   "/etc/OpenCL",       "/etc/vulkan",       "/etc/fonts",
        };
        struct stat st;

        bind(w, "--ro-bind", "/usr");
        for (size_t i = 0; i < ARRAY_SIZE(top); i++) {
                if (lstat(top[i], &st) < 0)
                        continue;
                if (S_ISLNK(st.st_mode)) {
                        add(w, "--symlink");
                        add(w, to[i]);
                        add(w, top[i]);
                } else {
                        bind(w, "--ro-bind", top[i]);
                }
        }
        bind(w, "--ro-bind-try", "/opt");
        for (size_t i = 0; i < ARRAY_SIZE(etc); i++) {
                open_way(w, etc[i]);
                bind(w, "--ro-bind-try", etc[i]);
        }
}

static void add_device(struct words *w, const struct confine *c, const struct confine_task *t)
{
        static const char *const nodes[] = {
                "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset", "/dev/nvidia-caps", "/dev/nvidia0",
                "/dev/nvidia1",   "/dev/nvidia2",    "/dev/nvidia3",          "/dev/nvidia4",        "/dev/nvidia5",     "/dev/nvidia6",
                "/dev/nvidia7",   "/dev/dri",        "/dev/kfd",              "/dev/accel",          "/sys",
        };
        const char *software = getenv("BERTH_SOFTWARE_DIR");

        for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
                bind(w, i + 1 < ARRAY_SIZE(nodes) ? "--dev-bind-try" : "--ro-bind-try", nodes[i]);
        if (t->berth_socket) {
                open_way(w, t->berth_socket);
                bind(w, "--bind-try", t->berth_socket);
        }
        if (software && software[0] == '/') {
                open_way(w, software);
                bind(w, "--bind-try", software);
        }
}

char **confine_argv(const struct confine *c, const struct confine_task *t)
{
        static const char *const first[] = {
                "--die-with-parent", "--new-session", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "task", NULL,
        };
        static const char *const last[] = {
                "--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", TMP_BYTES, "--tmpfs", "/dev/shm", "--perms", "1777", "--size", TMP_BYTES,
                "--tmpfs", "/tmp", "--perms", "0755", "--dir", "/run/berth", NULL,
        };
        struct words w = {.list = calloc(1, WORDS * sizeof *w.list + TEXT_BYTES)};

        if (!w.list)
                return NULL;
        if (c->mode != CONFINE_BWRAP) {
                add(&w, c->task);
                return w.list;
        }
        add(&w, c->bwrap);
        add_all(&w, first);
        if (!t->network)
                add(&w, "--unshare-net");
        if (c->root) {
                /* What berth-task needs to become the task's user; gone with the change. */
                static const char *const rights[] = {"--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", NULL};

                add_all(&w, rights);
        } else {
                add(&w, "--unshare-user");
        }
        add_system(&w);
        if (t->network)
                bind(&w, "--ro-bind-try", "/etc/resolv.conf");
        add_all(&w, last);
        bind(&w, "--ro-bind-try", "/sys/devices/system/cpu");
        if (t->device)
                add_device(&w, c, t);
        for (const char *const *f = t->read; f && *f; f++) {
                open_way(&w, *f);
                bind(&w, "--ro-bind-try", *f);
        }
        for (const char *const *f = t->write; f && *f; f++) {
                open_way(&w, *f);
                bind(&w, "--bind-try", *f);
        }
        add(&w, "--ro-bind");
        add(&w, c->task);
        add(&w, "/run/berth/berth-task");
        add(&w, "--bind");
        add(&w, t->work);
        add(&w, "/task");
        /* What bubblewrap made itself lies in memory and belongs to an unprivileged worker's tasks: no place to write to. */
        add(&w, "--remount-ro");
        add(&w, "/dev");
        add(&w, "--remount-ro");
        add(&w, "/");
        add(&w, "--");
        add(&w, "/run/berth/berth-task");
        return w.list;
}
