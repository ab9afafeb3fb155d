/* fuzz-catalogue.c: any bytes as a catalogue of models. Refused with a clean sentence; or every entry keeps to its bounds, commands split, and taking any section
 * out leaves a catalogue without it, into which another goes. */
#include "base/error.h"
#include "base/text.h"
#include "engine/catalogue.h"

#include "fuzz.h"

#include <string.h>

static void look_at(const struct catalogue_entry *e)
{
        const struct catalogue_values values = {"8080", "127.0.0.1", "/a b/c", "/folder"};
        char message[CONFIG_MESSAGE], revision[CONFIG_TEXT];

        promise(catalogue_is_name(e->name) && e->kind <= CATALOGUE_URL && e->line, "%s", e->name);
        promise(e->port <= 65535 && e->parallel && e->parallel <= 65536 && e->health[0] == '/' && e->tasks[0], "numbers");
        promise(memchr(e->command, 0, sizeof e->command) && memchr(e->file, 0, sizeof e->file) && memchr(e->environment, 0, sizeof e->environment), "unended");
        if (e->kind == CATALOGUE_COMMAND) {
                char **argv = catalogue_argv(e, &values, message);
                size_t n = 0;

                promise(argv && argv[0], "%s", message);
                while (argv[n])
                        promise(strlen(argv[n++]) < 32 * CATALOGUE_LONG, "a word");
                promise(n <= CATALOGUE_WORDS, "%zu words", n);
                free(argv);
        }
        catalogue_revision(e, 1, 2, revision);
        promise(revision[0] && text_is_clean(revision, sizeof revision), "revision");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct catalogue_setting one[] = {{"kind", "url"}, {"url", "http://h:1"}};
        struct catalogue c = {0};
        char message[CONFIG_MESSAGE] = "";
        struct strbuf b = {0};
        int r = catalogue_parse((const char *)data, size, "file", &c, message);

        if (r < 0) {
                promise(r == -E_CONFIG && message[0] && strlen(message) < sizeof message, "%d without a reason", r);
                promise(!c.entries, "kept");
                return 0;
        }
        for (uint32_t i = 0; i < c.count; i++)
                look_at(&c.entries[i]);
        for (uint32_t i = 0; i < c.count && i < 3; i++) {
                struct catalogue less = {0};

                promise(catalogue_remove((const char *)data, size, c.entries[i].name, &b) == 0, "not found");
                promise(catalogue_parse(b.text ? b.text : "", b.length, "file", &less, message) == 0, "%s", message);
                promise(less.count == c.count - 1 && !catalogue_find(&less, c.entries[i].name), "still there");
                for (uint32_t k = 0; k < less.count; k++)
                        promise(catalogue_entry_equal(&less.entries[k], &c.entries[k < i ? k : k + 1]), "another changed");
                catalogue_done(&less);
                strbuf_done(&b);
        }
        if (c.count < CATALOGUE_ENTRIES && !catalogue_find(&c, "fresh") && size < CATALOGUE_BYTES / 2) {
                struct catalogue more = {0};

                r = catalogue_add((const char *)data, size, "file", "fresh", one, 2, &b, message);
                promise(r == 0, "%s", message);
                promise(catalogue_parse(b.text, b.length, "file", &more, message) == 0 && more.count == c.count + 1, "%s", message);
                catalogue_done(&more);
                strbuf_done(&b);
        }
        catalogue_done(&c);
        return 0;
}
