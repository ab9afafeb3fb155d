/* parse-process.c: the texts of /proc/PID, and of the descriptors of DRM devices; see parse.h. */
#include "machine/parse-lines.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* A name may hold blanks, brackets and line ends: it begins at the first bracket and ends at the last one. */
int machine_parse_process(const char *text, struct machine_process_stat *ret)
{
        const char *open = strchr(text, '('), *close = strrchr(text, ')'), *at = text;
        struct machine_process_stat s = {0};
        char name[sizeof s.name];
        long long parent, nice, threads;
        unsigned long long major, user, system, start, resident;
        uint64_t pid;
        size_t length;

        if (!open || !close || close < open || !machine_number(&at, &pid) || pid > INT32_MAX || !pid)
                return -EINVAL;
        if (sscanf(close + 1, " %c %lld %*d %*d %*d %*d %*u %*u %*u %llu %*u %llu %llu %*d %*d %*d %lld %lld %*d %llu %*u %llu", &s.state, &parent,
                   &major, &user, &system, &nice, &threads, &start, &resident) != 9)
                return -EINVAL;
        if (parent < 0 || parent > INT32_MAX || nice < -20 || nice > 19 || threads < 0 || threads > UINT32_MAX || s.state <= ' ' || s.state > '~')
                return -EINVAL;
        length = (size_t)(close - open - 1);
        length = length < sizeof name ? length : sizeof name - 1;
        memcpy(name, open + 1, length);
        name[length] = 0;
        text_copy_clean(s.name, sizeof s.name, name);
        s.pid = (int32_t)pid;
        s.parent = (int32_t)parent;
        s.nice = (int32_t)nice;
        s.threads = (uint32_t)threads;
        s.ticks = machine_plus(user, system);
        s.start_ticks = start;
        s.resident_pages = resident;
        s.major_faults = major;
        *ret = s;
        return 0;
}

int machine_parse_process_io(const char *text, struct machine_process_io *ret)
{
        struct machine_process_io io;
        const struct {
                const char *key;
                uint64_t *to;
        } keys[] = {
                {"rchar:", &io.read_characters}, {"wchar:", &io.written_characters}, {"syscr:", &io.read_calls},
                {"syscw:", &io.write_calls},     {"read_bytes:", &io.read_bytes},    {"write_bytes:", &io.written_bytes},
        };
        size_t found = 0;

        for (const char *line = text; line; line = machine_next_line(line))
                for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                        if (machine_keyed(line, keys[i].key, keys[i].to))
                                found |= (size_t)1 << i;
        if (found != ((size_t)1 << ARRAY_SIZE(keys)) - 1)
                return -EINVAL;
        *ret = io;
        return 0;
}

int machine_parse_process_status(const char *text, struct machine_process_status *ret)
{
        struct machine_process_status s;
        bool user = false;

        memset(&s, 0xff, sizeof s);
        for (const char *line = text; line; line = machine_next_line(line)) {
                uint64_t uid;

                if (machine_keyed(line, "Uid:", &uid) && uid <= UINT32_MAX) {
                        s.uid = (uint32_t)uid;
                        user = true;
                } else if (!machine_kib(line, "VmRSS:", &s.resident) && !machine_kib(line, "RssAnon:", &s.anonymous) &&
                           !machine_kib(line, "RssShmem:", &s.shared) && !machine_kib(line, "VmSwap:", &s.swapped) &&
                           !machine_keyed(line, "voluntary_ctxt_switches:", &s.voluntary_switches)) {
                        (void)machine_keyed(line, "nonvoluntary_ctxt_switches:", &s.other_switches);
                }
        }
        if (!user)
                return -EINVAL;
        *ret = s;
        return 0;
}

/* --- DRM --- */

/* Text behind "key:" up to the end of the line. */
static bool keyed_text(const char *line, const char *key, char *to, size_t size)
{
        size_t length = strlen(key), n;
        char text[64];

        if (strncmp(line, key, length) != 0)
                return false;
        line += length;
        line += strspn(line, " \t");
        n = strcspn(line, "\n");
        n = n < sizeof text ? n : sizeof text - 1;
        memcpy(text, line, n);
        text[n] = 0;
        text_copy_clean(to, size, text);
        return true;
}

/* "drm-engine-render:" with the prefix "drm-engine-": the name between, and what follows. */
static bool named(const char *line, const char *prefix, char name[24], const char **ret_value)
{
        size_t length = strlen(prefix), n;
        char text[24];

        if (strncmp(line, prefix, length) != 0)
                return false;
        line += length;
        n = strcspn(line, ":\n");
        if (line[n] != ':' || !n || n >= sizeof text)
                return false;
        memcpy(text, line, n);
        text[n] = 0;
        text_copy_clean(name, 24, text);
        *ret_value = line + n + 1;
        return true;
}

