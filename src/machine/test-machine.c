/* test-machine.c: recorded trees of /proc and /sys (tests/trees), and this machine's own. */
#include "machine/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)

static struct machine m;
static struct machine_look now, before;
static struct machine_rates rates;

static void look_at(const char *tree, struct machine_look *look)
{
        char path[512];

        snprintf(path, sizeof path, "%s/%s", TREES, tree);
        assert_int_equal(machine_open(&m, path), 0);
        m.page = 4096;
        machine_look(&m, 5 * S, look);
}

static void a_desktop(void **state)
{
        (void)state;
        look_at("amdgpu", &now);
        assert_int_equal(now.stat_error, 0);
        assert_int_equal(now.stat.cpus, 2);
        assert_int_equal(now.stat.all.user, 1050);
        assert_int_equal(now.stat.all.system, 350);
        assert_int_equal(now.stat.switches, 987654);
        assert_int_equal(now.stat.forks, 4321);
        assert_int_equal(now.memory.total, UINT64_C(16000000) * 1024);
        assert_int_equal(now.memory.available, UINT64_C(10000000) * 1024);
        assert_int_equal(now.pressure[MACHINE_PRESSURE_CPU].some_permille, 15);
        assert_int_equal(now.pressure[MACHINE_PRESSURE_IO].some_permille, 1000);
        assert_int_equal(now.pressure[MACHINE_PRESSURE_IO].full_permille, 550);
        assert_int_equal(now.network.interfaces, 2);
        assert_int_equal(now.network.in_bytes, 6000000);
        assert_int_equal(now.network.out_bytes, 5000000);
        assert_int_equal(now.network.errors, 4);
        assert_int_equal(now.network.drops, 6);
        /* The disk, not its partition; neither loop devices nor what is made of disks. */
        assert_int_equal(now.disk_error, 0);
        assert_int_equal(now.disks, 2);
        assert_int_equal(now.disk.read_bytes, (80000 + 40) * 512);
        assert_int_equal(now.disk.writes, 2006);
        assert_int_equal(now.load.centi[0], 52);
        assert_int_equal(now.load.tasks, 512);
        assert_int_equal(now.vm.oom_kills, 2);
        assert_int_equal(now.heat_error, 0);
        assert_int_equal(now.heat_millicelsius, 61500);
        machine_close(&m);
}

static void rates_are_of_two_looks(void **state)
{
        (void)state;
        look_at("amdgpu", &now);
        machine_close(&m);
        machine_rates(&now, NULL, &rates);
        assert_true(rates.busy < 0 && rates.in_bytes < 0 && rates.cpus == 0);
        before = now;
        before.taken_ns -= 2 * S;
        before.stat.all.idle -= 150;
        before.stat.all.user -= 30;
        before.stat.all.system -= 20;
        before.stat.cpu[1].idle -= 100;
        before.network.in_bytes -= 3000;
        before.disk.busy_ms -= 1000;
        before.stat.switches += 1;
        machine_rates(&now, &before, &rates);
        assert_true(rates.busy == 250);
        assert_true(rates.user == 150);
        assert_true(rates.system == 100);
        assert_int_equal(rates.cpus, 2);
        assert_true(rates.cpu_busy[1] == 0);
        assert_true(rates.cpu_busy[0] < 0); /* its time stood still: nothing to divide by */
        assert_true(rates.in_bytes == 1500);
        assert_true(rates.disk_busy == 250);
        assert_true(rates.switches < 0); /* a counter that went back */
        before.network_error = -ENOENT;
        machine_rates(&now, &before, &rates);
        assert_true(rates.in_bytes < 0);
}

