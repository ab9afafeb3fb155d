/* test-id.c: ids go up, also when the clock doesn't, and survive being written and read. */
#include "base/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void ids_go_up_whatever_the_clock_does(void **state)
{
        static const uint64_t clock[] = {1000, 1000, 1001, 5, 5, 2000};
        uint8_t random[10] = {1, 2, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
        struct id last = {0}, before = {0};

        for (size_t i = 0; i < sizeof(clock) / sizeof(clock[0]); i++) {
                struct id id = id_next(&last, clock[i], random);

                assert_true(memcmp(id.bytes, before.bytes, 16) > 0);
                assert_int_equal(id.bytes[6] >> 4, 7);
                assert_int_equal(id.bytes[8] >> 6, 2);
                before = id;
        }
        assert_int_equal(id_unix_ms(&before), 2000);
}

static void text_comes_back(void **state)
{
        uint8_t random[10] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
        struct id last = {0}, id = id_next(&last, 1790000000000, random), back;
        char text[ID_TEXT];

        assert_int_equal(id_parse("task", id_text("task", &id, text), &back), 0);
        assert_true(id_equal(&id, &back));
        assert_int_not_equal(id_parse("worker", text, &back), 0);
        text[10] = 'G';
        assert_int_not_equal(id_parse("task", text, &back), 0);
        text[10] = '\0';
        assert_int_not_equal(id_parse("task", text, &back), 0);
        assert_int_not_equal(id_parse("task", "", &back), 0);
        assert_int_not_equal(id_parse("task", "task", &back), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(ids_go_up_whatever_the_clock_does),
                cmocka_unit_test(text_comes_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
