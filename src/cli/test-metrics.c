/* test-metrics.c: the text for Prometheus: its form, what is unavailable, hostile names, bounds; and that dashboard and alerts name what is there. */
#include "cli/metrics.h"
#include "base/text.h"
#include "cli/metrics-writer.h"
#include "cli/test-snapshot.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const names[] = {
#define METRIC(id, name, type, help) name,
#include "cli/metrics.def"
#undef METRIC
};

static const char *const types[] = {
#define GAUGE "gauge"
#define COUNTER "counter"
#define HISTOGRAM "histogram"
#define METRIC(id, name, type, help) type,
#include "cli/metrics.def"
#undef METRIC
};

static struct machine_look look;
static struct machine_rates rates;

static struct top_world world_of(const struct snapshot *s)
{
        memset(&look, 0, sizeof look);
        look.memory.total = 16 * GIB;
        look.memory.available = MACHINE_UNKNOWN;
        look.memory.swap_total = look.memory.swap_free = MACHINE_UNKNOWN;
        look.stat.all.user = 250;
        look.pressure_error[MACHINE_PRESSURE_IO] = -ENOENT;
        look.disk_error = -EACCES;
        look.heat_millicelsius = -5500;
        machine_rates(&look, NULL, &rates);
        return (struct top_world){.now = s, .look = &look, .rates = &rates, .hertz = 100, .page = 4096};
}

static char *text_of(const struct top_world *w, bool up, enum metrics_form form)
{
        struct strbuf b = {0};

        metrics_write(w, up, form, &b);
        assert_false(b.failed);
        return b.text;
}

static bool is_known(const char *name, size_t length)
{
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (strlen(names[i]) == length && !strncmp(names[i], name, length))
                        return true;
        return false;
}

/* Of a line of a histogram, the length of what the metric is called; else all of it. */
static size_t family_of(const char *name, size_t length)
{
        static const char *const parts[] = {"_bucket", "_sum", "_count"};

        for (size_t k = 0; k < ARRAY_SIZE(parts); k++) {
                size_t of = length - (strlen(parts[k]) < length ? strlen(parts[k]) : 0);

                for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                        if (!strcmp(types[i], HISTOGRAM) && strlen(names[i]) == of && !strncmp(names[i], name, of) && !strncmp(name + of, parts[k], length - of))
                                return of;
        }
        return length;
}

/* Each line is a comment or NAME{label="value",…} NUMBER; lines of one metric stand together, once. */
static void check_form(const char *text)
{
        char seen[ARRAY_SIZE(names)] = {0}, last[128] = "";

        for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
                size_t length = strcspn(line, "{ ");
                const char *at = line + length;
                char *end;

                assert_non_null(strchr(line, '\n'));
                if (*line == '#')
                        continue;
                length = family_of(line, length);
                assert_true(is_known(line, length));
                if (strncmp(last, line, length) != 0 || last[length]) {
                        snprintf(last, sizeof last, "%.*s", (int)length, line);
                        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                                if (!strcmp(names[i], last))
                                        assert_int_equal(seen[i]++, 0);
                }
                if (*at == '{') {
                        do {
                                at++;
                                assert_true(islower((unsigned char)*at));
                                at += strspn(at, "abcdefghijklmnopqrstuvwxyz_");
                                assert_int_equal(*at++, '=');
                                assert_int_equal(*at++, '"');
                                for (; *at != '"'; at++) {
                                        assert_true(*at >= 32 && *at < 127);
                                        if (*at == '\\')
                                                at++;
                                }
                                at++;
                        } while (*at == ',');
                        assert_int_equal(*at++, '}');
                }
                assert_int_equal(*at++, ' ');
                (void)strtod(at, &end);
                assert_true(end > at && *end == '\n');
        }
}

static void the_form_holds(void **state)
{
        struct snapshot s = test_world();
        struct top_world w = world_of(&s);
        char *text = text_of(&w, true, METRICS_PROMETHEUS);

        check_form(text);
        assert_non_null(strstr(text, "berth_up 1\n"));
        assert_non_null(strstr(text, "# TYPE berth_device_switches_total counter\nberth_device_switches_total{"));
        assert_non_null(strstr(text, "berth_program_resident_bytes{device=\"0\",program=\"train\",job=\"\",user=\"4000001\"} 209715200\n"));
        assert_non_null(strstr(text, "program=\"\\\"; rm -rf / #<b>%s%n</b>\\\\\",job=\"both\""));
        assert_non_null(strstr(text, "berth_machine_temperature_celsius -5.5\n"));
        assert_null(strstr(text, "# EOF"));
        free(text);
        text = text_of(&w, true, METRICS_OPEN);
        assert_non_null(strstr(text, "# TYPE berth_device_switches counter\nberth_device_switches_total{"));
        assert_string_equal(text + strlen(text) - 6, "# EOF\n");
        free(text);
}

