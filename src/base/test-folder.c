/* test-folder.c: folders with all that lead to them. */
#include "base/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* after those: */
#include <cmocka.h>

static mode_t mode_of(const char *path)
{
        struct stat st;

        assert_int_equal(stat(path, &st), 0);
        return st.st_mode & 07777;
}

static void all_that_lead_to_it(void **state)
{
        char base[] = "/tmp/berth-folder-XXXXXX", path[200], file[200];
        char longest[5000];
        FILE *f;

        assert_non_null(mkdtemp(base));
        umask(0);
        snprintf(path, sizeof path, "%s/a//b/c/", base);
        assert_int_equal(folder_make(path, 0755, 0711), 0);
        assert_int_equal(folder_make(path, 0700, 0700), 0); /* again: stays as it is */
        assert_int_equal(mode_of(path), 0711);
        snprintf(path, sizeof path, "%s/a", base);
        assert_int_equal(mode_of(path), 0755);
        assert_int_equal(folder_make("/", 0755, 0755), 0);
        assert_int_equal(folder_make("", 0755, 0755), -ENOENT);
        memset(longest, 'a', sizeof longest);
        longest[sizeof longest - 1] = 0;
        assert_int_equal(folder_make(longest, 0755, 0755), -ENAMETOOLONG);
        /* What stands in the way is named, and stays. */
        snprintf(file, sizeof file, "%s/a/file", base);
        f = fopen(file, "w");
        assert_non_null(f);
        fclose(f);
        assert_int_equal(folder_make(file, 0755, 0755), -ENOTDIR);
        snprintf(path, sizeof path, "%s/a/file/d", base);
        assert_int_equal(folder_make(path, 0755, 0755), -ENOTDIR);
        /* From where we are. */
        assert_int_equal(chdir(base), 0);
        assert_int_equal(folder_make("x/y", 0755, 0700), 0);
        assert_int_equal(mode_of("x/y"), 0700);
        assert_int_equal(rmdir("x/y") | rmdir("x") | unlink("a/file") | rmdir("a/b/c") | rmdir("a/b") | rmdir("a"), 0);
        assert_int_equal(chdir("/"), 0);
        assert_int_equal(rmdir(base), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(all_that_lead_to_it)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
