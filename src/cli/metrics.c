/* metrics.c: see metrics.h. */
#include "cli/metrics-writer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum metric_type { GAUGE, COUNTER, HISTOGRAM };

static const char *const types[] = {"gauge", "counter", "histogram"};

static const struct {
        const char *name, *help;
        enum metric_type type;
} metrics[METRIC_N] = {
#define METRIC(id, name, type, help) {name, help, type},
#include "cli/metrics.def"
#undef METRIC
};

static void label(struct strbuf *b, bool *first, const char *name, const char *value)
{
        strbuf_add(b, "%s%s=\"", *first ? "{" : ",", name);
        for (; *value; value++) {
                if (*value == '\\' || *value == '"')
                        strbuf_fill(b, '\\', 1);
                if (*value == '\n')
                        strbuf_add(b, "\\n");
                else
                        strbuf_fill(b, *value, 1);
        }
        strbuf_add(b, "\"");
        *first = false;
}

/* What counts whole things is told in full. */
static void put_value(struct strbuf *b, const char *before, double value)
{
        const double most = (double)(INT64_C(1) << 53); /* beyond it doubles do not tell one from the next */
        bool whole = value > -most && value < most && value == (double)(int64_t)value;

        if (whole)
                strbuf_add(b, "%s %" PRId64 "\n", before, (int64_t)value);
        else
                strbuf_add(b, "%s %.*g\n", before, CLI_DIGITS, value);
}

/* One line of a histogram: bound NULL: none. */
static void put_part(struct strbuf *b, enum metric m, const char *part, const char *bound, double value, va_list labels)
{
        const char *name;
        bool first = true;
        va_list again;

        strbuf_add(b, "%s%s", metrics[m].name, part);
        va_copy(again, labels);
        while ((name = va_arg(again, const char *)))
                label(b, &first, name, va_arg(again, const char *));
        va_end(again);
        if (bound)
                label(b, &first, "le", bound);
        put_value(b, first ? "" : "}", value);
}

void metric_put_latency(struct metric_writer *w, enum metric m, const struct latency *latency, ...)
{
        uint64_t below = 0;
        va_list labels;
        char bound[32];

        va_start(labels, latency);
        for (uint32_t i = 0; i < LATENCY_BUCKETS; i++) {
                below += latency->buckets[i];
                if (i + 1 < LATENCY_BUCKETS)
                        snprintf(bound, sizeof bound, "%.9g", (double)latency_from_ns(i + 1) / 1e9);
                put_part(&w->lines[m], m, "_bucket", i + 1 < LATENCY_BUCKETS ? bound : "+Inf", (double)below, labels);
        }
        put_part(&w->lines[m], m, "_sum", NULL, (double)latency->sum_ns / 1e9, labels);
        put_part(&w->lines[m], m, "_count", NULL, (double)below, labels);
        va_end(labels);
}

/* Labels are pairs of name and value, ended by NULL. A negative value is none: nothing here can be negative but temperatures, which have their own way. */
static void put_any(struct metric_writer *w, enum metric m, double value, va_list labels)
{
        struct strbuf *b = &w->lines[m];
        const char *name;
        bool first = true;

        strbuf_add(b, "%s", metrics[m].name);
        while ((name = va_arg(labels, const char *)))
                label(b, &first, name, va_arg(labels, const char *));
        put_value(b, first ? "" : "}", value);
}

static void put_signed(struct metric_writer *w, enum metric m, double value, ...) __attribute__((sentinel));
static void put_signed(struct metric_writer *w, enum metric m, double value, ...)
{
        va_list labels;

        va_start(labels, value);
        put_any(w, m, value, labels);
        va_end(labels);
}

void metric_put(struct metric_writer *w, enum metric m, double value, ...)
{
        va_list labels;

        if (value < 0)
                return;
        va_start(labels, value);
        put_any(w, m, value, labels);
        va_end(labels);
}

static double known(uint64_t value)
{
        return value == MACHINE_UNKNOWN ? -1 : (double)value;
}

static double scaled(uint64_t value, double by)
{
        return value == MACHINE_UNKNOWN ? -1 : (double)value / by;
}

/* --- the daemon's part --- */

