/* test-chat.c: what `berth chat` makes of what is typed: messages out of lines, commands, and the file that keeps what was said. */
#include "cli/chat-draft.h"
#include "cli/chat-history.h"
#include "cli/chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* The messages that lines (separated by line ends) make, as [one][two]; what is open at the end counts when it holds text. */
static void makes(const char *lines, const char *want)
{
        struct chat_draft d = {0};
        struct strbuf got = {0};

        for (const char *at = lines, *end; *at; at = *end ? end + 1 : end) {
                end = strchrnul(at, '\n');
                if (chat_draft_add(&d, at, (size_t)(end - at)))
                        strbuf_add(&got, "[%s]", d.text.length ? d.text.text : "");
        }
        if (chat_draft_end(&d))
                strbuf_add(&got, "[%s", d.text.text);
        assert_string_equal(got.length ? got.text : "", want);
        strbuf_done(&got);
        strbuf_done(&d.text);
}

static void test_messages_out_of_lines(void **state)
{
        (void)state;
        makes("one\ntwo", "[one][two]");
        makes("a\\\nb\\\nc\nd", "[a\nb\nc][d]");
        makes("a path C:\\\\\nb", "[a path C:\\\\][b]");
        makes("three \\\\\\\nb", "[three \\\\\nb]");
        makes("\"\"\"\na\n\n  b\\\n\"\"\"\nc", "[a\n\n  b\\][c]");
        makes("\"\"\"a\nb\"\"\"\nc", "[a\nb][c]");
        makes("\"\"\"a\"\"\"\nc", "[a][c]");
        makes("\"\"\"\n\"\"\"\nc", "[][c]");
        makes("say \"\"\"hello\"\"\"\nc", "[say \"\"\"hello\"\"\"][c]");
        makes("\"\"\"\nnever closed", "[never closed\n");
        makes("a\\", "[a\n");
        makes("\"\"\"", "");
}

static void test_a_message_without_an_end(void **state)
{
        char *line scoped_free = malloc(CHAT_MESSAGE_BYTES);
        struct chat_draft d = {0};

        (void)state;
        assert_non_null(line);
        memset(line, 'x', CHAT_MESSAGE_BYTES);
        line[CHAT_MESSAGE_BYTES - 1] = '\\';
        assert_int_equal(chat_draft_add(&d, line, CHAT_MESSAGE_BYTES), 0);
        assert_int_equal(chat_draft_add(&d, "yy", 2), -E2BIG);
        assert_int_equal(chat_draft_add(&d, "fresh", 5), 1); /* and the next one is none of it */
        assert_string_equal(d.text.text, "fresh");
        strbuf_done(&d.text);
}

static void test_commands_and_paths(void **state)
{
        (void)state;
        assert_true(chat_is_command("/help"));
        assert_true(chat_is_command("/model a/b"));
        assert_true(chat_is_command("/"));
        assert_false(chat_is_command("/etc/fstab is odd"));
        assert_false(chat_is_command("what is /help"));
        assert_false(chat_is_command("// a comment"));
}

static void test_what_commands_do(void **state)
{
        struct chat chat = {.messages = json_array(), .model = strdup("m")};

        (void)state;
        chat_say(&chat, "user", "one");
        assert_int_equal(chat_command(&chat, "/system Be brief."), 0);
        assert_int_equal(json_array_size(chat.messages), 1);
        chat_say(&chat, "user", "two");
        assert_int_equal(chat_command(&chat, "/clear"), 0);
        assert_int_equal(json_array_size(chat.messages), 1);
        assert_string_equal(pool_text(json_array_get(chat.messages, 0), "content"), "Be brief.");
        assert_int_equal(chat_command(&chat, "/system"), 0);
        assert_int_equal(json_array_size(chat.messages), 0);
        assert_int_equal(chat_command(&chat, "/quite"), 0); /* no such thing */
        assert_int_equal(chat_command(&chat, "/help"), 0);
        assert_int_equal(chat_command(&chat, "/quit"), 1);
        free(chat.model);
        json_decref(chat.messages);
}

static void gather(void *context, const char *text)
{
        strbuf_add(context, "[%s]", text);
}

static void loads(const char *path, const char *want)
{
        struct strbuf b = {0};

        assert_int_equal(chat_history_load(path, gather, &b), 0);
        assert_string_equal(b.length ? b.text : "", want);
        strbuf_done(&b);
}

static void test_history(void **state)
{
        char folder[] = "/tmp/berth-chat-XXXXXX", path[256], below[512], inner[512];
        struct stat st;
        FILE *file;

        (void)state;
        assert_non_null(mkdtemp(folder));
        snprintf(path, sizeof path, "%s/state", folder);
        setenv("XDG_STATE_HOME", path, 1);
        assert_int_equal(chat_history_path(below, sizeof below), 0);
        loads(below, "");
        assert_int_equal(chat_history_add(below, "one"), 0);
        assert_int_equal(chat_history_add(below, "two\nlines, \"quoted\" äöü"), 0);
        assert_int_equal(chat_history_add(below, "\xff"), -EILSEQ);
        loads(below, "[one][two\nlines, \"quoted\" äöü]");
        assert_int_equal(stat(below, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);

        /* Garbage is passed over, wherever it stands; a line without its end is not whole. */
        file = fopen(below, "a");
        assert_non_null(file);
        fputs("{\"no\": 1}\nnonsense\n\n[\n\"\\ud800\"\n\"three\"\n\"cut o", file);
        fwrite("\0\n\"hidden\"\n", 1, 11, file); /* a byte 0 hides nothing behind it */
        fclose(file);
        loads(below, "[one][two\nlines, \"quoted\" äöü][three][hidden]");

        unlink(below);
        file = fopen(below, "w");
        assert_non_null(file);
        for (unsigned int i = 0; i < 2 * CHAT_HISTORY_LINES + 1; i++)
                fprintf(file, "\"x%u\"\n", i);
        fclose(file);
        for (unsigned int i = 0; i < 2; i++) { /* the second time of the shortened file */
                struct strbuf b = {0};

                assert_int_equal(chat_history_load(below, gather, &b), 0);
                assert_memory_equal(b.text, "[x1001][x1002]", 14);
                assert_true(b.length > 7 && !strcmp(b.text + b.length - 7, "[x2000]"));
                strbuf_done(&b);
        }
        assert_int_equal(stat(below, &st), 0);
        assert_int_equal(st.st_size, 8 * CHAT_HISTORY_LINES);

        unlink(below);
        assert_int_equal(mkdir(below, 0700), 0);
        assert_int_equal(chat_history_load(below, NULL, NULL), -EINVAL); /* a folder in its place */
        rmdir(below);
        snprintf(inner, sizeof inner, "%s/berth", path);
        rmdir(inner);
        rmdir(path);
        rmdir(folder);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_messages_out_of_lines),
                cmocka_unit_test(test_a_message_without_an_end),
                cmocka_unit_test(test_commands_and_paths),
                cmocka_unit_test(test_what_commands_do),
                cmocka_unit_test(test_history),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
