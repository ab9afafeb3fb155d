/* sight-json.c: what a look saw as a report's JSON; see sight-view.h. What could not be measured is null. */
#include "worker/sight-view.h"

#include "bpf/active.h"
#include "bpf/latency.h"
#include "base/text.h"
#include "wire/series.h"

#include <math.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#define NS_S UINT64_C(1000000000)
#define HISTORY_DEVICES 8
#define PROGRAMS 10
#define NAME_BYTES 160 /* of a file's name: its end says more than its begin */

/* Short enough to be sent a thousand times: four digits say it. */
static json_t *real(double value)
{
        double scale;

        if (!(value >= 0) || value > 1e15)
                return json_null();
        if (value == 0)
                return json_integer(0);
        scale = pow(10, 3 - floor(log10(value)));
        return json_real(round(value * scale) / scale);
}

static json_t *share(double permille)
{
        return real(permille > 1000 ? 100 : permille / 10);
}

static json_t *whole(bool known, uint64_t value)
{
        return known && value <= INT64_MAX ? json_integer((json_int_t)value) : json_null();
}

static json_t *host_json(const struct sight_view *v)
{
        const struct machine_look *l = v->look;
        const struct machine_rates *r = v->rates;
        const struct machine_memory *m = &l->memory;
        json_t *o = json_object();

#define PUT(name, value) json_object_set_new(o, name, value)
        PUT("cpu_user_pct", share(r->user));
        PUT("cpu_system_pct", share(r->system));
        PUT("cpu_wait_pct", share(r->wait));
        PUT("cpu_stolen_pct", share(r->stolen));
        PUT("cpus", whole(!l->stat_error && l->stat.cpus, l->stat.cpus));
        PUT("load", l->load_error ? json_null() : real((double)l->load.centi[0] / 100));
        PUT("memory_total_bytes", whole(!l->memory_error && m->total != MACHINE_UNKNOWN, m->total));
        PUT("memory_available_bytes", whole(!l->memory_error && m->available != MACHINE_UNKNOWN, m->available));
        PUT("swap_total_bytes", whole(!l->memory_error && m->swap_total != MACHINE_UNKNOWN, m->swap_total));
        PUT("swap_free_bytes", whole(!l->memory_error && m->swap_free != MACHINE_UNKNOWN, m->swap_free));
        PUT("network_in_bytes_s", real(r->in_bytes));
        PUT("network_out_bytes_s", real(r->out_bytes));
        PUT("disk_read_bytes_s", real(r->read_bytes));
        PUT("disk_written_bytes_s", real(r->written_bytes));
        PUT("pressure_cpu_pct", l->pressure_error[MACHINE_PRESSURE_CPU] ? json_null() : share(l->pressure[MACHINE_PRESSURE_CPU].some_permille));
        PUT("pressure_memory_pct", l->pressure_error[MACHINE_PRESSURE_MEMORY] ? json_null() : share(l->pressure[MACHINE_PRESSURE_MEMORY].some_permille));
        PUT("pressure_io_pct", l->pressure_error[MACHINE_PRESSURE_IO] ? json_null() : share(l->pressure[MACHINE_PRESSURE_IO].some_permille));
        PUT("temperature_c", l->heat_error ? json_null() : real((double)l->heat_millicelsius / 1000));
        PUT("oom_kills", whole(!l->vm_error && l->vm.oom_kills != MACHINE_UNKNOWN, l->vm.oom_kills));
        return o;
}

static void missing(json_t *list, const char *what, const char *why)
{
        char clean[120];

        text_copy_clean(clean, sizeof clean, why);
        json_array_append_new(list, json_pack("{s:s, s:s}", "what", what, "why", clean));
}

