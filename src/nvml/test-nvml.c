/* test-nvml.c: whose processes are own, what is left of a list, and the figures that a program sees. */
#include "nvml/answer.h"
#include "nvml/control.h"
#include "nvml/own.h"
#include "nvml/processes.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

/* real.c is not here: no real library is called. */
struct real real;
_Thread_local bool real_inside;

static void check_sum(const struct answer_memory *m)
{
        assert_int_equal(m->used + m->free + m->reserved, m->total);
}

static void test_memory(void **state)
{
        struct ask_view v = {.total = 1000 * MIB, .room = 900 * MIB, .limit = 400 * MIB, .used = 100 * MIB};
        struct answer_memory m = answer_memory(&v);

        assert_int_equal(m.total, 400 * MIB);
        assert_int_equal(m.used, 100 * MIB);
        assert_int_equal(m.free, 300 * MIB);
        check_sum(&m);
        v.used = 500 * MIB; /* two processes, each with the limit */
        m = answer_memory(&v);
        assert_int_equal(m.used, 400 * MIB);
        assert_int_equal(m.free, 0);
        check_sum(&m);
        v.used = 100 * MIB;
        v.limit = 0;
        m = answer_memory(&v);
        assert_int_equal(m.total, 1000 * MIB);
        assert_int_equal(m.used, 100 * MIB);
        assert_int_equal(m.free, 800 * MIB);
        check_sum(&m);
        v.used = 950 * MIB;
        m = answer_memory(&v);
        assert_int_equal(m.free, 0);
        check_sum(&m);
        v.room = 0; /* not known */
        m = answer_memory(&v);
        assert_int_equal(m.free, 50 * MIB);
        assert_int_equal(m.reserved, 0);
}

/* A child that waits until its standard input ends, with a child of its own that does the same. */
static pid_t start(const char *run, int *ret_pipe, pid_t *ret_grandchild)
{
        int ends[2], told[2];
        pid_t child;

        assert_int_equal(pipe(ends), 0);
        assert_int_equal(pipe(told), 0);
        child = fork();
        if (child == 0) {
                dup2(ends[0], 9); /* a shell gives its background children no standard input */
                dup2(told[1], 1);
                close(ends[0]);
                close(ends[1]);
                close(told[0]);
                close(told[1]);
                if (run)
                        setenv("BERTH_RUN", run, 1);
                else
                        unsetenv("BERTH_RUN");
                /* The shell ends when its child has; both run until the pipe is closed. The child tells its number itself: in the middle of
                 * an exec a process has no environment. */
                execl("/bin/sh", "sh", "-c", "sh -c 'echo $$; read end' <&9 & wait", NULL);
                _exit(127);
        }
        close(ends[0]);
        close(told[1]);
        *ret_pipe = ends[1];
        {
                FILE *f = fdopen(told[0], "r");
                int pid = 0;

                assert_non_null(f);
                assert_int_equal(fscanf(f, "%d", &pid), 1);
                *ret_grandchild = pid;
                fclose(f);
        }
        return child;
}

static void own_run(char text[64], pid_t pid)
{
        char path[32], stat[1024] = "";
        FILE *f;
        char *p;

        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        f = fopen(path, "r");
        assert_non_null(f);
        assert_true(fread(stat, 1, sizeof stat - 1, f) > 0);
        fclose(f);
        p = strrchr(stat, ')');
        for (int i = 0; i < 20; i++)
                p = strchr(p + 1, ' ');
        snprintf(text, 64, "%d %llu", (int)pid, strtoull(p, NULL, 10));
}

