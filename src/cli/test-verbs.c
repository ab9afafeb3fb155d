/* test-verbs.c: the table of verbs against completion, help, manual and the real command, whose path is the argument.
 */
#include "base/strbuf.h"
#include "cli/cli.h"
#include "base/sample.h"
#include "wire/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *berth;

/* Runs `berth ARGUMENTS` in a shell; its exit code, its output (both streams) into text. */
static int command(const char *arguments, char *text, size_t size)
{
        char line[1024];
        size_t length = 0, n;
        FILE *f;
        int status;

        snprintf(line, sizeof line, "BERTH_SOCKET=nonexistent/s '%s' %s 2>&1", berth, arguments);
        f = popen(line, "r");
        assert_non_null(f);
        while ((n = fread(text + length, 1, size - 1 - length, f)) > 0)
                length += n;
        text[length] = 0;
        status = pclose(f);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void test_nearest(void **state)
{
        assert_string_equal(verb_nearest("stauts")->name, "status");
        assert_string_equal(verb_nearest("rnu")->name, "run");
        assert_string_equal(verb_nearest("stat")->name, "status");
        assert_string_equal(verb_nearest("docter")->name, "doctor");
        assert_null(verb_nearest("frobnicate"));
        assert_null(verb_nearest(""));
        assert_null(verb_nearest("x"));
        assert_null(verb_nearest("a word that is longer than any verb could ever be"));
        assert_null(verb_find("stat"));
        assert_non_null(verb_find("top"));
}

static void test_overview(void **state)
{
        char text[16384];

        assert_int_equal(command("--help", text, sizeof text), CLI_OK);
        for (const struct verb *const *v = verbs; *v; v++) {
                assert_non_null(strstr(text, (*v)->name));
                assert_non_null(strstr(text, (*v)->summary));
        }
        assert_int_equal(command("--version", text, sizeof text), CLI_OK);
        assert_string_equal(text, "berth " BERTH_VERSION "\n");
}

static void test_help_of_each(void **state)
{
        for (const struct verb *const *v = verbs; *v; v++) {
                char text[8192], again[8192], line[64];

                snprintf(line, sizeof line, "%s --help", (*v)->name);
                assert_int_equal(command(line, text, sizeof text), CLI_OK);
                snprintf(line, sizeof line, "help %s", (*v)->name);
                assert_int_equal(command(line, again, sizeof again), CLI_OK);
                assert_string_equal(text, again);
                assert_non_null((*v)->more);
                for (const struct argp_option *o = (*v)->options; o && o->name; o++)
                        assert_non_null(strstr(text, o->name));
        }
}

static void test_mistakes(void **state)
{
        char text[8192];

        assert_int_equal(command("", text, sizeof text), CLI_USAGE);
        assert_int_equal(command("stauts", text, sizeof text), CLI_USAGE);
        assert_non_null(strstr(text, "did you mean \"status\""));
        assert_int_equal(command("status --jsn x", text, sizeof text), CLI_USAGE);
        assert_int_equal(command("status extra", text, sizeof text), CLI_USAGE);
        assert_int_equal(command("run", text, sizeof text), CLI_USAGE);
        assert_int_equal(command("run --memory 200% -- true", text, sizeof text), CLI_USAGE);
        assert_int_equal(command("help nothing", text, sizeof text), CLI_USAGE);
        assert_int_equal(command("config", text, sizeof text), CLI_USAGE);
        assert_int_equal(command("config paint", text, sizeof text), CLI_USAGE);
        assert_int_equal(command("config check", text, sizeof text), CLI_USAGE);
        assert_int_equal(command("completion fish", text, sizeof text), CLI_USAGE);
        assert_int_equal(command("top --interval never", text, sizeof text), CLI_USAGE);
        assert_int_equal(command("config check nonexistent/x.conf", text, sizeof text), CLI_CONFIG);
        assert_non_null(strstr(text, "nonexistent/x.conf"));
}

static void test_without_daemon(void **state)
{
        static const char *const each[] = {"status",
                                           "status --json",
                                           "top --once",
                                           "reload",
                                           "dump",
                                           "run -- true",
                                           "--socket nonexistent/t status"};
        char text[8192];

        for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
                assert_int_equal(command(each[i], text, sizeof text), CLI_UNAVAILABLE);
                assert_non_null(strstr(text, "berthd &"));
        }
        assert_int_equal(
                command("run --no-daemon-ok -- sh -c 'echo ran \"$@\"; exit 7' sh --memory", text, sizeof text), 7);
        assert_non_null(strstr(text, "ran --memory\n"));
        assert_int_equal(command("run --no-daemon-ok -- nonexistent/program", text, sizeof text), CLI_NOT_FOUND);
        assert_int_equal(command("run --no-daemon-ok -- /", text, sizeof text), CLI_CANNOT_RUN);
        assert_int_equal(command("doctor", text, sizeof text), CLI_FAILED);
}

