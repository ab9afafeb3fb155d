/* validate.c: the type `validate`: records are held against a description of their fields; counts, and the first 100 violations with their lines. */
#include "worker/task/data.h"
#include "worker/task/functions.h"

#include <string.h>

#define SHOWN 100

struct check {
        struct task *t;
        struct data_input in;
        json_t *shown, *rules; /* rules: how often each was broken */
        uint64_t violations;
        bool broken;           /* the present record */
};

static void violation(struct check *c, const char *field, const char *rule, const char *text)
{
        json_int_t count = json_integer_value(json_object_get(c->rules, rule));

        c->broken = true;
        c->violations++;
        json_object_set_new(c->rules, rule, json_integer(count + 1));
        if (json_array_size(c->shown) < SHOWN)
                json_array_append_new(c->shown, json_pack("{s:s, s:I, s:s, s:s, s:s}", "file", c->in.path, "line", (json_int_t)c->in.reader.line, "field", field, "rule",
                                                          rule, "text", text));
}

static size_t characters(const char *s)
{
        size_t n = 0;

        for (; *s; s++)
                n += ((unsigned char)*s & 0xc0) != 0x80;
        return n;
}

/* Of CSV every value is a string: there a number is text that reads as one. */
static bool as_number(const struct check *c, const json_t *v, bool whole, double *ret)
{
        const char *s = json_string_value(v);
        char *end;

        if (json_is_number(v)) {
                *ret = json_number_value(v);
                return !whole || json_is_integer(v);
        }
        if (c->in.reader.format != RECORD_CSV || !s || !*s)
                return false;
        *ret = strtod(s, &end);
        return !*end && (!whole || (double)(long long)*ret == *ret);
}

static bool has_type(const struct check *c, const json_t *v, const char *type)
{
        const char *s = json_string_value(v);
        double number;

        if (!strcmp(type, "string"))
                return s != NULL;
        if (!strcmp(type, "integer") || !strcmp(type, "number"))
                return as_number(c, v, type[0] == 'i', &number);
        if (!strcmp(type, "boolean"))
                return json_is_boolean(v) || (c->in.reader.format == RECORD_CSV && s && (!strcmp(s, "true") || !strcmp(s, "false")));
        if (!strcmp(type, "array"))
                return json_is_array(v);
        return json_is_object(v);
}

static void check_value(struct check *c, const char *field, const json_t *v, const json_t *rule)
{
        const char *type = json_string_value(json_object_get(rule, "type")), *s = json_string_value(v);
        const json_t *least = json_object_get(rule, "min"), *most = json_object_get(rule, "max"), *shortest = json_object_get(rule, "min_length"),
                     *longest = json_object_get(rule, "max_length"), *one_of = json_object_get(rule, "one_of");
        size_t length = s ? characters(s) : json_array_size(v), i;
        char text[160];
        double number;
        json_t *w;

        if (json_is_null(v)) {
                if (!json_is_true(json_object_get(rule, "nullable")))
                        violation(c, field, "nullable", "null");
                return;
        }
        if (type && !has_type(c, v, type)) {
                snprintf(text, sizeof text, "no %.20s", type);
                violation(c, field, "type", text);
                return;
        }
        if ((least || most) && as_number(c, v, false, &number) &&
            ((least && number < json_number_value(least)) || (most && number > json_number_value(most)))) {
                snprintf(text, sizeof text, "%g", number);
                violation(c, field, "range", text);
        }
        if ((shortest && (double)length < json_number_value(shortest)) || (longest && (double)length > json_number_value(longest))) {
                snprintf(text, sizeof text, "length %zu", length);
                violation(c, field, "length", text);
        }
        if (one_of) {
                json_array_foreach (one_of, i, w)
                        if (json_equal(w, v))
                                return;
                violation(c, field, "one_of", s ? "another value" : "another kind of value");
        }
}

static int read_schema(struct task *t, const json_t *fields)
{
        static const char *const types[] = {"string", "integer", "number", "boolean", "array", "object"};
        static const char *const members[] = {"type", "required", "nullable", "min", "max", "min_length", "max_length", "one_of"};
        const char *field, *member;
        json_t *rule, *v;

        if (!json_is_object(fields))
                return task_fail(t, -EINVAL, "fields is no object");
        json_object_foreach ((json_t *)fields, field, rule) {
                const char *type = json_string_value(json_object_get(rule, "type"));
                size_t i = 0;

                while (type && i < ARRAY_SIZE(types) && strcmp(types[i], type) != 0)
                        i++;
                if (!json_is_object(rule) || i == ARRAY_SIZE(types))
                        return task_fail(t, -EINVAL, "fields.%.60s: its type is none of string, integer, number, boolean, array, object", field);
                json_object_foreach (rule, member, v) {
                        i = 0;
                        while (i < ARRAY_SIZE(members) && strcmp(members[i], member) != 0)
                                i++;
                        if (i == ARRAY_SIZE(members) || (i >= 3 && i < 7 && !json_is_number(v)) || (i == 7 && !json_is_array(v)))
                                return task_fail(t, -EINVAL, "fields.%.60s.%.60s is no rule, or no number or list where one is needed", field, member);
                }
        }
        return 0;
}

int validate_run(struct task *t)
{
        const json_t *fields = json_object_get(t->payload, "fields");
        struct check c = {.t = t, .shown = json_array(), .rules = json_object()};
        struct record_writer out = {0};
        uint64_t records = 0, valid = 0;
        json_t *record = NULL, *v;
        const char *key, *output;
        bool additional, fail;
        int r = read_schema(t, fields), n;

        additional = task_bool(t, t->payload, "additional", true, &r);
        fail = task_bool(t, t->payload, "fail", false, &r);
        output = task_string(t, t->payload, "output", "", &r);
        n = data_open(&c.in, t);
        r = r < 0 ? r : n;
        if (r >= 0 && output[0])
                r = data_writer(t, output, &out);
        while (r >= 0 && (r = data_next(&c.in, &record)) > 0) {
                records++;
                c.broken = false;
                json_object_foreach ((json_t *)fields, key, v) {
                        const json_t *value = json_object_get(record, key);

                        if (value && !(c.in.reader.format == RECORD_CSV && json_string_value(value) && !json_string_length(value)))
                                check_value(&c, key, value, v);
                        else if (json_is_true(json_object_get(v, "required")))
                                violation(&c, key, "required", "missing");
                }
                if (!additional)
                        json_object_foreach (record, key, v)
                                if (!json_object_get(fields, key))
                                        violation(&c, key, "additional", "not described");
                valid += !c.broken;
                if (!c.broken && out.file)
                        r = record_write(&out, record);
                json_decref(record);
        }
        n = record_finish(&out);
        r = r < 0 ? r : n;
        if (r >= 0 && fail && (c.violations || c.in.malformed))
                r = task_fail(t, -EINVAL, "%llu violations and %llu malformed records in %llu", (unsigned long long)c.violations, (unsigned long long)c.in.malformed,
                              (unsigned long long)records);
        json_object_update_new(t->report, json_pack("{s:I, s:I, s:I, s:I, s:o, s:o, s:O}", "records", (json_int_t)records, "valid", (json_int_t)valid, "violations",
                                                    (json_int_t)c.violations, "malformed", (json_int_t)c.in.malformed, "rules", c.rules, "first", c.shown, "faults",
                                                    c.in.faults));
        data_close(&c.in);
        return r < 0 ? r : 0;
}