static void test_own(void **state)
{
        char run[64], other[64];
        pid_t child, grandchild;
        int end;

        child = start("12345 678", &end, &grandchild);
        /* By descent. */
        assert_true(own_process_of(NULL, getpid()));
        assert_true(own_process_of(NULL, child));
        assert_true(own_process_of(NULL, grandchild));
        assert_false(own_process_of(NULL, getppid()));
        assert_false(own_process_of(NULL, 0));
        own_run(run, child);
        assert_true(own_process_of(run, child));
        assert_true(own_process_of(run, grandchild));
        assert_false(own_process_of(run, getppid()));
        own_run(run, getpid());
        assert_true(own_process_of(run, grandchild));
        /* Not when the number was reused: another start. */
        snprintf(other, sizeof other, "%d 1", (int)child);
        assert_false(own_process_of(other, grandchild));
        /* By environment, whole entries only. */
        assert_true(own_process_of("12345 678", child));
        assert_true(own_process_of("12345 678", grandchild));
        assert_false(own_process_of("12345 67", child));
        assert_false(own_process_of("2345 678", child));
        close(end);
        kill(child, SIGKILL);
        kill(grandchild, SIGKILL);
        waitpid(child, NULL, 0);
}

static void test_lists(void **state)
{
        const struct processes_layout layout = {sizeof(nvmlProcessInfo_v2_t), offsetof(nvmlProcessInfo_v2_t, pid),
                                                offsetof(nvmlProcessInfo_v2_t, usedGpuMemory), offsetof(nvmlProcessInfo_v2_t, gpuInstanceId)};
        const struct processes_layout samples = {sizeof(nvmlProcessUtilizationSample_t), offsetof(nvmlProcessUtilizationSample_t, pid), 0, 0};
        unsigned int self = (unsigned int)getpid();
        struct ask_view view = {.clients_n = 2, .clients = {{(pid_t)self, 7 * MIB}, {4000001, 5 * MIB}}};
        nvmlProcessInfo_v2_t list[6] = {{1, 100, ~0U, ~0U}, {self, 200, 3, 4}, {4000002, 300, ~0U, ~0U}};
        nvmlProcessUtilizationSample_t s[2] = {{.pid = 1, .smUtil = 9}, {.pid = self, .smUtil = 8, .timeStamp = 77}};

        setenv("BERTH_RUN", "1 1", 1);
        assert_int_equal(processes_filter(&layout, list, 3, &view), 1);
        assert_int_equal(list[0].pid, self);
        assert_int_equal(list[0].usedGpuMemory, 7 * MIB);
        assert_int_equal(list[0].gpuInstanceId, 3);
        assert_int_equal(processes_complete(&layout, list, 1, &view), 2);
        assert_int_equal(list[1].pid, 4000001);
        assert_int_equal(list[1].usedGpuMemory, 5 * MIB);
        assert_int_equal(list[1].gpuInstanceId, ~0U);
        assert_int_equal(list[1].computeInstanceId, ~0U);
        assert_int_equal(processes_filter(&samples, s, 2, NULL), 1);
        assert_int_equal(s[0].pid, self);
        assert_int_equal(s[0].smUtil, 8);
        assert_int_equal(s[0].timeStamp, 77);
        unsetenv("BERTH_RUN");
}

static bool odd_ones(pid_t pid)
{
        return pid % 2 == 1;
}

static struct control_call call_of(uint32_t command, size_t size)
{
        return (struct control_call){.command = command, .params_size = (uint32_t)size};
}

static void test_control_pids(void **state)
{
        struct control_call call = call_of(CONTROL_GET_PIDS, sizeof(struct control_pids));
        struct ask_view view = {.clients_n = 1, .clients = {{4, 7 * MIB}}};
        struct control_pids p = {.id = 0xcbc0, .count = 5, .pids = {2, 3, 4, 5, 6, 999}}, before = p;

        assert_int_equal(control_entries(&call, &p), 5);
        control_filter(&call, &p, &view, odd_ones);
        assert_int_equal(p.id, 0xcbc0);
        assert_int_equal(p.count, 3);
        assert_int_equal(p.pids[0], 3);
        assert_int_equal(p.pids[1], 4);
        assert_int_equal(p.pids[2], 5);
        for (unsigned int i = 3; i < CONTROL_PIDS; i++)
                assert_int_equal(p.pids[i], 0);
        p = before;
        control_filter(&call, &p, NULL, odd_ones);
        assert_int_equal(p.count, 2);
        for (unsigned int i = 0; i < CONTROL_PIDS; i++)
                p.pids[i] = 2 * i + 1;
        p.count = CONTROL_PIDS;
        control_filter(&call, &p, NULL, odd_ones);
        assert_int_equal(p.count, CONTROL_PIDS);
        assert_int_equal(p.pids[CONTROL_PIDS - 1], 2 * CONTROL_PIDS - 1);
}

