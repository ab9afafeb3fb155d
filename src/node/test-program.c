/* test-program.c: conversations of programs and of the command line with the daemon: running, coming back after either side was lost,
 * being killed, reload, status and dump. */
#include "test-node.h"

#include <jansson.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void test_runs(void **state)
{
        struct world *w = *state;
        struct wire_message m = hello_message(WIRE_PROGRAM);
        int fd = peer_connect(w), page_fd;
        struct page *page;

        m.HELLO.limit_bytes = 100 * MIB;
        m.HELLO.limit_permille = 250;
        peer_send(fd, WIRE_HELLO, &m, -1);
        (void)peer_expect(w, fd, WIRE_WELCOME, NULL);
        m = device_message();
        peer_send(fd, WIRE_DEVICE, &m, -1);
        m = peer_expect(w, fd, WIRE_DEVICE_OK, &page_fd);
        assert_int_equal(m.DEVICE_OK.limit_bytes, TEST_TOTAL / 4);
        assert_int_equal(m.DEVICE_OK.kind, WIRE_SOFTWARE);
        assert_int_equal(m.DEVICE_OK.ordinal, 3);
        /* Its page: of one page's size for good. */
        assert_true(page_fd >= 0);
        assert_int_equal(ftruncate(page_fd, 0), -1);
        page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);
        assert_ptr_not_equal(page, MAP_FAILED);
        assert_int_equal(page->magic, PAGE_MAGIC);
        assert_memory_equal(page->uuid, test_uuid, 16);
        munmap(page, PAGE_BYTES);
        close(page_fd);
        want(fd, 10 * MIB, 5);
        m = peer_expect(w, fd, WIRE_GO, NULL);
        assert_int_equal(m.GO.ticket, 5);
        assert_true(m.GO.more_bytes >= 10 * MIB);
        want(fd, 65 * MIB, 6);
        m = peer_expect(w, fd, WIRE_DENIED, NULL);
        assert_int_equal(m.DENIED.code, -E_LIMIT);
        assert_int_equal(m.DENIED.ticket, 6);
        want(fd, 20 * MIB, 7);
        m = peer_expect(w, fd, WIRE_AVAILABLE, NULL);
        assert_int_equal(m.AVAILABLE.ticket, 7);
        close(fd);
}

/* Figures of a run: of those there and those gone, of one user, and kept by one that asked before. */
static void test_run(void **state)
{
        struct world *w = *state;
        struct wire_message m = {.RUN = {.run = 77}};
        int asker = peer_hello(w, WIRE_CONTROL, false), stranger = peer_hello(w, WIRE_CONTROL, false), fds[3];
        uint32_t ended = 0;

        peer_send(asker, WIRE_RUN, &m, -1);
        assert_int_equal(peer_expect(w, asker, WIRE_STATUS_END, NULL).STATUS_END.clients, 0);
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
                m = hello_message(WIRE_PROGRAM);
                m.HELLO.run = i < 2 ? 77 : 78;
                fds[i] = peer_connect(w);
                peer_send(fds[i], WIRE_HELLO, &m, -1);
                (void)peer_expect(w, fds[i], WIRE_WELCOME, NULL);
                m = device_message();
                peer_send(fds[i], WIRE_DEVICE, &m, -1);
                (void)peer_expect(w, fds[i], WIRE_DEVICE_OK, NULL);
        }
        close(fds[0]);
        world_settle(w);
        m = (struct wire_message){.RUN = {.run = 77}};
        peer_send(asker, WIRE_RUN, &m, -1);
        for (int i = 0; i < 2; i++)
                ended += peer_expect(w, asker, WIRE_STATUS_CLIENT, NULL).STATUS_CLIENT.ended;
        assert_int_equal(ended, 1);
        assert_int_equal(peer_expect(w, asker, WIRE_STATUS_END, NULL).STATUS_END.clients, 2);
        /* Who asks later gets those that are there. */
        peer_send(stranger, WIRE_RUN, &m, -1);
        assert_int_equal(peer_expect(w, stranger, WIRE_STATUS_END, NULL).STATUS_END.clients, 1);
        m.RUN.run = 78;
        peer_send(asker, WIRE_RUN, &m, -1);
        peer_expect_error(w, asker, -E_MESSAGE, "another one than before");
        close(fds[1]);
        close(fds[2]);
        close(asker);
        close(stranger);
}