/* Bytes with an optional unit, as drm-usage-stats.rst allows: none, KiB, MiB; older amdgpu: kB. */
static bool sized(const char *at, uint64_t *ret)
{
        uint64_t value;

        if (!machine_number(&at, &value))
                return false;
        at += strspn(at, " \t");
        if (!strncmp(at, "KiB", 3) || !strncmp(at, "kB", 2))
                value = machine_times(value, 1024);
        else if (!strncmp(at, "MiB", 3))
                value = machine_times(value, UINT64_C(1) << 20);
        else if (!strncmp(at, "GiB", 3))
                value = machine_times(value, UINT64_C(1) << 30);
        *ret = value;
        return true;
}

/* The place of the engine of this name, made when it is new and there is room; -1: no room. */
static int engine(struct machine_drm *d, const char *name)
{
        for (uint32_t i = 0; i < d->engines; i++)
                if (!strcmp(d->engine[i].name, name))
                        return (int)i;
        if (d->engines == MACHINE_ENGINES)
                return -1;
        memcpy(d->engine[d->engines].name, name, sizeof d->engine[0].name);
        d->engine[d->engines].busy_ns = d->engine[d->engines].cycles = d->engine[d->engines].total_cycles = MACHINE_UNKNOWN;
        d->engine[d->engines].capacity = 1;
        return (int)d->engines++;
}

static int region(struct machine_drm *d, const char *name)
{
        for (uint32_t i = 0; i < d->regions; i++)
                if (!strcmp(d->region[i].name, name))
                        return (int)i;
        if (d->regions == MACHINE_REGIONS)
                return -1;
        memcpy(d->region[d->regions].name, name, sizeof d->region[0].name);
        d->region[d->regions].total = d->region[d->regions].resident = MACHINE_UNKNOWN;
        return (int)d->regions++;
}

static void engine_line(struct machine_drm *d, const char *line)
{
        const char *value;
        uint64_t number;
        char name[24];
        int i;

        if (named(line, "drm-engine-capacity-", name, &value)) {
                i = machine_number(&value, &number) && number && number <= 1024 ? engine(d, name) : -1;
                if (i >= 0)
                        d->engine[i].capacity = (uint32_t)number;
        } else if (named(line, "drm-engine-", name, &value)) {
                i = machine_number(&value, &number) ? engine(d, name) : -1;
                if (i >= 0)
                        d->engine[i].busy_ns = number;
        } else if (named(line, "drm-total-cycles-", name, &value)) {
                i = machine_number(&value, &number) ? engine(d, name) : -1;
                if (i >= 0)
                        d->engine[i].total_cycles = number;
        } else if (named(line, "drm-cycles-", name, &value)) {
                i = machine_number(&value, &number) ? engine(d, name) : -1;
                if (i >= 0)
                        d->engine[i].cycles = number;
        }
}

static void region_line(struct machine_drm *d, const char *line)
{
        const char *value;
        uint64_t bytes;
        char name[24];
        int i;

        /* drm-memory- is what drm-resident- was called before, and still is with amdgpu. */
        if (!strncmp(line, "drm-total-cycles-", 17))
                return;
        if (named(line, "drm-total-", name, &value)) {
                i = sized(value, &bytes) ? region(d, name) : -1;
                if (i >= 0)
                        d->region[i].total = bytes;
        } else if (named(line, "drm-resident-", name, &value) || named(line, "drm-memory-", name, &value)) {
                i = sized(value, &bytes) ? region(d, name) : -1;
                if (i >= 0)
                        d->region[i].resident = bytes;
        }
}

int machine_parse_drm(const char *text, struct machine_drm *ret)
{
        struct machine_drm d = {0};

        for (const char *line = text; line; line = machine_next_line(line)) {
                if (strncmp(line, "drm-", 4) != 0)
                        continue;
                if (keyed_text(line, "drm-driver:", d.driver, sizeof d.driver) || keyed_text(line, "drm-pdev:", d.device, sizeof d.device))
                        continue;
                if (machine_keyed(line, "drm-client-id:", &d.client)) {
                        d.has_client = true;
                        continue;
                }
                engine_line(&d, line);
                region_line(&d, line);
        }
        if (!d.driver[0])
                return -ENODATA;
        *ret = d;
        return 0;
}