static void test_control_infos(void **state)
{
        struct control_call call = call_of(CONTROL_GET_PID_INFO, sizeof(struct control_infos));
        struct ask_view view = {.clients_n = 1, .clients = {{4, 7 * MIB}}};
        struct control_infos p = {.count = 5}, before;

        for (uint32_t i = 0; i < 6; i++)
                p.infos[i] = (struct control_info){
                        .pid = 4, .own = 1, .shared_owned = 2, .shared_duped = 3, .protected_own = 4, .compute_instance = ~0U, .gpu_instance = ~0U};
        p.infos[1].pid = 3;
        p.infos[2].gpu_instance = 1;
        p.infos[3].result = 0x57;
        p.infos[4].index = 1;
        before = p;
        control_filter(&call, &p, &view, odd_ones);
        assert_int_equal(p.infos[0].own, 7 * MIB);
        assert_int_equal(p.infos[0].shared_owned, 0);
        assert_int_equal(p.infos[0].shared_duped, 0);
        assert_int_equal(p.infos[0].protected_own, 4);
        assert_memory_equal(&p.infos[1], &before.infos[1], sizeof p.infos - sizeof p.infos[0]);
        p = before;
        control_filter(&call, &p, NULL, odd_ones);
        assert_memory_equal(&p, &before, sizeof p);
}

/* What is not of the known form isn't touched, nor read beyond its size. */
static void test_control_others(void **state)
{
        static const struct {
                uint32_t command;
                size_t size;
                uint32_t status, count;
        } rows[] = {
                {CONTROL_GET_PIDS, sizeof(struct control_pids) - 1, 0, 3},   {CONTROL_GET_PIDS, sizeof(struct control_pids) + 4, 0, 3},
                {CONTROL_GET_PIDS, 0, 0, 3},                                 {CONTROL_GET_PIDS, UINT32_MAX, 0, 3},
                {CONTROL_GET_PIDS, sizeof(struct control_pids), 1, 3},       {CONTROL_GET_PIDS, sizeof(struct control_pids), 0, 0},
                {CONTROL_GET_PIDS, sizeof(struct control_pids), 0, 951},     {CONTROL_GET_PIDS, sizeof(struct control_pids), 0, ~0U},
                {CONTROL_GET_PID_INFO, sizeof(struct control_pids), 0, 3},   {CONTROL_GET_PID_INFO, sizeof(struct control_infos), 0, 201},
                {CONTROL_GET_PID_INFO, sizeof(struct control_infos), 86, 3}, {CONTROL_GET_GID_INFO, sizeof(struct control_pids), 0, 3},
        };
        struct ask_view view = {.clients_n = 1, .clients = {{4, 7 * MIB}}};

        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
                struct control_call call = call_of(rows[i].command, rows[i].size);
                struct {
                        struct control_infos p;
                        char beyond[64];
                } a, b;

                memset(&a, 4, sizeof a);
                if (rows[i].command == CONTROL_GET_PID_INFO)
                        a.p.count = rows[i].count;
                else
                        ((struct control_pids *)&a)->count = rows[i].count;
                b = a;
                call.status = rows[i].status;
                assert_int_equal(control_entries(&call, &a), 0);
                control_filter(&call, &a, &view, odd_ones);
                assert_memory_equal(&a, &b, sizeof a);
        }
        assert_int_equal(control_entries(&(struct control_call){.command = CONTROL_GET_PIDS, .params_size = sizeof(struct control_pids)}, NULL), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_memory),
                cmocka_unit_test(test_own),
                cmocka_unit_test(test_lists),
                cmocka_unit_test(test_control_pids),
                cmocka_unit_test(test_control_infos),
                cmocka_unit_test(test_control_others),
        };

        return cmocka_run_group_tests_name("nvml", tests, NULL, NULL);
}
