/* test-screen.c: the real command against a scripted daemon on a real socket: `berth top` on a terminal of its own
 * (keys, sizes, few colours, a daemon that goes away), and the other verbs that ask a daemon. The command's path is the
 * argument. */
#include "base/clock.h"
#include "cli/fake-daemon.h"
#include "cli/test-snapshot.h"

#include <jansson.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <cmocka.h>

static const char *berth;
static struct snapshot world;

struct terminal {
        int fd;
        pid_t pid;
        char text[1 << 20];
        size_t length, seen;
};

static struct terminal terminal;

static void start(struct terminal *t, const char *type, unsigned short width, unsigned short height, const char *socket)
{
        struct winsize size = {.ws_col = width, .ws_row = height};

        t->length = t->seen = 0;
        t->pid = forkpty(&t->fd, NULL, NULL, &size);
        assert_true(t->pid >= 0);
        if (t->pid == 0) {
                setenv("TERM", type, 1);
                setenv("BERTH_SOCKET", socket, 1);
                execl(berth, "berth", "top", "--interval", "100ms", NULL);
                _exit(99);
        }
}

/* Reads until the screen shows a text that was not there before; fails after a long while. */
static void await(struct terminal *t, const char *text)
{
        uint64_t deadline = clock_now_ns() + 20 * NS_PER_S;

        for (;;) {
                struct pollfd p = {.fd = t->fd, .events = POLLIN};
                char *at = t->length ? strstr(t->text + t->seen, text) : NULL;
                ssize_t n;

                if (at) {
                        t->seen = (size_t)(at - t->text) + strlen(text);
                        return;
                }
                if (poll(&p, 1, 1000) < 0 || clock_now_ns() > deadline)
                        fail_msg("\"%s\" never came", text);
                if (!p.revents)
                        continue;
                n = read(t->fd, t->text + t->length, sizeof t->text - 1 - t->length);
                if (n <= 0)
                        fail_msg("\"%s\" never came, the command ended", text);
                /* Strings end at a zero: a terminal's padding does not count. */
                for (ssize_t i = 0; i < n; i++)
                        if (!t->text[t->length + (size_t)i])
                                t->text[t->length + (size_t)i] = ' ';
                t->length += (size_t)n;
                t->text[t->length] = 0;
        }
}

static void press(struct terminal *t, const char *keys)
{
        assert_int_equal(write(t->fd, keys, strlen(keys)), strlen(keys));
}

static int leave(struct terminal *t, const char *keys)
{
        char rest[4096];
        int status;

        press(t, keys);
        while (read(t->fd, rest, sizeof rest) > 0)
                ;
        assert_int_equal(waitpid(t->pid, &status, 0), t->pid);
        close(t->fd);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void test_keys(void **state)
{
        struct fake_server server;

        fake_serve(&server, &world);
        start(&terminal, "xterm-256color", 80, 24, server.path);
        await(&terminal, "berth top");
        await(&terminal, "train");
        await(&terminal, "(now: device)");
        press(&terminal, "m");
        await(&terminal, "memory");
        press(&terminal, "h");
        await(&terminal, "PgUp");
        press(&terminal, "\033");
        await(&terminal, "train");
        press(&terminal, "jjk +- ");
        assert_int_equal(leave(&terminal, "q"), 0);
        fake_serve_stop(&server);
}

static void test_sizes(void **state)
{
        static const unsigned short sizes[][2] = {{200, 60}, {80, 24}, {40, 10}, {1, 1}, {500, 100}, {80, 24}};
        struct fake_server server;

        fake_serve(&server, &world);
        start(&terminal, "xterm", 80, 24, server.path);
        await(&terminal, "train");
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                struct winsize size = {.ws_col = sizes[i][0], .ws_row = sizes[i][1]};

                assert_int_equal(ioctl(terminal.fd, TIOCSWINSZ, &size), 0);
                press(&terminal, "s");
                if (size.ws_col >= 40)
                        await(&terminal, "berth top");
        }
        assert_int_equal(leave(&terminal, "q"), 0);
        fake_serve_stop(&server);
}

