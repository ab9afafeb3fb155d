/* test-remote.c: the sensor process from the daemon's side: it ends, hangs, lies, loses a device, and outlives nobody.
 * This program is its own sensor process, of the kind that $BERTH_TEST_SENSOR names. Time is what the tests say it is.
 */
#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "observe/child.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#define PATIENCE (60 * NS_PER_S)

static const struct observe_device devices[] = {
        {.kind = WIRE_SOFTWARE, .uuid = {1, 2, 3}, .total_bytes = 256 * MIB, .name = "one", .shareable = true},
        {.kind = WIRE_SOFTWARE, .uuid = {4, 5, 6}, .total_bytes = 512 * MIB, .name = "two", .shareable = true},
        {.kind = WIRE_CPU, .name = "test CPU"},
};
static const struct observe_options no_options;

/* --- the sensor process --- */

static void say(size_t index, struct observe_sample *s)
{
        if (index != 1)
                return;
        s->used_bytes = 7 * MIB;
        s->valid |= WIRE_VALID_USED;
        s->processes[0] = (struct observe_process){.pid = 11, .used_bytes = 3 * MIB};
        s->processes[1] = (struct observe_process){.pid = 12, .used_bytes = 4 * MIB};
        s->process_count = 2;
        s->processes_valid = true;
}

static void hang(size_t index, struct observe_sample *s)
{
        (void)index;
        (void)s;
        for (;;)
                pause();
}

static struct child_reply truth(const struct child_request *q, uint32_t index)
{
        struct child_reply r = {
                .magic = CHILD_MAGIC, .kind = q->kind, .sequence = q->sequence, .index = index, .count = 1};

        if (q->kind == CHILD_LIST)
                r.device = (struct child_device){
                        .total_bytes = MIB, .kind = WIRE_SOFTWARE, .shareable = 1, .name = "liar"};
        return r;
}

/* Lists one device properly and then lies about it, or already lies in the list. */
static void lie(int fd, const char *how)
{
        struct child_request q;

        while (recv(fd, &q, sizeof q, 0) == (ssize_t)sizeof q) {
                struct child_reply r = truth(&q, 0);
                size_t bytes = sizeof r;

                if (q.kind == CHILD_LIST) {
                        if (!strcmp(how, "name"))
                                memset(r.device.name, 'x', sizeof r.device.name);
                        if (!strcmp(how, "kind"))
                                r.device.kind = 77;
                        if (!strcmp(how, "many"))
                                r.count = OBSERVE_MAX_DEVICES + 1;
                        if (!strcmp(how, "index"))
                                r.index = 1;
                } else {
                        if (!strcmp(how, "short"))
                                bytes -= 8;
                        if (!strcmp(how, "processes"))
                                r.sample.process_count = OBSERVE_MAX_PROCESSES + 1;
                        if (!strcmp(how, "valid"))
                                r.sample.valid = UINT32_MAX;
                        if (!strcmp(how, "sequence"))
                                r.sequence--;
                        if (!strcmp(how, "count"))
                                r.count = 2;
                }
                if (send(fd, &r, bytes, MSG_NOSIGNAL) < 0)
                        return;
        }
}

static int sensor(void)
{
        const char *how = getenv("BERTH_TEST_SENSOR");
        int fd = observe_child_begin();

        if (fd < 0)
                return EXIT_FAILURE;
        if (!strcmp(how, "say"))
                observe_serve(fd, observe_new_fixed(devices, ARRAY_SIZE(devices), say), 0, "");
        else if (!strcmp(how, "hang"))
                observe_serve(fd, observe_new_fixed(devices, ARRAY_SIZE(devices), hang), 0, "");
        else if (!strcmp(how, "gone"))
                observe_serve(fd, observe_new_fixed(devices + 1, ARRAY_SIZE(devices) - 1, NULL), 0, "");
        else if (!strcmp(how, "none"))
                observe_serve(fd, NULL, -E_UNAVAILABLE, "no device here");
        else if (!strcmp(how, "mute"))
                hang(0, NULL);
        else if (strcmp(how, "die") != 0)
                lie(fd, how);
        _exit(EXIT_SUCCESS);
}

/* --- the daemon's side --- */

static struct observe *start(const char *how)
{
        struct observe *o = NULL;
        char message[256];

        setenv("BERTH_TEST_SENSOR", how, 1);
        assert_int_equal(observe_start(&no_options, PATIENCE, &o, message), 0);
        return o;
}

static enum observe_news news(struct observe *o, uint64_t now, struct observe_sample *samples)
{
        struct pollfd readable = {.fd = observe_fd(o), .events = POLLIN};
        enum observe_news n;

