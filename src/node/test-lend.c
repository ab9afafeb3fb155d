/* test-lend.c: conversations of programs with the daemon about host memory: what is lent, in which shares, and what is asked back. */
#include "test-node.h"

#include <sys/stat.h>

static void test_host(void **state)
{
        struct world *w = *state;
        struct wire_message m = {.HOST = {.bytes = 3 * TEST_UNIT - 1}}, s;
        int fd = peer_program(w), memory;
        struct stat st;

        peer_send(fd, WIRE_HOST, &m, -1);
        for (int i = 0; i < 3; i++) {
                s = segment(w, fd, &memory);
                assert_int_equal(s.SEGMENT.bytes, TEST_UNIT);
                assert_int_equal(fstat(memory, &st), 0);
                assert_int_equal(st.st_size, TEST_UNIT);
                close(memory);
        }
        assert_int_equal(lent(w), 3 * TEST_UNIT);
        m.HOST.bytes = 0;
        peer_send(fd, WIRE_HOST, &m, -1);
        memset(&m, 0, sizeof m);
        m.SEGMENT_BACK.segment = s.SEGMENT.segment;
        peer_send(fd, WIRE_SEGMENT_BACK, &m, -1);
        peer_send(fd, WIRE_SEGMENT_BACK, &m, -1);
        peer_expect_error(w, fd, -E_MESSAGE, "this segment is not lent to you");
        assert_int_equal(lent(w), 2 * TEST_UNIT);
        close(fd);
}

/* Ahead of need a program alone gets half of the arena; what overcommitment makes necessary comes on top; more than there is, never: the numbers. */
static void test_host_shares(void **state)
{
        struct world *w = *state;
        struct wire_message m = {.HOST = {.bytes = 100 * TEST_UNIT}};
        int a = peer_program(w), b = peer_program(w);

        want(a, 200 * MIB, 1);
        (void)peer_expect(w, a, WIRE_GO, NULL);
        peer_send(a, WIRE_HOST, &m, -1);
        for (int i = 0; i < 4; i++)
                (void)segment(w, a, NULL);
        world_settle(w);
        assert_int_equal(lent(w), 4 * TEST_UNIT);
        want(b, 200 * MIB, 1);
        for (int i = 0; i < 4; i++)
                (void)segment(w, a, NULL);
        peer_expect_error(w, a, -E_ARENA, "16.0 MiB of 16.0 MiB are lent");
        assert_int_equal(lent(w), 8 * TEST_UNIT);
        close(a);
        close(b);
}

/* Each one more makes the shares smaller: what one has beyond its own is asked back for who has none. */
static void test_host_recall(void **state)
{
        struct world *w = *state;
        struct wire_message m = {.HOST = {.bytes = 100 * TEST_UNIT}}, s, recall;
        int programs[4];

        for (int i = 0; i < 4; i++) {
                programs[i] = peer_program(w);
                want(programs[i], 10 * MIB, 1);
                (void)peer_expect(w, programs[i], WIRE_GO, NULL);
                peer_send(programs[i], WIRE_HOST, &m, -1);
                for (int k = 0; k < (const int[]){4, 2, 2, 0}[i]; k++)
                        s = segment(w, programs[i], NULL);
                world_settle(w);
        }
        assert_int_equal(lent(w), 8 * TEST_UNIT);
        recall = peer_expect(w, programs[0], WIRE_RECALL, NULL);
        assert_int_equal(recall.RECALL.bytes, TEST_UNIT);
        /* It does not answer: another is asked, once it was waited for long enough. */
        world_settle(w);
        for (struct client *c = w->node->clients; c; c = c->next)
                if (c->recalling)
                        c->recall_at = 1;
        m = (struct wire_message){0};
        peer_send(programs[3], WIRE_RECALLED, &m, -1); /* out of turn: harms nobody */
        peer_expect_error(w, programs[3], -E_MESSAGE, "nothing was asked back");
        recall = peer_expect(w, programs[2], WIRE_RECALL, NULL);
        m.SEGMENT_BACK.segment = s.SEGMENT.segment;
        peer_send(programs[2], WIRE_SEGMENT_BACK, &m, -1);
        m = (struct wire_message){.RECALLED = {.bytes = TEST_UNIT}};
        peer_send(programs[2], WIRE_RECALLED, &m, -1);
        (void)segment(w, programs[3], NULL);
        assert_int_equal(lent(w), 8 * TEST_UNIT);
        /* The first one answers after all. That it returned something is not believed: nothing came, and it is not asked again at once. */
        peer_send(programs[0], WIRE_RECALLED, &m, -1);
        world_settle(w);
        for (struct client *c = w->node->clients; c; c = c->next)
                if (c->host_lent == 4 * TEST_UNIT)
                        assert_true(!c->recalling && c->recall_at > 1);
        for (int i = 0; i < 4; i++)
                close(programs[i]);
}

static void test_not_eager(void **state)
{
        struct world *w = *state;
        struct wire_message m = {.HOST = {.bytes = TEST_UNIT}};
        int a = peer_program(w), b = peer_program(w);

        w->node->settings.arena_eager = false;
        want(a, 200 * MIB, 1);
        (void)peer_expect(w, a, WIRE_GO, NULL);
        peer_send(a, WIRE_HOST, &m, -1);
        world_settle(w);
        assert_int_equal(lent(w), 0);
        want(b, 200 * MIB, 1);
        (void)segment(w, a, NULL);
        assert_int_equal(lent(w), TEST_UNIT);
        close(a);
        close(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)

int main(void)
{
        const struct CMUnitTest tests[] = {TEST(test_host), TEST(test_host_shares), TEST(test_host_recall), TEST(test_not_eager)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
