/* test-sensor.c: what others use of a device, while programs come and go, and sensors that hang. */
#include "test-node.h"

static uint64_t stranger, own;

static void say(size_t index, struct observe_sample *s)
{
        if (index)
                return;
        s->used_bytes = stranger + own;
        s->valid |= WIRE_VALID_USED;
        s->processes[0] = (struct observe_process){.pid = 1, .used_bytes = stranger};
        s->processes[1] = (struct observe_process){.pid = getpid(), .used_bytes = own};
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

static void sampled(struct world *w)
{
        while (!sensor_last(w->node->sensor, 0))
                uv_run(&w->loop, UV_RUN_ONCE);
}

static uint64_t foreign_of_gate(struct world *w)
{
        struct gate_device_view v;

        assert_true(gate_view_device(w->node->gate, clock_now_ns(), 0, &v));
        return v.foreign;
}

static void test_foreign(void **state)
{
        struct world *w = *state;
        uint64_t bytes = 0;
        int fd;

        sampled(w);
        assert_true(sensor_foreign(w->node->sensor, 0, &bytes));
        assert_int_equal(bytes, 50 * MIB); /* this process is no client yet */
        assert_int_equal(foreign_of_gate(w), 0); /* just after the start everybody may be coming back */
        w->node->started_ns = 0;
        sensor_apply(w->node->sensor);
        assert_int_equal(foreign_of_gate(w), 50 * MIB);
        fd = peer_program(w);
        assert_int_equal(foreign_of_gate(w), 20 * MIB); /* not a second later: as soon as it says hello */
        close(fd);
        world_settle(w);
        assert_int_equal(w->node->clients_n, 0);
        sensor_apply(w->node->sensor);
        assert_int_equal(foreign_of_gate(w), 20 * MIB); /* the last sample still counts what is gone */
        assert_false(sensor_foreign(w->node->sensor, 1, &bytes));
}

static void test_hanging(void **state)
{
        struct world *w = *state;
        struct wire_message m = {0};
        int fd = peer_program(w), control = peer_hello(w, WIRE_CONTROL, false);

        m.WANT = (struct wire_WANT){.need_bytes = MIB, .ordinal = 3, .ticket = 1};
        peer_send(fd, WIRE_WANT, &m, -1);
        (void)peer_expect(w, fd, WIRE_GO, NULL);
        memset(&m, 0, sizeof m);
        peer_send(control, WIRE_STATUS_ASK, &m, -1);
        m = peer_expect(w, control, WIRE_STATUS_DEVICE, NULL);
        assert_int_equal(m.STATUS_DEVICE.valid, WIRE_VALID_TOTAL);
        close(fd);
        close(control);
}

/* Of the first device, asked on a connection of its own. */
static uint32_t status_valid(struct world *w)
{
        struct wire_message m = {0};
        int control = peer_hello(w, WIRE_CONTROL, false);

        peer_send(control, WIRE_STATUS_ASK, &m, -1);
        m = peer_expect(w, control, WIRE_STATUS_DEVICE, NULL);
        close(control);
        return m.STATUS_DEVICE.valid;
}

static void test_killed(void **state)
{
        struct world *w = *state;
        pid_t old = observe_pid(w->node->observe);

        sampled(w);
        w->node->started_ns = 0;
        sensor_apply(w->node->sensor);
        assert_true(status_valid(w) & WIRE_VALID_USED);
        kill(old, SIGKILL);
        while (sensor_last(w->node->sensor, 0))
                uv_run(&w->loop, UV_RUN_ONCE);
        assert_int_equal(status_valid(w), WIRE_VALID_TOTAL);
        sensor_apply(w->node->sensor);
        assert_int_equal(foreign_of_gate(w), 50 * MIB); /* nobody has left because of that */
        sampled(w);
        assert_true(observe_pid(w->node->observe) != old);
        assert_true(status_valid(w) & WIRE_VALID_USED);
}

static int open_saying(void **state)
{
        stranger = 20 * MIB;
        own = 30 * MIB;
        world_sample = say;
        return world_open(state);
}

static int open_remote(void **state)
{
        world_remote = true;
        setenv("BERTH_TEST_SENSOR", "say", 1);
        return world_open(state);
}

static int open_hanging(void **state)
{
        world_remote = true;
        setenv("BERTH_TEST_SENSOR", "hang", 1);
        return world_open(state);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_foreign, open_saying, world_close),
                cmocka_unit_test_setup_teardown(test_killed, open_remote, world_close),
                cmocka_unit_test_setup_teardown(test_hanging, open_hanging, world_close),
        };

        if (argc > 1 && !strcmp(argv[1], OBSERVE_CHILD_OPTION)) {
                stranger = 50 * MIB;
                world_sample = !strcmp(getenv("BERTH_TEST_SENSOR"), "hang") ? hang : say;
                return world_sensor();
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
