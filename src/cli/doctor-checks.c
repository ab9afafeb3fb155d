/* doctor-checks.c: looks at the machine, changes nothing; see doctor-checks.h. */
#include "cli/doctor-checks.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "cli/launch.h"
#include "cli/probes-client.h"
#include "cli/snapshot.h"

#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#define PROBES_PATIENCE_NS UINT64_C(15000000000)

static void found(struct check *c, enum finding finding, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void found(struct check *c, enum finding finding, const char *format, ...)
{
        va_list args;

        c->finding = finding;
        va_start(args, format);
        vsnprintf(c->found, sizeof c->found, format, args);
        va_end(args);
}

static void advise(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void advise(struct check *c, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(c->advice, sizeof c->advice, format, args);
        va_end(args);
}

static void check_driver(struct check *c, bool software)
{
        struct launch l = {0};
        char message[CLI_MESSAGE];

        c->name = "driver";
        if (launch_probe("libcuda.so.1", l.driver, l.driver_version, message) == 0) {
                found(c, FINDING_OK, "%.120s, CUDA %s", l.driver,
                      l.driver_version[0] ? l.driver_version : "version unavailable");
                return;
        }
        found(c, software ? FINDING_WARNING : FINDING_MISSING, "%.150s", message);
        advise(c, software ? "nothing to do for the software device; GPUs need the NVIDIA driver"
                           : "install the NVIDIA driver; without a GPU, a software device: device.kind = software in "
                             "berthd.conf");
}

static void check_nvml(struct check *c, bool software)
{
        char path[PATH_MAX], message[CLI_MESSAGE];

        c->name = "nvml";
        if (launch_probe("libnvidia-ml.so.1", path, NULL, message) == 0) {
                found(c, FINDING_OK, "%.150s", path);
                return;
        }
        found(c, FINDING_WARNING, "%.150s", message);
        advise(c, software ? "nothing to do for the software device"
                           : "comes with the NVIDIA driver; without it temperature, power and memory of other programs "
                             "are unavailable");
}

static void check_library(struct check *c)
{
        struct launch l = {0};
        char message[CLI_MESSAGE];

        c->name = "interposer";
        if (launch_find_library(&l, message) == 0) {
                found(c, FINDING_OK, "%.150s", l.library);
                return;
        }
        found(c, FINDING_MISSING, "libberth-cuda.so not found");
        advise(c, "%.300s", message);
}

static void check_nvml_library(struct check *c, bool software)
{
        struct launch l = {.software = software};
        char message[CLI_MESSAGE];

        c->name = "nvml hooks";
        if (launch_find_library(&l, message) == 0 && launch_find_nvml(&l, message) == 0) {
                found(c, FINDING_OK, "%.150s", l.nvml_library);
                return;
        }
        found(c, FINDING_WARNING, "not in use");
        advise(c, "%.200s; inside programs NVML and nvidia-smi then show the whole card", message);
}

/* Three lines from one connection: the daemon, its socket, its arena against its devices. */
static size_t check_daemon(struct check *c, bool *ret_software)
{
        struct check *daemon = c, *socket = c + 1, *arena = c + 2;
        scoped_connection struct connection connection = CONNECTION_CLOSED;
        scoped_snapshot struct snapshot s = {0};
        char message[CLI_MESSAGE];
        size_t shared = 0;
        uint64_t total = 0;
        bool known = true;
        int r;

        daemon->name = "daemon";
        socket->name = "socket";
        arena->name = "arena";
        r = connection_open(&connection, message);
        if (r >= 0)
                found(socket, FINDING_OK, "%s", connection.path);
        else
                found(socket, FINDING_MISSING, "%s", r == -E_UNAVAILABLE ? "nobody listens" : error_text(r));
        if (r >= 0)
                r = snapshot_fetch(&connection, &s, message);
        if (r < 0) {
                found(daemon, FINDING_MISSING, "%s", error_text(r));
                advise(daemon, "%.310s", message);
                found(arena, FINDING_WARNING, "unavailable");
                advise(arena, "the daemon would tell");
                return 3;
        }
        if (strcmp(s.daemon.version, BERTH_VERSION)) {
                found(daemon, FINDING_WARNING, "berthd %s, pid %u; this is berth " BERTH_VERSION, s.daemon.version,
                      s.daemon.pid);
                advise(daemon, "restart the daemon after an update, and use the same release of both");
        } else {
                found(daemon, FINDING_OK, "berthd %s, pid %u, %zu device%s", s.daemon.version, s.daemon.pid,
                      s.device_count, s.device_count == 1 ? "" : "s");
        }
        for (size_t i = 0; i < s.device_count; i++) {
                if (!snapshot_shared(&s.devices[i]))
                        continue;
                shared++;
                known &= !!(s.devices[i].valid & WIRE_VALID_TOTAL);
                if (__builtin_add_overflow(total, s.devices[i].total_bytes, &total))
                        total = UINT64_MAX;
                *ret_software |= s.devices[i].kind == WIRE_SOFTWARE;
        }
        if (!shared) {
                daemon->finding = FINDING_MISSING;
                advise(daemon, "it found no device to share: install the NVIDIA driver, or set device.kind = software "
                               "in berthd.conf");
        }
        if (shared && known) {
                doctor_judge_arena(arena, s.daemon.arena_bytes, total);
        } else {
                found(arena, FINDING_WARNING, "unavailable");
                advise(arena, "the memory of the devices is not known");
        }
        return 3;
}

void doctor_judge_arena(struct check *c, uint64_t arena_bytes, uint64_t device_bytes)
{
        char arena[16], device[16];

        text_bytes(arena_bytes, arena, sizeof arena);
        text_bytes(device_bytes, device, sizeof device);
        c->name = "arena";
        found(c, arena_bytes >= device_bytes ? FINDING_OK : FINDING_WARNING,
              "%s of host memory for %s of device memory", arena, device);
        if (c->finding != FINDING_OK)
                advise(c, "a full device can't be swapped out whole; raise arena.size in berthd.conf, or add memory");
}

static void check_memlock(struct check *c)
{
        struct rlimit limit;
        char text[16];

        c->name = "memlock";
        if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0) {
                found(c, FINDING_WARNING, "unavailable");
        } else if (limit.rlim_cur == RLIM_INFINITY) {
                found(c, FINDING_OK, "unlimited");
        } else {
                found(c, limit.rlim_cur >= 64 * MIB ? FINDING_OK : FINDING_WARNING, "%s",
                      text_bytes(limit.rlim_cur, text, sizeof text));
                if (c->finding != FINDING_OK)
                        advise(c, "some drivers count registered host memory against it; raise it with `ulimit -l', "
                                  "limits.conf or "
                                  "LimitMEMLOCK=infinity if registering fails");
        }
}

static void check_memfd(struct check *c)
{
        scoped_fd int fd = memfd_create("berth-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        c->name = "memfd";
        if (fd >= 0 && ftruncate(fd, 4096) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0) {
                found(c, FINDING_OK, "works, with seals");
                return;
        }
        found(c, FINDING_MISSING, "%s", strerror(errno));
        advise(c, "the daemon keeps swapped memory in memfds; use a kernel and a sandbox that allow memfd_create and "
                  "its seals");
}

int doctor_choice(const char *text, char *choice, size_t size)
{
        const char *from = strchr(text, '['), *to = from ? strchr(from, ']') : NULL;

        if (!to || to == from + 1 || (size_t)(to - from) > size)
                return -EINVAL;
        memcpy(choice, from + 1, (size_t)(to - from - 1));
        choice[to - from - 1] = 0;
        return 0;
}

static void check_huge_pages(struct check *c)
{
        static const char path[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
        scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
        char text[256], choice[32];
        ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

        c->name = "huge pages";
        text[n > 0 ? n : 0] = 0;
        if (doctor_choice(text, choice, sizeof choice) < 0) {
                found(c, FINDING_WARNING, "unavailable: %s can't be read", path);
                advise(c, "swapping works, but registering host memory is slower without huge pages");
                return;
        }
        found(c, strcmp(choice, "never") && strcmp(choice, "deny") ? FINDING_OK : FINDING_WARNING, "shmem: %s", choice);
        if (c->finding != FINDING_OK)
                advise(c, "as root: echo advise > %s; it makes host memory quicker to register and to touch", path);
}

static void check_membarrier(struct check *c)
{
        long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

        c->name = "membarrier";
        if (commands >= 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED)) {
                found(c, FINDING_OK, "private expedited");
                return;
        }
        found(c, FINDING_MISSING, "%s", commands < 0 ? strerror(errno) : "no private expedited command");
        advise(c, "the gate in programs needs it (Linux 4.14); in a container, allow the membarrier call");
}

static void check_pidfd(struct check *c)
{
        scoped_fd int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

        c->name = "pidfd";
        if (fd >= 0) {
                found(c, FINDING_OK, "works");
                return;
        }
        found(c, FINDING_WARNING, "%s", strerror(errno));
        advise(c, "Linux 5.3 has it; without it a reused process number could be mistaken for the old process");
}

static void check_pressure(struct check *c)
{
        scoped_fd int fd = open("/proc/pressure/memory", O_RDONLY | O_CLOEXEC);
        char text[64];

        c->name = "pressure";
        if (fd >= 0 && read(fd, text, sizeof text) > 0) {
                found(c, FINDING_OK, "PSI is on");
                return;
        }
        found(c, FINDING_WARNING, "unavailable: %s", strerror(errno));
        advise(c, "boot with psi=1 to let the daemon see pressure on host memory");
}

/* What a program started from here would bring along. */
static void check_environment(struct check *c)
{
        const char *fraction = getenv("CUDA_MEMORY_FRACTION");
        uint32_t permille;

        c->name = "environment";
        found(c, FINDING_OK, "nothing that changes how programs run");
        if (fraction && *fraction && text_parse_fraction(fraction, &permille) == 0) {
                found(c, FINDING_OK, "CUDA_MEMORY_FRACTION=%.40s limits programs to %u.%u %% of each device", fraction, permille / 10, permille % 10);
        } else if (fraction && *fraction) {
                found(c, FINDING_WARNING, "CUDA_MEMORY_FRACTION=%.40s is ignored", fraction);
                advise(c, "give a fraction above 0 and up to 1, such as 0.4, or unset it");
        }
        if (launch_blocking()) {
                found(c, FINDING_WARNING, "CUDA_LAUNCH_BLOCKING=%.40s", getenv("CUDA_LAUNCH_BLOCKING"));
                advise(c, "each launch waits for its end, which costs time; unset it unless you look for a fault");
        }
}

/* Which kind of probe the kernel took for each family, and what it refused. */
static size_t check_probes(struct check *c)
{
        static const char *const names[PROBES_FAMILY_N] = {"file probes", "gpu probes", "block probes", "scheduler probes", "system call probes"};
        __attribute__((cleanup(probes_unmap_at))) const struct probes_snapshot *s = NULL;
        scoped_connection struct connection connection = CONNECTION_CLOSED;
        char message[CLI_MESSAGE];
        int r = connection_open(&connection, message);

        if (r >= 0)
                r = probes_fetch_within(&connection, PROBES_EVERY, PROBES_PATIENCE_NS, &s, message);
        if (r < 0) {
                c->name = "probes";
                found(c, FINDING_WARNING, "unavailable");
                advise(c, "%.310s", message);
                return 1;
        }
        for (uint32_t i = 0; i < PROBES_FAMILY_N; i++, c++) {
                const struct probes_family *f = &s->families[i];
                size_t at = 0;

                c->name = names[i];
                if (f->state == PROBES_ATTACHED)
                        found(c, FINDING_OK, "%s", probes_rung_name(f->rung));
                else
                        found(c, f->state == PROBES_UNAVAILABLE ? FINDING_WARNING : FINDING_OK, "%s", probes_state_name(f->state));
                for (uint32_t k = 0; k < f->refused_count; k++) {
                        at = strlen(c->found);
                        snprintf(c->found + at, sizeof c->found - at, "%s%s (%s)", k ? ", " : "; refused: ", probes_rung_name(f->refused[k].rung),
                                 error_name(f->refused[k].error));
                }
                if (f->state == PROBES_UNAVAILABLE && f->refused_count)
                        advise(c, "the last said: %.200s; probes need root (CAP_BPF, CAP_PERFMON) and a kernel with type information", f->refused[f->refused_count - 1].text);
        }
        return PROBES_FAMILY_N;
}

static void check_kernel(struct check *c)
{
        struct utsname name;

        c->name = "kernel";
        if (uname(&name) < 0)
                found(c, FINDING_WARNING, "unavailable");
        else
                found(c, FINDING_OK, "%.60s %.60s %.20s", name.sysname, name.release, name.machine);
}

size_t doctor_checks(struct check checks[DOCTOR_CHECKS])
{
        bool software = false;
        size_t n = 4;

        memset(checks, 0, DOCTOR_CHECKS * sizeof *checks);
        /* The daemon first: whether a driver is needed depends on its device. */
        n += check_daemon(checks + 4, &software);
        check_driver(&checks[0], software);
        check_nvml(&checks[1], software);
        check_library(&checks[2]);
        check_nvml_library(&checks[3], software);
        check_memlock(&checks[n++]);
        check_memfd(&checks[n++]);
        check_huge_pages(&checks[n++]);
        check_membarrier(&checks[n++]);
        check_pidfd(&checks[n++]);
        check_pressure(&checks[n++]);
        check_environment(&checks[n++]);
        n += check_probes(&checks[n]);
        n += doctor_sensors(&checks[n], DOCTOR_CHECKS - n - 1);
        check_kernel(&checks[n++]);
        return n;
}

static const char *const finding_names[FINDING_N] = {"ok", "warning", "missing"};

void doctor_text(const struct check *checks, size_t count, struct strbuf *b)
{
        for (size_t i = 0; i < count; i++) {
                strbuf_add(b, "%-8s %-11s %s\n", finding_names[checks[i].finding], checks[i].name, checks[i].found);
                if (checks[i].finding != FINDING_OK && checks[i].advice[0])
                        strbuf_add(b, "%20s  %s\n", "->", checks[i].advice);
        }
}

json_t *doctor_json(const struct check *checks, size_t count)
{
        json_t *list = json_array();

        for (size_t i = 0; list && i < count; i++) {
                const struct check *c = &checks[i];
                char clean[sizeof c->found], advice[sizeof c->advice];

                /* Paths and the linker's words may hold anything. */
                text_copy_clean(clean, sizeof clean, c->found);
                text_copy_clean(advice, sizeof advice, c->advice);
                json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s?}", "check", c->name, "finding",
                                                      finding_names[c->finding], "found", clean, "advice",
                                                      advice[0] ? advice : NULL));
        }
        return list;
}
