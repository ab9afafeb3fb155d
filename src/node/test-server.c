/* test-server.c: who may connect and what happens to those who talk wrongly. */
#include "test-node.h"

#include <sys/stat.h>
#include <sys/wait.h>

static void test_hello(void **state)
{
        struct world *w = *state;
        int fd = peer_connect(w);
        struct wire_message m = hello_message(WIRE_PROGRAM);

        peer_send(fd, WIRE_HELLO, &m, -1);
        m = peer_expect(w, fd, WIRE_WELCOME, NULL);
        assert_int_equal(m.WELCOME.version, 1);
        assert_int_equal(m.WELCOME.unit_bytes, TEST_UNIT);
        assert_int_equal(m.WELCOME.segment_bytes, TEST_UNIT);
        assert_int_equal(m.WELCOME.return_ms, 10000);
        close(fd);
        world_settle(w);
        assert_int_equal(w->node->clients_n, 0);
}

static void test_versions(void **state)
{
        struct world *w = *state;
        struct wire_message m = hello_message(WIRE_PROGRAM);
        int fd = peer_connect(w);

        m.HELLO.version_min = 7;
        m.HELLO.version_max = 9;
        peer_send(fd, WIRE_HELLO, &m, -1);
        peer_expect_error(w, fd, -E_VERSION, "speaks protocol versions 1 to 1, the program 7 to 9");
        peer_expect_end(w, fd);
        close(fd);
        /* One who also speaks newer ones is served in ours. */
        m = hello_message(WIRE_PROGRAM);
        m.HELLO.version_max = 9;
        fd = peer_connect(w);
        peer_send(fd, WIRE_HELLO, &m, -1);
        assert_int_equal(peer_expect(w, fd, WIRE_WELCOME, NULL).WELCOME.version, 1);
        close(fd);
}

static void refused(struct world *w, const void *data, size_t bytes, bool greet, int code, const char *says)
{
        uint64_t before = w->node->refused;
        int fd = greet ? peer_hello(w, WIRE_PROGRAM, false) : peer_connect(w);

        assert_int_equal(fd_send(fd, data, bytes, -1, 0), 0);
        peer_expect_error(w, fd, code, says);
        peer_expect_end(w, fd);
        close(fd);
        assert_int_equal(w->node->refused, before + 1);
}

static void test_malformed(void **state)
{
        struct world *w = *state;
        struct wire_message m = hello_message(WIRE_PROGRAM);
        int healthy = peer_program(w);
        char big[4096];

        memset(big, 'x', sizeof big);
        refused(w, big, 100, false, -E_MESSAGE, "not a Berth message");
        refused(w, big, 3, false, -E_MESSAGE, "shorter than a header");
        refused(w, big, sizeof big, false, -E_MESSAGE, "longer than any message");
        wire_seal(&m, WIRE_HELLO, 1, 1);
        refused(w, &m, m.header.bytes - 4, false, -E_MESSAGE, "wrong size");
        refused(w, &m, m.header.bytes, true, -E_MESSAGE, "a second HELLO");
        m.HELLO.role = 9;
        refused(w, &m, m.header.bytes, false, -E_MESSAGE, "HELLO.role out of range");
        memset(&m, 0, sizeof m);
        wire_seal(&m, WIRE_GO, 1, 1);
        refused(w, &m, m.header.bytes, true, -E_MESSAGE, "sent in the wrong direction");
        wire_seal(&m, WIRE_MEMORY, 1, 1);
        refused(w, &m, m.header.bytes, false, -E_MESSAGE, "HELLO must come first");
        wire_seal(&m, WIRE_MEMORY, 2, 1);
        refused(w, &m, m.header.bytes, true, -E_VERSION, "protocol version");
        m.header.type = 999;
        m.header.version = 1;
        refused(w, &m, m.header.bytes, true, -E_MESSAGE, "unknown message number");
        /* Nobody else noticed. */
        memset(&m, 0, sizeof m);
        m.WANT = (struct wire_WANT){.need_bytes = MIB, .ordinal = 3, .ticket = 1};
        peer_send(healthy, WIRE_WANT, &m, -1);
        (void)peer_expect(w, healthy, WIRE_GO, NULL);
        close(healthy);
}