static json_t *missing_json(const struct sight_view *v)
{
        const struct machine_look *l = v->look;
        json_t *list = json_array();

        if (!l) {
                missing(list, "machine", "/proc can't be read");
        } else {
                const struct {
                        const char *what;
                        int error;
                } errors[] = {{"processors", l->stat_error},      {"memory", l->memory_error},
                              {"pressure", l->pressure_error[0]}, {"network", l->network_error},
                              {"disk", l->disk_error},            {"load", l->load_error},
                              {"out of memory", l->vm_error},     {"temperature", l->heat_error}};

                for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
                        if (errors[i].error)
                                missing(list, errors[i].what, machine_missing(errors[i].error));
        }
        if (!v->status)
                missing(list, "devices", "no node daemon answers");
        if (v->depth == SIGHT_FIGURES)
                missing(list, "processes", "the worker's owner does not let them be seen (worker.show)");
        else if (!v->processes)
                missing(list, "processes", "/proc can't be read");
        if (v->depth == SIGHT_PROCESS_LIST)
                missing(list, "files", "the worker's owner does not let them be seen (worker.show)");
        if (v->depth != SIGHT_FIGURES && !v->probes)
                missing(list, "probes", v->probes_why ? v->probes_why : "not asked for");
        return list;
}

/* --- devices --- */

static const char *kind_of(uint32_t kind)
{
        return kind == WIRE_CUDA ? "gpu" : kind == WIRE_SOFTWARE ? "software" : kind == WIRE_NPU ? "npu" : "cpu";
}

static json_t *device_json(const struct wire_STATUS_DEVICE *d)
{
        const uint64_t sensors = WIRE_VALID_UTILISATION | WIRE_VALID_POWER | WIRE_VALID_TEMPERATURE;
        char name[sizeof d->name + 1] = "", clean[sizeof name], reasons[120] = "";
        json_t *o = json_object();

        memcpy(name, d->name, sizeof d->name);
        text_copy_clean(clean, sizeof clean, name);
        for (unsigned int i = 0; (d->valid & WIRE_VALID_THROTTLE) && wire_throttle_name(i); i++)
                if (d->throttle & 1u << i)
                        snprintf(reasons + strlen(reasons), sizeof reasons - strlen(reasons), "%s%s", reasons[0] ? ", " : "", wire_throttle_name(i));
#define IF(bit, value) (d->valid & WIRE_VALID_##bit ? (value) : json_null())
        PUT("index", json_integer(d->index));
        PUT("name", json_string(clean));
        PUT("kind", json_string(kind_of(d->kind)));
        PUT("utilization_pct", IF(UTILISATION, share(d->utilisation_permille)));
        PUT("memory_busy_pct", IF(MEMORY_BUSY, share(d->memory_busy_permille)));
        PUT("power_watts", IF(POWER, real((double)d->power_mw / 1000)));
        PUT("power_limit_watts", IF(POWER_LIMIT, real((double)d->power_limit_mw / 1000)));
        PUT("temperature_c", IF(TEMPERATURE, real(d->temperature_c)));
        PUT("clock_mhz", IF(CLOCK, json_integer(d->clock_mhz)));
        PUT("memory_clock_mhz", IF(MEMORY_CLOCK, json_integer(d->memory_clock_mhz)));
        PUT("held_back", IF(THROTTLE, json_string(reasons)));
        PUT("errors", IF(XID, whole(true, d->xids)));
        PUT("why", (d->valid & sensors) == sensors ? json_null()
                                                   : json_string(d->kind == WIRE_SOFTWARE ? "a software device has no such sensors" : "its driver does not tell"));
#undef IF
        return o;
}

/* --- how it went --- */

static void add_series(json_t *list, const struct sight_view *v, const char *name, uint32_t span_s)
{
        const struct history *h = history_set_find(v->history, name);
        struct history_point points[SIGHT_POINTS];
        json_t *values;
        bool any = false;

        if (!h)
                return;
        values = json_array();
        (void)history_plot(h, v->history_ns, span_s * NS_S, points, SIGHT_POINTS);
        for (size_t i = 0; i < SIGHT_POINTS; i++) {
                json_array_append_new(values, history_known(points[i]) ? real(points[i].mean) : json_null());
                any |= history_known(points[i]);
        }
        if (any)
                json_array_append_new(list, json_pack("{s:s, s:O}", "name", name, "values", values));
        json_decref(values);
}

