/* test-sight.c: what a look tells: who is listed, what is unknown, what the owner does not let be seen, hostile names, bounds. */
#include "worker/sight-view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)
#define PROCESSES 60

static struct machine_look look;
static struct machine_rates rates;
static struct machine_process list[PROCESSES], earlier[PROCESSES];
static struct machine_processes processes = {.list = list}, before = {.list = earlier};
static struct sight_status status, status_before;
static struct probes_snapshot *probes;
static struct history_set *history;

/* Process i has pid 100 + i and has used i ticks a second; 100 … 111 are programs of Berth; 150 writes 1 … 20 files. */
static struct sight_view world(void)
{
        struct probes_process *p;
        struct probes_file *f;
        struct probes_use *u;

        memset(&look, 0, sizeof look);
        look.memory = (struct machine_memory){.total = 1 << 30, .available = MACHINE_UNKNOWN, .swap_total = MACHINE_UNKNOWN, .swap_free = MACHINE_UNKNOWN};
        look.pressure_error[0] = -ENOENT;
        look.heat_millicelsius = 41500;
        machine_rates(&look, NULL, &rates);
        rates.user = 123.456789;
        processes.count = before.count = PROCESSES;
        processes.taken_ns = 20 * S;
        before.taken_ns = 19 * S;
        for (int i = 0; i < PROCESSES; i++) {
                list[i] = (struct machine_process){.stat = {.pid = 100 + i, .start_ticks = 500, .ticks = 1000 + (uint64_t)i, .resident_pages = 3}, .uid = 4000001};
                snprintf(list[i].stat.name, sizeof list[i].stat.name, "p%d", i);
                earlier[i] = list[i];
                earlier[i].stat.ticks = 1000;
        }
        status = (struct sight_status){.taken_ns = 20 * S, .device_count = 2, .client_count = 12};
        status.devices[0] = (struct wire_STATUS_DEVICE){.index = 0, .kind = WIRE_SOFTWARE, .name = "soft\x1b"};
        status.devices[1] = (struct wire_STATUS_DEVICE){.index = 1, .kind = WIRE_CUDA, .name = "gpu", .power_mw = 312345, .utilisation_permille = 871, .temperature_c = 60,
                                                        .valid = WIRE_VALID_POWER | WIRE_VALID_UTILISATION | WIRE_VALID_TEMPERATURE};
        for (uint32_t i = 0; i < 12; i++)
                status.clients[i] = (struct wire_STATUS_CLIENT){.client = i, .pid = 100 + i, .movable_bytes = 1000 + i, .resident_bytes = 500, .peak_bytes = 2000, .launches = 50,
                                                                .waited_ns = S / 4, .state = WIRE_RUNNING};
        status_before = status;
        status_before.taken_ns = 19 * S;
        for (uint32_t i = 0; i < 12; i++)
                status_before.clients[i].launches = status_before.clients[i].waited_ns = 0;
        free(probes);
        probes = calloc(1, probes_bytes(2, 20, 20, 0, 0));
        assert_non_null(probes);
        probes->processes = 2;
        probes->files = probes->uses = 20;
        probes->window_ns = S / 2;
        probes->taken_ns = 20 * S;
        probes->families[PROBES_FILES] = (struct probes_family){.state = PROBES_ATTACHED, .rung = PROBES_SYS_EXIT, .one_in = 1, .window_permille = 1000, .hooked_cost_ps = 1, .cost_ns = S / 10};
        probes->families[PROBES_GPU] = (struct probes_family){.state = PROBES_UNAVAILABLE, .one_in = 1, .window_permille = 1000, .refused_count = 1, .refused = {{PROBES_UPROBE, -1, "no"}}};
        probes->families[PROBES_SCHED] = (struct probes_family){.state = PROBES_ATTACHED, .rung = PROBES_TP_BTF, .one_in = 1, .window_permille = 1000};
        probes->families[PROBES_BLOCK].state = PROBES_NOT_ASKED;
        probes->wait_now.buckets[5] = 10; /* of 16 to 32 µs */
        probes->all_now.reads = 7;
        p = (struct probes_process *)(uintptr_t)probes_processes(probes);
        p[0] = (struct probes_process){.pid = 101, .start_ns = 5 * S, .alive = 1, .comm = "\x1b[2J\xff\"<b>", .now = {.write_bytes = 1000}};
        p[1] = (struct probes_process){.pid = 102, .start_ns = 77 * S, .alive = 1, .comm = "another", .now = {.write_bytes = 9}}; /* had the number before */
        f = (struct probes_file *)(uintptr_t)probes_files(probes);
        u = (struct probes_use *)(uintptr_t)probes_uses(probes);
        for (uint32_t i = 0; i < 20; i++) {
                memset(f[i].name, 'x', 254);
                snprintf(f[i].name + 240, 16, "/end-%u", i);
                u[i] = (struct probes_use){.process = 0, .file = i, .now = {.write_bytes = 100 + i}, .total = {.writes = 1, .write_bytes = 200}};
        }
        history_set_free(history);
        assert_int_equal(history_set_new(history_usual, HISTORY_USUAL_LEVELS, 8, &history), 0);
        for (uint64_t i = 0; i < 60; i++)
                assert_int_equal(history_set_put(history, "cpu.busy", (1000000 + i) * S, 123456.789), 0);
        assert_int_equal(history_set_put(history, "device.1.power", 1000000 * S, 250), 0);
        return (struct sight_view){.depth = SIGHT_FILE_NAMES, .look = &look, .rates = &rates, .processes = &processes, .processes_before = &before, .hertz = 100, .page = 4096,
                                  .status = &status, .status_before = &status_before, .probes = probes, .probes_before_ns = 19 * S, .cost_before_ns = {S / 20},
                                  .history = history, .history_ns = 1000060 * S};
}