        while ((n = observe_take(o, now, samples)) == OBSERVE_NOTHING)
                assert_true(poll(&readable, 1, -1) == 1);
        return n;
}

/* Until the process that was given up is a zombie, or reaped already. */
static void ended(const struct observe *o)
{
        siginfo_t info;

        if (observe_pid(o))
                assert_int_equal(waitid(P_PID, (id_t)observe_pid(o), &info, WEXITED | WNOWAIT), 0);
}

static void test_samples(void **state)
{
        struct observe *o = start("say");
        struct observe_sample s[ARRAY_SIZE(devices)];
        uint64_t now = clock_now_ns();

        (void)state;
        assert_int_equal(observe_count(o), ARRAY_SIZE(devices));
        for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
                assert_memory_equal(observe_device(o, i), &devices[i], sizeof devices[i]);
        for (int round = 0; round < 3; round++) {
                assert_true(observe_ask(o, now));
                assert_false(observe_ask(o, now));
                assert_int_equal(news(o, now, s), OBSERVE_SAMPLED);
                assert_int_equal(s[0].valid, WIRE_VALID_TOTAL);
                assert_int_equal(s[1].valid, WIRE_VALID_TOTAL | WIRE_VALID_USED);
                assert_int_equal(s[1].total_bytes, 512 * MIB);
                assert_int_equal(s[1].used_bytes, 7 * MIB);
                assert_true(s[1].processes_valid);
                assert_int_equal(s[1].process_count, 2);
                assert_int_equal(s[1].processes[1].pid, 12);
                assert_int_equal(s[1].processes[1].used_bytes, 4 * MIB);
                assert_int_equal(s[2].valid, 0);
                assert_int_equal(observe_take(o, now, s), OBSERVE_NOTHING);
        }
        observe_free(o);
}

/* Given up at now: the next process comes after a pause, answers, and is not the old one. */
static void replaced(struct observe *o, uint64_t now, pid_t old, struct observe_sample *samples)
{
        ended(o);
        assert_false(observe_ask(o, now));
        assert_int_equal(observe_pid(o), 0); /* too early */
        assert_false(observe_ask(o, now + NS_PER_S));
        assert_true(observe_pid(o) > 0 && observe_pid(o) != old);
        assert_int_equal(news(o, now + NS_PER_S, samples), OBSERVE_LISTED);
        assert_true(observe_ask(o, now + NS_PER_S));
        assert_int_equal(news(o, now + NS_PER_S, samples), OBSERVE_SAMPLED);
}

static void test_killed(void **state)
{
        struct observe *o = start("say");
        struct observe_sample s[ARRAY_SIZE(devices)];
        uint64_t now = clock_now_ns();
        pid_t old = observe_pid(o);

        (void)state;
        kill(old, SIGKILL);
        assert_int_equal(news(o, now, s), OBSERVE_LOST);
        assert_string_equal(observe_why(o), "the sensor process ended");
        replaced(o, now, old, s);
        assert_int_equal(s[1].used_bytes, 7 * MIB);
        observe_free(o);
}

static void test_hanging(void **state)
{
        struct observe *o = start("hang");
        struct observe_sample s[ARRAY_SIZE(devices)];
        uint64_t now = clock_now_ns();
        pid_t old = observe_pid(o);

        (void)state;
        assert_true(observe_ask(o, now));
        assert_int_equal(observe_take(o, now + 4 * NS_PER_S, s), OBSERVE_NOTHING);
        assert_int_equal(observe_take(o, now + 5 * NS_PER_S, s), OBSERVE_LOST);
        assert_string_equal(observe_why(o), "the device driver does not answer");
        setenv("BERTH_TEST_SENSOR", "say", 1);
        replaced(o, now + 5 * NS_PER_S, old, s);
        observe_free(o);
}

/* Each failure doubles the pause, up to a minute; an answer resets it. */
static void test_back_off(void **state)
{
        struct observe *o = start("say");
        struct observe_sample s[ARRAY_SIZE(devices)];
        uint64_t now = clock_now_ns(), pause_s = 1;

        (void)state;
        setenv("BERTH_TEST_SENSOR", "die", 1);
        kill(observe_pid(o), SIGKILL);
        for (int i = 0; i < 8; i++) {
                assert_int_equal(news(o, now, s), OBSERVE_LOST);
                ended(o);
                now += pause_s * NS_PER_S - 1;
                assert_false(observe_ask(o, now));
                assert_int_equal(observe_pid(o), 0);
                now++;
                if (i == 7)
                        setenv("BERTH_TEST_SENSOR", "say", 1);
                assert_false(observe_ask(o, now));
                assert_true(observe_pid(o) > 0);
                pause_s = pause_s * 2 < 60 ? pause_s * 2 : 60;
        }
        assert_int_equal(news(o, now, s), OBSERVE_LISTED);
        assert_true(observe_ask(o, now));
        assert_int_equal(news(o, now, s), OBSERVE_SAMPLED);
        kill(observe_pid(o), SIGKILL);
        assert_int_equal(news(o, now, s), OBSERVE_LOST);
        replaced(o, now, 0, s);
        observe_free(o);
}