static json_t *history_json(const struct sight_view *v, uint32_t span_s)
{
        static const char *const machine[] = {SERIES_CPU,         SERIES_MEMORY,     SERIES_SWAP,        SERIES_PRESSURE_CPU, SERIES_PRESSURE_MEMORY,
                                              SERIES_PRESSURE_IO, SERIES_NETWORK_IN, SERIES_NETWORK_OUT, SERIES_DISK_READ,    SERIES_DISK_WRITTEN};
        static const char *const device[] = {SERIES_DEVICE_USE, SERIES_DEVICE_MEMORY, SERIES_DEVICE_POWER, SERIES_DEVICE_TEMPERATURE};
        uint64_t step = span_s * NS_S / SIGHT_POINTS;
        json_t *list = json_array();

        for (size_t i = 0; i < ARRAY_SIZE(machine); i++)
                add_series(list, v, machine[i], span_s);
        for (size_t i = 0; v->status && i < v->status->device_count && i < HISTORY_DEVICES; i++)
                for (size_t k = 0; k < ARRAY_SIZE(device); k++) {
                        char name[SERIES_NAME];

                        series_device_name(v->status->devices[i].index, device[k], name);
                        add_series(list, v, name, span_s);
                }
        /* The last column holds now, and begins at a multiple of its width. */
        return json_pack("{s:o, s:I, s:o}", "step_s", real((double)step / 1e9), "end_s", (json_int_t)(v->history_ns / step * step / NS_S), "series", list);
}

/* --- probes --- */

/* What a family counted in the last window; the times of it that it takes, for those that do. */
static uint64_t counted(const struct probes_snapshot *s, uint32_t family, struct latency *ret_times)
{
        const struct probes_sums *f = &s->all_now;

        switch (family) {
        case PROBES_FILES:
                return f->opens + f->closes + f->reads + f->writes;
        case PROBES_GPU:
                return active_calls(&s->gpu_now);
        case PROBES_BLOCK:
                for (uint32_t i = 0; i < s->blocks; i++)
                        latency_add(ret_times, &probes_blocks(s)[i].now.time);
                return latency_count(ret_times);
        case PROBES_SCHED:
                *ret_times = s->wait_now;
                return latency_count(ret_times);
        case PROBES_SYSCALLS:
                return s->calls_now;
        default:
                return 0;
        }
}

static json_t *probe_json(const struct sight_view *v, uint32_t family)
{
        const struct probes_family *f = &v->probes->families[family];
        uint64_t elapsed = v->probes_before_ns && v->probes->taken_ns > v->probes_before_ns ? v->probes->taken_ns - v->probes_before_ns : 0;
        bool on = f->state == PROBES_ATTACHED, measured = on && elapsed && f->hooked_cost_ps && f->cost_ns >= v->cost_before_ns[family];
        struct latency times = {0};
        uint64_t count = counted(v->probes, family, &times);
        double late = latency_quantile(&times, 950);
        json_t *o = json_object();

        PUT("family", json_string(probes_family_name(family)));
        PUT("state", json_string(probes_state_name(f->state)));
        PUT("rung", f->rung ? json_string(probes_rung_name(f->rung)) : json_null());
        PUT("share_pct", on ? real((double)f->window_permille / 10 / (f->one_in ? f->one_in : 1)) : json_null());
        PUT("cost_pct", measured ? real((double)(f->cost_ns - v->cost_before_ns[family]) * 100 / (double)elapsed) : json_null());
        PUT("per_s", on && v->probes->window_ns ? real((double)count * 1e9 / (double)v->probes->window_ns) : json_null());
        PUT("p95_us", on ? real(late / 1000) : json_null());
        PUT("why", !on && f->refused_count ? json_string(f->refused[f->refused_count - 1].text) : json_null());
        return o;
}

/* --- processes --- */

struct one {
        uint32_t pid;
        const struct machine_process *process;
        const struct active_process *active;
        bool berth;
};