static void test_completion(void **state)
{
        char bash[32768], zsh[32768];

        assert_int_equal(command("completion bash", bash, sizeof bash), CLI_OK);
        assert_int_equal(command("completion zsh", zsh, sizeof zsh), CLI_OK);
        for (const struct verb *const *v = verbs; *v; v++) {
                char word[64];

                snprintf(word, sizeof word, "\n        %s) ", (*v)->name);
                assert_non_null(strstr(bash, word));
                assert_non_null(strstr(zsh, word));
                for (const struct argp_option *o = (*v)->options; o && o->name; o++) {
                        snprintf(word, sizeof word, "--%s", o->name);
                        assert_non_null(strstr(bash, word));
                        assert_non_null(strstr(zsh, word));
                }
        }
        assert_int_equal(command("completion bash | bash -n", bash, sizeof bash), 0);
        assert_string_equal(bash, "");
        /* The function itself: what it offers after "berth st" and after "berth run --pr". */
        assert_int_equal(
                command("completion bash > \"${TMPDIR:-/tmp}/berth-completion-$$\"; bash -c '. \"$0\"; "
                        "COMP_WORDS=(berth st); COMP_CWORD=1; _berth; "
                        "echo \"${COMPREPLY[@]}\"; COMP_WORDS=(berth run --pr); COMP_CWORD=2; _berth; echo "
                        "\"${COMPREPLY[@]}\"' "
                        "\"${TMPDIR:-/tmp}/berth-completion-$$\"; rm -f \"${TMPDIR:-/tmp}/berth-completion-$$\"",
                        bash, sizeof bash),
                0);
        assert_string_equal(bash, "status\n--priority\n");
}

/* Every verb and option stands in the manual. */
static void test_manual(void **state)
{
        char text[65536];
        FILE *f = fopen(BERTH_MANUAL, "r");
        size_t n;

        assert_non_null(f);
        n = fread(text, 1, sizeof text - 1, f);
        fclose(f);
        text[n] = 0;
        for (const struct verb *const *v = verbs; *v; v++) {
                char word[64], *section, *end;

                snprintf(word, sizeof word, "\n## berth %s", (*v)->name);
                section = strstr(text, word);
                if (!section)
                        fail_msg("the manual has no section \"berth %s\"", (*v)->name);
                end = strstr(section + 1, "\n## ");
                for (const struct argp_option *o = (*v)->options; o && o->name; o++) {
                        char *at;

                        snprintf(word, sizeof word, "*--%s*", o->name);
                        at = strstr(section, word);
                        if (!at || (end && at > end))
                                fail_msg("the manual of berth %s lacks --%s", (*v)->name, o->name);
                }
        }
}

/* The sample with every line switched on is what the defaults are. */
static void test_sample(void **state)
{
        char path[] = "/tmp/berth-test-XXXXXX", message[CONFIG_MESSAGE];
        struct settings defaults, read;
        struct strbuf b = {0};
        int fd = mkstemp(path);
        FILE *f = fdopen(fd, "w");

        assert_non_null(f);
        sample_config(&settings_table, "# heading\n", &b);
        assert_false(b.failed);
        for (char *p = b.text; *p; p++)
                if (*p != ';' || (p > b.text && p[-1] != '\n'))
                        fputc(*p, f);
        assert_int_equal(fclose(f), 0);
        config_defaults(&settings_table, &defaults);
        assert_int_equal(config_load(&settings_table, path, true, &read, message), 0);
        for (size_t i = 0; i < settings_table.count; i++) {
                const struct config_entry *e = &settings_table.entries[i];
                char one[300], two[300];

                assert_string_equal(config_format(e, &defaults, one, sizeof one),
                                    config_format(e, &read, two, sizeof two));
                assert_non_null(strstr(b.text, e->name));
        }
        unlink(path);
        strbuf_clear(&b);
        sample_manual(&settings_table, &b);
        assert_false(b.failed);
        strbuf_done(&b);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nearest),        cmocka_unit_test(test_overview),
                cmocka_unit_test(test_help_of_each),   cmocka_unit_test(test_mistakes),
                cmocka_unit_test(test_without_daemon), cmocka_unit_test(test_completion),
                cmocka_unit_test(test_manual),         cmocka_unit_test(test_sample),
        };

        if (argc != 2) {
                fprintf(stderr, "usage: %s BERTH\n", argv[0]);
                return 2;
        }
        berth = argv[1];
        return cmocka_run_group_tests_name("cli-verbs", tests, NULL, NULL);
}
