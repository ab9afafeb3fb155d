/* test-frame.c: WebSocket frames, in every split of their bytes. */
#include "gateway/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>

#define LIMIT 1000

/* A client's frame; returns its length. */
static size_t make(uint8_t *to, uint8_t first, const char *text, size_t length)
{
        static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
        size_t n = 0;

        to[n++] = first;
        if (length < 126) {
                to[n++] = (uint8_t)(0x80 | length);
        } else {
                to[n++] = 0x80 | 126;
                to[n++] = (uint8_t)(length >> 8);
                to[n++] = (uint8_t)length;
        }
        memcpy(to + n, mask, 4);
        n += 4;
        for (size_t i = 0; i < length; i++)
                to[n++] = (uint8_t)text[i] ^ mask[i & 3];
        return n;
}

/* Feeds the bytes in parts of `part`; all messages as "1:text;" in order, then the error. */
static int read_all(const uint8_t *bytes, size_t length, size_t part, char *out, size_t size)
{
        struct frame_reader reader;
        uint8_t copy[8192];
        int r = 0;

        frame_reader_init(&reader, LIMIT);
        out[0] = 0;
        for (size_t at = 0; at < length && r >= 0; at += part) {
                size_t n = length - at < part ? length - at : part;
                uint8_t *data = copy;
                struct frame_message message;

                memcpy(copy, bytes + at, n);
                do {
                        r = frame_read(&reader, &data, &n, &message);
                        if (r == 1)
                                snprintf(out + strlen(out), size - strlen(out), "%d:%.*s;", (int)message.opcode, (int)message.length, message.text);
                } while (r == 1);
        }
        frame_reader_done(&reader);
        return r;
}

static void messages_in_any_split(void **state)
{
        static char big[600];
        uint8_t bytes[4096];
        char out[4096], wanted[4096];
        size_t n = 0;

        memset(big, 'x', sizeof big - 1);
        n += make(bytes + n, 0x81, "hello", 5);
        n += make(bytes + n, 0x01, "one ", 4);
        n += make(bytes + n, 0x89, "ping", 4); /* between the parts of a message */
        n += make(bytes + n, 0x00, "two ", 4);
        n += make(bytes + n, 0x80, "three", 5);
        n += make(bytes + n, 0x81, big, sizeof big - 1);
        n += make(bytes + n, 0x81, "", 0);
        n += make(bytes + n, 0x01, "", 0);
        n += make(bytes + n, 0x80, "", 0);
        n += make(bytes + n, 0x8a, "", 0);
        n += make(bytes + n, 0x88, "\x03\xe8", 2);
        snprintf(wanted, sizeof wanted, "1:hello;9:ping;1:one two three;1:%s;1:;1:;10:;8:\x03\xe8;", big);
        for (size_t part = 1; part <= n; part++) {
                assert_int_equal(read_all(bytes, n, part, out, sizeof out), 0);
                assert_string_equal(out, wanted);
        }
}

static void refused(const uint8_t *bytes, size_t length, int code)
{
        char out[4096];

        for (size_t part = 1; part <= length; part++)
                assert_int_equal(read_all(bytes, length, part, out, sizeof out), -code);
}

static void what_is_not_allowed_is_refused(void **state)
{
        static const uint8_t unmasked[] = {0x81, 0x01, 'x'}, reserved[] = {0xc1, 0x80}, unknown[] = {0x83, 0x80}, unknown_control[] = {0x8b, 0x80},
                             cut_control[] = {0x09, 0x80}, long_control[] = {0x89, 0xfe}, of_nothing[] = {0x80, 0x80},
                             huge[] = {0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, large[] = {0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4};
        uint8_t bytes[64];
        size_t n;

        refused(unmasked, sizeof unmasked, FRAME_CLOSE_PROTOCOL);
        refused(reserved, sizeof reserved, FRAME_CLOSE_PROTOCOL);
        refused(unknown, sizeof unknown, FRAME_CLOSE_PROTOCOL);
        refused(unknown_control, sizeof unknown_control, FRAME_CLOSE_PROTOCOL);
        refused(cut_control, sizeof cut_control, FRAME_CLOSE_PROTOCOL);
        refused(long_control, sizeof long_control, FRAME_CLOSE_PROTOCOL);
        refused(of_nothing, sizeof of_nothing, FRAME_CLOSE_PROTOCOL);
        refused(huge, sizeof huge, FRAME_CLOSE_PROTOCOL);
        refused(large, sizeof large, FRAME_CLOSE_BIG);
        n = make(bytes, 0x01, "a", 1);
        n += make(bytes + n, 0x81, "b", 1); /* a new message in the middle of one */
        refused(bytes, n, FRAME_CLOSE_PROTOCOL);
        n = make(bytes, 0x88, "\x03", 1); /* half a close code */
        refused(bytes, n, FRAME_CLOSE_PROTOCOL);
}

static void limit_counts_all_parts(void **state)
{
        static char text[LIMIT];
        uint8_t bytes[2 * LIMIT];
        char out[4096];
        size_t n = make(bytes, 0x01, text, LIMIT - 1);

        n += make(bytes + n, 0x80, "x", 1);
        assert_int_equal(read_all(bytes, n, n, out, sizeof out), 0);
        n = make(bytes, 0x01, text, LIMIT);
        n += make(bytes + n, 0x80, "x", 1);
        assert_int_equal(read_all(bytes, n, n, out, sizeof out), -FRAME_CLOSE_BIG);
}

static void heads(void **state)
{
        uint8_t head[FRAME_HEAD];

        assert_int_equal(frame_head(head, FRAME_TEXT, 125), 2);
        assert_int_equal(head[1], 125);
        assert_int_equal(frame_head(head, FRAME_TEXT, 126), 4);
        assert_int_equal(head[1], 126);
        assert_int_equal(head[3], 126);
        assert_int_equal(frame_head(head, FRAME_CLOSE, 65536), 10);
        assert_int_equal(head[0], 0x88);
        assert_int_equal(head[7], 1);
}

static void accept_key(void **state)
{
        char accept[29];

        /* RFC 6455, 1.3 */
        assert_int_equal(frame_accept_key("dGhlIHNhbXBsZSBub25jZQ==", accept), 0);
        assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_int_equal(frame_accept_key("dGhlIHNhbXBsZSBub25jZQ=", accept), -EINVAL);
        assert_int_equal(frame_accept_key("", accept), -EINVAL);
        assert_int_equal(frame_accept_key("dGhlIHNhbXBsZSBub25j\nQ==", accept), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(messages_in_any_split), cmocka_unit_test(what_is_not_allowed_is_refused), cmocka_unit_test(limit_counts_all_parts),
                cmocka_unit_test(heads), cmocka_unit_test(accept_key),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
