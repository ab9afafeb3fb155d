/* test-connection.c: greeting, answers, and daemons that hang, die or talk nonsense. */
#include "base/error.h"
#include "base/fd.h"
#include "cli/connection.h"
#include "cli/fake-daemon.h"
#include "cli/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

#define SHORT_MS 200 /* a hanging daemon is given up after this; answering ones never need it */

static char message[CLI_MESSAGE];

static int greet(struct connection *c, struct fake_daemon *d, const struct fake_step *steps)
{
        *c = (struct connection)CONNECTION_CLOSED;
        message[0] = 0;
        return connection_greet(c, fake_start(d, steps), "/a/socket", message);
}

static void test_greeting(void **state)
{
        static const struct fake_step steps[] = {FAKE_GREETING, {FAKE_END}};
        struct fake_daemon d;
        struct connection c;

        assert_int_equal(greet(&c, &d, steps), 0);
        assert_int_equal(c.version, WIRE_VERSION_MAX);
        connection_close(&c);
        assert_int_equal(c.fd, -1);
        assert_int_equal(fake_stop(&d), 0);
}

static void test_version_mismatch_by_error(void **state)
{
        static const struct wire_message error = {
                .ERROR = {.code = -E_VERSION, .about = WIRE_HELLO, .text = "speaks version 9 only"}};
        static const struct fake_step steps[] = {
                {FAKE_TAKE, WIRE_HELLO}, {FAKE_SEND, WIRE_ERROR, &error, .version = 9}, {FAKE_END}};
        struct fake_daemon d;
        struct connection c;

        assert_int_equal(greet(&c, &d, steps), -E_VERSION);
        assert_non_null(strstr(message, "speaks version 9 only"));
        assert_int_equal(cli_exit_code(-E_VERSION), CLI_PROTOCOL);
        connection_close(&c);
        fake_stop(&d);
}

static void test_version_mismatch_by_header(void **state)
{
        static const struct fake_step steps[] = {
                {FAKE_TAKE, WIRE_HELLO}, {FAKE_SEND, WIRE_WELCOME, &fake_welcome, .version = 9}, {FAKE_END}};
        struct fake_daemon d;
        struct connection c;

        assert_int_equal(greet(&c, &d, steps), -E_VERSION);
        assert_non_null(strstr(message, "version 9"));
        connection_close(&c);
        fake_stop(&d);
}

static void test_version_out_of_range(void **state)
{
        static const struct wire_message odd = {.WELCOME = {.version = 99}};
        static const struct fake_step steps[] = {{FAKE_TAKE, WIRE_HELLO}, {FAKE_SEND, WIRE_WELCOME, &odd}, {FAKE_END}};
        struct fake_daemon d;
        struct connection c;

        assert_int_equal(greet(&c, &d, steps), -E_VERSION);
        assert_non_null(strstr(message, "99"));
        connection_close(&c);
        fake_stop(&d);
}

static void test_hangs(void **state)
{
        static const struct fake_step steps[] = {FAKE_GREETING, {FAKE_HANG}, {FAKE_END}};
        struct fake_daemon d;
        struct connection c;
        struct snapshot s = {0};

        assert_int_equal(greet(&c, &d, steps), 0);
        c.timeout_ms = SHORT_MS;
        assert_int_equal(snapshot_fetch(&c, &s, message), -ETIMEDOUT);
        assert_non_null(strstr(message, "/a/socket"));
        assert_int_equal(cli_exit_code(-ETIMEDOUT), CLI_UNAVAILABLE);
        connection_close(&c);
        fake_stop(&d);
}

static void test_dies_in_the_middle(void **state)
{
        static const struct wire_message daemon = {.STATUS_DAEMON = {.devices = 1}},
                                         device = {.STATUS_DEVICE = {.index = 0}};
        static const struct fake_step steps[] = {FAKE_GREETING,
                                                 {FAKE_TAKE, WIRE_STATUS_ASK},
                                                 {FAKE_SEND, WIRE_STATUS_DAEMON, &daemon},
                                                 {FAKE_SEND, WIRE_STATUS_DEVICE, &device},
                                                 {FAKE_END}};
        struct fake_daemon d;
        struct connection c;
        struct snapshot s = {0};

        assert_int_equal(greet(&c, &d, steps), 0);
        assert_int_equal(snapshot_fetch(&c, &s, message), -ECONNRESET);
        assert_null(s.devices);
        assert_int_equal(cli_exit_code(-ECONNRESET), CLI_UNAVAILABLE);
        connection_close(&c);
        assert_int_equal(fake_stop(&d), 0);
}

static void test_dies_at_once(void **state)
{
        static const struct fake_step steps[] = {{FAKE_END}};
        struct fake_daemon d;
        struct connection c;

        assert_int_equal(greet(&c, &d, steps), -ECONNRESET);
        connection_close(&c);
        fake_stop(&d);
}