/* No colours at all: the characters of the bar remain. */
static void test_plain_terminal(void **state)
{
        struct fake_server server;

        fake_serve(&server, &world);
        start(&terminal, "vt100", 80, 24, server.path);
        await(&terminal, "[####");
        assert_int_equal(leave(&terminal, "q"), 0);
        fake_serve_stop(&server);
}

static void test_daemon_goes_away(void **state)
{
        struct fake_server server;

        fake_serve(&server, &world);
        start(&terminal, "xterm", 80, 24, server.path);
        await(&terminal, "train");
        fake_serve_stop(&server);
        await(&terminal, "no daemon answers");
        assert_int_equal(leave(&terminal, "q"), 0);
}

static int command(const char *socket, const char *arguments, char *text, size_t size)
{
        char line[512];
        size_t length = 0, n;
        FILE *f;
        int status;

        snprintf(line, sizeof line, "BERTH_SOCKET='%s' '%s' %s 2>&1", socket, berth, arguments);
        f = popen(line, "r");
        assert_non_null(f);
        while ((n = fread(text + length, 1, size - 1 - length, f)) > 0)
                length += n;
        text[length] = 0;
        status = pclose(f);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void test_verbs(void **state)
{
        struct fake_server server;
        char text[16384];
        json_t *o;

        fake_serve(&server, &world);
        assert_int_equal(command(server.path, "status", text, sizeof text), 0);
        assert_non_null(strstr(text, "train"));
        assert_int_equal(command(server.path, "status --json", text, sizeof text), 0);
        o = json_loads(text, 0, NULL);
        assert_int_equal(json_array_size(json_object_get(o, "clients")), 3);
        json_decref(o);
        assert_int_equal(command(server.path, "top --once", text, sizeof text), 0);
        assert_non_null(strstr(text, "train"));
        assert_null(strstr(text, "q leave"));
        assert_int_equal(command(server.path, "reload", text, sizeof text), 0);
        assert_int_equal(command(server.path, "dump", text, sizeof text), 0);
        assert_string_equal(text, "{}\n");
        assert_int_equal(command(server.path, "top", text, sizeof text), 2);
        assert_int_equal(command(server.path, "status > /dev/full", text, sizeof text), 1);
        assert_int_equal(command(server.path, "doctor --json", text, sizeof text) & ~1, 0);
        o = json_loads(text, 0, NULL);
        assert_non_null(o);
        json_decref(o);
        fake_serve_stop(&server);
}

/* The program gets the environment that the daemon's device asks for; any readable file does for library and driver
 * here. */
static void test_run(void **state)
{
        struct fake_server server;
        char text[16384];

        fake_serve(&server, &world);
        unsetenv("LD_PRELOAD");
        setenv("BERTH_DRIVER", "/proc/self/exe", 1);
        setenv("BERTH_LIBRARY", BERTH_PRELOADABLE, 1);
        assert_int_equal(
                command(server.path, "run --memory 40% --priority batch -- sh -c 'env; exit 9'", text, sizeof text), 9);
        assert_non_null(strstr(text, "LD_PRELOAD=" BERTH_PRELOADABLE));
        assert_non_null(strstr(text, "BERTH_MEMORY=40%\n"));
        assert_non_null(strstr(text, "BERTH_PRIORITY=batch\n"));
        assert_non_null(strstr(text, "BERTH_SOFTWARE_MEMORY=268435456\n"));
        assert_non_null(strstr(text, "BERTH_SOFTWARE_DEVICES=1\n"));
        assert_non_null(strstr(text, server.path));
        unsetenv("BERTH_DRIVER");
        unsetenv("BERTH_LIBRARY");
        fake_serve_stop(&server);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_keys),           cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_plain_terminal), cmocka_unit_test(test_daemon_goes_away),
                cmocka_unit_test(test_verbs),          cmocka_unit_test(test_run),
        };

        if (argc != 2) {
                fprintf(stderr, "usage: %s BERTH\n", argv[0]);
                return 2;
        }
        berth = argv[1];
        world = test_world();
        return cmocka_run_group_tests_name("cli-screen", tests, NULL, NULL);
}
