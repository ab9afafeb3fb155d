/* test-tunnel.c: frames of a tunnel: what is written is read again, and what is none is refused. */
#include "wire/tunnel.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>

static uint8_t room[TUNNEL_FRAME + TUNNEL_SMALL];

static struct tunnel_frame one(size_t bytes, bool from_pool)
{
        const uint8_t *data = room;
        struct tunnel_frame f;

        assert_int_equal(tunnel_next(&data, &bytes, from_pool, &f), 1);
        assert_int_equal(bytes, 0);
        return f;
}

static void what_is_written_is_read(void **state)
{
        struct tunnel_request q = {.model = "meta-llama/Llama-3.1-8B", .path = "/v1/chat/completions", .id = "r-1", .body_bytes = 12345}, q2;
        struct tunnel_answer a = {.type = "text/event-stream; charset=utf-8", .status = 429, .retry_after_s = 7}, a2;
        char text[TUNNEL_TEXT], model[TUNNEL_MODEL];
        enum tunnel_end end;
        struct tunnel_frame f;
        uint32_t credit;

        f = one(tunnel_write_request(room, 7, &q), true);
        assert_int_equal(f.kind, TUNNEL_OPEN);
        assert_int_equal(f.stream, 7);
        assert_int_equal(tunnel_read_request(&f, &q2), 0);
        assert_string_equal(q2.model, q.model);
        assert_string_equal(q2.path, q.path);
        assert_string_equal(q2.id, q.id);
        assert_int_equal(q2.body_bytes, 12345);
        f = one(tunnel_write_answer(room, UINT32_MAX, &a), false);
        assert_int_equal(f.stream, UINT32_MAX);
        assert_int_equal(tunnel_read_answer(&f, &a2), 0);
        assert_int_equal(a2.status, 429);
        assert_int_equal(a2.retry_after_s, 7);
        assert_string_equal(a2.type, a.type);
        f = one(tunnel_write_end(room, 1, TUNNEL_BROKEN, "it said \"no\"\n"), false);
        assert_int_equal(tunnel_read_end(&f, &end, text), 0);
        assert_int_equal(end, TUNNEL_BROKEN);
        assert_string_equal(text, "it said 'no'?");
        f = one(tunnel_write_credit(room, 1, 65536), true);
        assert_int_equal(tunnel_read_credit(&f, &credit), 0);
        assert_int_equal(credit, 65536);
        f = one(tunnel_write_free(room, "m"), false);
        assert_int_equal(tunnel_read_free(&f, model), 0);
        assert_string_equal(model, "m");
        assert_int_equal(one(tunnel_write_cancel(room, 9), true).length, 0);
        assert_int_equal(tunnel_write_body(room, 3, 5), TUNNEL_FRAME);
        memcpy(room + TUNNEL_FRAME, "hello", 5);
        f = one(TUNNEL_FRAME + 5, false);
        assert_memory_equal(f.payload, "hello", 5);
}

static void many_in_one_message(void **state)
{
        size_t length = tunnel_write_credit(room, 1, 10), left;
        const uint8_t *data = room;
        struct tunnel_frame f;
        int count = 0;

        length += tunnel_write_cancel(room + length, 2);
        length += tunnel_write_credit(room + length, 3, 1);
        for (left = length; tunnel_next(&data, &left, true, &f) == 1;)
                assert_int_equal(f.stream, ++count);
        assert_int_equal(count, 3);
        assert_int_equal(left, 0);
        /* Cut anywhere: what is whole is read, then it is refused. */
        for (size_t cut = 1; cut < length; cut++) {
                data = room;
                left = cut;
                while (tunnel_next(&data, &left, true, &f) == 1)
                        ;
                assert_int_equal(left == 0 ? 0 : tunnel_next(&data, &left, true, &f), left == 0 ? 0 : -E_MESSAGE);
        }
}

static int refused(const void *bytes, size_t length, bool from_pool)
{
        const uint8_t *data = bytes;
        struct tunnel_frame f;

        return tunnel_next(&data, &length, from_pool, &f);
}

static void garbage_is_refused(void **state)
{
        struct tunnel_request q = {.model = "m", .path = "/v1/x", .id = "r", .body_bytes = 1}, got;
        struct tunnel_answer a = {.status = 200};
        char text[TUNNEL_TEXT];
        enum tunnel_end end;
        struct tunnel_frame f;
        uint32_t credit;
        size_t n;

        assert_int_equal(refused("\0\0\0\0\0\0\0\1", 8, true), -E_MESSAGE);
        assert_int_equal(refused("\10\0\0\0\0\0\0\1", 8, true), -E_MESSAGE);
        assert_int_equal(refused("\5\0\0\0", 4, true), -E_MESSAGE);
        assert_int_equal(refused("\5\0\0\0\0\0\0\0", 8, true), -E_MESSAGE);   /* no stream 0 */
        assert_int_equal(refused("\5\0\0\1\0\0\0\1x", 9, true), -E_MESSAGE);  /* CANCEL with a payload */
        assert_int_equal(refused("\2\0\0\0\0\0\0\1", 8, true), -E_MESSAGE);   /* BODY without one */
        assert_int_equal(refused("\2\0\0\2\0\0\0\1x", 9, true), -E_MESSAGE);  /* cut */
        assert_int_equal(refused("\2\177\377\377\0\0\0\1x", 9, true), -E_MESSAGE);
        n = tunnel_write_cancel(room, 1);
        assert_int_equal(refused(room, n, false), -E_MESSAGE); /* the pool's word out of a worker's mouth */
        n = tunnel_write_end(room, 1, TUNNEL_WHOLE, "");
        assert_int_equal(refused(room, n, true), -E_MESSAGE);
        f = one(n, false);
        room[TUNNEL_FRAME] = TUNNEL_GONE + 1;
        assert_int_equal(tunnel_read_end(&f, &end, text), -E_MESSAGE);
        n = tunnel_write_credit(room, 1, 0);
        f = one(n, true);
        assert_int_equal(tunnel_read_credit(&f, &credit), -E_MESSAGE);
        a.status = 99;
        f = one(tunnel_write_answer(room, 1, &a), false);
        assert_int_equal(tunnel_read_answer(&f, &a), -E_MESSAGE);
        /* Paths and names that could say something else in a request's head. */
        for (const char *const *path = (const char *const[]){"/v2/x", "/v1/../health", "/v1/x?y", "http://host/v1/", NULL}; *path; path++) {
                strcpy(q.path, *path);
                f = one(tunnel_write_request(room, 1, &q), true);
                assert_int_equal(tunnel_read_request(&f, &got), -E_MESSAGE);
        }
        strcpy(q.path, "/v1/x");
        n = tunnel_write_request(room, 1, &q);
        for (const char *bad = "\r\n \t\"\\\177\200"; *bad; bad++) {
                f = one(n, true);
                room[TUNNEL_FRAME + 4] = (uint8_t)*bad;
                assert_int_equal(tunnel_read_request(&f, &got), -E_MESSAGE);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_written_is_read), cmocka_unit_test(many_in_one_message), cmocka_unit_test(garbage_is_refused)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
