/* preprocess.c: the type `preprocess`: records are renamed, selected, cast, freed of empty and double ones, normalised and split, in this order, streamed.
 *
 * Memory: the hashes of records already seen (16 bytes each, bounded), and four numbers a normalised field. Normalising reads the input twice.
 */
#include "worker/task/data.h"
#include "worker/task/functions.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

#define SEEN_FIRST (1U << 16)
#define SEEN_LAST (1U << 26) /* places: 1 GiB of hashes; beyond it the task fails */
#define NORMALISED 256
#define SPLITS 16

struct statistics {
        const char *field;
        bool zscore;
        uint64_t count;
        double least, most, mean, sum2;
};

struct job {
        struct task *t;
        json_t *rename, *select, *cast, *drop_empty, *dedupe_by;
        bool dedupe;
        struct data_hash *seen;
        size_t seen_size, seen_count;
        struct statistics normalise[NORMALISED];
        size_t normalise_count;
        uint64_t read, empty, doubles, uncast;
};

static bool is_empty(const json_t *v)
{
        return !v || json_is_null(v) || (json_is_string(v) && !json_string_length(v));
}

static int cast_one(json_t *record, const char *field, const char *to)
{
        json_t *v = json_object_get(record, field), *fresh = NULL;
        const char *s = json_string_value(v);
        char *end, *text scoped_free = NULL;
        double d;

        if (!v || json_is_null(v))
                return 0;
        if (!strcmp(to, "string")) {
                text = s ? NULL : json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
                fresh = s ? json_incref(v) : json_string(text);
        } else if (!strcmp(to, "int") && json_is_integer(v)) {
                fresh = json_incref(v);
        } else if (!strcmp(to, "int") && json_is_real(v) && floor(json_real_value(v)) == json_real_value(v) && fabs(json_real_value(v)) < 9e15) {
                fresh = json_integer((json_int_t)json_real_value(v));
        } else if (!strcmp(to, "int") && s && *s) {
                errno = 0;
                fresh = json_integer(strtoll(s, &end, 10));
                if (*end || errno) {
                        json_decref(fresh);
                        fresh = NULL;
                }
        } else if (!strcmp(to, "float") && json_is_number(v)) {
                fresh = json_real(json_number_value(v));
        } else if (!strcmp(to, "float") && s && *s) {
                d = strtod(s, &end);
                fresh = *end || !isfinite(d) ? NULL : json_real(d);
        } else if (!strcmp(to, "bool") && json_is_boolean(v)) {
                fresh = json_incref(v);
        } else if (!strcmp(to, "bool") && s && (!strcmp(s, "true") || !strcmp(s, "1") || !strcmp(s, "yes"))) {
                fresh = json_true();
        } else if (!strcmp(to, "bool") && s && (!strcmp(s, "false") || !strcmp(s, "0") || !strcmp(s, "no"))) {
                fresh = json_false();
        }
        if (!fresh)
                return -EINVAL;
        json_object_set_new(record, field, fresh);
        return 0;
}