static const struct machine_process *process_of(const struct sight_view *v, uint32_t pid)
{
        size_t low = 0, high = v->processes->count;

        while (low < high) {
                size_t middle = (low + high) / 2;
                uint32_t at = (uint32_t)v->processes->list[middle].stat.pid;

                if (at == pid)
                        return &v->processes->list[middle];
                if (at < pid)
                        low = middle + 1;
                else
                        high = middle;
        }
        return NULL;
}

static struct one *one_of(const struct sight_view *v, struct one *list, size_t *count, size_t room, uint32_t pid)
{
        for (size_t i = 0; i < *count; i++)
                if (list[i].pid == pid)
                        return &list[i];
        if (*count == room)
                return NULL;
        list[*count] = (struct one){.pid = pid, .process = process_of(v, pid)};
        return &list[(*count)++];
}

/* The probes' process and the one of /proc may be two that bore one number. */
static bool same(const struct sight_view *v, const struct probes_process *p, const struct machine_process *m)
{
        uint64_t ticks = p->start_ns / (NS_S / v->hertz);

        return !m || (ticks + 1 >= m->stat.start_ticks && ticks <= m->stat.start_ticks + 1);
}

static double cpu_of(const struct sight_view *v, const struct machine_process *m)
{
        const struct machine_process *old = m && v->processes_before ? machine_process_find(v->processes_before, m) : NULL;

        return old && v->processes->taken_ns > v->processes_before->taken_ns
                       ? machine_rate(m->stat.ticks, old->stat.ticks, v->processes->taken_ns - v->processes_before->taken_ns) * 100 / (double)v->hertz
                       : -1;
}

static uint64_t owned(const struct wire_STATUS_CLIENT *c)
{
        uint64_t sum;

        return __builtin_add_overflow(c->movable_bytes, c->pinned_bytes, &sum) ? UINT64_MAX : sum;
}

static size_t choose(const struct sight_view *v, const struct active_process *active, size_t active_count, struct one *list)
{
        size_t count = 0;

        /* Programs of Berth with the most memory, … */
        for (size_t round = 0; v->status && round < PROGRAMS; round++) {
                const struct wire_STATUS_CLIENT *best = NULL;

                for (size_t i = 0; i < v->status->client_count; i++) {
                        const struct wire_STATUS_CLIENT *c = &v->status->clients[i];
                        bool taken = false;

                        for (size_t k = 0; k < count; k++)
                                taken |= list[k].pid == c->pid;
                        if (!taken && (!best || owned(c) > owned(best)))
                                best = c;
                }
                if (!best)
                        break;
                one_of(v, list, &count, PROGRAMS, best->pid)->berth = true;
        }
        /* … who did most as the probes saw it, … */
        for (size_t i = 0; i < active_count; i++) {
                struct one *o = active[i].process->alive ? one_of(v, list, &count, SIGHT_PROCESSES - 6, active[i].process->pid) : NULL;

                if (o && same(v, active[i].process, o->process))
                        o->active = &active[i];
        }
        /* … and who keeps processors busy. */
        while (count < SIGHT_PROCESSES) {
                const struct machine_process *best = NULL;
                double most = 0.5;

                for (size_t i = 0; i < v->processes->count; i++) {
                        const struct machine_process *m = &v->processes->list[i];
                        double cpu = cpu_of(v, m);
                        bool taken = false;

                        for (size_t k = 0; k < count; k++)
                                taken |= list[k].pid == (uint32_t)m->stat.pid;
                        if (!taken && cpu > most) {
                                best = m;
                                most = cpu;
                        }
                }
                if (!best)
                        break;
                (void)one_of(v, list, &count, SIGHT_PROCESSES, (uint32_t)best->stat.pid);
        }
        return count;
}

static json_t *name_json(const char *bytes, size_t size)
{
        char safe[1100];
        size_t length = strlen(probes_escape(safe, sizeof safe, bytes, size));
        char *at = safe;

        if (!length)
                return json_null();
        if (length >= NAME_BYTES) {
                at = safe + length - NAME_BYTES + 4;
                while ((*at & 0xc0) == 0x80)
                        at++;
                at -= 3;
                memcpy(at, "...", 3);
        }
        return json_string(at);
}

