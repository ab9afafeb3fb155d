/* members.c: the vocabularies of workers; see members.h. Workers of one version say the same, so there are few, each kept once. */
#include "service/members.h"

#include "base/text.h"
#include "service/internal.h"
#include "service/pass.h"

#include <stdio.h>

#define MEMBERS 128    /* of a type */
#define VOCABULARIES 32 /* with more, nothing is judged: it would cost more than it brings */

struct vocabulary {
        UT_hash_handle by_text;
        char *text;      /* what it is found by */
        json_t *members; /* as told, for when only the types change; or NULL */
        json_t *types;   /* {type: [members] or null} */
        struct id account; /* of a worker that works for one account only; else none */
        uint32_t workers;
};

int members_check(const json_t *message, char reason[160])
{
        const json_t *members = json_object_get(message, "members"), *list, *one;
        const char *type;
        size_t i;
        bool good = !members || (json_is_object(members) && json_object_size(members) <= CORE_TYPES);

        json_object_foreach((json_t *)members, type, list) {
                good = good && json_is_array(list) && json_array_size(list) <= MEMBERS && strlen(type) < CORE_TEXT;
                json_array_foreach(list, i, one)
                        good = good && json_string_length(one) > 0 && json_string_length(one) < CORE_TEXT;
        }
        if (good)
                return 0;
        snprintf(reason, 160, "members: for each type at most %d names of at most %d bytes", MEMBERS, CORE_TEXT - 1);
        return -EINVAL;
}

void members_forget(struct service *s, struct worker *worker)
{
        struct vocabulary *v = worker->vocabulary;

        worker->vocabulary = NULL;
        if (!v || --v->workers)
                return;
        HASH_DELETE(by_text, s->vocabularies, v);
        json_decref(v->members);
        json_decref(v->types);
        free(v->text);
        free(v);
}

/* {type: [members] or null} */
static json_t *by_type(const json_t *types, const json_t *members)
{
        json_t *all = json_object(), *one;
        size_t i;

        json_array_foreach(types, i, one) {
                json_t *list = json_object_get(members, json_string_value(one));

                json_object_set_new(all, json_string_value(one), list ? json_incref(list) : json_null());
        }
        return all;
}

void members_told(struct service *s, struct worker *worker, const json_t *members)
{
        json_t *told = json_incref(members ? (json_t *)members : worker->vocabulary ? worker->vocabulary->members : NULL);
        json_t *types = by_type(json_object_get(worker->abilities, "types"), told);
        struct vocabulary *v = NULL;
        struct strbuf key = {0};

        if (worker->private_pool)
                put_id(&key, "account", &worker->account);
        if (put_json(&key, types) < 0 || key.failed)
                goto out; /* what it said before stands: no memory is no reason to refuse anybody */
        HASH_FIND(by_text, s->vocabularies, key.text, key.length, v);
        if (!v && (v = calloc(1, sizeof(*v)))) {
                v->text = key.text;
                v->members = json_incref(told);
                v->types = json_incref(types);
                v->account = worker->private_pool ? worker->account : (struct id){0};
                HASH_ADD_KEYPTR(by_text, s->vocabularies, v->text, key.length, v);
                key = (struct strbuf){0};
        }
        if (!v)
                goto out;
        v->workers++;
        members_forget(s, worker);
        worker->vocabulary = v;
out:
        strbuf_done(&key);
        json_decref(types);
        json_decref(told);
}

/* ---- a payload against them ---------------------------------------------------------------------------------------------------- */

struct review {
        const json_t *lists[VOCABULARIES]; /* of this type */
        size_t count;
        const char *type, *path;
        json_t *violations;
        bool wrong;
};

/* False: nothing is to be judged. */
static bool gather(const struct service *s, const struct id *account, struct review *r)
{
        if (HASH_CNT(by_text, s->vocabularies) > VOCABULARIES)
                return false;
        for (const struct vocabulary *v = s->vocabularies; v; v = v->by_text.next) {
                const json_t *list = json_object_get(v->types, r->type);

                if (!list || (!id_is_none(&v->account) && !id_equal(&v->account, account)))
                        continue;
                if (!json_is_array(list))
                        return false;
                r->lists[r->count++] = list;
        }
        return r->count != 0;
}

