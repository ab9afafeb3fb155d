/* launch.c: finds interposer and driver and prepares a program's environment; see launch.h. */
#include "cli/launch.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "wire/wire.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define PROBE_MS 20000 /* a first load of a real driver may be slow */

static int say(char message[CLI_MESSAGE], int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int say(char message[CLI_MESSAGE], int error, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(message, CLI_MESSAGE, format, args);
        va_end(args);
        return error;
}

static int check_share(const char *option, const char *text, uint64_t *ret_bytes, uint32_t *ret_permille, char message[CLI_MESSAGE])
{
        int r;

        *ret_bytes = *ret_permille = 0;
        if (!text)
                return 0;
        r = text_parse_share(text, ret_bytes, ret_permille);
        if (r == 0 && !*ret_bytes && !*ret_permille)
                r = -EINVAL;
        if (r < 0)
                return say(message, r, "%s: \"%s\" is %s; give a size such as 12GiB, or a share of the device such as 40%%", option, text,
                           r == -ERANGE ? "out of bounds (0.1 to 100 percent)" : "neither size nor share");
        return 0;
}

int launch_check(struct launch *l, char message[CLI_MESSAGE])
{
        uint64_t bytes, soft_bytes, bytes_of_job;
        uint32_t permille, soft_permille, permille_of_job, priority;
        int r;

        r = check_share("--memory", l->memory, &bytes, &permille, message);
        if (r == 0)
                r = check_share("--soft-memory", l->soft_memory, &soft_bytes, &soft_permille, message);
        if (r == 0)
                r = check_share("--job-memory", l->job_memory, &bytes_of_job, &permille_of_job, message);
        if (r < 0)
                return r;
        if ((bytes && soft_bytes >= bytes) || (permille && soft_permille >= permille))
                return say(message, -EINVAL, "--soft-memory %s is not below --memory %s: it would never be reached", l->soft_memory, l->memory);
        if (l->job_memory && !l->job)
                return say(message, -EINVAL, "--job-memory limits the programs of a job together: give its name, too (--job NAME)");
        if (l->job_memory && l->need)
                return say(message, -EINVAL, "--need and --job-memory don't go together: what one program is sure of, the job's others would lack");
        if (l->need) {
                r = text_parse_bytes(l->need, &bytes);
                if (r == 0 && !bytes)
                        r = -EINVAL;
                if (r < 0)
                        return say(message, r, "--need: \"%s\" is no size; give one such as 20GiB", l->need);
        }
        if (l->priority && wire_priority_parse(l->priority, &priority) < 0)
                return say(message, -EINVAL, "--priority: \"%s\" is none of interactive, normal, batch", l->priority);
        if (l->job && (!l->job[0] || !text_is_clean(l->job, sizeof((struct wire_HELLO *)0)->job)))
                return say(message, -EINVAL, "--job: \"%.60s\" is no name of 1 to %zu printable ASCII characters",
                           l->job, sizeof((struct wire_HELLO *)0)->job - 1);
        return 0;
}

bool launch_blocking(void)
{
        const char *value = getenv("CUDA_LAUNCH_BLOCKING");

        return value && *value && strcmp(value, "0");
}

static bool readable(const char *path)
{
        return access(path, R_OK) == 0;
}

/* The first that exists: the variable's file, below the executable's own folder (build tree), below the library folder
 * (installed). */
static int find(const char *variable, const char *beside, const char *installed, char path[PATH_MAX])
{
        const char *given = variable ? getenv(variable) : NULL;
        char self[PATH_MAX], candidate[2 * PATH_MAX];
        ssize_t n;

        if (given && *given)
                return realpath(given, path) && readable(path) ? 0 : -ENOENT;
        n = readlink("/proc/self/exe", self, sizeof self - 1);
        if (n > 0) {
                char *slash;

                self[n] = 0;
                slash = strrchr(self, '/');
                if (slash) {
                        *slash = 0;
                        snprintf(candidate, sizeof candidate, "%s/%s", self, beside);
                        if (realpath(candidate, path) && readable(path))
                                return 0;
                }
        }
        snprintf(candidate, sizeof candidate, "%s/%s", BERTH_LIBDIR, installed);
        return realpath(candidate, path) && readable(path) ? 0 : -ENOENT;
}

int launch_find_library(struct launch *l, char message[CLI_MESSAGE])
{
        const char *given = getenv("BERTH_LIBRARY");
        int r = find("BERTH_LIBRARY", "../cuda/libberth-cuda.so", "berth/libberth-cuda.so", l->library);

        if (r < 0 && given && *given)
                return say(message, r, "BERTH_LIBRARY names %s, which can't be read; unset it or correct it", given);
        if (r < 0)
                return say(message, r,
                           "libberth-cuda.so is not in %s/berth; install it, or set BERTH_LIBRARY to its path",
                           BERTH_LIBDIR);
        return 0;
}

/* In the child: whatever the library does at its start happens here and ends with it. The answer is "path\nversion\n".
 */
static void probe(const char *name, int fd)
{
        void *handle = dlopen(name, RTLD_LAZY | RTLD_LOCAL);
        int (*version)(int *); /* cuDriverGetVersion; 0 is success */
        struct link_map *map = NULL;
        char real[PATH_MAX];
        int number = 0;

        if (!handle) {
                dprintf(fd, "!%s\n", dlerror());
                _exit(1);
        }
        if (dlinfo(handle, RTLD_DI_LINKMAP, &map) < 0 || !map || !realpath(map->l_name, real)) {
                dprintf(fd, "!cannot tell where %s was found\n", name);
                _exit(1);
        }
        *(void **)&version = dlsym(handle, "cuDriverGetVersion");
        if (version && version(&number) == 0 && number > 0)
                dprintf(fd, "%s\n%d.%d\n", real, number / 1000, number % 1000 / 10);
        else
                dprintf(fd, "%s\n", real);
        _exit(0);
}

/* Everything until the end of the stream or the deadline. */
static int read_all(int fd, char *text, size_t size)
{
        uint64_t deadline = clock_now_ns() + PROBE_MS * NS_PER_MS;
        size_t length = 0;

        for (;;) {
                struct pollfd p = {.fd = fd, .events = POLLIN};
                uint64_t now = clock_now_ns();
                int r = poll(&p, 1, now >= deadline ? 0 : (int)((deadline - now) / NS_PER_MS) + 1);
                ssize_t n;

                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0)
                        return r < 0 ? -errno : -ETIMEDOUT;
                n = read(fd, text + length, size - 1 - length);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0 || (length += (size_t)n) == size - 1)
                        break;
        }
        text[length] = 0;
        return 0;
}