static void test_out_of_turn(void **state)
{
        struct world *w = *state;
        struct wire_message m = {.GIVEN_WAY = {.ordinal = 3}};
        int fd = peer_program(w);

        for (int i = 0; i < NODE_MAX_FAULTS; i++) {
                peer_send(fd, WIRE_GIVEN_WAY, &m, -1);
                peer_expect_error(w, fd, -E_MESSAGE, "GIVEN_WAY: out of turn");
        }
        peer_expect_end(w, fd);
        close(fd);
        assert_int_equal(w->node->refused, NODE_MAX_FAULTS);
        /* An ordinal never announced, what only the other role may say, state that only a resumed program has, an unknown device. */
        fd = peer_program(w);
        m.GIVEN_WAY.ordinal = 4;
        peer_send(fd, WIRE_GIVEN_WAY, &m, -1);
        peer_expect_error(w, fd, -E_MESSAGE, "no DEVICE was announced");
        memset(&m, 0, sizeof m);
        peer_send(fd, WIRE_STATUS_ASK, &m, -1);
        peer_expect_error(w, fd, -E_MESSAGE, "not for this kind of connection");
        m = device_message();
        peer_send(fd, WIRE_DEVICE, &m, -1);
        peer_expect_error(w, fd, -E_MESSAGE, "this ordinal is a device already");
        m.DEVICE.ordinal = 4;
        peer_send(fd, WIRE_DEVICE, &m, -1);
        peer_expect_error(w, fd, -E_MESSAGE, "has another ordinal already");
        m.DEVICE.uuid[0] = 99;
        peer_send(fd, WIRE_DEVICE, &m, -1);
        peer_expect_error(w, fd, -E_UNKNOWN_DEVICE, "is not shared by this daemon");
        close(fd);
        fd = peer_hello(w, WIRE_PROGRAM, false);
        m = device_message();
        m.DEVICE.granted_bytes = MIB;
        peer_send(fd, WIRE_DEVICE, &m, -1);
        peer_expect_error(w, fd, -E_MESSAGE, "state that can't be");
        close(fd);
}

static void test_user_limit(void **state)
{
        struct world *w = *state;
        int a, b, c;

        w->node->settings.clients_per_user = 2;
        a = peer_hello(w, WIRE_PROGRAM, false);
        b = peer_hello(w, WIRE_CONTROL, false);
        c = peer_connect(w);
        peer_expect_error(w, c, -E_QUOTA, "limits.clients_per_user allows no more");
        peer_expect_end(w, c);
        close(c);
        close(a);
        world_settle(w);
        a = peer_hello(w, WIRE_PROGRAM, false);
        close(a);
        close(b);
}

static void test_flood(void **state)
{
        struct world *w = *state;
        struct wire_message m = {.HOST = {.bytes = 0}};
        int fd, sent = 0;
        bool paused = false;

        w->node->settings.messages_per_second = 1000;
        fd = peer_hello(w, WIRE_PROGRAM, false);
        /* A second's worth passes at once; then reading stops until time has passed, and nothing is lost. */
        while (sent < 1200) {
                size_t bytes = wire_seal(&m, WIRE_HOST, 1, 1);
                int r = fd_send(fd, &m, bytes, -1, MSG_DONTWAIT);

                assert_true(r == 0 || r == -EAGAIN);
                sent += r == 0;
                uv_run(&w->loop, r == 0 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
                paused |= w->node->clients->paused;
        }
        while (w->node->messages < 1201)
                uv_run(&w->loop, UV_RUN_ONCE);
        assert_true(paused);
        assert_int_equal(w->node->refused, 0);
        close(fd);
}

static void test_deaf(void **state)
{
        struct world *w = *state;
        struct wire_message m = {0};
        size_t bytes = wire_seal(&m, WIRE_STATUS_ASK, 1, 1);
        int fd = peer_hello(w, WIRE_CONTROL, false);

        /* Asks and never reads. */
        while (w->node->clients_n) {
                int r = fd_send(fd, &m, bytes, -1, MSG_DONTWAIT);

                assert_true(r == 0 || r == -EAGAIN || r == -EPIPE || r == -ECONNRESET);
                uv_run(&w->loop, UV_RUN_NOWAIT);
        }
        close(fd);
}

static void test_two_daemons(void **state)
{
        struct world *w = *state;
        char message[CONFIG_MESSAGE], expected[192];

        assert_int_equal(server_lock(w->path, message), -E_RUNNING);
        snprintf(expected, sizeof expected, "another berthd (pid %d) serves %s", (int)getpid(), w->path);
        assert_memory_equal(message, expected, strlen(expected));
        close(peer_hello(w, WIRE_PROGRAM, false)); /* the first one is unharmed */
}

static void test_left_behind(void **state)
{
        struct world *w = *state;
        struct stat st;

        /* A daemon that was killed leaves its socket; the next takes the place. */
        world_stop(w);
        assert_int_equal(stat(w->path, &st), -1);
        close(open(w->path, O_CREAT | O_WRONLY, 0600));
        world_start(w);
        close(peer_hello(w, WIRE_PROGRAM, false));
        assert_int_equal(stat(w->path, &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
}

static void test_folder(void **state)
{
        struct world *w = *state;
        char message[CONFIG_MESSAGE], path[200];

        snprintf(path, sizeof path, "%s/none/deeper/node.sock", w->folder);
        assert_int_equal(server_lock(path, message), -ENOENT);
        assert_non_null(strstr(message, "none/deeper: can't be made"));
        memset(path, 'x', sizeof path);
        path[0] = '/';
        path[sizeof path - 1] = 0;
        assert_int_equal(server_lock(path, message), -ENAMETOOLONG);
        assert_int_equal(chmod(w->folder, 0777), 0);
        assert_int_equal(server_lock(w->path, message), -EPERM);
        assert_non_null(strstr(message, "others could replace the socket"));
        assert_int_equal(chmod(w->folder, 0700), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_hello), TEST(test_versions), TEST(test_malformed), TEST(test_out_of_turn), TEST(test_user_limit),
                TEST(test_flood), TEST(test_deaf), TEST(test_two_daemons), TEST(test_left_behind), TEST(test_folder),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