static const json_t *of(const json_t *report, const char *array, const char *member, json_int_t value)
{
        const json_t *item;
        size_t i;

        json_array_foreach(json_object_get(report, array), i, item)
                if (json_integer_value(json_object_get(item, member)) == value)
                        return item;
        return NULL;
}

static double number(const json_t *o, const char *member)
{
        assert_true(json_is_number(json_object_get(o, member)));
        return json_number_value(json_object_get(o, member));
}

static void all_of_it(void **state)
{
        struct sight_view v = world();
        json_t *o = sight_json(&v, 600), *values;
        const json_t *p, *files;

        (void)state;
        assert_non_null(o);
        assert_true(number(json_object_get(o, "host"), "cpu_user_pct") == 12.35);
        assert_true(number(json_object_get(o, "host"), "temperature_c") == 41.5);
        assert_true(json_is_null(json_object_get(json_object_get(o, "host"), "memory_available_bytes")));
        assert_true(json_is_null(json_object_get(json_object_get(o, "host"), "pressure_cpu_pct")));
        assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(o, "unavailable"), 0), "what")), "pressure");
        p = of(o, "devices", "index", 0);
        assert_string_equal(json_string_value(json_object_get(p, "name")), "soft?");
        assert_true(json_is_null(json_object_get(p, "power_watts")) && json_is_string(json_object_get(p, "why")));
        p = of(o, "devices", "index", 1);
        assert_true(number(p, "power_watts") == 312.3 && number(p, "utilization_pct") == 87.1 && json_is_null(json_object_get(p, "why")));
        /* Ten programs at most, those that own most; who the probes saw; then the busiest. */
        assert_int_equal(json_array_size(json_object_get(o, "processes")), SIGHT_PROCESSES);
        assert_int_equal(json_integer_value(json_object_get(o, "processes_left_out")), PROCESSES - SIGHT_PROCESSES);
        p = of(o, "processes", "pid", 111);
        assert_true(number(p, "launches_s") == 50 && number(p, "waiting_pct") == 25 && number(p, "owned_bytes") == 1011 && number(p, "peak_bytes") == 2000);
        assert_non_null(of(o, "processes", "pid", 159));
        assert_null(of(o, "processes", "pid", 100));
        p = of(o, "processes", "pid", 101);
        assert_string_equal(json_string_value(json_object_get(p, "name")), "\\x1b[2J\\xff\"<b>");
        assert_true(number(p, "written_bytes_s") == 2000);
        files = json_object_get(p, "files");
        assert_int_equal(json_array_size(files), SIGHT_FILES);
        assert_true(number(p, "files_left_out") == 20 - SIGHT_FILES);
        assert_non_null(strstr(json_string_value(json_object_get(json_array_get(files, 0), "name")), "/end-19"));
        assert_int_equal(strncmp(json_string_value(json_object_get(json_array_get(files, 0), "name")), "...xxx", 6), 0);
        assert_true(number(json_array_get(files, 0), "written_bytes_s") == 238);
        /* Another process that bore this number before: not its figures. */
        p = of(o, "processes", "pid", 102);
        assert_string_equal(json_string_value(json_object_get(p, "name")), "p2");
        assert_null(json_object_get(p, "files"));
        /* What no probe counts is unknown, not zero. */
        assert_true(json_is_null(json_object_get(p, "waits_s")));
        assert_true(number(json_array_get(json_object_get(o, "probes"), PROBES_FILES), "cost_pct") == 5);
        assert_true(number(json_array_get(json_object_get(o, "probes"), PROBES_FILES), "per_s") == 14);
        assert_true(json_is_null(json_object_get(json_array_get(json_object_get(o, "probes"), PROBES_FILES), "p95_us")));
        /* What nobody asked for is not listed: the third is that of processors. */
        assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(o, "probes"), 2), "family")), "sched");
        assert_true(number(json_array_get(json_object_get(o, "probes"), 2), "per_s") == 20);
        assert_in_range(number(json_array_get(json_object_get(o, "probes"), 2), "p95_us"), 16, 32);
        assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(o, "probes"), PROBES_GPU), "why")), "no");
        values = json_object_get(json_array_get(json_object_get(json_object_get(o, "history"), "series"), 0), "values");
        assert_int_equal(json_array_size(values), SIGHT_POINTS);
        assert_true(json_is_null(json_array_get(values, 0)));
        assert_true(json_number_value(json_array_get(values, SIGHT_POINTS - 2)) == 123500);
        assert_true(number(json_object_get(o, "history"), "end_s") == 1000060 && number(json_object_get(o, "history"), "step_s") == 5);
        json_decref(o);
}