int launch_probe(const char *name, char path[PATH_MAX], char *version, char message[CLI_MESSAGE])
{
        char text[PATH_MAX + 64] = "", *end, *rest;
        int ends[2], r;
        pid_t child;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return say(message, -errno, "pipe: %s", strerror(errno));
        fflush(NULL);
        child = fork();
        if (child < 0) {
                r = -errno;
                close(ends[0]);
                close(ends[1]);
                return say(message, r, "fork: %s", strerror(-r));
        }
        if (child == 0)
                probe(name, ends[1]);
        close(ends[1]);
        r = read_all(ends[0], text, sizeof text);
        close(ends[0]);
        if (r < 0)
                kill(child, SIGKILL);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
                ;
        if (r < 0)
                return say(message, r, "loading %s took longer than %d s", name, PROBE_MS / 1000);
        end = strchr(text, '\n');
        if (!end || text[0] == '!') {
                if (end)
                        *end = 0;
                return say(message, -ENOENT, "%.400s",
                           text[0] == '!' ? text + 1 : "it ended the program that loaded it");
        }
        *end = 0;
        snprintf(path, PATH_MAX, "%.*s", PATH_MAX - 1, text);
        if (version) {
                rest = end + 1;
                rest[strcspn(rest, "\n")] = 0;
                snprintf(version, 32, "%.31s", rest);
        }
        return 0;
}

int launch_find_driver(struct launch *l, char message[CLI_MESSAGE])
{
        const char *given = getenv("BERTH_DRIVER");
        char why[CLI_MESSAGE];
        int r;

        if (given && *given) {
                if (!realpath(given, l->driver) || !readable(l->driver))
                        return say(message, -ENOENT,
                                   "BERTH_DRIVER names %s, which can't be read; unset it or correct it", given);
                return 0;
        }
        if (l->software) {
                r = find(NULL, "../../tests/fake/libcuda.so.1", "berth/software/libcuda.so.1", l->driver);
                if (r < 0)
                        return say(message, r,
                                   "the daemon shares a software device, but its libcuda.so.1 is not in "
                                   "%s/berth/software; install it, or "
                                   "set BERTH_DRIVER to its path",
                                   BERTH_LIBDIR);
                return 0;
        }
        r = launch_probe("libcuda.so.1", l->driver, l->driver_version, why);
        if (r < 0)
                return say(
                        message, r,
                        "no NVIDIA driver found (%.300s); install it, or set BERTH_DRIVER to the path of libcuda.so.1",
                        why);
        return 0;
}

int launch_find_nvml(struct launch *l, char message[CLI_MESSAGE])
{
        const char *given = getenv("BERTH_NVML"), *slash = strrchr(l->library, '/');
        char beside[PATH_MAX + 32], why[CLI_MESSAGE];
        int r;

        l->nvml[0] = 0;
        snprintf(beside, sizeof beside, "%.*s/libberth-nvml.so", slash ? (int)(slash - l->library) : 0, l->library);
        if (!(slash && realpath(beside, l->nvml_library) && readable(l->nvml_library)) &&
            find(NULL, "../nvml/libberth-nvml.so", "berth/libberth-nvml.so", l->nvml_library) < 0) {
                l->nvml_library[0] = 0;
                return say(message, -ENOENT, "libberth-nvml.so is neither beside %.200s nor in %s/berth; install it", l->library, BERTH_LIBDIR);
        }
        if (given && *given)
                r = realpath(given, l->nvml) && readable(l->nvml) ? 0 : say(why, -ENOENT, "BERTH_NVML names %.200s, which can't be read", given);
        else if (l->software)
                r = find(NULL, "../../tests/fake/libnvidia-ml.so.1", "berth/software/libnvidia-ml.so.1", l->nvml) < 0
                            ? say(why, -ENOENT, "the software device's is not in %s/berth/software", BERTH_LIBDIR)
                            : 0;
        else
                r = launch_probe("libnvidia-ml.so.1", l->nvml, NULL, why);
        if (r < 0) {
                l->nvml_library[0] = l->nvml[0] = 0;
                return say(message, r, "no NVML found (%.300s)", why);
        }
        return 0;
}

