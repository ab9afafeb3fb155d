/* test-node.h: a node with one made-up device and scripted clients, all on one thread: every wait lets the loop run until the awaited message is
 * there. For the tests of this room and the fuzz target. */
#pragma once

#include "node/node.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#define TEST_UNIT (2 * MIB)
#define TEST_TOTAL (256 * MIB)

static const uint8_t test_uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

struct world {
        uv_loop_t loop;
        struct node *node;
        struct settings settings;
        char folder[64], path[96];
};

static inline void world_settings(struct settings *s)
{
        config_defaults(&settings_table, s);
        s->unit = s->arena_segment = TEST_UNIT;
        s->arena_size = (struct config_share){.bytes = 8 * TEST_UNIT};
        s->arena_ready = 0;
        s->arena_threads = 1;
        s->reserve_percent = 0;
        s->client_part = MIB;
}

/* What the next world's sensors say; may be NULL. */
static void (*world_sample)(size_t index, struct observe_sample *sample);
/* Whether they are a sensor process of this program's, which hands over to world_sensor then. */
static bool world_remote;

static inline struct observe *world_fixed(void)
{
        const struct observe_device devices[] = {
                {.kind = WIRE_SOFTWARE, .uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, .total_bytes = TEST_TOTAL,
                 .name = "test device", .shareable = true},
                {.kind = WIRE_CPU, .name = "test CPU"},
        };

        return observe_new_fixed(devices, ARRAY_SIZE(devices), world_sample);
}

static inline int world_sensor(void)
{
        int fd = observe_child_begin();

        if (fd < 0)
                return EXIT_FAILURE;
        observe_serve(fd, world_fixed(), 0, "");
        _exit(EXIT_SUCCESS);
}

static inline struct observe *world_observe(void)
{
        const struct observe_options options = {0};
        struct observe *observe = NULL;
        char message[256];

        if (!world_remote)
                return world_fixed();
        assert_int_equal(observe_start(&options, 60 * NS_PER_S, &observe, message), 0);
        return observe;
}

static inline void world_start(struct world *w)
{
        char message[CONFIG_MESSAGE];
        struct observe *observe = world_observe();
        int lock;

        assert_non_null(observe);
        assert_int_equal(uv_loop_init(&w->loop), 0);
        assert_int_equal(node_new(&w->loop, &w->settings, observe, &w->node, message), 0);
        lock = server_lock(w->path, message);
        assert_true(lock >= 0);
        assert_int_equal(server_open(w->node, w->path, lock, message), 0);
}

static inline void world_stop(struct world *w)
{
        node_free(w->node);
        while (uv_run(&w->loop, UV_RUN_NOWAIT))
                ;
        assert_int_equal(uv_loop_close(&w->loop), 0);
}

static inline int world_open(void **state)
{
        struct world *w = calloc(1, sizeof *w);

        log_set_level(LOG_ERROR_N);
        snprintf(w->folder, sizeof w->folder, "/tmp/berth-test-XXXXXX");
        if (!mkdtemp(w->folder))
                return -1;
        snprintf(w->path, sizeof w->path, "%s/node.sock", w->folder);
        world_settings(&w->settings);
        world_start(w);
        *state = w;
        return 0;
}

static inline int world_close(void **state)
{
        struct world *w = *state;
        char lock[128];

        world_stop(w);
        snprintf(lock, sizeof lock, "%s.lock", w->path);
        unlink(lock);
        unlink(w->path);
        rmdir(w->folder);
        free(w);
        return 0;
}

/* Lets the loop run until fd can be read. */
static inline void world_wait(struct world *w, int fd)
{
        for (;;) {
                struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = uv_backend_fd(&w->loop), .events = POLLIN}};

                uv_run(&w->loop, UV_RUN_NOWAIT);
                fds[0].revents = 0;
                assert_true(poll(fds, 2, uv_backend_timeout(&w->loop)) >= 0 || errno == EINTR);
                if (fds[0].revents)
                        return;
        }
}

