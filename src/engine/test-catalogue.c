/* test-catalogue.c: what models.conf may hold, that a wrong one says where and why, and that editing leaves the rest as it was. */
#include "engine/catalogue.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char message[CONFIG_MESSAGE];

static int parse(const char *text, struct catalogue *c)
{
        return catalogue_parse(text, strlen(text), "m.conf", c, message);
}

static void all_kinds(void **state)
{
        scoped_catalogue struct catalogue c = {0};
        const struct catalogue_entry *e;

        assert_int_equal(parse("# models\n"
                               "[model tiny]\nkind = llama\nfile = tiny.gguf\n"
                               "\n  [model meta/Llama-3.1:8b]  \r\n\tkind=command\r\n"
                               "command = vllm serve '{model}' --port {port} --host {host}\nmemory = 8GiB\nidle = 0\nparallel = 64\nlabels = a, b\n"
                               "environment = A=1\nenvironment = B=x y=z\ntasks = chat\ncontext = 8192\n"
                               "; there anyway\n[model far]\nkind = url\nurl = http://10.0.0.1:8000/\nhealth = /v1/models",
                               &c), 0);
        assert_int_equal(c.count, 3);
        e = catalogue_find(&c, "tiny");
        assert_true(e->kind == CATALOGUE_LLAMA && e->context == 4096 && e->parallel == 4 && e->line == 2 && e->idle == 600000000000ULL);
        assert_string_equal(e->tasks, "chat,completion,embedding");
        e = catalogue_find(&c, "meta/Llama-3.1:8b");
        assert_true(e->kind == CATALOGUE_COMMAND && e->memory == UINT64_C(8) << 30 && !e->idle && e->parallel == 64 && e->context == 8192);
        assert_string_equal(e->environment, "A=1\nB=x y=z\n");
        assert_string_equal(e->labels, "a,b");
        e = catalogue_find(&c, "far");
        assert_string_equal(e->url, "http://10.0.0.1:8000");
        assert_string_equal(e->health, "/v1/models");
        assert_null(catalogue_find(&c, "nobody"));
}

static void faults_say_where(void **state)
{
        static const struct {
                const char *text, *words;
        } cases[] = {
                {"kind = url\n", "m.conf:1: \"kind = url\" stands before any"},
                {"[models x]\n", "m.conf:1: \"[models x]\" is no section"},
                {"[model]\n", "m.conf:1: "},
                {"[model a b]\n", "no name of a model"},
                {"[model ../x]\n", "no name of a model"},
                {"\n[model x]\nhello\n", "m.conf:3: \"hello\" is neither"},
                {"[model x]\nkind = llama\n", "m.conf:1: [model x] kind llama needs file"},
                {"[model x]\nkind = command\n", "kind command needs command"},
                {"[model x]\ncommand = server --port 80\n", "where {port} goes"},
                {"[model x]\ncommand = 'server {port}\n", "a quote (') is not closed"},
                {"[model x]\nkind = url\nurl = ftp://x\n", "kind url needs url = http://"},
                {"[model x]\nkind = url\nurl = https://\n", "kind url needs url = http://"},
                {"[model x]\nkind = url\nurl = http://x\nca_file = a.pem\n", "ca_file is for a url of https"},
                {"[model x]\ncommand = a {port}\nca_file = a.pem\n", "url, key_file and ca_file are for kind = url"},
                {"[model x]\nkind = url\nurl = http://x:1/v1\n", "without a path"},
                {"[model x]\nkind = url\nurl = http://x:1\nmemory = 1GiB\n", "are of servers that are started here"},
                {"[model x]\nkind = other\n", "m.conf:2: model.kind does not accept \"other\"; accepted: llama|command|url"},
                {"[model x]\nmemory = much\n", "m.conf:2: model.memory does not accept"},
                {"[model x]\nparallel = 0\n", "model.parallel"},
                {"[model x]\ncolour = red\n", "m.conf:2: unknown setting \"colour\" in [model]; there are: kind"},
                {"[model x]\nidle = 1s\nidle = 2s\n", "m.conf:3: idle is set twice"},
                {"[model x]\nfile = a\nfile = b\n", "m.conf:3: file is set twice"},
                {"[model x]\nenvironment = 1 2\n", "not of the form NAME=VALUE"},
                {"[model x]\nkind = url\nurl = http://a:1\n[model x]\n", "m.conf:4: [model x] stands there twice; first on line 1"},
                {"[model x]\ncommand = a {port}\nhealth = health\n", "a path, such as /health"},
                {"[model x]\ncommand = a {port}\ntasks = chat,paint\n", "accepted are chat, completion and embedding"},
                {"[model x]\nkey_file = k\ncommand = a {port}\n", "are for kind = url"},
        };
        char *many = calloc(1, 300 * 60), *at = many;
        struct catalogue c = {0};

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                assert_int_equal(parse(cases[i].text, &c), -E_CONFIG);
                if (!strstr(message, cases[i].words))
                        fail_msg("%s: %s", cases[i].text, message);
                assert_null(c.entries);
        }
        assert_int_equal(catalogue_parse("[model x]\n\0", 11, "m.conf", &c, message), -E_CONFIG);
        assert_non_null(strstr(message, "m.conf:2: holds a zero byte"));
        for (int i = 0; i < 257; i++)
                at += sprintf(at, "[model m%d]\nkind=url\nurl=http://h:1\n", i);
        assert_int_equal(parse(many, &c), -E_CONFIG);
        assert_non_null(strstr(message, "more than 256 models"));
        memset(many, 'a', 5000);
        many[5000] = 0;
        assert_int_equal(parse(many, &c), -E_CONFIG);
        assert_non_null(strstr(message, "line of 5000 characters"));
        free(many);
        assert_int_equal(parse("", &c), 0);
        assert_int_equal(c.count, 0);
}