/* However many programs a run has, what is kept of them is bounded, and their sums are right. */
static void test_run_of_many(void **state)
{
        struct world *w = *state;
        struct wire_message m = {.RUN = {.run = 77}};
        int asker = peer_hello(w, WIRE_CONTROL, false);
        uint32_t lines;

        peer_send(asker, WIRE_RUN, &m, -1);
        (void)peer_expect(w, asker, WIRE_STATUS_END, NULL);
        for (int i = 0; i < 100; i++) {
                int fd = peer_connect(w);

                m = hello_message(WIRE_PROGRAM);
                m.HELLO.run = 77;
                peer_send(fd, WIRE_HELLO, &m, -1);
                (void)peer_expect(w, fd, WIRE_WELCOME, NULL);
                m = device_message();
                peer_send(fd, WIRE_DEVICE, &m, -1);
                (void)peer_expect(w, fd, WIRE_DEVICE_OK, NULL);
                close(fd);
                world_settle(w);
        }
        m = (struct wire_message){.RUN = {.run = 77}};
        peer_send(asker, WIRE_RUN, &m, -1);
        lines = peer_expect(w, asker, WIRE_STATUS_END, NULL).STATUS_END.clients;
        assert_in_range(lines, 16, 64);
        close(asker);
}

static void test_peak_window(void **state)
{
        struct world *w = *state;
        struct wire_message m = {.PEAK = {.pid = (uint32_t)getpid(), .action = WIRE_PEAK_BEGIN, .name = "w"}};
        int fd = peer_program(w), asker = peer_hello(w, WIRE_CONTROL, false);

        peer_send(asker, WIRE_PEAK, &m, -1);
        assert_int_equal(peer_expect(w, asker, WIRE_PEAK_IS, NULL).PEAK_IS.peak_bytes, 0);
        assert_int_equal(peer_expect(w, asker, WIRE_DONE, NULL).DONE.about, WIRE_PEAK);
        m.PEAK.action = WIRE_PEAK_END;
        peer_send(asker, WIRE_PEAK, &m, -1);
        (void)peer_expect(w, asker, WIRE_DONE, NULL);
        peer_send(asker, WIRE_PEAK, &m, -1);
        peer_expect_error(w, asker, -ENOENT, "no window");
        m.PEAK.pid = 1;
        peer_send(asker, WIRE_PEAK, &m, -1);
        peer_expect_error(w, asker, -ESRCH, "not on a shared device");
        m = (struct wire_message){.PEAK = {.pid = (uint32_t)getpid(), .action = WIRE_PEAK_BEGIN}};
        peer_send(asker, WIRE_PEAK, &m, -1);
        peer_expect_error(w, asker, -EINVAL, "name");
        close(fd);
        close(asker);
}