static void an_amd_card(void **state)
{
        struct machine_device d[4];

        (void)state;
        look_at("amdgpu", &now);
        assert_int_equal(machine_devices(&m, d, 4), 1);
        assert_int_equal(d[0].kind, MACHINE_GPU);
        assert_string_equal(d[0].driver, "amdgpu");
        assert_string_equal(d[0].bus, "0000:0b:00.0");
        assert_int_equal(d[0].busy_permille, 370);
        assert_int_equal(d[0].total_bytes, UINT64_C(25753026560));
        assert_int_equal(d[0].used_bytes, 1610612736);
        assert_int_equal(d[0].power_uw, 45000000);
        assert_int_equal(d[0].heat_millicelsius, 52000);
        assert_int_equal(d[0].fan_rpm, 980);
        assert_int_equal(d[0].frequency_mhz, 2371);
        assert_true(d[0].busy_us == MACHINE_UNKNOWN);
        machine_close(&m);
}

static void an_intel_laptop(void **state)
{
        struct machine_processes p;
        struct machine_device d[4];

        (void)state;
        look_at("i915", &now);
        assert_int_equal(now.stat_error, 0);
        assert_true(now.memory.available == MACHINE_UNKNOWN);
        assert_int_equal(now.pressure_error[MACHINE_PRESSURE_MEMORY], -ENOENT);
        assert_string_equal(machine_missing(now.pressure_error[MACHINE_PRESSURE_MEMORY]), "the kernel does not tell");
        assert_int_equal(now.heat_error, -ENOENT);
        assert_int_equal(machine_devices(&m, d, 4), 2);
        assert_string_equal(d[0].driver, "i915");
        assert_true(d[0].busy_permille == MACHINE_UNKNOWN);
        assert_int_equal(d[0].frequency_mhz, 1250);
        assert_int_equal(d[0].frequency_most_mhz, 1450);
        assert_int_equal(d[0].energy_uj, 123456789);
        assert_int_equal(d[1].kind, MACHINE_NPU);
        assert_string_equal(d[1].name, "accel0 intel_vpu");
        assert_int_equal(d[1].busy_us, 4500000);
        assert_int_equal(d[1].used_bytes, 67108864);
        assert_int_equal(d[1].frequency_mhz, 950);
        assert_int_equal(machine_devices(&m, d, 1), 1);
        assert_int_equal(machine_processes(&m, 5 * S, true, &p), 0);
        assert_int_equal(p.count, 1);
        assert_true(p.list[0].use.valid);
        assert_int_equal(p.list[0].use.busy_ns, UINT64_C(9288864723) + UINT64_C(2035071108));
        assert_int_equal(p.list[0].use.resident_bytes, 32 << 20);
        assert_int_equal(p.list[0].io_error, -ENOENT);
        machine_processes_done(&p);
        machine_close(&m);
}

static void processes_and_their_clients(void **state)
{
        const struct machine_process *python;
        struct machine_processes p, again;
        char command[64];

        (void)state;
        look_at("amdgpu", &now);
        assert_int_equal(machine_processes(&m, 5 * S, true, &p), 0);
        assert_int_equal(p.count, 3);
        python = &p.list[1];
        assert_int_equal(python->stat.pid, 1234);
        assert_string_equal(python->stat.name, "python3");
        assert_int_equal(python->stat.ticks, 6000);
        assert_int_equal(python->io_error, 0);
        assert_int_equal(python->io.written_bytes, 8192);
        /* Three descriptors, two clients; four compute engines share one counter. */
        assert_true(python->use.valid);
        assert_int_equal(python->use.busy_ns, 2 * (UINT64_C(1000000000) + UINT64_C(4000000000) / 4));
        assert_int_equal(python->use.resident_bytes, (1024 + 256 + 512 + 256) * 1024);
        assert_string_equal(p.list[2].stat.name, "a) S 1 (b");
        assert_int_equal(p.list[2].stat.parent, 1234);
        machine_command(&m, 1234, command, sizeof command);
        assert_string_equal(command, "python3 train.py --batch 8");
        machine_command(&m, 99999, command, sizeof command);
        assert_string_equal(command, "");
        assert_int_equal(machine_processes(&m, 6 * S, false, &again), 0);
        assert_false(again.list[1].use.valid);
        assert_ptr_equal(machine_process_find(&again, python), &again.list[1]);
        again.list[1].stat.start_ticks++;
        assert_null(machine_process_find(&again, python));
        machine_processes_done(&p);
        machine_processes_done(&again);
        machine_close(&m);
}