static void put_device(struct metric_writer *w, const struct wire_STATUS_DEVICE *d)
{
        char number[16];

        snprintf(number, sizeof number, "%" PRIu32, d->index);
#define LABELS "device", number, "name", d->name, "kind", wire_kind_name(d->kind), NULL
#define IF(bit, value) (d->valid & WIRE_VALID_##bit ? (double)(value) : -1)
        metric_put(w, METRIC_DEVICE_TOTAL, IF(TOTAL, d->total_bytes), LABELS);
        metric_put(w, METRIC_DEVICE_USED, IF(USED, d->used_bytes), LABELS);
        metric_put(w, METRIC_DEVICE_USE, IF(UTILISATION, d->utilisation_permille) / (d->valid & WIRE_VALID_UTILISATION ? 1000 : 1), LABELS);
        metric_put(w, METRIC_DEVICE_POWER, IF(POWER, d->power_mw) / (d->valid & WIRE_VALID_POWER ? 1000 : 1), LABELS);
        metric_put(w, METRIC_DEVICE_HEAT, IF(TEMPERATURE, d->temperature_c), LABELS);
        metric_put(w, METRIC_DEVICE_POWER_LIMIT, IF(POWER_LIMIT, d->power_limit_mw) / (d->valid & WIRE_VALID_POWER_LIMIT ? 1000 : 1), LABELS);
        metric_put(w, METRIC_DEVICE_CLOCK, IF(CLOCK, d->clock_mhz) * 1e6, LABELS);
        metric_put(w, METRIC_DEVICE_MEMORY_CLOCK, IF(MEMORY_CLOCK, d->memory_clock_mhz) * 1e6, LABELS);
        metric_put(w, METRIC_DEVICE_MEMORY_BUSY, IF(MEMORY_BUSY, d->memory_busy_permille) / (d->valid & WIRE_VALID_MEMORY_BUSY ? 1000 : 1), LABELS);
        for (unsigned int i = 0; (d->valid & WIRE_VALID_THROTTLE) && wire_throttle_name(i); i++)
                if (d->throttle & 1u << i)
                        metric_put(w, METRIC_DEVICE_HELD_BACK, 1, "reason", wire_throttle_name(i), LABELS);
        metric_put(w, METRIC_DEVICE_ECC, IF(ECC, d->ecc_corrected), "kind", "corrected", LABELS);
        metric_put(w, METRIC_DEVICE_ECC, IF(ECC, d->ecc_uncorrected), "kind", "uncorrected", LABELS);
        metric_put(w, METRIC_DEVICE_XIDS, IF(XID, d->xids), LABELS);
        if (!snapshot_shared(d))
                return;
        metric_put(w, METRIC_DEVICE_FOREIGN, IF(FOREIGN, d->foreign_bytes), LABELS);
        metric_put(w, METRIC_DEVICE_GRANTED, (double)d->granted_bytes, LABELS);
        metric_put(w, METRIC_DEVICE_ROOM, (double)d->room_bytes, LABELS);
        metric_put(w, METRIC_DEVICE_SWAPPED, (double)d->swapped_bytes, LABELS);
        metric_put(w, METRIC_DEVICE_MOVED, (double)d->out_bytes, "direction", "out", LABELS);
        metric_put(w, METRIC_DEVICE_MOVED, (double)d->in_bytes, "direction", "in", LABELS);
        metric_put(w, METRIC_DEVICE_MOVING, (double)d->out_ns / 1e9, "direction", "out", LABELS);
        metric_put(w, METRIC_DEVICE_MOVING, (double)d->in_ns / 1e9, "direction", "in", LABELS);
        metric_put(w, METRIC_DEVICE_SWITCHES, (double)d->switches, LABELS);
        metric_put(w, METRIC_DEVICE_PROGRAMS, d->clients, LABELS);
        metric_put(w, METRIC_DEVICE_WAITING, d->waiting, LABELS);
        metric_put(w, METRIC_DEVICE_STUCK, d->stuck, LABELS);
        metric_put(w, METRIC_DEVICE_LONGEST_WAIT, (double)d->max_wait_ns / 1e9, LABELS);
#undef LABELS
#undef IF
}

struct group {
        const struct wire_STATUS_CLIENT *like;
        uint32_t members, measured;
        double owned, resident, peak, launches, copies, waited, ipc_refused;
        bool ipc_known;
};

static int by_owned(const void *a, const void *b)
{
        const struct group *x = a, *y = b;

        return (x->owned < y->owned) - (x->owned > y->owned);
}

static struct group *group_of(struct group *groups, size_t *count, const struct wire_STATUS_CLIENT *c)
{
        for (size_t i = 0; i < *count; i++)
                if (groups[i].like->device == c->device && groups[i].like->uid == c->uid && !strcmp(groups[i].like->name, c->name) &&
                    !strcmp(groups[i].like->job, c->job))
                        return &groups[i];
        groups[*count] = (struct group){.like = c};
        return &groups[(*count)++];
}