static json_t *files_json(const struct sight_view *v, const struct active_process *a)
{
        double seconds = (double)v->probes->window_ns / 1e9;
        json_t *list = json_array();

        for (uint32_t i = 0; i < a->files && i < SIGHT_FILES; i++) {
                const struct probes_use *u = a->file[i];
                const struct probes_file *f = &probes_files(v->probes)[u->file];
                json_t *o = json_object();

                PUT("name", name_json(f->name, sizeof f->name));
                PUT("deleted", json_boolean(f->flags & PROBES_FILE_DELETED));
                PUT("opens", whole(true, u->total.opens));
                PUT("reads", whole(true, u->total.reads));
                PUT("writes", whole(true, u->total.writes));
                PUT("read_bytes", whole(true, u->total.read_bytes));
                PUT("written_bytes", whole(true, u->total.write_bytes));
                PUT("read_bytes_s", real(seconds > 0 ? (double)u->now.read_bytes / seconds : -1));
                PUT("written_bytes_s", real(seconds > 0 ? (double)u->now.write_bytes / seconds : -1));
                json_array_append_new(list, o);
        }
        return list;
}

static const struct wire_STATUS_CLIENT *client_before(const struct sight_view *v, const struct wire_STATUS_CLIENT *c)
{
        for (size_t i = 0; v->status_before && i < v->status_before->client_count; i++) {
                const struct wire_STATUS_CLIENT *b = &v->status_before->clients[i];

                if (b->client == c->client && b->pid == c->pid && b->device == c->device)
                        return b;
        }
        return NULL;
}

/* What Berth knows of a program, over the devices that it is on. */
static void put_program(json_t *o, const struct sight_view *v, uint32_t pid, double *ret_launches)
{
        uint64_t bytes = 0, resident = 0, peak = 0, elapsed = v->status_before ? v->status->taken_ns - v->status_before->taken_ns : 0;
        double waiting = -1, launches = -1;
        const char *state = NULL;

        for (size_t i = 0; i < v->status->client_count; i++) {
                const struct wire_STATUS_CLIENT *c = &v->status->clients[i], *before;

                if (c->pid != pid)
                        continue;
                before = client_before(v, c);
                bytes += owned(c);
                resident += c->resident_bytes + c->pinned_bytes;
                peak += c->peak_bytes;
                state = c->stuck ? "stuck" : wire_state_name(c->state);
                if (!before || !elapsed || c->launches < before->launches || c->waited_ns < before->waited_ns)
                        continue;
                launches = (launches < 0 ? 0 : launches) + (double)(c->launches - before->launches) * 1e9 / (double)elapsed;
                waiting = fmax(waiting, (double)(c->waited_ns - before->waited_ns) * 1000 / (double)elapsed);
        }
        PUT("state", state ? json_string(state) : json_null());
        PUT("owned_bytes", whole(true, bytes));
        PUT("resident_bytes", whole(true, resident));
        PUT("peak_bytes", whole(true, peak));
        PUT("waiting_pct", share(waiting));
        *ret_launches = launches;
}

static json_t *user_json(uint32_t uid)
{
        char buffer[1024], clean[40];
        struct passwd p, *found = NULL;

        if (getpwuid_r(uid, &p, buffer, sizeof buffer, &found) == 0 && found)
                text_copy_clean(clean, sizeof clean, p.pw_name);
        else
                snprintf(clean, sizeof clean, "%u", uid);
        return json_string(clean);
}