static void what_is_not_to_be_seen(void **state)
{
        struct sight_view v = world();
        char *text;
        json_t *o;

        (void)state;
        v.depth = SIGHT_PROCESS_LIST;
        o = sight_json(&v, 600);
        text = json_dumps(o, 0);
        assert_null(strstr(text, "/end-"));
        assert_non_null(strstr(text, "\"written_bytes_s\""));
        free(text);
        json_decref(o);
        v.depth = SIGHT_FIGURES;
        o = sight_json(&v, 600);
        assert_int_equal(json_array_size(json_object_get(o, "processes")), 0);
        assert_string_equal(json_string_value(json_object_get(o, "shown")), "figures");
        text = json_dumps(o, 0);
        assert_null(strstr(text, "p59"));
        free(text);
        json_decref(o);
}

static void hardly_anything(void **state)
{
        struct sight_view v = {.depth = SIGHT_FILE_NAMES, .probes_why = "no"};
        json_t *o = sight_json(&v, 600);

        (void)state;
        assert_true(json_is_null(json_object_get(o, "host")) && json_is_null(json_object_get(o, "history")));
        assert_int_equal(json_array_size(json_object_get(o, "devices")), 0);
        assert_int_equal(json_array_size(json_object_get(o, "unavailable")), 4);
        json_decref(o);
        v = world();
        v.status = v.status_before = NULL;
        v.probes = NULL;
        v.processes_before = NULL;
        o = sight_json(&v, 604800);
        assert_int_equal(json_array_size(json_object_get(o, "processes")), 0); /* nobody is known to have done anything yet */
        json_decref(o);
}

static void never_more_than_a_pool_takes(void **state)
{
        struct sight_view v = world();
        struct probes_process *p = (struct probes_process *)(uintptr_t)probes_processes(probes);
        struct probes_use *u = (struct probes_use *)(uintptr_t)probes_uses(probes);
        json_t *o;

        (void)state;
        for (uint32_t i = 0; i < 20; i++) {
                memset(((struct probes_file *)(uintptr_t)probes_files(probes))[i].name, 1, 255);
                u[i].process = i % 2;
        }
        p[1].start_ns = 5 * S;
        history_set_free(history);
        assert_int_equal(history_set_new(history_usual, HISTORY_USUAL_LEVELS, 64, &history), 0);
        v.history = history;
        for (uint32_t d = 0; d < 16; d++) {
                char name[64];

                status.devices[d] = status.devices[1];
                status.devices[d].index = d;
                for (uint64_t i = 0; i < 600; i++) {
                        snprintf(name, sizeof name, "device.%u.power", d);
                        assert_int_equal(history_set_put(history, name, (999460 + i) * S, 123456789.123), 0);
                }
        }
        status.device_count = 16;
        o = sight_json(&v, 600);
        assert_int_equal(json_array_size(json_object_get(json_object_get(o, "history"), "series")), 8);
        assert_true(json_dumpb(o, NULL, 0, JSON_COMPACT | JSON_REAL_PRECISION(6)) <= SIGHT_BYTES);
        assert_true(json_array_size(json_object_get(o, "processes")) > 10);
        json_decref(o);
}

static int done(void **state)
{
        (void)state;
        free(probes);
        history_set_free(history);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(all_of_it),
                cmocka_unit_test(what_is_not_to_be_seen),
                cmocka_unit_test(hardly_anything),
                cmocka_unit_test(never_more_than_a_pool_takes),
        };

        return cmocka_run_group_tests_name("worker-sight", tests, NULL, done);
}
