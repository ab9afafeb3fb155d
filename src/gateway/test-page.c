/* test-page.c: the form of a file that a client takes, and what it has already. */
#include "gateway/page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those first */
#include <cmocka.h>

static const struct page_file file = {
        .path = "/", .type = "text/html",
        .tags = {"\"abc\"", "\"abc-gzip\"", "\"abc-br\""}, .bytes = {"aaaaaaaaaa", "aaaa", "aa"}, .counts = {10, 4, 2},
};

static void the_smallest_form_that_is_taken(void **state)
{
        static const struct {
                const char *accept;
                enum page_form form;
        } cases[] = {
                {NULL, PAGE_PLAIN}, {"", PAGE_PLAIN}, {"gzip", PAGE_GZIP}, {"br", PAGE_BR}, {"gzip, deflate, br, zstd", PAGE_BR}, {"GZIP;q=0.5", PAGE_GZIP},
                {"br;q=0, gzip", PAGE_GZIP}, {"br;q=0.000,gzip;q=0.0", PAGE_PLAIN}, {"br;q=0.001", PAGE_BR}, {"*", PAGE_BR}, {"*;q=0", PAGE_PLAIN},
                {"br;q=0,*", PAGE_GZIP}, {"brotli", PAGE_PLAIN}, {"b r", PAGE_PLAIN}, {"identity", PAGE_PLAIN}, {"br;q", PAGE_BR}, {"br;=0", PAGE_BR},
                {",,, ;;; ,", PAGE_PLAIN}, {"gzip;q= 0", PAGE_PLAIN}, {";q=0", PAGE_PLAIN}, {"br ; q=0", PAGE_PLAIN},
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                if (page_choose(&file, cases[i].accept) != cases[i].form)
                        fail_msg("\"%s\" gives %d", cases[i].accept ? cases[i].accept : "(none)", page_choose(&file, cases[i].accept));
}

static void a_form_that_is_missing_or_larger_is_not_chosen(void **state)
{
        struct page_file one = file;

        one.tags[PAGE_BR] = NULL;
        assert_int_equal(page_choose(&one, "br, gzip"), PAGE_GZIP);
        one.counts[PAGE_GZIP] = 11;
        assert_int_equal(page_choose(&one, "br, gzip"), PAGE_PLAIN);
}

static void what_is_known_already(void **state)
{
        static const char *const known[] = {"\"abc-br\"", "*", "W/\"abc-br\"", "\"x\", \"abc-br\"", "\"x\",W/\"abc-br\" ,\"y\""};
        static const char *const unknown[] = {"", "\"abc\"", "\"abc-brr\"", "abc-br", "\"abc-br", "\"abc-br\"\"", "x\"abc-br\""};

        assert_false(page_is_known(&file, PAGE_BR, NULL));
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
                if (!page_is_known(&file, PAGE_BR, known[i]))
                        fail_msg("%s", known[i]);
        for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
                if (page_is_known(&file, PAGE_BR, unknown[i]))
                        fail_msg("%s", unknown[i]);
}

/* Whatever was embedded: each file is found, has a type and a plain form, and only what has its content in its name is kept for ever. */
static void what_is_embedded_is_sound(void **state)
{
        for (size_t i = 0; i < page_file_count; i++) {
                const struct page_file *f = &page_files[i];

                assert_ptr_equal(page_find(f->path), f);
                assert_true(f->type[0] && f->tags[PAGE_PLAIN] && f->bytes[PAGE_PLAIN]);
                assert_int_equal(f->immutable, !strncmp(f->path, "/assets/", 8));
        }
        if (page_file_count)
                assert_non_null(page_find("/"));
        assert_null(page_find("/index.html"));
        assert_null(page_find(""));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_smallest_form_that_is_taken),
                cmocka_unit_test(a_form_that_is_missing_or_larger_is_not_chosen),
                cmocka_unit_test(what_is_known_already),
                cmocka_unit_test(what_is_embedded_is_sound),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