/* True when it was not there yet. */
static int first_seen(struct job *j, const json_t *record)
{
        json_t *key = json_is_array(j->dedupe_by) ? json_array() : json_incref((json_t *)record), *v;
        char *text scoped_free = NULL;
        struct data_hash h;
        size_t i;

        json_array_foreach (j->dedupe_by, i, v)
                json_array_append(key, json_object_get(record, json_string_value(v)) ? json_object_get(record, json_string_value(v)) : json_null());
        text = json_dumps(key, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
        json_decref(key);
        if (!text)
                return -ENOMEM;
        h = data_hash(text, strlen(text));
        h.a |= !h.a && !h.b; /* zero marks a free place */
        if (2 * (j->seen_count + 1) > j->seen_size) {
                size_t size = j->seen_size ? 2 * j->seen_size : SEEN_FIRST;
                struct data_hash *more = size > SEEN_LAST ? NULL : calloc(size, sizeof *more);

                if (!more)
                        return task_fail(j->t, -ENOMEM, "more than %zu different records to compare; dedupe in parts", j->seen_count);
                for (i = 0; i < j->seen_size; i++) {
                        size_t at = j->seen[i].a & (size - 1);

                        if (!j->seen[i].a && !j->seen[i].b)
                                continue;
                        while (more[at].a || more[at].b)
                                at = (at + 1) & (size - 1);
                        more[at] = j->seen[i];
                }
                free(j->seen);
                j->seen = more;
                j->seen_size = size;
        }
        for (i = h.a & (j->seen_size - 1); j->seen[i].a || j->seen[i].b; i = (i + 1) & (j->seen_size - 1))
                if (j->seen[i].a == h.a && j->seen[i].b == h.b)
                        return 0;
        j->seen[i] = h;
        j->seen_count++;
        return 1;
}

/* 1: the record stays, as *record; 0: it goes; less: an error. */
static int step(struct job *j, json_t **record)
{
        const char *key;
        json_t *v, *o = *record;
        size_t i;
        int r;

        j->read++;
        json_object_foreach (j->rename, key, v)
                if (json_object_get(o, key)) {
                        json_t *value = json_incref(json_object_get(o, key));

                        json_object_del(o, key);
                        json_object_set_new(o, json_string_value(v), value);
                }
        if (j->select) {
                json_t *fresh = json_object();

                json_array_foreach (j->select, i, v)
                        if (json_object_get(o, json_string_value(v)))
                                json_object_set(fresh, json_string_value(v), json_object_get(o, json_string_value(v)));
                json_decref(o);
                *record = o = fresh;
        }
        json_object_foreach (j->cast, key, v)
                if (cast_one(o, key, json_string_value(v)) < 0) {
                        j->uncast++;
                        json_object_set_new(o, key, json_null());
                }
        json_array_foreach (j->drop_empty, i, v)
                if (is_empty(json_object_get(o, json_string_value(v)))) {
                        j->empty++;
                        return 0;
                }
        if (!j->dedupe)
                return 1;
        r = first_seen(j, o);
        j->doubles += r == 0;
        return r;
}

static void measure(struct job *j, const json_t *record)
{
        for (size_t i = 0; i < j->normalise_count; i++) {
                struct statistics *s = &j->normalise[i];
                const json_t *v = json_object_get(record, s->field);
                double x = json_number_value(v), delta;

                if (!json_is_number(v))
                        continue;
                s->least = !s->count || x < s->least ? x : s->least;
                s->most = !s->count || x > s->most ? x : s->most;
                delta = x - s->mean; /* Welford */
                s->mean += delta / (double)++s->count;
                s->sum2 += delta * (x - s->mean);
        }
}

static void normalise(const struct job *j, json_t *record)
{
        for (size_t i = 0; i < j->normalise_count; i++) {
                const struct statistics *s = &j->normalise[i];
                const json_t *v = json_object_get(record, s->field);
                double x = json_number_value(v), deviation = s->count > 1 ? sqrt(s->sum2 / (double)s->count) : 0;

                if (!json_is_number(v))
                        continue;
                if (s->zscore)
                        x = deviation > 0 ? (x - s->mean) / deviation : 0;
                else
                        x = s->most > s->least ? (x - s->least) / (s->most - s->least) : 0;
                json_object_set_new(record, s->field, json_real(x));
        }
}

/* A member that is a list of strings, or an object of strings, or missing. */
static json_t *words(struct task *t, const char *name, bool list, int *r)
{
        json_t *o = json_object_get(t->payload, name), *v;
        const char *key;
        bool good = list ? json_is_array(o) : json_is_object(o);
        size_t i;

        if (!o || json_is_null(o))
                return NULL;
        json_array_foreach (o, i, v)
                good &= json_is_string(v);
        json_object_foreach (o, key, v)
                good &= json_is_string(v);
        if (!good && *r >= 0)
                *r = task_fail(t, -EINVAL, "%s is no %s", name, list ? "list of names" : "object of strings");
        return good ? o : NULL;
}

static int read_options(struct job *j)
{
        static const char *const casts[] = {"int", "float", "string", "bool"};
        struct task *t = j->t;
        json_t *o, *v;
        const char *key;
        int r = 0;

        j->rename = words(t, "rename", false, &r);
        j->select = words(t, "select", true, &r);
        j->cast = words(t, "cast", false, &r);
        j->drop_empty = words(t, "drop_empty", true, &r);
        v = json_object_get(t->payload, "dedupe");
        j->dedupe = json_is_true(v) || json_is_array(v);
        j->dedupe_by = json_is_array(v) ? words(t, "dedupe", true, &r) : NULL;
        json_object_foreach (j->cast, key, v) {
                size_t i = 0;

                while (i < ARRAY_SIZE(casts) && strcmp(casts[i], json_string_value(v)) != 0)
                        i++;
                if (i == ARRAY_SIZE(casts))
                        return task_fail(t, -EINVAL, "cast.%.60s is none of int, float, string, bool", key);
        }
        o = words(t, "normalise", false, &r);
        json_object_foreach (o, key, v) {
                if (j->normalise_count == NORMALISED || (strcmp(json_string_value(v), "minmax") && strcmp(json_string_value(v), "zscore")))
                        return task_fail(t, -EINVAL, "normalise.%.60s is neither minmax nor zscore, or there are more than %d", key, NORMALISED);
                j->normalise[j->normalise_count++] = (struct statistics){.field = key, .zscore = !strcmp(json_string_value(v), "zscore")};
        }
        return r;
}

struct split {
        const char *name;
        double upto;
        struct record_writer w;
};

static int open_outputs(struct job *j, struct split *s, size_t *ret_count)
{
        const json_t *o = json_object_get(j->t->payload, "split");
        const char *key, *output;
        json_t *v;
        double sum = 0;
        char file[300];
        int r = 0;

        output = task_string(j->t, j->t->payload, "output", "output.jsonl", &r);
        if (r < 0)
                return r;
        if (!json_is_object(o)) {
                s[0] = (struct split){.name = "output", .upto = 2};
                *ret_count = 1;
                return data_writer(j->t, output, &s[0].w);
        }
        json_object_foreach ((json_t *)o, key, v) {
                const char *dot = strrchr(output, '.');

                if (*ret_count == SPLITS || !json_is_number(v) || !(json_number_value(v) > 0) || strchr(key, '/') || !key[0] || strlen(key) > 60)
                        return task_fail(j->t, -EINVAL, "split is no object of up to %d names with shares above 0", SPLITS);
                sum += json_number_value(v);
                snprintf(file, sizeof file, "%s%s", key, dot ? dot : ".jsonl");
                s[*ret_count] = (struct split){.name = key, .upto = sum};
                r = data_writer(j->t, file, &s[(*ret_count)++].w);
                if (r < 0)
                        return r;
        }
        if (!*ret_count || sum > 1.000001)
                return task_fail(j->t, -EINVAL, "the shares of split add up to %g", sum);
        if (sum > 0.999999)
                s[*ret_count - 1].upto = 2;
        return 0;
}

/* Where it goes depends on the seed and on what it says, not on where it stands. */
static int put(struct split *s, size_t count, uint64_t seed, const json_t *record)
{
        char *text scoped_free = json_dumps(record, JSON_COMPACT | JSON_SORT_KEYS);
        uint64_t state;
        double x;

        if (!text)
                return -ENOMEM;
        state = data_hash(text, strlen(text)).a ^ seed * UINT64_C(0x9e3779b97f4a7c15);
        x = data_share(&state);
        for (size_t i = 0; i < count; i++)
                if (x < s[i].upto)
                        return record_write(&s[i].w, record);
        return 0;
}

static int pass(struct job *j, struct data_input *in, struct split *s, size_t splits, uint64_t seed)
{
        json_t *record = NULL;
        int r;

        j->read = j->empty = j->doubles = j->uncast = 0;
        free(j->seen);
        j->seen = NULL;
        j->seen_size = j->seen_count = 0;
        while ((r = data_next(in, &record)) > 0) {
                r = step(j, &record);
                if (r > 0 && !s) {
                        measure(j, record);
                } else if (r > 0) {
                        normalise(j, record);
                        r = put(s, splits, seed, record);
                }
                json_decref(record);
                if (r < 0)
                        return r;
        }
        return r;
}

int preprocess_run(struct task *t)
{
        struct job *j scoped_free = calloc(1, sizeof *j);
        struct split s[SPLITS] = {0};
        json_t *outputs = json_object();
        struct data_input in;
        size_t splits = 0;
        uint64_t seed, kept = 0;
        int r, n;

        if (!j)
                return -ENOMEM;
        j->t = t;
        r = read_options(j);
        seed = (uint64_t)task_number(t, t->payload, "seed", 0, 9e15, 0, &r);
        n = data_open(&in, t);
        r = r < 0 ? r : n;
        if (r >= 0 && j->normalise_count) {
                t->total_bytes *= 2;
                r = pass(j, &in, NULL, 0, 0);
                data_rewind(&in);
        }
        r = r < 0 ? r : open_outputs(j, s, &splits);
        r = r < 0 ? r : pass(j, &in, s, splits, seed);
        for (size_t i = 0; i < splits; i++) {
                kept += s[i].w.records;
                json_object_set_new(outputs, s[i].name, json_integer((json_int_t)s[i].w.records));
                n = record_finish(&s[i].w);
                r = r < 0 ? r : n;
        }
        json_object_update_new(t->report, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:O}", "read", (json_int_t)j->read, "kept", (json_int_t)kept, "empty",
                                                    (json_int_t)j->empty, "doubles", (json_int_t)j->doubles, "uncast", (json_int_t)j->uncast, "malformed",
                                                    (json_int_t)in.malformed, "outputs", outputs, "faults", in.faults));
        free(j->seen);
        data_close(&in);
        return r < 0 ? r : 0;
}