int launch_preload(const char *library, const char *before, char **ret, char message[CLI_MESSAGE])
{
        size_t length = strlen(library);

        if (strpbrk(library, ": \t\n"))
                return say(message, -EINVAL,
                           "the path %s holds a space or a colon, which LD_PRELOAD can't carry; install it elsewhere "
                           "or set "
                           "BERTH_LIBRARY",
                           library);
        if (!before)
                before = "";
        for (const char *at = before; (at = strstr(at, library)); at += length)
                if ((at == before || strchr(": ", at[-1])) && (!at[length] || strchr(": ", at[length]))) {
                        *ret = strdup(before);
                        return *ret ? 0 : say(message, -ENOMEM, "out of memory");
                }
        if (asprintf(ret, "%s%s%s", library, *before ? ":" : "", before) < 0)
                return say(message, -ENOMEM, "out of memory");
        return 0;
}

static int put(const char *name, const char *value)
{
        return value && setenv(name, value, 1) < 0 ? -errno : 0;
}

static int put_number(const char *name, uint64_t value)
{
        char text[24];

        snprintf(text, sizeof text, "%llu", (unsigned long long)value);
        return put(name, text);
}

/* This process as the program that it becomes: number and start time, by which what descends from it is known to the NVML stand-in. */
static int put_run(void)
{
        char text[1024], run[64], *p;
        scoped_fd int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

        text[n > 0 ? n : 0] = 0;
        p = strrchr(text, ')');
        for (int i = 0; p && i < 20; i++)
                p = strchr(p + 1, ' ');
        snprintf(run, sizeof run, "%d %llu", (int)getpid(), p ? strtoull(p, NULL, 10) : 0);
        return put("BERTH_RUN", run);
}

/* Never the number of a run around this one: each tells of its own. */
static int put_run_number(uint64_t run)
{
        char text[24];

        snprintf(text, sizeof text, "%llx", (unsigned long long)run);
        return run ? put("BERTH_RUN_NUMBER", text) : unsetenv("BERTH_RUN_NUMBER") < 0 ? -errno : 0;
}

int launch_environment(const struct launch *l, char message[CLI_MESSAGE])
{
        char *preload scoped_free = NULL, *with_nvml scoped_free = NULL;
        uint64_t bytes;
        int r;

        if (l->nvml_library[0]) {
                r = launch_preload(l->nvml_library, getenv("LD_PRELOAD"), &with_nvml, message);
                if (r < 0)
                        return r;
        }
        r = launch_preload(l->library, with_nvml ? with_nvml : getenv("LD_PRELOAD"), &preload, message);
        if (r < 0)
                return r;
        r = put("LD_PRELOAD", preload);
        if (r >= 0)
                r = put("BERTH_DRIVER", l->driver);
        if (r >= 0 && l->nvml[0])
                r = put("BERTH_NVML", l->nvml);
        if (r >= 0)
                r = put_run();
        if (r >= 0)
                r = put("BERTH_SOCKET", l->socket);
        if (r >= 0)
                r = put("BERTH_MEMORY", l->memory);
        if (r >= 0)
                r = put("BERTH_SOFT_MEMORY", l->soft_memory);
        if (r >= 0)
                r = put("BERTH_JOB_MEMORY", l->job_memory);
        if (r >= 0 && l->need && text_parse_bytes(l->need, &bytes) == 0)
                r = put_number("BERTH_NEED", bytes);
        if (r >= 0)
                r = put_run_number(l->run);
        if (r >= 0)
                r = put("BERTH_PRIORITY", l->priority);
        if (r >= 0)
                r = put("BERTH_JOB", l->job);
        /* The software device takes its shape from here; daemon and programs must see the same one. */
        if (r >= 0 && l->software && l->software_bytes)
                r = put_number("BERTH_SOFTWARE_MEMORY", l->software_bytes);
        if (r >= 0 && l->software && l->software_devices)
                r = put_number("BERTH_SOFTWARE_DEVICES", l->software_devices);
        if (r < 0)
                return say(message, r, "setting the environment: %s", strerror(-r));
        return 0;
}

int launch_exec(char **argv)
{
        int error;

        fflush(NULL);
        execvp(argv[0], argv);
        error = errno;
        cli_error("cannot run %s: %s", argv[0], strerror(error));
        return error == ENOENT ? CLI_NOT_FOUND : CLI_CANNOT_RUN;
}
