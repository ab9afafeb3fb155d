/* config.c: `berth config`: the daemon's settings as its files give them. The daemon itself is not asked. */
#include "cli/cli.h"

#include "base/sample.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "wire/settings.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct config {
        const char *what, *file;
        bool json, defaults;
};

static const struct argp_option options[] = {
        {"json", 'j', NULL, 0, "show: print JSON", 0},
        {"defaults", 'd', NULL, 0, "show: the built-in defaults, whatever the files say", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct config *c = state->input;

        switch (key) {
        case 'j':
                c->json = true;
                return 0;
        case 'd':
                c->defaults = true;
                return 0;
        case ARGP_KEY_ARG:
                if (!c->what)
                        c->what = arg;
                else if (!c->file)
                        c->file = arg;
                else
                        return ARGP_ERR_UNKNOWN;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static void show_text(const struct settings *now, const struct settings *defaults, struct strbuf *b)
{
        for (size_t i = 0; i < settings_table.count; i++) {
                const struct config_entry *e = &settings_table.entries[i];
                char value[300], fallback[300];

                config_format(e, now, value, sizeof value);
                config_format(e, defaults, fallback, sizeof fallback);
                strbuf_add(b, "%s.%s = %s", e->section, e->name, value);
                if (strcmp(value, fallback))
                        strbuf_add(b, "    # default: %s", *fallback ? fallback : "(empty)");
                strbuf_add(b, "\n");
        }
}

static void show_json(const struct settings *now, const struct settings *defaults, struct strbuf *b)
{
        json_t *root = json_object();
        char *text scoped_free = NULL;

        for (size_t i = 0; i < settings_table.count; i++) {
                const struct config_entry *e = &settings_table.entries[i];
                json_t *section = json_object_get(root, e->section);
                char value[300], fallback[300];

                if (!section) {
                        json_object_set_new(root, e->section, json_object());
                        section = json_object_get(root, e->section);
                }
                config_format(e, now, value, sizeof value);
                config_format(e, defaults, fallback, sizeof fallback);
                b->failed |= json_object_set_new(section, e->name,
                                                 json_pack("{s:s, s:s, s:b, s:s?, s:s?, s:s}", "value", value,
                                                           "default", fallback, "live", e->live, "environment",
                                                           e->environment, "choices", e->choices, "help", e->help)) < 0;
        }
        text = json_dumps(root, JSON_INDENT(2));
        json_decref(root);
        b->failed |= !text;
        strbuf_add(b, "%s\n", text ? text : "");
}

static int print(struct strbuf *b)
{
        if (b->failed) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        return cli_print(b->text);
}

static int show(const struct config *c, struct strbuf *b)
{
        struct settings now, defaults;
        char path[PATH_MAX], message[CONFIG_MESSAGE];
        int r;

        config_defaults(&settings_table, &defaults);
        now = defaults;
        if (!c->defaults) {
                if (c->file)
                        snprintf(path, sizeof path, "%s", c->file);
                else if (settings_default_path(path, sizeof path) < 0)
                        path[0] = 0;
                r = settings_load(path, !!c->file, &now, message);
                if (r < 0) {
                        cli_error("%s", message);
                        return CLI_CONFIG;
                }
                if (!c->json)
                        strbuf_add(b, "# %s%s\n", path,
                                   path[0] && access(path, F_OK) == 0 ? "" : " (not there: defaults)");
        }
        if (c->json)
                show_json(&now, &defaults, b);
        else
                show_text(&now, &defaults, b);
        return print(b);
}

static int check(const struct config *c)
{
        char message[CONFIG_MESSAGE];
        struct settings s;
        int r = settings_load(c->file, true, &s, message);

        if (r < 0) {
                cli_error("%s", message);
                return CLI_CONFIG;
        }
        printf("%s: fine\n", c->file);
        return cli_print(NULL);
}

static int run(const struct verb *self, int argc, char **argv)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};
        struct config c = {0};

        cli_parse(self, argc, argv, &c);
        if (!c.what)
                return cli_usage(self, "what? show, check FILE or sample");
        if (strcmp(c.what, "show") && (c.json || c.defaults))
                return cli_usage(self, "--json and --defaults go with show only");
        if (!strcmp(c.what, "show"))
                return show(&c, &b);
        if (!strcmp(c.what, "check")) {
                if (!c.file)
                        return cli_usage(self, "which file? berth config check FILE");
                return check(&c);
        }
        if (!strcmp(c.what, "sample")) {
                if (c.file)
                        return cli_usage(self, "sample takes no file; redirect its output");
                sample_config(&settings_table,
                              "# berthd.conf: settings of the node daemon, see berthd.conf(5). Every setting stands here at its default;\n"
                              "# take away the \";\" to change one, then `berth config check FILE' and `berth reload'.\n",
                              &b);
                return print(&b);
        }
        return cli_usage(self, "there is no \"config %s\"; there is show, check FILE and sample", c.what);
}

const struct verb verb_config = {
        .name = "config",
        .arguments = "show [FILE]\ncheck FILE\nsample",
        .words = "show check sample",
        .summary = "show, check or sample the daemon's settings",
        .more = "show: every setting with its value, from FILE or from where the daemon reads it, its drop-in folder "
                "and the environment. "
                "check: whether a file would be accepted, and if not, where the mistake is. sample: a commented file "
                "with every setting at "
                "its default.\n\n"
                "Examples:\n\n"
                "  berth config show\n"
                "  berth config check berthd.conf\n"
                "  berth config sample > berthd.conf",
        .options = options,
        .parse = parse,
        .run = run,
};
