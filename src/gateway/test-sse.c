/* test-sse.c: JSON and event streams as engines send them, whole, cut anywhere, and broken. */
#include "gateway/scan.h"
#include "gateway/sse.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>

static const char *const names[] = {"model", "stream", "max_tokens", NULL};

static int scan(const char *text, struct scan_value *values)
{
        return scan_object(text, strlen(text), names, values, NULL);
}

static void members_are_found_and_nothing_else(void **state)
{
        struct scan_value v[3];
        uint64_t number;
        char text[32];

        assert_int_equal(scan(" { \"messages\":[{\"model\":\"no\"},[1.5e3,-0,true,null]],\"m\\u006fdel\" : \"a\\u00e9\\ud83d\\ude00\\n\",\"stream\":true ,\"max_tokens\":1e2}\n", v), 0);
        assert_int_equal(scan_text(&v[0], text, sizeof(text)), 0);
        assert_string_equal(text, "a\xc3\xa9\xf0\x9f\x98\x80\n");
        assert_int_equal(scan_flag(&v[1]), 1);
        assert_int_equal(scan_number(&v[2], &number), 0);
        assert_int_equal(number, 100);
        assert_int_equal(scan("{}", v), 0);
        assert_int_equal(scan_text(&v[0], text, sizeof(text)), -ENOENT);
        assert_int_equal(scan_flag(&v[1]), 0);
        assert_int_equal(scan("{\"max_tokens\":-1,\"stream\":1,\"model\":\"\\ud800\"}", v), 0);
        assert_int_equal(scan_number(&v[2], &number), -EINVAL);
        assert_int_equal(scan_flag(&v[1]), -EINVAL);
        assert_int_equal(scan_text(&v[0], text, sizeof(text)), -EINVAL);
}

static void what_is_no_object_is_refused(void **state)
{
        static const char *const bad[] = {"", "[]", "1", "{", "}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":01}", "{\"a\":1.}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12g4\"}", "{\"a\":\"\n\"}",
                                          "{\"a\":[1}", "{\"a\":{]}", "{\"a\":tru}", "{} {}", "{\"a\":1e}", "{\"a\":\"b}", "{a:1}", "{\"a\":[1,]}", "{\"a\":-}", "{,}"};
        struct scan_value v[3];
        char deep[300] = "{\"a\":";

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                if (scan(bad[i], v) != -EINVAL)
                        fail_msg("taken: %s", bad[i]);
        assert_int_equal(scan("{\"model\":\"a\",\"model\":\"b\"}", v), -EEXIST);
        memset(deep + 5, '[', 100);
        assert_int_equal(scan(deep, v), -E2BIG);
}

#define CHUNK(text) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"

static void streams_are_the_same_however_they_are_cut(void **state)
{
        static const char stream[] = ": hello\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\r\n\r\n" CHUNK("a") CHUNK("\xf0\x9f\x98\x80") "event: x\nid: 1\n" CHUNK("b")
                "data: {\"choices\":[],\ndata: \"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n";

        for (size_t step = 1; step <= sizeof(stream); step++) {
                struct sse s = {0};
                char got[sizeof(stream) + 1] = "";
                size_t n = 0;

                for (size_t at = 0; at < sizeof(stream) - 1; at += step) {
                        size_t left = sizeof(stream) - 1 - at;
                        struct sse_part part;

                        assert_int_equal(sse_read(&s, stream + at, left < step ? left : step, &part), 0);
                        memcpy(got + n, part.text, part.bytes);
                        n += part.bytes;
                        assert_true(!n || got[n - 1] == '\n');
                }
                assert_string_equal(got, stream);
                assert_true(s.done && s.usage && !s.error && sse_is_whole(&s));
                assert_int_equal(s.events, 6);
                assert_int_equal(s.tokens, 3);
                assert_int_equal(s.prompt_tokens, 7);
                assert_int_equal(s.completion_tokens, 3);
                sse_done(&s);
        }
}

static void broken_streams_are_told_and_the_sound_part_is_kept(void **state)
{
        static const char *const bad[] = {CHUNK("a") "data: {\"choices\":[\n\n", CHUNK("a") "<html>\n\n", CHUNK("a") "data: hello\n\n", CHUNK("a") "data: [DONE]\n\n" CHUNK("b") };
        struct sse s = {0};
        struct sse_part part;
        char *endless = malloc(SSE_EVENT_MAX + 100);

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                assert_int_equal(sse_read(&s, bad[i], strlen(bad[i]), &part), -EINVAL);
                assert_int_equal(part.bytes, i < 3 ? sizeof(CHUNK("a")) - 1 : sizeof(CHUNK("a")) - 1 + 14);
                sse_done(&s);
                s = (struct sse){0};
        }
        assert_non_null(endless);
        memset(endless, 'x', SSE_EVENT_MAX + 100);
        memcpy(endless, "data: ", 6);
        assert_int_equal(sse_read(&s, endless, SSE_EVENT_MAX + 100, &part), -E2BIG);
        free(endless);
        sse_done(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(members_are_found_and_nothing_else), cmocka_unit_test(what_is_no_object_is_refused),
                cmocka_unit_test(streams_are_the_same_however_they_are_cut), cmocka_unit_test(broken_streams_are_told_and_the_sound_part_is_kept),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