static void put_programs(struct metric_writer *w, const struct top_world *world)
{
        const struct snapshot *s = world->now, *before = world->before;
        struct group *groups scoped_free = calloc(s->client_count + 1, sizeof *groups);
        uint64_t elapsed = before && s->taken_ns > before->taken_ns ? s->taken_ns - before->taken_ns : 0;
        size_t count = 0;

        if (!groups) {
                w->lines[0].failed = true;
                return;
        }
        for (size_t i = 0; i < s->client_count; i++) {
                const struct wire_STATUS_CLIENT *c = &s->clients[i], *old = snapshot_client(before, c);
                struct group *g = group_of(groups, &count, c);

                g->members++;
                g->owned += (double)snapshot_owned(c);
                g->resident += (double)snapshot_resident(c);
                g->peak = (double)c->peak_bytes > g->peak ? (double)c->peak_bytes : g->peak;
                if (c->ipc_refused != UINT32_MAX) {
                        g->ipc_refused += c->ipc_refused;
                        g->ipc_known = true;
                }
                if (!old || !elapsed || c->launches < old->launches || c->copies < old->copies || c->waited_ns < old->waited_ns)
                        continue;
                g->measured++;
                g->launches += (double)(c->launches - old->launches) * 1e9 / (double)elapsed;
                g->copies += (double)(c->copies - old->copies) * 1e9 / (double)elapsed;
                g->waited += (double)(c->waited_ns - old->waited_ns) / (double)elapsed;
        }
        qsort(groups, count, sizeof *groups, by_owned);
        for (size_t i = 0; i < count && i < METRICS_GROUPS; i++) {
                const struct group *g = &groups[i];
                char device[16], user[33];

                snprintf(device, sizeof device, "%" PRIu32, g->like->device);
                cli_user(g->like->uid, user, sizeof user);
#define LABELS "device", device, "program", g->like->name, "job", g->like->job, "user", user, NULL
                metric_put(w, METRIC_PROGRAM_OWNED, g->owned, LABELS);
                metric_put(w, METRIC_PROGRAM_RESIDENT, g->resident, LABELS);
                metric_put(w, METRIC_PROGRAM_PEAK, g->peak, LABELS);
                if (g->ipc_known)
                        metric_put(w, METRIC_PROGRAM_IPC_REFUSED, g->ipc_refused, LABELS);
                if (!g->measured)
                        continue;
                metric_put(w, METRIC_PROGRAM_LAUNCHES, g->launches, LABELS);
                metric_put(w, METRIC_PROGRAM_COPIES, g->copies, LABELS);
                metric_put(w, METRIC_PROGRAM_WAITING, g->waited / g->measured > 1 ? 1 : g->waited / g->measured, LABELS);
#undef LABELS
        }
        metric_put(w, METRIC_PROGRAMS_LEFT_OUT, count > METRICS_GROUPS ? (double)(count - METRICS_GROUPS) : 0, NULL);
}

static void put_daemon(struct metric_writer *w, const struct top_world *world)
{
        const struct wire_STATUS_DAEMON *d = &world->now->daemon;

        metric_put(w, METRIC_DAEMON_UPTIME, (double)d->uptime_ns / 1e9, NULL);
        metric_put(w, METRIC_DAEMON_MEMORY, (double)d->rss_bytes, NULL);
        metric_put(w, METRIC_DAEMON_REFUSED, (double)d->refused, NULL);
        metric_put(w, METRIC_ARENA_SIZE, (double)d->arena_bytes, NULL);
        metric_put(w, METRIC_ARENA_LENT, (double)d->arena_lent_bytes, NULL);
        for (size_t i = 0; i < world->now->device_count; i++)
                put_device(w, &world->now->devices[i]);
        put_programs(w, world);
}

/* --- the machine's part --- */

static void unavailable(struct metric_writer *w, const char *family, int error)
{
        if (error)
                metric_put(w, METRIC_UNAVAILABLE, 1, "family", family, "reason", machine_missing(error), NULL);
}

