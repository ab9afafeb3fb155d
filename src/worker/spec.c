/* spec.c: checks a payload member by member; see spec.h. */
#include "worker/spec.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int bad(char why[SPEC_MESSAGE], int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int bad(char why[SPEC_MESSAGE], int error, const char *format, ...)
{
        char raw[SPEC_MESSAGE];
        va_list args;

        va_start(args, format);
        vsnprintf(raw, sizeof raw, format, args);
        va_end(args);
        text_copy_clean(why, SPEC_MESSAGE, raw);
        return error;
}

#define COMMON \
        "files", "outputs", "limits", "network", "files.name", "files.sha256", "files.text", "files.bytes", "files.executable", "limits.wall", "limits.cpu", \
                "limits.memory", "limits.disk", "limits.processes", NULL
#define MEMBERS(...) ((const char *const[]){__VA_ARGS__, COMMON})

const struct spec_type spec_types[] = {
        {"command", MEMBERS("argv", "env", "stdin", "device", "stdin.name", "device.memory", "device.soft_memory", "device.need")},
        {"preprocess", MEMBERS("input", "format", "rename", "select", "cast", "drop_empty", "dedupe", "normalise", "split", "seed", "output")},
        {"augment", MEMBERS("kind", "input", "format", "field", "copies", "seed", "case", "space", "dropout", "flip", "crop", "brightness", "output")},
        {"validate", MEMBERS("input", "format", "fields", "additional", "output", "fail")},
        {"synchronise", MEMBERS("from", "to", "delete")},
        {"mirror", MEMBERS("from", "to")},
        {"migrate", MEMBERS("from", "to", "manifest", "switch")},
        {"optimise", MEMBERS("path", "kind")},
        {"monitor", MEMBERS("seconds", "interval")},
        {"probe", MEMBERS("seconds", "steps", "print", "memory_mib", "fail", "echo")},
        {NULL, NULL},
};

static const struct spec_type *find_type(const char *name)
{
        for (const struct spec_type *t = spec_types; t->name; t++)
                if (!strcmp(t->name, name))
                        return t;
        return NULL;
}