static void refuses(const struct fake_step *steps, const char *word)
{
        struct fake_daemon d;
        struct connection c;
        struct snapshot s = {0};

        assert_int_equal(greet(&c, &d, steps), 0);
        assert_int_equal(snapshot_fetch(&c, &s, message), -E_MESSAGE);
        if (!strstr(message, word))
                fail_msg("\"%s\" is not in \"%s\"", word, message);
        assert_null(s.devices);
        assert_null(s.clients);
        connection_close(&c);
        fake_stop(&d);
}

static void test_malformed(void **state)
{
        static const struct wire_message daemon = {.STATUS_DAEMON = {.pid = 1}}, end = {.STATUS_END = {.devices = 2}};
        static const struct wire_message noise = {.raw = "noise"};
        static const struct wire_message hostile = {.STATUS_CLIENT = {.name = "\033[2Jpwned"}};
        static const struct wire_message unended = {.STATUS_DEVICE = {.index = 0}};
        struct wire_message full = unended, big = {0};
        const struct fake_step raw[] = {
                FAKE_GREETING, {FAKE_TAKE, WIRE_STATUS_ASK}, {FAKE_RAW, 0, &noise, 40}, {FAKE_HANG}, {FAKE_END}};
        const struct fake_step short_one[] = {
                FAKE_GREETING, {FAKE_TAKE, WIRE_STATUS_ASK}, {FAKE_RAW, 0, &noise, 3}, {FAKE_HANG}, {FAKE_END}};
        const struct fake_step order[] = {FAKE_GREETING,
                                          {FAKE_TAKE, WIRE_STATUS_ASK},
                                          {FAKE_SEND, WIRE_STATUS_END, &end},
                                          {FAKE_HANG},
                                          {FAKE_END}};
        const struct fake_step missing[] = {FAKE_GREETING,
                                            {FAKE_TAKE, WIRE_STATUS_ASK},
                                            {FAKE_SEND, WIRE_STATUS_DAEMON, &daemon},
                                            {FAKE_SEND, WIRE_STATUS_END, &end},
                                            {FAKE_HANG},
                                            {FAKE_END}};
        const struct fake_step escapes[] = {FAKE_GREETING,
                                            {FAKE_TAKE, WIRE_STATUS_ASK},
                                            {FAKE_SEND, WIRE_STATUS_DAEMON, &daemon},
                                            {FAKE_SEND, WIRE_STATUS_CLIENT, &hostile},
                                            {FAKE_HANG},
                                            {FAKE_END}};
        const struct fake_step endless[] = {FAKE_GREETING,
                                            {FAKE_TAKE, WIRE_STATUS_ASK},
                                            {FAKE_SEND, WIRE_STATUS_DAEMON, &daemon},
                                            {FAKE_SEND, WIRE_STATUS_DEVICE, &full},
                                            {FAKE_HANG},
                                            {FAKE_END}};
        const struct fake_step direction[] = {FAKE_GREETING,
                                              {FAKE_TAKE, WIRE_STATUS_ASK},
                                              {FAKE_SEND, WIRE_STATUS_ASK, &big},
                                              {FAKE_HANG},
                                              {FAKE_END}};

        memset(full.STATUS_DEVICE.name, 'x', sizeof full.STATUS_DEVICE.name);
        refuses(raw, "not a Berth message");
        refuses(short_one, "shorter than a header");
        refuses(order, "STATUS_END");
        refuses(missing, "lines are missing");
        refuses(escapes, "no clean text");
        refuses(endless, "no clean text");
        refuses(direction, "wrong direction");
}

static void test_too_many_devices(void **state)
{
        static const struct wire_message daemon = {.STATUS_DAEMON = {.pid = 1}},
                                         device = {.STATUS_DEVICE = {.index = 0}};
        struct fake_step steps[WIRE_MAX_DEVICES + 8] = {
                FAKE_GREETING, {FAKE_TAKE, WIRE_STATUS_ASK}, {FAKE_SEND, WIRE_STATUS_DAEMON, &daemon}};

        for (size_t i = 0; i <= WIRE_MAX_DEVICES; i++)
                steps[4 + i] = (struct fake_step){FAKE_SEND, WIRE_STATUS_DEVICE, &device};
        refuses(steps, "too many lines");
}

static void test_error_answer(void **state)
{
        static const struct wire_message error = {.ERROR = {.code = -EPERM,
                                                            .about = WIRE_RELOAD,
                                                            .text = "only root and the daemon's own user may reload"}};
        static const struct fake_step steps[] = {
                FAKE_GREETING, {FAKE_TAKE, WIRE_RELOAD}, {FAKE_SEND, WIRE_ERROR, &error}, {FAKE_END}};
        struct wire_message m = {0};
        struct fake_daemon d;
        struct connection c;

        assert_int_equal(greet(&c, &d, steps), 0);
        assert_int_equal(connection_send(&c, &m, WIRE_RELOAD, message), 0);
        assert_int_equal(connection_expect(&c, WIRE_DONE, &m, NULL, message), -EPERM);
        assert_string_equal(message, "the daemon says: only root and the daemon's own user may reload");
        assert_int_equal(cli_exit_code(-EPERM), CLI_FORBIDDEN);
        connection_close(&c);
        assert_int_equal(fake_stop(&d), 0);
}