static void put_machine(struct metric_writer *w, const struct top_world *world)
{
        static const char *const resources[MACHINE_PRESSURE_N] = {"cpu", "memory", "io"};
        static const char *const families[MACHINE_PRESSURE_N] = {"pressure of cpu", "pressure of memory", "pressure of io"};
        const struct machine_look *l = world->look;
        const struct machine_cpu *c = &l->stat.all;
        double hertz = (double)world->hertz;

        unavailable(w, "processors", l->stat_error);
        if (!l->stat_error) {
                metric_put(w, METRIC_CPU, scaled(c->user, hertz), "mode", "user", NULL);
                metric_put(w, METRIC_CPU, scaled(c->system, hertz), "mode", "system", NULL);
                metric_put(w, METRIC_CPU, scaled(c->idle, hertz), "mode", "idle", NULL);
                metric_put(w, METRIC_CPU, scaled(c->wait, hertz), "mode", "iowait", NULL);
                metric_put(w, METRIC_CPU, scaled(c->stolen, hertz), "mode", "steal", NULL);
                metric_put(w, METRIC_SWITCHES, known(l->stat.switches), NULL);
        }
        unavailable(w, "memory", l->memory_error);
        if (!l->memory_error) {
                metric_put(w, METRIC_MEMORY_TOTAL, known(l->memory.total), NULL);
                metric_put(w, METRIC_MEMORY_AVAILABLE, known(l->memory.available), NULL);
                if (l->memory.swap_total != MACHINE_UNKNOWN && l->memory.swap_free <= l->memory.swap_total)
                        metric_put(w, METRIC_SWAP_USED, (double)(l->memory.swap_total - l->memory.swap_free), NULL);
        }
        for (size_t i = 0; i < MACHINE_PRESSURE_N; i++) {
                unavailable(w, families[i], l->pressure_error[i]);
                if (l->pressure_error[i])
                        continue;
                metric_put(w, METRIC_PRESSURE, scaled(l->pressure[i].some_us, 1e6), "resource", resources[i], NULL);
                metric_put(w, METRIC_PRESSURE_FULL, scaled(l->pressure[i].full_us, 1e6), "resource", resources[i], NULL);
        }
        unavailable(w, "network", l->network_error);
        if (!l->network_error) {
                metric_put(w, METRIC_NETWORK, (double)l->network.in_bytes, "direction", "in", NULL);
                metric_put(w, METRIC_NETWORK, (double)l->network.out_bytes, "direction", "out", NULL);
        }
        unavailable(w, "disks", l->disk_error);
        if (!l->disk_error) {
                metric_put(w, METRIC_DISK, (double)l->disk.read_bytes, "direction", "read", NULL);
                metric_put(w, METRIC_DISK, (double)l->disk.written_bytes, "direction", "written", NULL);
        }
        unavailable(w, "virtual memory", l->vm_error);
        if (!l->vm_error)
                metric_put(w, METRIC_OOM_KILLS, known(l->vm.oom_kills), NULL);
        unavailable(w, "temperature", l->heat_error);
        if (!l->heat_error)
                put_signed(w, METRIC_MACHINE_HEAT, (double)l->heat_millicelsius / 1000, NULL);
        for (size_t i = 0; i < world->device_count; i++) {
                const struct machine_device *d = &world->devices[i];

                metric_put(w, METRIC_KERNEL_DEVICE_USE, scaled(d->busy_permille, 1000), "device", d->name, "bus", d->bus, NULL);
                metric_put(w, METRIC_KERNEL_DEVICE_BUSY, scaled(d->busy_us, 1e6), "device", d->name, "bus", d->bus, NULL);
                metric_put(w, METRIC_KERNEL_DEVICE_MEMORY, known(d->used_bytes), "device", d->name, "bus", d->bus, NULL);
                metric_put(w, METRIC_KERNEL_DEVICE_POWER, scaled(d->power_uw, 1e6), "device", d->name, "bus", d->bus, NULL);
                metric_put(w, METRIC_KERNEL_DEVICE_HEAT, scaled(d->heat_millicelsius, 1e3), "device", d->name, "bus", d->bus, NULL);
        }
}

void metrics_write(const struct top_world *world, bool up, enum metrics_form form, struct strbuf *b)
{
        struct metric_writer *w = calloc(1, sizeof *w);

        if (!w) {
                b->failed = true;
                return;
        }
        metric_put(w, METRIC_UP, up, NULL);
        if (up && world->now)
                put_daemon(w, world);
        if (world->look)
                put_machine(w, world);
        if (up)
                metrics_probes(w, world);
        for (size_t i = 0; i < METRIC_N; i++) {
                struct strbuf *lines = &w->lines[i];
                size_t length = strlen(metrics[i].name);

                b->failed |= lines->failed;
                if (!lines->length)
                        continue;
                /* OpenMetrics names the family of a counter without its ending. */
                if (form == METRICS_OPEN && metrics[i].type == COUNTER)
                        length -= strlen("_total");
                strbuf_add(b, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)length, metrics[i].name, metrics[i].help, (int)length, metrics[i].name,
                           types[metrics[i].type]);
                strbuf_put(b, lines->text, lines->length);
                strbuf_done(lines);
        }
        if (form == METRICS_OPEN)
                strbuf_add(b, "# EOF\n");
        free(w);
}

const char *metrics_type(enum metrics_form form)
{
        return form == METRICS_OPEN ? "application/openmetrics-text; version=1.0.0; charset=utf-8" : "text/plain; version=0.0.4; charset=utf-8";
}
