/* sample.c: `berth sample`: one look at everything as JSON. What can't be measured is null, and "unavailable" says why. */
#include "base/clock.h"
#include "base/text.h"
#include "cli/probes-client.h"
#include "cli/top-world.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ANSWER_MS 2000
#define PROBES_NS (10 * NS_PER_S) /* the kernel checks each program that it is given */
#define PROBES_LISTED 32

struct sample {
        uint64_t interval_ns;
        bool json, processes, no_probes;
        struct top_sources sources;
};

enum { KEY_NO_PROBES = 0x100 };

static const struct argp_option options[] = {
        {"json", 'j', NULL, 0, "as JSON, which is the only form so far", 0},
        {"interval", 'i', "TIME", 0, "time between the two looks that rates are made of (1s)", 0},
        {"processes", 'a', NULL, 0, "with all processes of the machine", 0},
        {"no-probes", KEY_NO_PROBES, NULL, 0, "without what the daemon's probes in the kernel count: asking attaches them for a minute", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct sample *s = state->input;

        switch (key) {
        case 'j':
                s->json = true;
                return 0;
        case 'a':
                s->processes = true;
                return 0;
        case KEY_NO_PROBES:
                s->no_probes = true;
                return 0;
        case 'i':
                if (text_parse_duration(arg, &s->interval_ns) < 0 || s->interval_ns < 10 * NS_PER_MS || s->interval_ns > 3600 * NS_PER_S)
                        argp_error(state, "--interval: \"%s\" is no time between 10ms and 1h", arg);
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static void put_number(json_t *o, const char *name, uint64_t value)
{
        json_object_set_new(o, name, value > INT64_MAX ? json_null() : json_integer((json_int_t)value));
}

static void put_if(json_t *o, const char *name, bool known, uint64_t value)
{
        put_number(o, name, known ? value : MACHINE_UNKNOWN);
}

static void put_real(json_t *o, const char *name, double value)
{
        json_object_set_new(o, name, value < 0 ? json_null() : json_real(value));
}

static json_t *device_json(const struct wire_STATUS_DEVICE *d)
{
        json_t *o = json_object();

        put_number(o, "index", d->index);
        json_object_set_new(o, "name", json_string(d->name));
        json_object_set_new(o, "kind", json_string(wire_kind_name(d->kind)));
        put_if(o, "total_bytes", d->valid & WIRE_VALID_TOTAL, d->total_bytes);
        put_if(o, "used_bytes", d->valid & WIRE_VALID_USED, d->used_bytes);
        put_if(o, "foreign_bytes", d->valid & WIRE_VALID_FOREIGN, d->foreign_bytes);
        put_if(o, "utilisation_permille", d->valid & WIRE_VALID_UTILISATION, d->utilisation_permille);
        put_if(o, "power_mw", d->valid & WIRE_VALID_POWER, d->power_mw);
        put_if(o, "temperature_c", d->valid & WIRE_VALID_TEMPERATURE, d->temperature_c);
        put_if(o, "clock_mhz", d->valid & WIRE_VALID_CLOCK, d->clock_mhz);
        put_if(o, "memory_clock_mhz", d->valid & WIRE_VALID_MEMORY_CLOCK, d->memory_clock_mhz);
        put_if(o, "throttle", d->valid & WIRE_VALID_THROTTLE, d->throttle);
        put_if(o, "memory_busy_permille", d->valid & WIRE_VALID_MEMORY_BUSY, d->memory_busy_permille);
        put_if(o, "power_limit_mw", d->valid & WIRE_VALID_POWER_LIMIT, d->power_limit_mw);
        put_if(o, "ecc_corrected", d->valid & WIRE_VALID_ECC, d->ecc_corrected);
        put_if(o, "ecc_uncorrected", d->valid & WIRE_VALID_ECC, d->ecc_uncorrected);
        put_if(o, "xids", d->valid & WIRE_VALID_XID, d->xids);
        put_if(o, "last_xid", d->valid & WIRE_VALID_XID, d->last_xid);
        if (!snapshot_shared(d))
                return o;
        put_number(o, "granted_bytes", d->granted_bytes);
        put_number(o, "room_bytes", d->room_bytes);
        put_number(o, "swapped_bytes", d->swapped_bytes);
        put_number(o, "out_bytes", d->out_bytes);
        put_number(o, "in_bytes", d->in_bytes);
        put_number(o, "switches", d->switches);
        put_number(o, "programs", d->clients);
        put_number(o, "waiting", d->waiting);
        put_number(o, "stuck", d->stuck);
        return o;
}

static json_t *program_json(const struct top_world *w, const struct top_row *r)
{
        const struct wire_STATUS_CLIENT *c = &w->now->clients[r->client];
        json_t *o = json_object();

        put_number(o, "pid", c->pid);
        put_number(o, "uid", c->uid);
        put_number(o, "device", c->device);
        json_object_set_new(o, "name", json_string(c->name));
        json_object_set_new(o, "job", json_string(c->job));
        json_object_set_new(o, "state", json_string(wire_state_name(c->state)));
        put_number(o, "owned_bytes", snapshot_owned(c));
        put_number(o, "resident_bytes", snapshot_resident(c));
        put_number(o, "peak_bytes", c->peak_bytes);
        put_number(o, "launches", c->launches);
        put_number(o, "copies", c->copies);
        put_number(o, "waits", c->waits);
        put_number(o, "waited_ns", c->waited_ns);
        put_number(o, "ran_ns", c->ran_ns);
        put_number(o, "moved_out_bytes", c->out_bytes);
        put_number(o, "moved_in_bytes", c->in_bytes);
        put_real(o, "launches_per_second", r->launches);
        put_real(o, "moved_bytes_per_second", r->moved_bytes);
        put_real(o, "cpu_permille", r->cpu_permille);
        return o;
}

static json_t *process_json(const struct top_world *w, const struct top_row *r)
{
        json_t *o = json_object();
        char state[2] = {r->process->stat.state, 0};

        (void)w;
        put_number(o, "pid", r->pid);
        put_number(o, "parent", (uint64_t)r->process->stat.parent);
        put_number(o, "uid", r->uid);
        json_object_set_new(o, "name", json_string(r->name));
        json_object_set_new(o, "state", json_string(state));
        put_real(o, "cpu_permille", r->cpu_permille);
        put_number(o, "memory_bytes", r->resident_bytes);
        put_number(o, "device_bytes", r->device_bytes);
        put_real(o, "read_bytes_per_second", r->read_bytes);
        put_real(o, "written_bytes_per_second", r->written_bytes);
        return o;
}

static json_t *list_json(const struct top_world *w, enum top_list list, json_t *(*item)(const struct top_world *, const struct top_row *))
{
        const struct top_view view = {.list = list, .sort = list == TOP_PROCESSES ? TOP_BY_PID : TOP_BY_DEVICE};
        struct top_row *rows scoped_free = NULL;
        json_t *array = json_array();
        size_t count = 0;

        if (top_rows(w, &view, &rows, &count) < 0)
                return array;
        for (size_t i = 0; i < count; i++)
                json_array_append_new(array, item(w, &rows[i]));
        return array;
}

static void put_reason(json_t *reasons, const char *family, int error)
{
        if (error)
                json_object_set_new(reasons, family, json_string(machine_missing(error)));
}

static json_t *machine_json(const struct top_world *w)
{
        static const char *const resources[MACHINE_PRESSURE_N] = {"cpu", "memory", "io"};
        const struct machine_look *l = w->look;
        const struct machine_rates *r = w->rates;
        json_t *o = json_object(), *reasons = json_object(), *cpus = json_array(), *pressure = json_object();

        put_real(o, "cpu_permille", r->busy);
        put_real(o, "cpu_user_permille", r->user);
        put_real(o, "cpu_system_permille", r->system);
        put_real(o, "cpu_wait_permille", r->wait);
        put_real(o, "cpu_stolen_permille", r->stolen);
        for (uint32_t i = 0; i < r->cpus; i++)
                json_array_append_new(cpus, r->cpu_busy[i] < 0 ? json_null() : json_real(r->cpu_busy[i]));
        json_object_set_new(o, "each_cpu_permille", cpus);
        put_if(o, "memory_bytes", !l->memory_error, l->memory.total);
        put_if(o, "memory_available_bytes", !l->memory_error, l->memory.available);
        put_if(o, "swap_bytes", !l->memory_error, l->memory.swap_total);
        put_if(o, "swap_free_bytes", !l->memory_error, l->memory.swap_free);
        for (size_t i = 0; i < MACHINE_PRESSURE_N; i++) {
                json_t *p = json_object();

                put_if(p, "some_permille", !l->pressure_error[i], l->pressure[i].some_permille);
                put_if(p, "full_permille", !l->pressure_error[i], l->pressure[i].full_permille);
                json_object_set_new(pressure, resources[i], p);
        }
        json_object_set_new(o, "pressure", pressure);
        put_real(o, "network_in_bytes_per_second", r->in_bytes);
        put_real(o, "network_out_bytes_per_second", r->out_bytes);
        put_real(o, "disk_read_bytes_per_second", r->read_bytes);
        put_real(o, "disk_written_bytes_per_second", r->written_bytes);
        put_real(o, "switches_per_second", r->switches);
        put_real(o, "interrupts_per_second", r->interrupts);
        put_real(o, "new_processes_per_second", r->forks);
        put_if(o, "oom_kills", !l->vm_error, l->vm.oom_kills);
        json_object_set_new(o, "temperature_millicelsius", l->heat_error ? json_null() : json_integer(l->heat_millicelsius));
        put_reason(reasons, "cpu", l->stat_error);
        put_reason(reasons, "memory", l->memory_error);
        for (size_t i = 0; i < MACHINE_PRESSURE_N; i++) {
                char name[32];

                snprintf(name, sizeof name, "pressure.%s", resources[i]);
                put_reason(reasons, name, l->pressure_error[i]);
        }
        put_reason(reasons, "network", l->network_error);
        put_reason(reasons, "disk", l->disk_error);
        put_reason(reasons, "load", l->load_error);
        put_reason(reasons, "virtual memory", l->vm_error);
        put_reason(reasons, "temperature", l->heat_error);
        json_object_set_new(reasons, "system calls", json_string("/proc has no count of them; the probes have"));
        json_object_set_new(o, "unavailable", reasons);
        return o;
}

static json_t *kernel_device_json(const struct machine_device *d)
{
        json_t *o = json_object();

        json_object_set_new(o, "name", json_string(d->name));
        json_object_set_new(o, "driver", json_string(d->driver));
        json_object_set_new(o, "bus", json_string(d->bus));
        put_number(o, "busy_permille", d->busy_permille);
        put_number(o, "busy_us", d->busy_us);
        put_number(o, "total_bytes", d->total_bytes);
        put_number(o, "used_bytes", d->used_bytes);
        put_number(o, "power_uw", d->power_uw);
        put_number(o, "energy_uj", d->energy_uj);
        put_number(o, "frequency_mhz", d->frequency_mhz);
        put_number(o, "frequency_most_mhz", d->frequency_most_mhz);
        put_number(o, "temperature_millicelsius", d->heat_millicelsius);
        put_number(o, "fan_rpm", d->fan_rpm);
        return o;
}

static json_t *sample_json(const struct sample *s, const char *trouble)
{
        const struct top_world *w = &s->sources.world;
        json_t *o = json_object(), *devices = json_array(), *kernel = json_array();
        char time_text[32] = "";
        time_t now = time(NULL);
        struct tm utc;

        if (gmtime_r(&now, &utc))
                strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%SZ", &utc);
        json_object_set_new(o, "version", json_integer(1));
        json_object_set_new(o, "time", json_string(time_text));
        json_object_set_new(o, "trouble", trouble ? json_string(trouble) : json_null());
        for (size_t i = 0; w->now && i < w->now->device_count; i++)
                json_array_append_new(devices, device_json(&w->now->devices[i]));
        for (size_t i = 0; i < w->device_count; i++)
                json_array_append_new(kernel, kernel_device_json(&w->devices[i]));
        json_object_set_new(o, "devices", devices);
        json_object_set_new(o, "programs", w->now ? list_json(w, TOP_PROGRAMS, program_json) : json_array());
        json_object_set_new(o, "kernel_devices", kernel);
        json_object_set_new(o, "machine", w->look ? machine_json(w) : json_null());
        json_object_set_new(o, "probes", w->probes ? probes_active_json(w->probes, PROBES_LISTED) : json_null());
        if (!w->probes && !s->no_probes)
                json_object_set_new(o, "probes_unavailable", json_string(w->probes_why && w->probes_why[0] ? w->probes_why : "no daemon answers"));
        if (s->processes)
                json_object_set_new(o, "processes", list_json(w, TOP_PROCESSES, process_json));
        return o;
}

static int run(const struct verb *self, int argc, char **argv)
{
        struct sample *s scoped_free = calloc(1, sizeof *s);
        struct timespec pause;
        char *text scoped_free = NULL;
        json_t *o;
        int r;

        if (!s) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        s->interval_ns = NS_PER_S;
        cli_parse(self, argc, argv, s);
        top_sources_open(&s->sources, ANSWER_MS);
        s->sources.ask_probes = !s->no_probes;
        s->sources.ask_families = PROBES_EVERY;
        (void)top_look(&s->sources, NULL);
        pause = (struct timespec){(time_t)(s->interval_ns / NS_PER_S), (long)(s->interval_ns % NS_PER_S)};
        while (nanosleep(&pause, &pause) < 0 && errno == EINTR)
                ;
        r = top_look(&s->sources, NULL);
        top_wait_probes(&s->sources, PROBES_NS);
        o = sample_json(s, r < 0 ? s->sources.message : NULL);
        text = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(CLI_DIGITS));
        json_decref(o);
        top_sources_close(&s->sources);
        if (!text) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        r = cli_print(text);
        return r == CLI_OK ? cli_print("\n") : r;
}

const struct verb verb_sample = {
        .name = "sample",
        .summary = "take one look at devices, programs and the machine, as JSON",
        .more = "Two looks, --interval apart, so that rates are there. Sizes are bytes; what is unavailable is null, and machine.unavailable says why. When no daemon "
                "answers, \"trouble\" says so and the machine's part is there all the same. \"probes\" "
                "holds what the kernel's probes counted: each family's state, totals, and the processes that did most with their files; null, and \"probes_unavailable\" why.\n\nExample:\n\n  berth sample --json | jq .machine.pressure",
        .options = options,
        .parse = parse,
        .run = run,
};