static void test_device_gone(void **state)
{
        struct observe *o = start("say");
        struct observe_sample s[ARRAY_SIZE(devices)];
        uint64_t now = clock_now_ns();
        pid_t old = observe_pid(o);

        (void)state;
        setenv("BERTH_TEST_SENSOR", "gone", 1);
        kill(old, SIGKILL);
        assert_int_equal(news(o, now, s), OBSERVE_LOST);
        memset(s, 0xff, sizeof s);
        replaced(o, now, old, s);
        assert_int_equal(s[0].valid, 0);
        assert_false(s[0].processes_valid);
        assert_int_equal(s[1].total_bytes, 512 * MIB);
        assert_int_equal(observe_count(o), ARRAY_SIZE(devices));
        observe_free(o);
}

static void test_lies(void **state)
{
        static const char *const in_list[] = {"name", "kind", "many", "index"};
        static const char *const in_sample[] = {"short", "processes", "valid", "sequence", "count"};
        struct observe_sample s[1];
        struct observe *o = NULL;
        char message[256];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(in_list); i++) {
                setenv("BERTH_TEST_SENSOR", in_list[i], 1);
                assert_int_equal(observe_start(&no_options, PATIENCE, &o, message), -E_UNAVAILABLE);
                assert_non_null(strstr(message, "malformed"));
        }
        for (size_t i = 0; i < ARRAY_SIZE(in_sample); i++) {
                uint64_t now = clock_now_ns();

                o = start(in_sample[i]);
                assert_true(observe_ask(o, now));
                assert_int_equal(news(o, now, s), OBSERVE_LOST);
                assert_non_null(strstr(observe_why(o), "malformed"));
                observe_free(o);
        }
}

static void test_no_start(void **state)
{
        struct observe *o = NULL;
        char message[256];

        (void)state;
        setenv("BERTH_TEST_SENSOR", "none", 1);
        assert_int_equal(observe_start(&no_options, PATIENCE, &o, message), -E_UNAVAILABLE);
        assert_string_equal(message, "no device here");
        setenv("BERTH_TEST_SENSOR", "die", 1);
        assert_int_equal(observe_start(&no_options, PATIENCE, &o, message), -E_UNAVAILABLE);
        assert_string_equal(message, "the sensor process ended before it listed the devices");
        setenv("BERTH_TEST_SENSOR", "mute", 1);
        assert_int_equal(observe_start(&no_options, NS_PER_MS, &o, message), -ETIMEDOUT);
        assert_non_null(strstr(message, "did not answer"));
        assert_null(o);
}

/* The daemon is killed while its sensor process hangs in the driver: neither is left. */
static void test_no_survivor(void **state)
{
        struct pollfd process = {.events = POLLIN};
        pid_t daemon, pid = 0;
        int tell[2];

        (void)state;
        assert_int_equal(pipe(tell), 0);
        daemon = fork();
        assert_true(daemon >= 0);
        if (daemon == 0) {
                struct observe *o = start("hang");

                pid = observe_pid(o);
                if (!observe_ask(o, clock_now_ns()) || write(tell[1], &pid, sizeof pid) != (ssize_t)sizeof pid)
                        _exit(EXIT_FAILURE);
                for (;;)
                        pause();
        }
        assert_int_equal(read(tell[0], &pid, sizeof pid), sizeof pid);
        process.fd = (int)syscall(SYS_pidfd_open, pid, 0);
        assert_true(process.fd >= 0);
        kill(daemon, SIGKILL);
        assert_int_equal(waitpid(daemon, NULL, 0), daemon);
        assert_int_equal(poll(&process, 1, -1), 1);
        close(process.fd);
        close(tell[0]);
        close(tell[1]);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_samples),  cmocka_unit_test(test_killed),      cmocka_unit_test(test_hanging),
                cmocka_unit_test(test_back_off), cmocka_unit_test(test_device_gone), cmocka_unit_test(test_lies),
                cmocka_unit_test(test_no_start), cmocka_unit_test(test_no_survivor),
        };

        if (argc > 1 && !strcmp(argv[1], OBSERVE_CHILD_OPTION))
                return sensor();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
