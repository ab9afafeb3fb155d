/* test-host.c: NPU and CPU sensors against folders of files: what is not told stays invalid. */
#include "observe/host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char root[64];

static void put(const char *name, const char *text)
{
        char path[256];
        FILE *f;

        snprintf(path, sizeof path, "%s/%s", root, name);
        for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
                *p = 0;
                mkdir(path, 0700);
                *p = '/';
        }
        f = fopen(path, "w");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static int set_up(void **state)
{
        (void)state;
        snprintf(root, sizeof root, "/tmp/berth-test-XXXXXX");
        return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
        static const char *const names[] = {
                "sys/class/accel/accel0/device/npu_memory_utilization", "sys/class/accel/accel0/device/uevent",
                "sys/class/accel/accel0/device", "sys/class/accel/accel0", "sys/class/accel/other/x", "sys/class/accel/other",
                "sys/class/accel", "sys/class", "sys", "proc/meminfo", "proc/stat", "proc/cpuinfo", "proc"};
        char path[256];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                snprintf(path, sizeof path, "%s/%s", root, names[i]);
                (void)remove(path);
        }
        return remove(root);
}

static void test_nothing(void **state)
{
        struct host_cpu_state cpu = {0};
        struct observe_device d[2];
        struct observe_sample s;

        (void)state;
        assert_int_equal(host_list_npus(root, d, 2), 0);
        host_cpu(root, d);
        assert_int_equal(d->total_bytes, 0);
        assert_string_equal(d->name, "CPU");
        memset(&s, 0, sizeof s);
        host_sample_cpu(root, &cpu, &s);
        host_sample_npu(root, 0, &s);
        assert_int_equal(s.valid, 0);
}

static void test_npu(void **state)
{
        struct observe_device d[2];
        struct observe_sample s;

        (void)state;
        put("sys/class/accel/accel0/device/uevent", "DRIVER=intel_vpu\nPCI_ID=1\n");
        put("sys/class/accel/other/x", "");
        assert_int_equal(host_list_npus(root, d, 2), 1);
        assert_string_equal(d->name, "accel0 (intel_vpu)");
        assert_int_equal(d->kind, WIRE_NPU);
        assert_false(d->shareable);
        memset(&s, 0, sizeof s);
        host_sample_npu(root, host_npu_minor(d), &s);
        assert_int_equal(s.valid, 0);
        put("sys/class/accel/accel0/device/npu_memory_utilization", "4096\n");
        host_sample_npu(root, host_npu_minor(d), &s);
        assert_int_equal(s.valid, WIRE_VALID_USED);
        assert_int_equal(s.used_bytes, 4096);
}

static void test_cpu(void **state)
{
        struct host_cpu_state cpu = {0};
        struct observe_device d;
        struct observe_sample s;

        (void)state;
        put("proc/meminfo", "MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:  400 kB\n");
        put("proc/cpuinfo", "processor : 0\nmodel name\t: Some CPU\nother : 1\n");
        put("proc/stat", "cpu  10 0 10 80 0 0 0 0 0 0\ncpu0 1\n");
        host_cpu(root, &d);
        assert_string_equal(d.name, "Some CPU");
        assert_int_equal(d.total_bytes, 1000 * 1024);
        memset(&s, 0, sizeof s);
        host_sample_cpu(root, &cpu, &s);
        assert_int_equal(s.valid, WIRE_VALID_TOTAL | WIRE_VALID_USED);
        assert_int_equal(s.used_bytes, 600 * 1024);
        put("proc/stat", "cpu  20 0 20 160 0 0 0 0 0 0\n");
        host_sample_cpu(root, &cpu, &s);
        assert_true(s.valid & WIRE_VALID_UTILISATION);
        assert_int_equal(s.utilisation_permille, 200);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_nothing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_npu, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cpu, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