/* Whether somebody knows this one; object and name: "limits" and "wall", or NULL and "argv". A name with a dot in a payload is never ours. */
static bool is_known(const struct review *r, const char *object, size_t object_bytes, const char *name, size_t bytes)
{
        const json_t *one;
        size_t k;

        if (memchr(name, '.', bytes))
                return false;
        for (size_t i = 0; i < r->count; i++)
                json_array_foreach(r->lists[i], k, one) {
                        const char *known = json_string_value(one);
                        size_t n = json_string_length(one);

                        if (object) {
                                if (n <= object_bytes || memcmp(known, object, object_bytes) || known[object_bytes] != '.')
                                        continue;
                                known += object_bytes + 1;
                                n -= object_bytes + 1;
                        }
                        if (n == bytes && !memcmp(known, name, bytes))
                                return true;
                }
        return false;
}

/* Whether anybody tells what is inside of this one. */
static bool has_inside(const struct review *r, const char *object, size_t bytes)
{
        const json_t *one;
        size_t k;

        for (size_t i = 0; i < r->count; i++)
                json_array_foreach(r->lists[i], k, one)
                        if (json_string_length(one) > bytes && json_string_value(one)[bytes] == '.' && !memcmp(json_string_value(one), object, bytes))
                                return true;
        return false;
}

/* What is accepted there, of the first who tells: those of other versions have most of it, too. */
static void unknown(struct review *r, const char *object, const char *at, const char *name)
{
        char path[200], clean[80], list[190] = "";
        size_t k, n = 0, skip = object ? strlen(object) + 1 : 0;
        const json_t *one;

        text_copy_clean(clean, sizeof(clean), name);
        snprintf(path, sizeof(path), "%s%spayload.%s%s%s", r->path, r->path[0] ? "." : "", at, at[0] ? "." : "", clean);
        json_array_foreach(r->lists[0], k, one) {
                const char *known = json_string_value(one);

                if (object ? strncmp(known, object, skip - 1) || known[skip - 1] != '.' : strchr(known, '.') != NULL)
                        continue;
                if (n + strlen(known + skip) + 3 < sizeof(list))
                        n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "", known + skip);
        }
        violation_add(r->violations, path, "there is no such member; accepted: %s", list);
        r->wrong = true;
}

static void review_object(struct review *r, const char *object, const char *at, const json_t *value)
{
        const char *name;
        json_t *item;

        json_object_foreach((json_t *)value, name, item)
                if (!is_known(r, object, strlen(object), name, strlen(name)))
                        unknown(r, object, at, name);
}

static void review_inside(struct review *r, const char *object, const json_t *value)
{
        const json_t *item;
        char at[100];
        size_t i;

        review_object(r, object, object, value);
        json_array_foreach(value, i, item) {
                snprintf(at, sizeof(at), "%.64s[%zu]", object, i);
                review_object(r, object, at, item);
        }
}

/* Without a tree: names are looked at where they stand; only the few objects inside that somebody describes are parsed. */
static void review_text(struct review *r, const struct strbuf *text)
{
        struct text_span name, value;
        size_t at = 0;

        while (pass_member(text->text, text->length, &at, &name, &value) == 1) {
                char copy[CORE_TEXT * 2];

                snprintf(copy, sizeof(copy), "%.*s", (int)(name.bytes < sizeof(copy) ? name.bytes : sizeof(copy) - 1), name.text);
                if (!is_known(r, NULL, 0, name.text, name.bytes)) {
                        unknown(r, NULL, "", copy);
                } else if ((*value.text == '{' || *value.text == '[') && has_inside(r, name.text, name.bytes)) {
                        json_t *tree = json_loadb(value.text, value.bytes, 0, NULL);

                        review_inside(r, copy, tree);
                        json_decref(tree);
                }
        }
}

bool members_review(const struct service *s, const struct id *account, const char *type, const json_t *payload, const struct strbuf *text, const char *path, json_t *violations)
{
        struct review r = {.type = type, .path = path, .violations = violations};
        const char *name;
        json_t *value;

        if (!gather(s, account, &r))
                return true;
        if (payload ? !json_is_object(payload) : !text->length || text->text[0] != '{') {
                char at[64];

                snprintf(at, sizeof(at), "%.40s%spayload", path, path[0] ? "." : "");
                violation_add(violations, at, "an object is wanted here");
                return false;
        }
        if (!payload)
                review_text(&r, text);
        json_object_foreach((json_t *)payload, name, value)
                if (!is_known(&r, NULL, 0, name, strlen(name)))
                        unknown(&r, NULL, "", name);
                else if (has_inside(&r, name, strlen(name)))
                        review_inside(&r, name, value);
        return !r.wrong;
}