static void figures_are_sensible(void **state)
{
        static const struct {
                double value;
                const char *text;
        } all[] = {
                {0, "0"}, {0.1 + 0.2, "0.3"}, {1.0 / 3, "0.333333333333"}, {1099511627776.0, "1099511627776"}, {9007199254740991.0, "9007199254740991"},
                {31536000.1234, "31536000.1234"}, {1e300, "1e+300"}, {0.000001, "1e-06"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
                struct metric_writer *w scoped_free = calloc(1, sizeof *w);
                char expected[80];

                assert_non_null(w);
                snprintf(expected, sizeof expected, "%s %s\n", names[METRIC_UP], all[i].text);
                metric_put(w, METRIC_UP, all[i].value, NULL);
                assert_string_equal(w->lines[METRIC_UP].text, expected);
                strbuf_done(&w->lines[METRIC_UP]);
        }
}

static void what_is_unavailable_has_no_line(void **state)
{
        struct snapshot s = test_world();
        struct top_world w = world_of(&s);
        char *text = text_of(&w, true, METRICS_PROMETHEUS);

        assert_null(strstr(text, "berth_device_power_watts"));
        assert_null(strstr(text, "berth_device_memory_used_bytes"));
        assert_null(strstr(text, "berth_machine_memory_available_bytes"));
        assert_null(strstr(text, "berth_machine_disk_bytes_total"));
        assert_null(strstr(text, "resource=\"io\""));
        assert_non_null(strstr(text, "berth_unavailable{family=\"disks\",reason=\"not permitted\"} 1\n"));
        assert_non_null(strstr(text, "berth_unavailable{family=\"pressure of io\",reason=\"the kernel does not tell\"} 1\n"));
        free(text);
        /* What a daemon that went away said last is not told as if it were now. */
        text = text_of(&w, false, METRICS_PROMETHEUS);
        assert_non_null(strstr(text, "berth_up 0\n"));
        assert_null(strstr(text, "berth_device_granted_bytes"));
        assert_non_null(strstr(text, "berth_machine_memory_bytes"));
        free(text);
}

static size_t lines_with(const char *text, const char *part)
{
        size_t n = 0;

        while ((text = strstr(text, part))) {
                n++;
                text += strlen(part);
        }
        return n;
}

static void programs_are_bounded_and_summed(void **state)
{
        static struct wire_STATUS_CLIENT many[400], earlier[400];
        struct snapshot s = test_world(), before;
        struct top_world w;
        char *text;

        memset(many, 0, sizeof many);
        for (uint32_t i = 0; i < 400; i++) {
                many[i] = (struct wire_STATUS_CLIENT){.pid = 100 + i, .client = i, .movable_bytes = MIB, .launches = 500};
                snprintf(many[i].name, sizeof many[i].name, "p%u", i / 2);
        }
        memcpy(earlier, many, sizeof many);
        for (uint32_t i = 0; i < 400; i++)
                earlier[i].launches = 400;
        earlier[0].launches = 600; /* another process under the same number */
        s.clients = many;
        s.client_count = 400;
        before = s;
        before.clients = earlier;
        before.taken_ns -= UINT64_C(2000000000);
        w = world_of(&s);
        w.before = &before;
        text = text_of(&w, true, METRICS_PROMETHEUS);
        check_form(text);
        assert_int_equal(lines_with(text, "\nberth_program_owned_bytes{"), METRICS_GROUPS);
        assert_non_null(strstr(text, "berth_programs_left_out 136\n"));
        assert_int_equal(lines_with(text, "} 2097152\n"), METRICS_GROUPS);
        assert_int_equal(lines_with(text, "} 100\n"), METRICS_GROUPS - (strstr(text, "program=\"p0\"") != NULL));
        free(text);
}

/* A device with a hostile name and one without; three processes, two of one name. */
static void made_latency(struct probes_snapshot *s)
{
        struct probes_block *b;
        struct probes_runner *r;

        s->blocks = 2;
        s->runners = 3;
        s->families[PROBES_BLOCK] = s->families[PROBES_SCHED] = (struct probes_family){.state = PROBES_ATTACHED, .rung = PROBES_TP_BTF, .one_in = 1, .window_permille = 1000};
        s->families[PROBES_SYSCALLS] = (struct probes_family){.state = PROBES_OFF, .one_in = 1, .window_permille = 1000};
        s->wait_total = (struct latency){.buckets = {[0] = 5, [LATENCY_BUCKETS - 1] = 1}, .sum_ns = 70000000000};
        b = (struct probes_block *)(uintptr_t)probes_blocks(s);
        b[0] = (struct probes_block){.device = 8 << 20, .kind = PROBES_READ, .name = "x\"}\n\xff", .total = {.bytes = 8192, .errors = 1, .time = {.buckets = {[8] = 2}, .sum_ns = 400000}}};
        b[1] = (struct probes_block){.device = 7 << 20 | 3, .kind = PROBES_FLUSH};
        r = (struct probes_runner *)(uintptr_t)probes_runners(s);
        for (uint32_t i = 0; i < 3; i++) {
                r[i] = (struct probes_runner){.pid = i + 1, .uid = 4000001, .calls_now = 9, .wait_now = {.times = 1, .sum_ns = 500000000}};
                snprintf(r[i].comm, sizeof r[i].comm, "r%u", i % 2);
        }
}

/* Twenty processes called p0 … p19 under user 4000001, two of them more, and one with a hostile name; the GPU's family has nothing to hang on. */
static struct probes_snapshot *probes_made(void)
{
        struct probes_snapshot *s = calloc(1, probes_bytes(23, 0, 0, 2, 3));
        struct probes_process *p;

        assert_non_null(s);
        *s = (struct probes_snapshot){.processes = 23, .window_ns = UINT64_C(2000000000), .cpu_ns = 1500000000, .rss_bytes = 3 * MIB};
        s->families[PROBES_FILES] = (struct probes_family){.state = PROBES_ATTACHED, .rung = PROBES_SYS_EXIT, .one_in = 4, .window_permille = 1000, .hits = 900, .hooked = 80,
                                                           .hooked_cost_ps = 250000, .cost_ns = 2500000};
        s->families[PROBES_GPU] = (struct probes_family){.state = PROBES_UNAVAILABLE, .one_in = 1, .window_permille = 1000, .refused_count = 1,
                                                         .refused = {{PROBES_UPROBE, -22, "perf_event_open: \"no\""}}};
        s->all_total = (struct probes_sums){.opens = 7, .reads = 11, .read_bytes = 4097};
        p = (struct probes_process *)(uintptr_t)probes_processes(s);
        for (uint32_t i = 0; i < 23; i++) {
                p[i] = (struct probes_process){.pid = i + 1, .uid = 4000001, .now = {.reads = 2, .read_bytes = 1000 + (i < 22 ? i : 0)}};
                snprintf(p[i].comm, sizeof p[i].comm, "p%u", i % 20);
        }
        made_latency(s);
        memcpy(p[22].comm, "\"}\n\\\xff\x1b[2J 123456", 16);
        p[22].now.read_bytes = 1 << 20;
        return s;
}

static void what_probes_counted(void **state)
{
        struct probes_snapshot *probes scoped_free = probes_made();
        struct snapshot s = test_world();
        struct top_world w = world_of(&s);
        char *text;

        (void)state;
        w.probes = probes;
        text = text_of(&w, true, METRICS_PROMETHEUS);
        check_form(text);
        assert_non_null(strstr(text, "berth_probe_info{family=\"files\",state=\"attached\",rung=\"sys_exit\"} 1\n"));
        assert_non_null(strstr(text, "berth_probe_info{family=\"gpu\",state=\"unavailable\",rung=\"\"} 1\n"));
        assert_non_null(strstr(text, "berth_unavailable{family=\"probe of gpu\",reason=\"perf_event_open: \\\"no\\\"\"} 1\n"));
        assert_non_null(strstr(text, "berth_probe_hits_total{family=\"files\"} 900\n"));
        assert_non_null(strstr(text, "berth_probe_sampled_ratio{family=\"files\"} 0.25\n"));
        assert_non_null(strstr(text, "berth_probe_cost_seconds_total{family=\"files\"} 0.0025"));
        assert_non_null(strstr(text, "berth_probes_cpu_seconds_total 1.5\n"));
        assert_non_null(strstr(text, "berth_file_bytes_total{direction=\"read\"} 4097\n"));
        assert_non_null(strstr(text, "# TYPE berth_block_latency_seconds histogram\n"));
        assert_non_null(strstr(text, "berth_block_latency_seconds_bucket{device=\"x\\\"}??\",operation=\"read\",le=\"0.000128\"} 0\n"));
        assert_non_null(strstr(text, "berth_block_latency_seconds_bucket{device=\"x\\\"}??\",operation=\"read\",le=\"0.000256\"} 2\n"));
        assert_non_null(strstr(text, "berth_block_latency_seconds_bucket{device=\"x\\\"}??\",operation=\"read\",le=\"+Inf\"} 2\n"));
        assert_non_null(strstr(text, "berth_block_latency_seconds_count{device=\"x\\\"}??\",operation=\"read\"} 2\n"));
        assert_non_null(strstr(text, "berth_block_errors_total{device=\"x\\\"}??\",operation=\"read\"} 1\n"));
        assert_non_null(strstr(text, "berth_block_latency_seconds_count{device=\"7:3\",operation=\"flush\"} 0\n"));
        assert_non_null(strstr(text, "\nberth_run_queue_latency_seconds_bucket{le=\"1e-06\"} 5\n"));
        assert_non_null(strstr(text, "\nberth_run_queue_latency_seconds_bucket{le=\"67.108864\"} 5\n"));
        assert_non_null(strstr(text, "\nberth_run_queue_latency_seconds_bucket{le=\"+Inf\"} 6\nberth_run_queue_latency_seconds_sum 70\nberth_run_queue_latency_seconds_count 6\n"));
        assert_non_null(strstr(text, "berth_process_run_queue_ratio{process=\"r0\",user=\"4000001\"} 0.5\n"));
        /* What is not attached has no figures: absence, not zero. */
        assert_null(strstr(text, "berth_system_calls_total"));
        assert_null(strstr(text, "berth_process_system_calls"));
        assert_non_null(strstr(text, "berth_unavailable{family=\"probe of syscalls\",reason=\"off in the settings\"} 1\n"));
        assert_null(strstr(text, "berth_driver_calls_total"));
        assert_null(strstr(text, "berth_process_driver"));
        assert_null(strstr(text, "berth_probe_hits_total{family=\"gpu\""));
        assert_int_equal(lines_with(text, "\nberth_process_file_bytes_per_second{"), 2 * METRICS_PROCESSES);
        assert_non_null(strstr(text, "berth_processes_left_out 5\n"));
        /* Two of one name are one line: 1001 and 1021 bytes in two seconds. */
        assert_non_null(strstr(text, "berth_process_file_bytes_per_second{process=\"p1\",user=\"4000001\",direction=\"read\"} 1011\n"));
        assert_non_null(strstr(text, "{process=\"\\\"}?\\\\??[2J 123456\",user=\"4000001\",direction=\"read\"} 524288\n"));
        free(text);
        w.probes = NULL;
        w.probes_why = "the daemon says: observe.probes is \"off\"";
        text = text_of(&w, true, METRICS_OPEN);
        assert_null(strstr(text, "berth_probe"));
        assert_null(strstr(text, "berth_file_"));
        assert_non_null(strstr(text, "berth_unavailable{family=\"probes\",reason=\"the daemon says: observe.probes is \\\"off\\\"\"} 1\n"));
        free(text);
}

static void names_in(const char *path)
{
        char *text = NULL;
        size_t size = 0, count = 0;
        FILE *f = fopen(path, "r");

        assert_non_null(f);
        assert_true(getdelim(&text, &size, 0, f) > 0);
        fclose(f);
        for (const char *at = text; (at = strstr(at, "berth_"));) {
                size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz_");

                if (!is_known(at, family_of(at, length)))
                        fail_msg("%s names %.*s, which is no metric", path, (int)length, at);
                at += length;
                count++;
        }
        assert_true(count >= 8);
        free(text);
}

static void dashboard_and_alerts_name_what_is_there(void **state)
{
        names_in(BERTH_PACKAGING "/grafana-dashboard.json");
        names_in(BERTH_PACKAGING "/alerts.yml");
}

/* Each metric is in its page. */
static void the_page_lists_all(void **state)
{
        char *text = NULL;
        size_t size = 0;
        FILE *f = fopen(BERTH_PACKAGING "/../docs/metrics.md", "r");

        assert_non_null(f);
        assert_true(getdelim(&text, &size, 0, f) > 0);
        fclose(f);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                char cell[96];

                snprintf(cell, sizeof cell, "| `%s` |", names[i]);
                if (!strstr(text, cell))
                        fail_msg("docs/metrics.md lacks %s", names[i]);
        }
        free(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_form_holds),
                cmocka_unit_test(figures_are_sensible),
                cmocka_unit_test(what_is_unavailable_has_no_line),
                cmocka_unit_test(programs_are_bounded_and_summed),
                cmocka_unit_test(what_probes_counted),
                cmocka_unit_test(dashboard_and_alerts_name_what_is_there),
                cmocka_unit_test(the_page_lists_all),
        };

        return cmocka_run_group_tests_name("cli-metrics", tests, NULL, NULL);
}