static void test_descriptor(void **state)
{
        static const struct wire_message done = {.DONE = {.about = WIRE_DUMP}};
        static const struct fake_step steps[] = {
                FAKE_GREETING, {FAKE_TAKE, WIRE_DUMP}, {FAKE_SEND_FD, WIRE_DONE, &done, .text = "{}"}, {FAKE_END}};
        struct wire_message m = {0};
        struct fake_daemon d;
        struct connection c;
        char text[8] = "";
        int fd = -1;

        assert_int_equal(greet(&c, &d, steps), 0);
        assert_int_equal(connection_send(&c, &m, WIRE_DUMP, message), 0);
        assert_int_equal(connection_expect(&c, WIRE_DONE, &m, &fd, message), 0);
        assert_true(fd >= 0);
        assert_int_equal(pread(fd, text, sizeof text, 0), 2);
        assert_string_equal(text, "{}");
        close(fd);
        connection_close(&c);
        assert_int_equal(fake_stop(&d), 0);
}

/* A descriptor that came with the wrong message is closed, not leaked. */
static void test_descriptor_with_wrong_message(void **state)
{
        static const struct fake_step steps[] = {
                FAKE_GREETING, {FAKE_SEND_FD, WIRE_WELCOME, &fake_welcome, .text = "x"}, {FAKE_END}};
        struct wire_message m;
        struct fake_daemon d;
        struct connection c;
        int fd;

        assert_int_equal(greet(&c, &d, steps), 0);
        assert_int_equal(connection_expect(&c, WIRE_DONE, &m, &fd, message), -E_MESSAGE);
        assert_int_equal(fd, -1);
        connection_close(&c);
        fake_stop(&d);
}

static void test_nobody_there(void **state)
{
        struct connection c = CONNECTION_CLOSED;

        setenv("BERTH_SOCKET", "nonexistent/berth/node.sock", 1);
        assert_int_equal(connection_open(&c, message), -E_UNAVAILABLE);
        assert_non_null(strstr(message, "nonexistent/berth/node.sock"));
        assert_non_null(strstr(message, "berthd &"));
        assert_int_equal(cli_exit_code(-E_UNAVAILABLE), CLI_UNAVAILABLE);
        unsetenv("BERTH_SOCKET");
}

static void test_path_too_long(void **state)
{
        struct connection c = CONNECTION_CLOSED;
        char path[140];

        memset(path, 'x', sizeof path - 1);
        path[0] = '/';
        path[sizeof path - 1] = 0;
        setenv("BERTH_SOCKET", path, 1);
        assert_int_equal(connection_open(&c, message), -ENAMETOOLONG);
        path[115] = 0;
        setenv("BERTH_SOCKET", path, 1);
        assert_int_equal(connection_open(&c, message), -ENAMETOOLONG);
        unsetenv("BERTH_SOCKET");
}

/* Another kind of socket, and a daemon that accepts nobody. */
static void test_sockets_of_others(void **state)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct connection c = CONNECTION_CLOSED;
        char folder[] = "/tmp/berth-test-XXXXXX";
        scoped_fd int stream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_non_null(mkdtemp(folder));
        snprintf(address.sun_path, sizeof address.sun_path, "%s/s", folder);
        assert_int_equal(bind(stream, (struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(listen(stream, 1), 0);
        setenv("BERTH_SOCKET", address.sun_path, 1);
        assert_int_equal(connection_open(&c, message), -E_MESSAGE);
        assert_non_null(strstr(message, "something else"));
        unlink(address.sun_path);
        {
                scoped_fd int busy = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
                scoped_fd int first = -1;

                assert_int_equal(bind(busy, (struct sockaddr *)&address, sizeof address), 0);
                assert_int_equal(listen(busy, 0), 0);
                first = fd_connect(address.sun_path);
                assert_true(first >= 0);
                c.timeout_ms = SHORT_MS;
                /* Accepted by the kernel or not: nobody ever says WELCOME. */
                assert_int_equal(connection_open(&c, message), -ETIMEDOUT);
        }
        connection_close(&c);
        unsetenv("BERTH_SOCKET");
        unlink(address.sun_path);
        rmdir(folder);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_greeting),
                cmocka_unit_test(test_version_mismatch_by_error),
                cmocka_unit_test(test_version_mismatch_by_header),
                cmocka_unit_test(test_version_out_of_range),
                cmocka_unit_test(test_hangs),
                cmocka_unit_test(test_dies_in_the_middle),
                cmocka_unit_test(test_dies_at_once),
                cmocka_unit_test(test_malformed),
                cmocka_unit_test(test_too_many_devices),
                cmocka_unit_test(test_error_answer),
                cmocka_unit_test(test_descriptor),
                cmocka_unit_test(test_descriptor_with_wrong_message),
                cmocka_unit_test(test_nobody_there),
                cmocka_unit_test(test_path_too_long),
                cmocka_unit_test(test_sockets_of_others),
        };

        return cmocka_run_group_tests_name("cli-connection", tests, NULL, NULL);
}