static void an_xe_card_counts_cycles(void **state)
{
        struct machine_processes p;
        struct machine_device d[4];
        struct machine_drm drm;

        (void)state;
        look_at("xe", &now);
        assert_int_equal(now.stat_error, -ENOENT);
        assert_int_equal(machine_devices(&m, d, 4), 1);
        assert_int_equal(d[0].frequency_mhz, 2050);
        assert_int_equal(machine_read(&m, "proc/60/fdinfo/9") > 0, 1);
        assert_int_equal(machine_parse_drm(m.text, &drm), 0);
        assert_int_equal(drm.engines, 2);
        assert_int_equal(drm.engine[0].cycles, 28257900);
        assert_true(drm.engine[0].busy_ns == MACHINE_UNKNOWN);
        assert_int_equal(drm.engine[1].capacity, 2);
        assert_int_equal(machine_processes(&m, 5 * S, true, &p), 0);
        assert_int_equal(p.list[0].use.resident_bytes, 192 << 20);
        assert_true(p.list[0].use.busy_ns == MACHINE_UNKNOWN);
        machine_processes_done(&p);
        machine_close(&m);
}

static void hostile_texts(void **state)
{
        struct machine_processes p;
        struct machine_device d[4];
        char command[64];

        (void)state;
        look_at("hostile", &now);
        assert_int_equal(now.stat_error, -EINVAL);
        assert_int_equal(now.memory_error, -EINVAL);
        assert_int_equal(now.pressure_error[MACHINE_PRESSURE_CPU], -EINVAL);
        assert_int_equal(now.pressure_error[MACHINE_PRESSURE_IO], -EINVAL);
        assert_int_equal(now.network_error, -EINVAL);
        assert_int_equal(now.disk_error, -EINVAL);
        assert_int_equal(now.load_error, -EINVAL);
        assert_int_equal(now.vm_error, -EINVAL);
        assert_int_equal(machine_processes(&m, 5 * S, true, &p), 0);
        assert_int_equal(p.count, 1);
        assert_string_equal(p.list[0].stat.name, "?[2J?%s?) R");
        machine_command(&m, 70, command, sizeof command);
        assert_null(strchr(command, '\033'));
        assert_int_equal(machine_devices(&m, d, 4), 1);
        assert_string_equal(d[0].driver, "?[31mred");
        assert_true(d[0].busy_permille == MACHINE_UNKNOWN && d[0].total_bytes == MACHINE_UNKNOWN);
        machine_processes_done(&p);
        machine_close(&m);
}

static void this_machine(void **state)
{
        struct machine_processes p;
        bool found = false;

        (void)state;
        assert_int_equal(machine_open(&m, ""), 0);
        machine_look(&m, 5 * S, &now);
        assert_int_equal(now.stat_error, 0);
        assert_int_equal(now.memory_error, 0);
        assert_int_equal(machine_processes(&m, 5 * S, true, &p), 0);
        for (size_t i = 0; i < p.count; i++)
                found |= p.list[i].stat.pid == getpid() && p.list[i].io_error == 0 && p.list[i].uid == getuid();
        assert_true(found);
        machine_processes_done(&p);
        machine_close(&m);
        assert_int_equal(machine_open(&m, "/no/such/folder"), -ENOENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_desktop),       cmocka_unit_test(rates_are_of_two_looks),
                cmocka_unit_test(an_amd_card),     cmocka_unit_test(an_intel_laptop),
                cmocka_unit_test(processes_and_their_clients), cmocka_unit_test(an_xe_card_counts_cycles),
                cmocka_unit_test(hostile_texts),   cmocka_unit_test(this_machine),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