/* Handles everything that has arrived. */
static inline void world_settle(struct world *w)
{
        for (int i = 0; i < 20; i++)
                uv_run(&w->loop, UV_RUN_NOWAIT);
}

static inline int peer_connect(struct world *w)
{
        int fd = fd_connect(w->path);

        assert_true(fd >= 0);
        return fd;
}

static inline void peer_send(int fd, enum wire_type type, struct wire_message *m, int passed)
{
        size_t bytes = wire_seal(m, type, 1, 1);

        assert_int_equal(fd_send(fd, m, bytes, passed, 0), 0);
}

/* The next message of this type; others before it are skipped, but for ERROR. */
static inline struct wire_message peer_expect(struct world *w, int fd, enum wire_type type, int *ret_fd)
{
        struct wire_message m;
        int passed;

        for (;;) {
                const char *what = "";
                ssize_t n;

                world_wait(w, fd);
                n = fd_receive(fd, &m, sizeof m, MSG_DONTWAIT, &passed);
                assert_true(n > 0);
                assert_int_equal(wire_check(&m, (size_t)n, TO_CLIENT, 1, &what), 0);
                if (m.header.type == type)
                        break;
                fd_close_at(&passed);
                if (m.header.type == WIRE_ERROR)
                        fail_msg("%s came for %s: %s", "ERROR", wire_name(type), m.ERROR.text);
        }
        if (ret_fd)
                *ret_fd = passed;
        else
                fd_close_at(&passed);
        return m;
}

static inline void peer_expect_error(struct world *w, int fd, int code, const char *says)
{
        struct wire_message m = peer_expect(w, fd, WIRE_ERROR, NULL);

        assert_string_equal(error_name(m.ERROR.code), error_name(code));
        if (!strstr(m.ERROR.text, says))
                fail_msg("\"%s\" does not say \"%s\"", m.ERROR.text, says);
}

static inline void peer_expect_end(struct world *w, int fd)
{
        struct wire_message m;
        ssize_t n;

        do {
                int passed = -1;

                world_wait(w, fd);
                n = fd_receive(fd, &m, sizeof m, MSG_DONTWAIT, &passed);
                fd_close_at(&passed);
        } while (n > 0);
        assert_true(n == 0 || n == -ECONNRESET);
}

static inline struct wire_message hello_message(enum wire_role role)
{
        struct wire_message m = {.HELLO = {.role = role, .version_min = 1, .version_max = 1, .priority = WIRE_NORMAL, .name = "test"}};

        return m;
}

static inline int peer_hello(struct world *w, enum wire_role role, bool resumes)
{
        struct wire_message m = hello_message(role);
        int fd = peer_connect(w);

        m.HELLO.resumes = resumes;
        peer_send(fd, WIRE_HELLO, &m, -1);
        (void)peer_expect(w, fd, WIRE_WELCOME, NULL);
        return fd;
}

static inline struct wire_message device_message(void)
{
        struct wire_message m = {.DEVICE = {.total_bytes = TEST_TOTAL, .ordinal = 3}};

        memcpy(m.DEVICE.uuid, test_uuid, 16);
        return m;
}

/* A registered program; its device has ordinal 3. */
static inline int peer_program(struct world *w)
{
        struct wire_message m = device_message();
        int fd = peer_hello(w, WIRE_PROGRAM, false);

        peer_send(fd, WIRE_DEVICE, &m, -1);
        (void)peer_expect(w, fd, WIRE_DEVICE_OK, NULL);
        return fd;
}

static inline void want(int fd, uint64_t bytes, uint32_t ticket)
{
        struct wire_message m = {.WANT = {.need_bytes = bytes, .ordinal = 3, .ticket = ticket}};

        peer_send(fd, WIRE_WANT, &m, -1);
}

static inline struct wire_message segment(struct world *w, int fd, int *ret_fd)
{
        return peer_expect(w, fd, WIRE_SEGMENT, ret_fd);
}

static inline uint64_t lent(struct world *w)
{
        struct arena_stats s;

        arena_stats(w->node->arena, &s);
        return s.lent;
}