static json_t *process_json(const struct sight_view *v, const struct one *one)
{
        const struct machine_process *m = one->process;
        const struct probes_process *p = one->active ? one->active->process : NULL;
        const struct probes_snapshot *s = v->probes;
        bool files = s && s->families[PROBES_FILES].state == PROBES_ATTACHED, gpu = s && s->families[PROBES_GPU].state == PROBES_ATTACHED;
        double seconds = s && s->window_ns ? (double)s->window_ns / 1e9 : 0, launches = -1;
        json_t *o = json_object();

        /* Nothing of it was counted: it did nothing of the kind. */
#define RATE(on, group, field) ((on) && seconds > 0 ? real(p ? (double)p->group.field / seconds : 0) : json_null())
        PUT("pid", json_integer(one->pid));
        PUT("name", p ? name_json(p->comm, sizeof p->comm) : m ? name_json(m->stat.name, sizeof m->stat.name) : json_null());
        PUT("user", m ? user_json(m->uid) : p ? user_json(p->uid) : json_null());
        PUT("cpu_pct", real(cpu_of(v, m)));
        PUT("memory_bytes", m ? whole(true, m->stat.resident_pages * v->page) : json_null());
        if (one->berth)
                put_program(o, v, one->pid, &launches);
        PUT("launches_s", launches >= 0 ? real(launches) : RATE(gpu, gpu_now, launches));
        PUT("graphs_s", RATE(gpu, gpu_now, graphs));
        PUT("waits_s", RATE(gpu, gpu_now, waits));
        PUT("copies_in_bytes_s", RATE(gpu, gpu_now, in_bytes));
        PUT("copies_out_bytes_s", RATE(gpu, gpu_now, out_bytes));
        PUT("opens_s", RATE(files, now, opens));
        PUT("reads_s", RATE(files, now, reads));
        PUT("writes_s", RATE(files, now, writes));
        PUT("read_bytes_s", RATE(files, now, read_bytes));
        PUT("written_bytes_s", RATE(files, now, write_bytes));
        if (files && one->active && v->depth == SIGHT_FILE_NAMES) {
                PUT("files", files_json(v, one->active));
                PUT("files_left_out", json_integer(one->active->files > SIGHT_FILES ? one->active->files - SIGHT_FILES + one->active->more : one->active->more));
        }
#undef RATE
        return o;
}

static json_t *processes_json(const struct sight_view *v)
{
        struct active_process *active scoped_free = calloc(SIGHT_PROCESSES, sizeof *active);
        struct one list[SIGHT_PROCESSES];
        json_t *array = json_array();
        size_t active_count, count;

        if (!active)
                return array;
        active_count = v->probes ? active_list(v->probes, active, SIGHT_PROCESSES) : 0;
        count = choose(v, active, active_count, list);
        for (size_t i = 0; i < count; i++)
                json_array_append_new(array, process_json(v, &list[i]));
        return array;
}

json_t *sight_json(const struct sight_view *v, uint32_t span_s)
{
        static const char *const shown[] = {"figures", "processes", "files"};
        json_t *o = json_object(), *devices = json_array(), *probes = json_array(), *processes = json_array();

        for (size_t i = 0; v->status && i < v->status->device_count; i++)
                json_array_append_new(devices, device_json(&v->status->devices[i]));
        for (uint32_t i = 0; v->probes && i < PROBES_FAMILY_N; i++)
                if (v->probes->families[i].state != PROBES_NOT_ASKED)
                        json_array_append_new(probes, probe_json(v, i));
        if (v->depth != SIGHT_FIGURES && v->processes) {
                json_decref(processes);
                processes = processes_json(v);
                PUT("processes_left_out", whole(true, v->processes->count + v->processes->unseen - json_array_size(processes)));
        }
        PUT("m", json_string("machine"));
        PUT("span_s", json_integer(span_s));
        PUT("shown", json_string(shown[v->depth]));
        PUT("host", v->look ? host_json(v) : json_null());
        PUT("unavailable", missing_json(v));
        PUT("devices", devices);
        PUT("probes", probes);
        PUT("history", v->history ? history_json(v, span_s) : json_null());
        PUT("processes", processes);
        /* Those at the end go first. */
        while (json_array_size(processes) && json_dumpb(o, NULL, 0, JSON_COMPACT | JSON_REAL_PRECISION(6)) > SIGHT_BYTES)
                json_array_remove(processes, json_array_size(processes) - 1);
        return o;
}
