/* device.c: `berth device choose`: the best device for a need. */
#include "cli/choose.h"

#include "base/text.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct ask {
        const char *what, *need, *kind;
        bool now, json;
};

static const struct argp_option options[] = {
        {"need", 'n', "SIZE", 0, "device memory that the program will need", 0},
        {"kind", 'k', "cuda|software", 0, "only devices of this kind", 0},
        {"now", 'w', NULL, 0, "only a device that can grant it now", 0},
        {"json", 'j', NULL, 0, "print JSON", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct ask *a = state->input;

        switch (key) {
        case 'n':
                a->need = arg;
                return 0;
        case 'k':
                a->kind = arg;
                return 0;
        case 'w':
                a->now = true;
                return 0;
        case 'j':
                a->json = true;
                return 0;
        case ARGP_KEY_ARG:
                if (a->what)
                        return ARGP_ERR_UNKNOWN;
                a->what = arg;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static int print(const struct ask *a, const struct choice *c, uint64_t need)
{
        char uuid[WIRE_UUID_TEXT], line[WIRE_UUID_TEXT + 1], *text scoped_free = NULL;
        json_t *o;

        wire_uuid_text(c->device->uuid, uuid);
        snprintf(line, sizeof line, "%s\n", uuid);
        if (!a->json)
                return cli_print(line);
        o = json_pack("{s:I, s:s, s:s, s:s, s:I, s:I, s:b, s:I, s:I}", "index", (json_int_t)c->device->index, "uuid", uuid, "name", c->device->name, "kind",
                      wire_kind_name(c->device->kind), "need_bytes", (json_int_t)need, "free_bytes", (json_int_t)c->free_bytes, "now", (int)c->now, "waiting",
                      (json_int_t)c->device->waiting, "clients", (json_int_t)c->device->clients);
        text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
        json_decref(o);
        if (!text) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        puts(text);
        return cli_print(NULL);
}

static int run(const struct verb *self, int argc, char **argv)
{
        scoped_connection struct connection c = CONNECTION_CLOSED;
        scoped_snapshot struct snapshot s = {0};
        char message[CLI_MESSAGE], size[16];
        uint32_t kind = CHOOSE_ANY;
        struct choice choice;
        struct ask a = {0};
        uint64_t need;
        int r;

        cli_parse(self, argc, argv, &a);
        if (!a.what || strcmp(a.what, "choose"))
                return cli_usage(self, "what to do? berth device choose --need SIZE");
        if (!a.need || text_parse_bytes(a.need, &need) < 0 || !need)
                return cli_usage(self, "--need: %s%s%s; give a size such as 40GiB", a.need ? "\"" : "missing", a.need ? a.need : "", a.need ? "\" is no size" : "");
        for (uint32_t i = 0; a.kind && i < WIRE_DEVICE_KIND_N; i++)
                if (!strcmp(a.kind, wire_kind_name(i)))
                        kind = i;
        if (a.kind && kind != WIRE_CUDA && kind != WIRE_SOFTWARE)
                return cli_usage(self, "--kind: \"%.60s\" is none of cuda, software", a.kind);
        r = connection_open(&c, message);
        if (r >= 0)
                r = snapshot_fetch(&c, &s, message);
        if (r < 0) {
                cli_error("%s", message);
                return cli_exit_code(r);
        }
        choice = choose_device(&s, need, kind);
        if (!choice.device || (a.now && !choice.now)) {
                cli_error("no shared device can %s %s; `berth status' shows what there is", choice.device ? "grant now" : "ever hold",
                          text_bytes(need, size, sizeof size));
                return CLI_FAILED;
        }
        return print(&a, &choice, need);
}

const struct verb verb_device = {
        .name = "device",
        .arguments = "choose --need SIZE",
        .words = "choose",
        .summary = "choose the best device for a program that needs so much memory",
        .more = "Prints the UUID of the device that suits best: it can grant the need now, fewer programs wait for it, it is less busy, more is free; in "
                "this order. When none can grant it now, the best to wait at. The exit code is 1 when no device could ever hold it, or, with --now, none "
                "can grant it now.\n\n"
                "Examples:\n\n"
                "  CUDA_VISIBLE_DEVICES=$(berth device choose --need 40GiB) \\\n    berth run -- python3 train.py\n"
                "  berth run --device auto --need 40GiB -- python3 train.py",
        .options = options,
        .parse = parse,
        .run = run,
};
