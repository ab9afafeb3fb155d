/* test-generation.c: what comes from a model: events out of bytes, text made harmless, figures. */
#include "cli/generation.h"
#include "cli/sse.h"
#include "cli/terminal-text.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int gather(void *context, const char *data, size_t length)
{
        struct strbuf *b = context;

        strbuf_add(b, "[%.*s]", (int)length, data);
        return length == 4 && !memcmp(data, "stop", 4) ? -7 : 0;
}

static int events(const char *text, size_t size, size_t step, struct strbuf *b)
{
        struct sse s = {0};
        int r = 0;

        strbuf_clear(b);
        for (size_t at = 0; at < size && !r; at += step)
                r = sse_read(&s, text + at, size - at < step ? size - at : step, gather, b);
        sse_done(&s);
        return r;
}

static void test_events(void **state)
{
        static const struct {
                const char *stream, *want;
        } cases[] = {
                {"data: a\n\n", "[a]"},
                {"data:a\r\n\r\ndata:  b\r\rdata\n\n", "[a][ b][]"},
                {": waiting\n\nevent: x\nid: 3\ndata: a\ndata: b\nretry: 1\n\n", "[a\nb]"},
                {"datum: a\n\ndata: cut off", ""},
                {"data: {\"x\": \"y: z\"}\n\n\n\ndata: \n\n", "[{\"x\": \"y: z\"}][]"},
        };
        struct strbuf b = {0};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                for (size_t step = 1; step < 9; step++) {
                        assert_int_equal(events(cases[i].stream, strlen(cases[i].stream), step, &b), 0);
                        assert_string_equal(b.length ? b.text : "", cases[i].want);
                }
        }
        assert_int_equal(events("data: stop\n\ndata: a\n\n", 21, 21, &b), -7);
        assert_string_equal(b.text, "[stop]");
        strbuf_done(&b);
}

static void test_an_event_without_an_end(void **state)
{
        char *text scoped_free = malloc(SSE_EVENT_BYTES + 2);
        struct strbuf b = {0};

        (void)state;
        assert_non_null(text);
        memset(text, 'x', SSE_EVENT_BYTES + 2);
        assert_int_equal(events(text, SSE_EVENT_BYTES + 2, 4096, &b), -E_MESSAGE);
        strbuf_done(&b);
}

static void shows(const char *text, size_t size, const char *want)
{
        for (size_t step = 1; step < 6; step++) {
                struct terminal_text t = {0};
                struct strbuf b = {0};

                for (size_t at = 0; at < size; at += step)
                        terminal_text(&t, &b, text + at, size - at < step ? size - at : step);
                terminal_text_end(&t, &b);
                assert_string_equal(b.length ? b.text : "", want);
                strbuf_done(&b);
        }
}

#define SHOWS(text, want) shows(text, sizeof(text) - 1, want)

static void test_text_for_a_terminal(void **state)
{
        (void)state;
        SHOWS("plain\n\ttext äöü 你好 👋🏽 नमस्ते", "plain\n\ttext äöü 你好 👋🏽 नमस्ते");
        SHOWS("\033]0;title\007\033[2J", "\\x1b]0;title\\x07\\x1b[2J");
        SHOWS("a\rb\bc\177\0d", "a\\x0db\\x08c\\x7f\\x00d");
        SHOWS("\302\233" "2J", "\\u{9b}2J"); /* the one-character form of ESC [ */
        SHOWS("abc\342\200\256fdp.exe", "abc\\u{202e}fdp.exe");
        SHOWS("x\342\200\213y\357\273\277", "x\\u{200b}y\\u{feff}");
        SHOWS("\377\300\200\355\240\200\364\220\200\200", "\\xff\\xc0\\x80\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80");
        SHOWS("a\342\202", "a\\xe2\\x82");
        SHOWS("\342\202b\360\237\221\213", "\\xe2\\x82b👋");
}

static void test_figures(void **state)
{
        struct generation g = {.tokens = 11, .first_ns = 250000000, .whole_ns = 1250000000};
        char text[160];

        (void)state;
        generation_figures(&g, text, sizeof text);
        assert_string_equal(text, "11 tokens, first after 0.25 s, 10.0 tokens/s");
        g.tokens = -1;
        generation_figures(&g, text, sizeof text);
        assert_string_equal(text, "first text after 0.25 s, tokens unavailable");
        g.tokens = 1;
        generation_figures(&g, text, sizeof text);
        assert_string_equal(text, "1 token, first after 0.25 s");
        g.first_ns = 0;
        generation_figures(&g, text, sizeof text);
        assert_string_equal(text, "no text came");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_events),
                cmocka_unit_test(test_an_event_without_an_end),
                cmocka_unit_test(test_text_for_a_terminal),
                cmocka_unit_test(test_figures),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