static void words_of_a_command(void **state)
{
        const struct catalogue_values values = {"81", "::1", "/f/a b.gguf", "/f"};
        struct catalogue_entry e = {.name = "n"};
        static const char *const want[] = {"server", "a b", "--port=81", "--host", "::1", "/f/a b.gguf", "", "{other}", "x\"y", "n"};
        char **argv;

        strcpy(e.command, "  server 'a b' --port={port} --host {host}\t{file} \"\" {other} \"x\\\"y\" {model} ");
        argv = catalogue_argv(&e, &values, message);
        assert_non_null(argv);
        for (size_t i = 0; i < ARRAY_SIZE(want); i++)
                assert_string_equal(argv[i], want[i]);
        assert_null(argv[ARRAY_SIZE(want)]);
        free(argv);
        strcpy(e.command, "   ");
        assert_null(catalogue_argv(&e, &values, message));
        strcpy(e.command, "a \"b");
        assert_null(catalogue_argv(&e, &values, message));
}

static void added_and_removed(void **state)
{
        static const char text[] = "# all of them\n\n# the first\n[model a]\nkind = url\nurl = http://h:1\n# of a\n\n# the second\n[model b]\nkind = url\nurl = http://h:2\n";
        const struct catalogue_setting ok[] = {{"kind", "llama"}, {"file", "c.gguf"}}, wrong[] = {{"kind", "llama"}}, lines[] = {{"url", "x\n[model y]"}};
        struct strbuf b = {0};

        assert_int_equal(catalogue_remove(text, strlen(text), "a", &b), 0);
        assert_string_equal(b.text, "# all of them\n\n# the first\n# the second\n[model b]\nkind = url\nurl = http://h:2\n");
        strbuf_done(&b);
        assert_int_equal(catalogue_remove(text, strlen(text), "b", &b), 0);
        assert_string_equal(b.text, "# all of them\n\n# the first\n[model a]\nkind = url\nurl = http://h:1\n# of a\n\n# the second\n");
        strbuf_done(&b);
        assert_int_equal(catalogue_remove(text, strlen(text), "c", &b), -ENOENT);
        assert_int_equal(catalogue_add(text, strlen(text), "m.conf", "c", ok, 2, &b, message), 0);
        assert_int_equal(strncmp(b.text, text, strlen(text)), 0);
        assert_string_equal(b.text + strlen(text), "\n[model c]\nkind = llama\nfile = c.gguf\n");
        strbuf_done(&b);
        assert_int_equal(catalogue_add("", 0, "m.conf", "c", ok, 2, &b, message), 0);
        assert_string_equal(b.text, "[model c]\nkind = llama\nfile = c.gguf\n");
        strbuf_done(&b);
        assert_int_equal(catalogue_add(text, strlen(text), "m.conf", "a", ok, 2, &b, message), -EEXIST);
        assert_int_equal(catalogue_add(text, strlen(text), "m.conf", "c", wrong, 1, &b, message), -E_CONFIG);
        assert_int_equal(catalogue_add(text, strlen(text), "m.conf", "c", lines, 1, &b, message), -E_CONFIG);
        assert_int_equal(catalogue_add(text, strlen(text), "m.conf", "..", ok, 2, &b, message), -E_CONFIG);
        assert_int_equal(catalogue_add("[x", 2, "m.conf", "c", ok, 2, &b, message), -E_CONFIG);
        assert_null(b.text);
}

static void revisions(void **state)
{
        scoped_catalogue struct catalogue c = {0};
        char one[CONFIG_TEXT], two[CONFIG_TEXT];
        struct catalogue_entry e;

        assert_int_equal(parse("[model x]\nkind = llama\nfile = x.gguf\n[model y]\nkind = llama\nfile = x.gguf\nrevision = 7\nlabels = q\n", &c), 0);
        e = c.entries[0];
        catalogue_revision(&e, 1, 2, one);
        strcpy(e.labels, "other");
        e.idle = 1;
        catalogue_revision(&e, 1, 2, two);
        assert_string_equal(one, two);
        catalogue_revision(&e, 1, 3, two);
        assert_string_not_equal(one, two);
        catalogue_revision(&c.entries[1], 1, 3, two);
        assert_string_equal(two, "7");
        e = c.entries[0];
        e.line = 9;
        assert_true(catalogue_entry_equal(&e, &c.entries[0]));
        e.parallel = 9;
        assert_false(catalogue_entry_equal(&e, &c.entries[0]));
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(all_kinds), cmocka_unit_test(faults_say_where), cmocka_unit_test(words_of_a_command),
                                           cmocka_unit_test(added_and_removed), cmocka_unit_test(revisions)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
