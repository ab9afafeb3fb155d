/* test-doctor.c: the interposer's lines, the kernel's choices, the arena's judgement, and that the report is always
 * whole. */
#include "cli/doctor-checks.h"
#include "cli/doctor-hooks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_hooks(void **state)
{
        static const char text[] = "dlsym cuMemAlloc_v2 0 hooked\n"
                                   "proc cuMemAlloc 3020 hooked\n"
                                   "dlsym cuMemAlloc_v2 0 hooked\n"
                                   "export cuInit 0 passed\n"
                                   "proc cuNewThing 13000 missing";
        static const char golden[] = "SYMBOL         ROAD              VERSION  RESULT   TIMES\n"
                                     "cuInit         link, dlsym             -  passed       1\n"
                                     "cuMemAlloc     cuGetProcAddress     3020  hooked       1\n"
                                     "cuMemAlloc_v2  dlsym                   -  hooked       2\n"
                                     "cuNewThing     cuGetProcAddress    13000  missing      1\n"
                                     "4 functions by their roads, 2 hooked\n";
        struct strbuf b = {0};
        struct hooks h;
        json_t *o;

        assert_int_equal(hooks_parse(text, sizeof text - 1, &h), 0);
        hooks_text(&h, &b);
        assert_string_equal(b.text, golden);
        o = hooks_json(&h);
        assert_int_equal(json_array_size(json_object_get(o, "lookups")), 4);
        json_decref(o);
        strbuf_done(&b);
        hooks_done(&h);
}

static void test_strange_lines(void **state)
{
        static const char text[] = "\n"
                                   "dlsym\n"
                                   "telepathy cuInit 0 hooked\n"
                                   "dlsym cuInit 0 stolen\n"
                                   "dlsym cu\033[2J 0 hooked\n"
                                   "dlsym cuInit 0 hooked and more\n"
                                   "dlsym cuI\0nit 0 hooked\n"
                                   "dlsym cuInit 0 hooked\n";
        struct strbuf b = {0};
        struct hooks h;
        char *large;

        assert_int_equal(hooks_parse(text, sizeof text - 1, &h), 0);
        assert_int_equal(h.count, 1);
        assert_int_equal(h.malformed, 6);
        hooks_text(&h, &b);
        assert_non_null(strstr(b.text, "6 lines were not understood"));
        strbuf_done(&b);
        hooks_done(&h);

        large = malloc(100000);
        assert_non_null(large);
        memset(large, 'x', 100000);
        assert_int_equal(hooks_parse(large, 100000, &h), 0);
        assert_int_equal(h.malformed, 1);
        hooks_done(&h);
        free(large);

        assert_int_equal(hooks_parse("", 0, &h), 0);
        hooks_text(&h, &b);
        assert_non_null(strstr(b.text, "looked up nothing"));
        strbuf_done(&b);
        hooks_done(&h);
}

static void test_choice(void **state)
{
        char word[8];

        assert_int_equal(doctor_choice("always within_size [advise] never deny\n", word, sizeof word), 0);
        assert_string_equal(word, "advise");
        assert_int_equal(doctor_choice("always never", word, sizeof word), -EINVAL);
        assert_int_equal(doctor_choice("[]", word, sizeof word), -EINVAL);
        assert_int_equal(doctor_choice("[much-too-long]", word, sizeof word), -EINVAL);
        assert_int_equal(doctor_choice("[open", word, sizeof word), -EINVAL);
        assert_int_equal(doctor_choice("", word, sizeof word), -EINVAL);
}

static void test_arena(void **state)
{
        struct check c = {0};

        doctor_judge_arena(&c, 1 << 30, 1 << 30);
        assert_int_equal(c.finding, FINDING_OK);
        doctor_judge_arena(&c, (1 << 30) - 1, 1 << 30);
        assert_int_equal(c.finding, FINDING_WARNING);
        assert_non_null(strstr(c.advice, "arena.size"));
}

/* On any machine, with no daemon: every line has a name and a finding, and what is not well has advice. */
static void test_report(void **state)
{
        struct check checks[DOCTOR_CHECKS];
        struct strbuf b = {0};
        size_t count;
        json_t *o;

        setenv("BERTH_SOCKET", "nonexistent/berth/node.sock", 1);
        count = doctor_checks(checks);
        assert_in_range(count, 10, DOCTOR_CHECKS);
        for (size_t i = 0; i < count; i++) {
                assert_non_null(checks[i].name);
                assert_true(checks[i].found[0]);
                if (checks[i].finding == FINDING_WARNING)
                        assert_true(checks[i].advice[0] || !strcmp(checks[i].found, "unavailable"));
        }
        doctor_text(checks, count, &b);
        assert_non_null(strstr(b.text, "missing  daemon"));
        assert_non_null(strstr(b.text, "berthd &"));
        o = doctor_json(checks, count);
        assert_int_equal(json_array_size(o), count);
        json_decref(o);
        strbuf_done(&b);
        unsetenv("BERTH_SOCKET");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_hooks), cmocka_unit_test(test_strange_lines), cmocka_unit_test(test_choice),
                cmocka_unit_test(test_arena), cmocka_unit_test(test_report),
        };

        return cmocka_run_group_tests_name("cli-doctor", tests, NULL, NULL);
}