/* Programs whose launches count before the daemon is known bring their page. */
static void test_own_page(void **state)
{
        struct world *w = *state;
        struct wire_message m = device_message();
        int fd = peer_hello(w, WIRE_PROGRAM, false), page = memfd_create("page", MFD_CLOEXEC | MFD_ALLOW_SEALING), back;
        struct stat a, b;

        assert_int_equal(ftruncate(page, PAGE_BYTES), 0);
        peer_send(fd, WIRE_DEVICE, &m, page);
        peer_expect_error(w, fd, -E_MESSAGE, "state that can't be");
        assert_int_equal(fcntl(page, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
        peer_send(fd, WIRE_DEVICE, &m, page);
        (void)peer_expect(w, fd, WIRE_DEVICE_OK, &back);
        assert_int_equal(fstat(page, &a), 0);
        assert_int_equal(fstat(back, &b), 0);
        assert_int_equal(a.st_ino, b.st_ino);
        close(back);
        close(page);
        close(fd);
}

/* The connection is lost, the process lives on: its segments stay its own until it comes back, or starts over. */
static void test_connection_lost(void **state)
{
        struct world *w = *state;
        struct wire_message m = {.HOST = {.bytes = 2 * TEST_UNIT}}, known;
        int fd = peer_program(w), memory, other;
        uint32_t number;

        peer_send(fd, WIRE_HOST, &m, -1);
        number = segment(w, fd, &memory).SEGMENT.segment;
        (void)segment(w, fd, &other);
        close(fd);
        world_settle(w);
        assert_int_equal(w->node->clients_n, 0);
        assert_int_equal(lent(w), 2 * TEST_UNIT);
        fd = peer_hello(w, WIRE_PROGRAM, true);
        memset(&m, 0, sizeof m);
        m.SEGMENT_HAVE = (struct wire_SEGMENT_HAVE){.bytes = TEST_UNIT, .segment = number};
        peer_send(fd, WIRE_SEGMENT_HAVE, &m, memory);
        known = peer_expect(w, fd, WIRE_SEGMENT_KNOWN, NULL);
        assert_int_equal(known.SEGMENT_KNOWN.old_segment, number);
        assert_int_equal(lent(w), 2 * TEST_UNIT);
        peer_send(fd, WIRE_SEGMENT_HAVE, &m, -1);
        peer_expect_error(w, fd, -E_MESSAGE, "with a descriptor each");
        m.SEGMENT_HAVE.bytes = 3 * TEST_UNIT;
        peer_send(fd, WIRE_SEGMENT_HAVE, &m, memory);
        peer_expect_error(w, fd, -E_MESSAGE, "not a segment of an arena");
        close(fd);
        world_settle(w);
        fd = peer_hello(w, WIRE_PROGRAM, false);
        world_settle(w);
        assert_int_equal(lent(w), 0);
        assert_null(w->node->ghosts);
        close(memory);
        close(other);
        close(fd);
}

/* Runs script in a process of its own, connected. */
static pid_t child(struct world *w, void (*script)(int fd))
{
        int fd = peer_connect(w);
        pid_t pid;

        close(fd);
        pid = fork();
        if (pid == 0) {
                fd = fd_connect(w->path);
                if (fd < 0)
                        _exit(1);
                script(fd);
                pause();
                _exit(0);
        }
        assert_true(pid > 0);
        return pid;
}

static void send_or_exit(int fd, enum wire_type type, struct wire_message *m)
{
        size_t bytes = wire_seal(m, type, 1, 1);

        if (fd_send(fd, m, bytes, -1, 0) < 0)
                _exit(1);
}

static void script_hold(int fd)
{
        struct wire_message m = hello_message(WIRE_PROGRAM);

        send_or_exit(fd, WIRE_HELLO, &m);
        m = device_message();
        send_or_exit(fd, WIRE_DEVICE, &m);
        m = (struct wire_message){.HOST = {.bytes = TEST_UNIT}};
        send_or_exit(fd, WIRE_HOST, &m);
        m = (struct wire_message){.WANT = {.need_bytes = 200 * MIB, .ordinal = 3, .ticket = 1}};
        send_or_exit(fd, WIRE_WANT, &m);
}

static void wait_until_lent(struct world *w, uint64_t bytes)
{
        while (lent(w) != bytes)
                uv_run(&w->loop, UV_RUN_ONCE);
}

static void test_process_killed(void **state)
{
        struct world *w = *state;
        pid_t pid = child(w, script_hold);
        int fd;

        wait_until_lent(w, TEST_UNIT);
        fd = peer_program(w);
        want(fd, 200 * MIB, 9);
        assert_int_equal(peer_expect(w, fd, WIRE_WAIT, NULL).WAIT.ticket, 9);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        /* Its memory goes to the waiter, its segment back to the arena. */
        assert_int_equal(peer_expect(w, fd, WIRE_GO, NULL).GO.ticket, 9);
        wait_until_lent(w, 0);
        close(fd);
}

static void test_stuck_is_killed(void **state)
{
        struct world *w = *state;
        struct gate_settings s = gate_default_settings;
        pid_t pid;
        int fd, status;

        s.reserve_percent = 0;
        s.client_part_bytes = MIB;
        s.slice_mode = GATE_SLICE_FIXED;
        s.slice_fixed_ns = s.slice_min_ns = s.slice_max_ns = s.idle_ns = s.give_way_bound_ns = s.kill_after_ns = 1000000;
        gate_change_settings(w->node->gate, 0, &s);
        pid = child(w, script_hold);
        wait_until_lent(w, TEST_UNIT);
        fd = peer_program(w);
        want(fd, 200 * MIB, 9);
        (void)peer_expect(w, fd, WIRE_GO, NULL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGKILL);
        assert_int_equal(w->node->killed, 1);
        close(fd);
}

/* The daemon is lost; the program brings its state to the next one. */
static void test_daemon_restarts(void **state)
{
        struct world *w = *state;
        struct wire_message m = {.HOST = {.bytes = TEST_UNIT}};
        int fd = peer_program(w), memory, late;
        uint64_t granted;
        char *p;

        want(fd, 100 * MIB, 1);
        granted = peer_expect(w, fd, WIRE_GO, NULL).GO.more_bytes;
        peer_send(fd, WIRE_HOST, &m, -1);
        (void)segment(w, fd, &memory);
        p = mmap(NULL, TEST_UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
        assert_ptr_not_equal(p, MAP_FAILED);
        strcpy(p, "kept");
        world_stop(w);
        close(fd);
        world_start(w);
        fd = peer_hello(w, WIRE_PROGRAM, true);
        memset(&m, 0, sizeof m);
        m.SEGMENT_HAVE = (struct wire_SEGMENT_HAVE){.bytes = TEST_UNIT, .segment = 1};
        peer_send(fd, WIRE_SEGMENT_HAVE, &m, memory);
        m = device_message();
        m.DEVICE.granted_bytes = granted;
        m.DEVICE.movable_bytes = m.DEVICE.resident_bytes = granted;
        m.DEVICE.running = 1;
        peer_send(fd, WIRE_DEVICE, &m, -1);
        (void)peer_expect(w, fd, WIRE_SEGMENT_KNOWN, NULL);
        (void)peer_expect(w, fd, WIRE_DEVICE_OK, NULL);
        assert_int_equal(lent(w), TEST_UNIT);
        assert_string_equal(p, "kept");
        /* Its grant is in the books: another one has to wait for it. */
        late = peer_program(w);
        want(late, 200 * MIB, 1);
        (void)peer_expect(w, late, WIRE_WAIT, NULL);
        munmap(p, TEST_UNIT);
        close(memory);
        close(fd);
        (void)peer_expect(w, late, WIRE_GO, NULL);
        close(late);
}

/* It was swapped out as a whole when the daemon was lost: it owns memory, has no grant, and may want it all back. */
static void test_swapped_out_returns(void **state)
{
        struct world *w = *state;
        struct wire_message m = device_message();
        int fd = peer_hello(w, WIRE_PROGRAM, true);

        m.DEVICE.movable_bytes = 50 * MIB;
        peer_send(fd, WIRE_DEVICE, &m, -1);
        (void)peer_expect(w, fd, WIRE_DEVICE_OK, NULL);
        want(fd, 50 * MIB, 1);
        assert_true(peer_expect(w, fd, WIRE_BRING_IN, NULL).BRING_IN.more_bytes >= 50 * MIB);
        close(fd);
        /* What can't be is a fault, and may be told again. */
        fd = peer_hello(w, WIRE_PROGRAM, true);
        m.DEVICE.running = 1;
        peer_send(fd, WIRE_DEVICE, &m, -1);
        peer_expect_error(w, fd, -E_MESSAGE, "state that contradicts itself");
        m.DEVICE.running = 0;
        peer_send(fd, WIRE_DEVICE, &m, -1);
        (void)peer_expect(w, fd, WIRE_DEVICE_OK, NULL);
        close(fd);
}

static int (*loader)(struct settings *, char *);

static int load(struct settings *ret, char message[CONFIG_MESSAGE])
{
        return loader(ret, message);
}

static int load_bad(struct settings *ret, char *message)
{
        (void)ret;
        snprintf(message, CONFIG_MESSAGE, "berthd.conf:3: unknown setting \"x\" in [slice]");
        return -E_CONFIG;
}

static int load_frozen(struct settings *ret, char *message)
{
        world_settings(ret);
        message[0] = 0;
        ret->slice_min = 7;
        ret->unit *= 2;
        return 0;
}

static int load_good(struct settings *ret, char *message)
{
        world_settings(ret);
        message[0] = 0;
        ret->clients_per_user = 55;
        return 0;
}

static void test_reload(void **state)
{
        struct world *w = *state;
        struct wire_message m = {0};
        int fd = peer_hello(w, WIRE_CONTROL, false);
        uint64_t before = w->node->settings.slice_min;

        w->node->load = load;
        loader = load_bad;
        peer_send(fd, WIRE_RELOAD, &m, -1);
        peer_expect_error(w, fd, -E_CONFIG, "berthd.conf:3: unknown setting");
        loader = load_frozen;
        peer_send(fd, WIRE_RELOAD, &m, -1);
        peer_expect_error(w, fd, -E_CONFIG, "client.unit can't change while the daemon runs; nothing was changed");
        assert_int_equal(w->node->settings.slice_min, before);
        loader = load_good;
        peer_send(fd, WIRE_RELOAD, &m, -1);
        assert_int_equal(peer_expect(w, fd, WIRE_DONE, NULL).DONE.about, WIRE_RELOAD);
        assert_int_equal(w->node->settings.clients_per_user, 55);
        close(fd);
}

static void test_status(void **state)
{
        struct world *w = *state;
        struct wire_message m = {0}, s;
        int fd = peer_hello(w, WIRE_CONTROL, false), program = peer_program(w), json;
        json_t *root, *clients;
        FILE *f;

        want(program, 10 * MIB, 1);
        (void)peer_expect(w, program, WIRE_GO, NULL);
        peer_send(fd, WIRE_STATUS_ASK, &m, -1);
        s = peer_expect(w, fd, WIRE_STATUS_DAEMON, NULL);
        assert_int_equal(s.STATUS_DAEMON.clients, 1);
        assert_int_equal(s.STATUS_DAEMON.devices, 2);
        assert_int_equal(s.STATUS_DAEMON.arena_bytes, 8 * TEST_UNIT);
        s = peer_expect(w, fd, WIRE_STATUS_DEVICE, NULL);
        assert_string_equal(s.STATUS_DEVICE.name, "test device");
        assert_int_equal(s.STATUS_DEVICE.valid & (WIRE_VALID_USED | WIRE_VALID_FOREIGN | WIRE_VALID_POWER), 0);
        assert_int_equal(s.STATUS_DEVICE.clients, 1);
        s = peer_expect(w, fd, WIRE_STATUS_DEVICE, NULL);
        assert_int_equal(s.STATUS_DEVICE.kind, WIRE_CPU);
        assert_int_equal(s.STATUS_DEVICE.room_bytes, 0);
        s = peer_expect(w, fd, WIRE_STATUS_CLIENT, NULL);
        assert_int_equal(s.STATUS_CLIENT.state, WIRE_RUNNING);
        assert_int_equal(s.STATUS_CLIENT.pid, getpid());
        assert_string_equal(s.STATUS_CLIENT.name, "test");
        s = peer_expect(w, fd, WIRE_STATUS_END, NULL);
        assert_int_equal(s.STATUS_END.devices, 2);
        assert_int_equal(s.STATUS_END.clients, 1);
        peer_send(fd, WIRE_DUMP, &m, -1);
        assert_int_equal(peer_expect(w, fd, WIRE_DONE, &json).DONE.about, WIRE_DUMP);
        f = fdopen(json, "r");
        assert_non_null(f);
        root = json_loadf(f, 0, NULL);
        fclose(f);
        assert_non_null(root);
        clients = json_object_get(root, "clients");
        assert_int_equal(json_array_size(clients), 2);
        assert_true(json_is_null(json_object_get(json_array_get(json_object_get(root, "devices"), 0), "power_mw")));
        json_decref(root);
        close(program);
        close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_runs), TEST(test_run), TEST(test_run_of_many), TEST(test_peak_window), TEST(test_own_page),
                TEST(test_connection_lost), TEST(test_process_killed), TEST(test_stuck_is_killed), TEST(test_daemon_restarts),
                TEST(test_swapped_out_returns), TEST(test_reload),         TEST(test_status),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
