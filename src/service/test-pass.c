/* test-pass.c: what is handed on without a tree is what jansson makes of it, for texts that are plain, nearly so, and not at all. */
#include "service/pass.h"
#include "service/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

static unsigned seed = 7, passed;

static void compare(const char *text, size_t bytes)
{
        struct strbuf ours = {0};
        char *exact = malloc(bytes + !bytes), *copy = malloc(bytes + 1); /* exactly so many bytes: what reads past the end is caught by sanitizers */
        ptrdiff_t n;

        memcpy(exact, text, bytes);
        memcpy(copy, text, bytes);
        copy[bytes] = '\0';
        n = pass_value(exact, bytes, &ours);
        free(exact);
        if (n >= 0) {
                json_t *tree = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
                char *theirs = tree ? json_dumps(tree, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

                if (!theirs || strcmp(theirs, ours.text))
                        fail_msg("%s: %s in place of %s", copy, ours.text, theirs ? theirs : "a refusal");
                passed++;
                free(theirs);
                json_decref(tree);
        }
        strbuf_done(&ours);
        free(copy);
}

static unsigned pick(unsigned n)
{
        return (unsigned)rand_r(&seed) % n;
}

static void make(struct strbuf *b, int depth)
{
        static const char *const pieces[] = {"a", "key", "long text without anything special in it", "\\n", "\\\"", "\\\\", "ä", "€", "𝄞", "\\u00e4", "\\/", "\x7f", "\x1f",
                                             "\xc0\x80", "\xed\xa0\x80", "\xf5", "\"", " ", "payload", "12345678"};
        static const char *const others[] = {"0", "-0", "1", "-17", "01", "123456789012345678", "9223372036854775807", "99999999999999999999", "1.5", "1e3", "true", "false", "null",
                                             "nul", "-", "+1", "True", ""};
        static const char *const blanks[] = {"", "", "", " ", "\n", "\t \r", "\v"};

        strbuf_add(b, "%s", blanks[pick(7) % (pick(9) ? 6 : 7)]);
        switch (pick(depth > 4 ? 2 : 4)) {
        case 0:
                strbuf_add(b, "%s", others[pick(10) ? pick(3) * 5 % 18 : pick(18)]);
                break;
        case 1:
                put_literal(b, "\"");
                for (unsigned n = pick(4); n; n--)
                        strbuf_add(b, "%s", pieces[pick(9) ? pick(9) : pick(20)]);
                put_literal(b, "\"");
                break;
        case 2:
                put_literal(b, "{");
                for (unsigned n = pick(4); n; n--) {
                        strbuf_add(b, "\"%s%u\"%s:", pieces[pick(20) ? pick(3) : pick(20)], pick(50), blanks[pick(6)]);
                        make(b, depth + 1);
                        strbuf_add(b, "%s", n > 1 ? "," : "");
                }
                put_literal(b, "}");
                break;
        default:
                put_literal(b, "[");
                for (unsigned n = pick(4); n; n--) {
                        make(b, depth + 1);
                        strbuf_add(b, "%s", n > 1 ? "," : "");
                }
                put_literal(b, "]");
        }
        strbuf_add(b, "%s", blanks[pick(6)]);
}

static void as_jansson_does(void **state)
{
        for (int i = 0; i < 60000; i++) {
                struct strbuf b = {0};

                make(&b, 0);
                compare(b.text, b.length);
                for (unsigned n = pick(3); n && b.length; n--)
                        b.text[pick((unsigned)b.length)] = (char)pick(256);
                if (b.length)
                        compare(b.text, pick((unsigned)b.length + 1));
                strbuf_done(&b);
        }
        assert_true(passed > 20000);
}

static void expect_pass(const char *text, const char *wanted)
{
        struct strbuf b = {0};
        ptrdiff_t n = pass_value(text, strlen(text), &b);

        if (!wanted) {
                assert_int_equal(n, -1);
        } else {
                assert_int_equal(n, strlen(text));
                assert_string_equal(b.text, wanted);
        }
        strbuf_done(&b);
}

static void plain_or_not(void **state)
{
        expect_pass("{\"a\" : [ 1 , true,\n null ] }", "{\"a\":[1,true,null]}");
        expect_pass("\"a b\\n\"", "\"a b\\n\"");
        expect_pass("{\"a\":1,\"a\":2}", NULL);
        expect_pass("{\"a\":{\"b\":1,\"b\":2}}", NULL);
        expect_pass("1.5", NULL);
        expect_pass("\"\\u0041\"", NULL);
        expect_pass("[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]", NULL);
        expect_pass("{\"a\":1", NULL);
        expect_pass("[1,]", NULL);
        expect_pass("", NULL);
}

static void expect_payload(const char *text, const char *rest, const char *payload)
{
        struct strbuf a = {0}, b = {0};

        assert_int_equal(pass_payload(text, strlen(text), &a, &b), rest != NULL);
        if (rest) {
                assert_string_equal(a.text, rest);
                assert_string_equal(b.text, payload);
        }
        strbuf_done(&a);
        strbuf_done(&b);
}

static void payloads(void **state)
{
        expect_payload("{\"type\":\"t\",\"payload\":{\"x\": 1}}", "{\"type\":\"t\",\"payload\":null}", "{\"x\":1}");
        expect_payload(" { \"payload\" : \"p\" , \"type\":1 } \n", " { \"payload\" : null , \"type\":1 } \n", "\"p\"");
        expect_payload("{\"payload\":1,\"payload\":2}", NULL, NULL);
        expect_payload("{\"payload\":1}x", NULL, NULL);
        expect_payload("{\"payload\":1,}", NULL, NULL);
        expect_payload("{\"payload\":1.5}", NULL, NULL);
        expect_payload("{\"type\":1}", NULL, NULL);
        expect_payload("{}", NULL, NULL);
        expect_payload("[]", NULL, NULL);
        expect_payload("{\"a\":{\"payload\":1}}", NULL, NULL);
        expect_payload("{", NULL, NULL);
        expect_payload("", NULL, NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(as_jansson_does), cmocka_unit_test(plain_or_not), cmocka_unit_test(payloads)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
