/* parse.c: the machine-wide texts of /proc; see parse.h. Processes and devices: parse-process.c. */
#include "machine/parse-lines.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- lines and numbers: parse-lines.h --- */

const char *machine_next_line(const char *at)
{
        const char *end = strchr(at, '\n');

        return end && end[1] ? end + 1 : NULL;
}

bool machine_number(const char **at, uint64_t *ret)
{
        const char *p = *at;
        uint64_t value = 0;

        while (*p == ' ' || *p == '\t')
                p++;
        if (*p < '0' || *p > '9')
                return false;
        for (; *p >= '0' && *p <= '9'; p++)
                if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
                        return false;
        *at = p;
        *ret = value;
        return true;
}

uint64_t machine_times(uint64_t value, uint64_t factor)
{
        uint64_t product;

        return value == MACHINE_UNKNOWN || __builtin_mul_overflow(value, factor, &product) ? MACHINE_UNKNOWN : product;
}

uint64_t machine_plus(uint64_t a, uint64_t b)
{
        uint64_t sum;

        return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

bool machine_keyed(const char *line, const char *key, uint64_t *ret)
{
        size_t length = strlen(key);
        const char *at = line + length;

        return !strncmp(line, key, length) && machine_number(&at, ret);
}

bool machine_kib(const char *line, const char *key, uint64_t *ret)
{
        uint64_t value;

        if (!machine_keyed(line, key, &value))
                return false;
        *ret = machine_times(value, 1024);
        return true;
}

/* --- /proc/stat --- */

static bool parse_cpu(const char *at, struct machine_cpu *ret)
{
        uint64_t v[8] = {0};
        size_t n = 0;

        while (n < ARRAY_SIZE(v) && machine_number(&at, &v[n]))
                n++;
        if (n < 4)
                return false;
        *ret = (struct machine_cpu){.user = machine_plus(v[0], v[1]),
                                    .system = machine_plus(v[2], machine_plus(v[5], v[6])),
                                    .wait = v[4],
                                    .idle = v[3],
                                    .stolen = v[7]};
        return true;
}

int machine_parse_stat(const char *text, struct machine_stat *ret)
{
        struct machine_stat *s scoped_free = calloc(1, sizeof *s);
        bool all = false;

        if (!s)
                return -ENOMEM;
        s->running = s->blocked = s->switches = s->interrupts = s->forks = MACHINE_UNKNOWN;
        for (const char *line = text; line; line = machine_next_line(line)) {
                const char *at = line + 3;

                if (!strncmp(line, "cpu ", 4)) {
                        all = parse_cpu(at, &s->all);
                } else if (!strncmp(line, "cpu", 3)) {
                        uint64_t number;

                        /* A processor that is off has no line: its place would be another's. Numbered as it comes. */
                        if (machine_number(&at, &number) && s->cpus < MACHINE_CPUS && parse_cpu(at, &s->cpu[s->cpus]))
                                s->cpus++;
                } else if (!machine_keyed(line, "intr ", &s->interrupts) && !machine_keyed(line, "ctxt ", &s->switches) &&
                           !machine_keyed(line, "processes ", &s->forks) && !machine_keyed(line, "procs_running ", &s->running)) {
                        (void)machine_keyed(line, "procs_blocked ", &s->blocked);
                }
        }
        if (!all)
                return -EINVAL;
        *ret = *s;
        return 0;
}

/* --- memory --- */

int machine_parse_meminfo(const char *text, struct machine_memory *ret)
{
        struct machine_memory m;
        const struct {
                const char *key;
                uint64_t *to;
        } keys[] = {
                {"MemTotal:", &m.total},   {"MemAvailable:", &m.available}, {"MemFree:", &m.free},         {"Buffers:", &m.buffers},
                {"Cached:", &m.cached},    {"Shmem:", &m.shared},           {"SwapTotal:", &m.swap_total}, {"SwapFree:", &m.swap_free},
        };

        memset(&m, 0xff, sizeof m);
        for (const char *line = text; line; line = machine_next_line(line))
                for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                        if (machine_kib(line, keys[i].key, keys[i].to))
                                break;
        if (m.total == MACHINE_UNKNOWN || !m.total)
                return -EINVAL;
        *ret = m;
        return 0;
}

int machine_parse_vm(const char *text, struct machine_vm *ret)
{
        struct machine_vm v = {MACHINE_UNKNOWN, MACHINE_UNKNOWN};

        for (const char *line = text; line; line = machine_next_line(line))
                if (!machine_keyed(line, "pgmajfault ", &v.major_faults))
                        (void)machine_keyed(line, "oom_kill ", &v.oom_kills);
        if (v.major_faults == MACHINE_UNKNOWN && v.oom_kills == MACHINE_UNKNOWN)
                return -EINVAL;
        *ret = v;
        return 0;
}

/* --- pressure and load --- */

/* "12.34" as hundredths. */
static bool hundredths(const char **at, uint64_t *ret)
{
        uint64_t whole, part;
        const char *p = *at;

        if (!machine_number(&p, &whole) || *p != '.' || p[1] < '0' || p[1] > '9' || p[2] < '0' || p[2] > '9')
                return false;
        part = (uint64_t)(p[1] - '0') * 10 + (uint64_t)(p[2] - '0');
        p += 3;
        if (whole > UINT32_MAX / 100)
                return false;
        *at = p;
        *ret = whole * 100 + part;
        return true;
}

static bool parse_pressure_line(const char *line, uint32_t *permille, uint64_t *us)
{
        const char *at = strstr(line, "avg10="), *end = strchr(line, '\n'), *total = strstr(line, "total=");
        uint64_t share;

        if (!at || !total || (end && (at > end || total > end)))
                return false;
        at += 6;
        total += 6;
        if (!hundredths(&at, &share) || share > 10000 || !machine_number(&total, us))
                return false;
        *permille = (uint32_t)(share / 10);
        return true;
}

int machine_parse_pressure(const char *text, struct machine_pressure *ret)
{
        struct machine_pressure p = {.full_us = MACHINE_UNKNOWN};
        bool some = false;

        for (const char *line = text; line; line = machine_next_line(line)) {
                if (!strncmp(line, "some ", 5))
                        some = parse_pressure_line(line, &p.some_permille, &p.some_us);
                else if (!strncmp(line, "full ", 5) && !parse_pressure_line(line, &p.full_permille, &p.full_us))
                        return -EINVAL;
        }
        if (!some)
                return -EINVAL;
        *ret = p;
        return 0;
}

int machine_parse_load(const char *text, struct machine_load *ret)
{
        uint64_t v[3], runnable, tasks;
        const char *at = text;

        for (size_t i = 0; i < 3; i++)
                if (!hundredths(&at, &v[i]) || v[i] > UINT32_MAX)
                        return -EINVAL;
        if (!machine_number(&at, &runnable) || *at++ != '/' || !machine_number(&at, &tasks) || runnable > UINT32_MAX || tasks > UINT32_MAX)
                return -EINVAL;
        *ret = (struct machine_load){{(uint32_t)v[0], (uint32_t)v[1], (uint32_t)v[2]}, (uint32_t)runnable, (uint32_t)tasks};
        return 0;
}

/* --- network and disks --- */

int machine_parse_network(const char *text, struct machine_network *ret)
{
        struct machine_network n = {0};
        bool titles = false;

        for (const char *line = text; line; line = machine_next_line(line)) {
                const char *end = strchr(line, '\n'), *at = strchr(line, ':');
                uint64_t v[16];
                size_t i = 0;

                if (!at || (end && at > end)) {
                        titles |= strstr(line, "bytes") != NULL;
                        continue;
                }
                for (at++; i < ARRAY_SIZE(v) && machine_number(&at, &v[i]); i++)
                        ;
                if (i < 12)
                        return -EINVAL;
                line += strspn(line, " ");
                if (!strncmp(line, "lo:", 3))
                        continue;
                n.interfaces++;
                n.in_bytes = machine_plus(n.in_bytes, v[0]);
                n.in_packets = machine_plus(n.in_packets, v[1]);
                n.errors = machine_plus(n.errors, machine_plus(v[2], v[10]));
                n.drops = machine_plus(n.drops, machine_plus(v[3], v[11]));
                n.out_bytes = machine_plus(n.out_bytes, v[8]);
                n.out_packets = machine_plus(n.out_packets, v[9]);
        }
        if (!titles)
                return -EINVAL;
        *ret = n;
        return 0;
}

int machine_parse_disks(const char *text, machine_disk_fn fn, void *context)
{
        for (const char *line = text; line && *line; line = machine_next_line(line)) {
                struct machine_disk d;
                uint64_t v[11], major, minor;
                const char *at = line;
                char name[64];
                size_t length, i = 0;

                if (!machine_number(&at, &major) || !machine_number(&at, &minor))
                        return -EINVAL;
                at += strspn(at, " ");
                length = strcspn(at, " \n");
                if (!length || length >= sizeof name)
                        return -EINVAL;
                memcpy(name, at, length);
                name[length] = 0;
                for (at += length; i < ARRAY_SIZE(v) && machine_number(&at, &v[i]); i++)
                        ;
                if (i < ARRAY_SIZE(v))
                        return -EINVAL;
                d = (struct machine_disk){.reads = v[0],
                                          .read_bytes = machine_times(v[2], 512),
                                          .writes = v[4],
                                          .written_bytes = machine_times(v[6], 512),
                                          .busy_ms = v[9]};
                fn(context, name, &d);
        }
        return 0;
}