bool spec_is_path(const char *s)
{
        size_t length = strlen(s);

        if (!length || length >= SPEC_NAME || s[0] == '/' || s[length - 1] == '/')
                return false;
        for (const char *part = s; part;) {
                const char *slash = strchr(part, '/');
                size_t n = slash ? (size_t)(slash - part) : strlen(part);

                if (!n || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
                        return false;
                part = slash ? slash + 1 : NULL;
        }
        for (size_t i = 0; i < length; i++)
                if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
                        return false;
        return true;
}

bool spec_is_sha256(const char *s)
{
        return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

int spec_bytes(const json_t *v, uint64_t *ret)
{
        if (!v || json_is_null(v))
                return 0;
        if (json_is_integer(v) && json_integer_value(v) >= 0) {
                *ret = (uint64_t)json_integer_value(v);
                return 0;
        }
        return json_is_string(v) ? text_parse_bytes(json_string_value(v), ret) : -EINVAL;
}

static int duration(const json_t *v, uint64_t *ret_ms)
{
        uint64_t ns;
        int r;

        if (!v || json_is_null(v))
                return 0;
        if (json_is_number(v)) { /* seconds */
                double s = json_number_value(v);

                if (!(s > 0 && s < 1e9))
                        return -EINVAL;
                *ret_ms = (uint64_t)(s * 1000) ? (uint64_t)(s * 1000) : 1;
                return 0;
        }
        if (!json_is_string(v))
                return -EINVAL;
        r = text_parse_duration(json_string_value(v), &ns);
        if (r >= 0)
                *ret_ms = ns / NS_PER_MS ? ns / NS_PER_MS : 1;
        return r;
}

/* An object with no members but these: a misspelt limit must not pass for none. */
static int only(const json_t *o, const char *what, const char *const *names, char why[SPEC_MESSAGE])
{
        const char *key;
        json_t *v;

        if (o && !json_is_null(o) && !json_is_object(o))
                return bad(why, -EINVAL, "%s is no object", what);
        json_object_foreach ((json_t *)o, key, v) {
                size_t i = 0;

                while (names[i] && strcmp(names[i], key) != 0)
                        i++;
                if (!names[i] || strchr(key, '.')) /* a name with a dot is one of an object inside */
                        return bad(why, -EINVAL, "%s has no member \"%.60s\"", what, key);
        }
        return 0;
}

static int limits(const json_t *o, const struct spec_limits *most, struct spec_limits *ret, char why[SPEC_MESSAGE])
{
        static const char *const names[] = {"wall", "cpu", "memory", "disk", "processes", NULL};
        const struct {
                const char *name;
                const uint64_t *most;
                uint64_t *value;
                bool time;
        } each[] = {{"wall", &most->wall_ms, &ret->wall_ms, true},
                    {"cpu", &most->cpu_ms, &ret->cpu_ms, true},
                    {"memory", &most->memory_bytes, &ret->memory_bytes, false},
                    {"disk", &most->disk_bytes, &ret->disk_bytes, false},
                    {"processes", &most->processes, &ret->processes, false}};

        *ret = *most;
        if (only(o, "limits", names, why) < 0)
                return -EINVAL;
        for (size_t i = 0; i < ARRAY_SIZE(each); i++) {
                const json_t *v = json_object_get(o, each[i].name);
                char number[24];

                if ((each[i].time ? duration(v, each[i].value) : spec_bytes(v, each[i].value)) < 0)
                        return bad(why, -EINVAL, "limits.%s is no %s", each[i].name, each[i].time ? "time such as \"10min\"" : "number or size such as \"4GiB\"");
                if (!*each[i].value && *each[i].most)
                        return bad(why, -EINVAL, "limits.%s is 0", each[i].name);
                if (*each[i].most && *each[i].value > *each[i].most)
                        return bad(why, -E_LIMIT, "limits.%s is more than this worker allows (%s)", each[i].name,
                                   each[i].time ? text_duration(*each[i].most * NS_PER_MS, number, sizeof number)
                                                : text_bytes(*each[i].most, number, sizeof number));
        }
        return 0;
}

static int files(json_t *list, char why[SPEC_MESSAGE])
{
        static const char *const names[] = {"name", "sha256", "text", "bytes", "executable", NULL};
        json_t *v;
        size_t i;

        if (list && !json_is_array(list))
                return bad(why, -EINVAL, "files is no list");
        if (json_array_size(list) > SPEC_FILES)
                return bad(why, -EINVAL, "files has %zu entries, more than %d", json_array_size(list), SPEC_FILES);
        json_array_foreach (list, i, v) {
                const char *name = json_string_value(json_object_get(v, "name")), *sha = json_string_value(json_object_get(v, "sha256"));
                const char *text = json_string_value(json_object_get(v, "text"));

                if (!json_is_object(v) || only(v, "an entry of files", names, why) < 0)
                        return json_is_object(v) ? -EINVAL : bad(why, -EINVAL, "files[%zu] is no object", i);
                if (!name || !spec_is_path(name))
                        return bad(why, -EINVAL, "files[%zu].name is no relative path", i);
                if (!sha == !text || (sha && !spec_is_sha256(sha)))
                        return bad(why, -EINVAL, "files[%zu] needs sha256 (64 lower-case hex digits) or text", i);
        }
        return 0;
}

static int device(const json_t *o, const json_t *needs, struct spec_device *ret, char why[SPEC_MESSAGE])
{
        static const char *const names[] = {"memory", "soft_memory", "need", NULL};
        const char *kind = json_string_value(json_object_get(needs, "device"));
        const struct {
                const json_t *v;
                const char *name;
                char *to;
        } each[] = {{json_object_get(o, "memory"), "device.memory", ret->memory},
                    {json_object_get(o, "soft_memory"), "device.soft_memory", ret->soft_memory},
                    {json_object_get(o, "need") ? json_object_get(o, "need") : json_object_get(needs, "memory"), "device.need", ret->need}};

        *ret = (struct spec_device){.wanted = (o && !json_is_null(o)) || (kind && strcmp(kind, "cpu") != 0)};
        if (!ret->wanted)
                return 0;
        if (only(o, "device", names, why) < 0)
                return -EINVAL;
        for (size_t i = 0; i < ARRAY_SIZE(each); i++) {
                uint64_t bytes = 0;
                uint32_t permille = 0;

                if (!each[i].v || json_is_null(each[i].v))
                        continue;
                if (json_is_string(each[i].v) && i < 2 && text_parse_share(json_string_value(each[i].v), &bytes, &permille) == 0 && permille) {
                        snprintf(each[i].to, sizeof ret->need, "%u.%u%%", permille / 10, permille % 10);
                        continue;
                }
                if (spec_bytes(each[i].v, &bytes) < 0 || !bytes)
                        return bad(why, -EINVAL, "%s is no size such as \"8GiB\"", each[i].name);
                snprintf(each[i].to, sizeof ret->need, "%llu", (unsigned long long)bytes);
        }
        return 0;
}

static bool env_name(const char *s)
{
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";

        return s[0] && (s[0] < '0' || s[0] > '9') && strlen(s) < 128 && strspn(s, letters) == strlen(s);
}

static int command(json_t *payload, const json_t *needs, struct spec *ret, char why[SPEC_MESSAGE])
{
        const json_t *input = json_object_get(payload, "stdin");
        const char *key;
        json_t *v;
        size_t i;

        ret->argv = json_object_get(payload, "argv");
        if (!json_is_array(ret->argv) || !json_array_size(ret->argv) || json_array_size(ret->argv) > SPEC_ARGV)
                return bad(why, -EINVAL, "argv is no list of 1 to %d strings", SPEC_ARGV);
        json_array_foreach (ret->argv, i, v)
                if (!json_is_string(v) || (!i && !json_string_value(v)[0]))
                        return bad(why, -EINVAL, "argv[%zu] is no %s", i, i ? "string" : "name of a program");
        ret->env = json_object_get(payload, "env");
        if (json_is_null(ret->env))
                ret->env = NULL;
        if (ret->env && (!json_is_object(ret->env) || json_object_size(ret->env) > SPEC_ENV))
                return bad(why, -EINVAL, "env is no object of up to %d strings", SPEC_ENV);
        json_object_foreach (ret->env, key, v) {
                if (!env_name(key) || !json_is_string(v))
                        return bad(why, -EINVAL, "env.%.60s is no variable with a string", key);
                /* These would steer what stands around the program, not the program. */
                if (!strncmp(key, "LD_", 3) || !strncmp(key, "BERTH_", 6) || !strcmp(key, "GLIBC_TUNABLES"))
                        return bad(why, -EINVAL, "env.%.60s is not for tasks to set", key);
        }
        ret->input = json_string_value(input);
        if (json_is_object(input)) {
                ret->input_file = json_string_value(json_object_get(input, "name"));
                json_array_foreach (ret->files, i, v)
                        if (ret->input_file && !strcmp(ret->input_file, json_string_value(json_object_get(v, "name"))))
                                break;
                if (!ret->input_file || i >= json_array_size(ret->files))
                        return bad(why, -EINVAL, "stdin.name is none of files");
        } else if (input && !json_is_null(input) && !json_is_string(input)) {
                return bad(why, -EINVAL, "stdin is neither text nor {\"name\": …}");
        }
        return device(json_object_get(payload, "device"), needs, &ret->device, why);
}

int spec_parse(const char *type, json_t *payload, const json_t *needs, const struct spec_limits *most, bool network_allowed, struct spec *ret,
               char why[SPEC_MESSAGE])
{
        struct spec s = {.function = strcmp(type, "command") ? type : NULL};
        const struct spec_type *known = find_type(type);
        json_t *v;
        size_t i;
        int r;

        if (!json_is_object(payload))
                return bad(why, -EINVAL, "the payload is no object");
        if (known && only(payload, "the payload", known->members, why) < 0)
                return -EINVAL;
        s.files = json_object_get(payload, "files");
        if (json_is_null(s.files))
                s.files = NULL;
        r = files(s.files, why);
        if (r >= 0)
                r = limits(json_object_get(payload, "limits"), most, &s.limits, why);
        if (r < 0)
                return r;
        s.outputs = json_object_get(payload, "outputs");
        if (json_is_null(s.outputs))
                s.outputs = NULL;
        if (s.outputs && (!json_is_array(s.outputs) || json_array_size(s.outputs) > SPEC_OUTPUTS))
                return bad(why, -EINVAL, "outputs is no list of up to %d patterns", SPEC_OUTPUTS);
        json_array_foreach (s.outputs, i, v)
                if (!json_is_string(v) || !spec_is_path(json_string_value(v)))
                        return bad(why, -EINVAL, "outputs[%zu] is no relative path or pattern", i);
        v = json_object_get(payload, "network");
        if (v && !json_is_boolean(v) && !json_is_null(v))
                return bad(why, -EINVAL, "network is neither true nor false");
        s.network = json_is_true(v);
        if (s.network && !network_allowed)
                return bad(why, -E_LIMIT, "this worker gives tasks no network");
        r = s.function ? 0 : command(payload, needs, &s, why);
        if (r < 0)
                return r;
        *ret = s;
        return 0;
}
