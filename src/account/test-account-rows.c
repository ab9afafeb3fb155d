/* test-account-rows.c: rows come back as they went; damaged ones are refused whole, and what was there before stays as it was. */
#include "account/test-account.h"

#include <jansson.h>

struct picture {
        char text[8192];
        size_t length;
};

static void draw(void *context, const struct account_view *v)
{
        struct picture *p = context;
        char id[ID_TEXT];

        p->length += (size_t)snprintf(p->text + p->length, sizeof(p->text) - p->length, "%s %s %d %d %u %d | %s %llx %lld %lld %d | %llu %llu %llu %llu %llu\n",
                                      id_text("x", &v->id, id), v->spec.name, v->spec.role, v->spec.disabled, v->spec.weight, v->has_password, v->key.label,
                                      (unsigned long long)v->key.scopes, (long long)v->key.expires_ms, (long long)v->created_ms, v->ended,
                                      (unsigned long long)v->spec.limits.requests_per_minute, (unsigned long long)v->spec.limits.max_leases,
                                      (unsigned long long)v->spec.limits.max_connections, (unsigned long long)v->key.limits.tasks_per_minute,
                                      (unsigned long long)v->key.limits.max_tasks);
        assert_true(p->length < sizeof(p->text));
}

static void picture_of(const struct accounts *accounts, struct picture *p)
{
        p->length = 0;
        p->text[0] = '\0';
        accounts_each(accounts, draw, p);
        account_keys_each(accounts, NULL, draw, p);
}

static void rows_come_back_as_they_went(void **state)
{
        struct account_spec spec = {.name = "ann", .role = ROLE_AUDITOR, .limits = {1, 2, 3, 4, 5}, .weight = 12};
        struct account_key_spec key_spec = {.label = "for \"metrics\"", .scopes = 1u << RIGHT_METRICS, .expires_ms = START_MS + 5, .limits = {6, 7, 8, 9, 10}};
        char text[ACCOUNT_KEY_TEXT];
        struct picture a, b;
        struct world w, later;
        struct id id, key;

        world_new(&w);
        world_new(&later);
        assert_int_equal(account_create(w.accounts, &w.now, &account_pool_itself, &spec, &id, &w.changes), 0);
        world_copy(&w.changes, later.accounts);
        assert_int_equal(account_key_create(w.accounts, &w.now, &account_pool_itself, &id, &key_spec, text, sizeof(text), &key, &w.changes), 0);
        world_copy(&w.changes, later.accounts);
        world_copy(&w.changes, later.accounts); /* twice is once */
        id = world_account(&w, "bob", ROLE_WORKER);
        world_copy(&w.changes, later.accounts);
        world_password(&w, &id);
        world_copy(&w.changes, later.accounts);
        picture_of(w.accounts, &a);
        picture_of(later.accounts, &b);
        assert_string_equal(a.text, b.text);
        assert_non_null(strstr(a.text, "for \"metrics\""));
        world_free(&later);
        world_free(&w);
}

/* Loads the row with one member of spec or status set to value, or without it. */
static int load_with(struct accounts *accounts, const struct store_row *good, bool in_spec, const char *name, json_t *value)
{
        json_t *json = json_loads(in_spec ? good->spec : good->status, 0, NULL);
        struct store_row row = *good;
        char *text;
        int r;

        if (value)
                json_object_set_new(json, name, value);
        else
                json_object_del(json, name);
        text = json_dumps(json, JSON_COMPACT);
        *(in_spec ? &row.spec : &row.status) = text;
        *(in_spec ? &row.spec_bytes : &row.status_bytes) = strlen(text);
        r = accounts_load(accounts, &row);
        if (r == -EBADMSG)
                assert_non_null(strstr(accounts_problem(accounts), "damaged"));
        free(text);
        json_decref(json);
        return r;
}

/* Each member of wrong type, out of bounds, and left out. */
static void each_member_damaged(const struct store_row *row, struct accounts *accounts)
{
        for (int in_spec = 0; in_spec < 2; in_spec++) {
                json_t *json = json_loads(in_spec ? row->spec : row->status, 0, NULL), *member;
                const char *name;

                json_object_foreach(json, name, member) {
                        bool optional = !strcmp(name, "scopes") || !strcmp(name, "before");

                        assert_int_equal(load_with(accounts, row, in_spec, name, json_null()), -EBADMSG);
                        assert_int_equal(load_with(accounts, row, in_spec, name, json_real(0.5)), -EBADMSG);
                        assert_int_equal(load_with(accounts, row, in_spec, name, json_pack("[n]")), -EBADMSG);
                        assert_int_equal(load_with(accounts, row, in_spec, name, json_integer(-1)), -EBADMSG);
                        assert_int_equal(load_with(accounts, row, in_spec, name, json_integer(INT64_MAX)), -EBADMSG);
                        if (!json_is_object(member))
                                assert_int_equal(load_with(accounts, row, in_spec, name, json_object()), -EBADMSG);
                        assert_int_equal(load_with(accounts, row, in_spec, name, json_string("\xc3\xa4\n")), -EBADMSG);
                        if (!optional)
                                assert_int_equal(load_with(accounts, row, in_spec, name, NULL), -EBADMSG);
                }
                json_decref(json);
        }
}

static void damaged_rows_change_nothing(void **state)
{
        static const char *const hashes[] = {"$argon2i$v=19$m=65536,t=2,p=1$a$b", "plain", "$argon2id$v=19$m=9999999,t=2,p=1$a$b", "$argon2id$v=19$m=65536,t=99,p=1$a$b",
                                             "$argon2id$v=19$m=65536,t=2,p=1$"};
        static const char *const texts[] = {"", "{", "[]", "null", "{\"name\":\"a\",\"name\":\"b\"}", "{}"};
        char text[ACCOUNT_KEY_TEXT];
        struct picture before, after;
        struct account_tokens tokens;
        struct account_caller caller;
        struct store_row row, rows[8];
        size_t count = 0;
        struct world w, later;
        struct id id, other;

        world_new(&w);
        world_new(&later);
        id = world_account(&w, "ann", ROLE_USER);
        world_copy(&w.changes, later.accounts);
        world_password(&w, &id);
        world_copy(&w.changes, later.accounts);
        each_member_damaged(&w.changes.changes[0].row, later.accounts);
        for (size_t i = 0; i < ARRAY_SIZE(hashes); i++)
                assert_int_equal(load_with(later.accounts, &w.changes.changes[0].row, false, "hash", json_string(hashes[i])), -EBADMSG);
        assert_int_equal(load_with(later.accounts, &w.changes.changes[0].row, false, "weight", json_integer(0)), -EBADMSG);
        assert_int_equal(load_with(later.accounts, &w.changes.changes[0].row, false, "role", json_string("none")), -EBADMSG);
        assert_int_equal(load_with(later.accounts, &w.changes.changes[0].row, true, "name", json_string("eve")), -EBADMSG);
        /* Another id under a name that is taken; an id whose name changes. */
        row = w.changes.changes[0].row;
        row.id.bytes[15] ^= 1;
        assert_int_equal(accounts_load(later.accounts, &row), -EBADMSG);
        row = w.changes.changes[0].row;
        row.text_key = NULL;
        assert_int_equal(load_with(later.accounts, &row, true, "name", json_string("eve")), -EBADMSG);
        row = w.changes.changes[0].row;
        memset(&row.id, 0, sizeof(row.id));
        assert_int_equal(accounts_load(later.accounts, &row), -EBADMSG);
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                row = w.changes.changes[0].row;
                row.spec = texts[i];
                row.spec_bytes = strlen(texts[i]);
                assert_int_equal(accounts_load(later.accounts, &row), -EBADMSG);
        }
        row.spec = NULL;
        assert_int_equal(accounts_load(later.accounts, &row), -EBADMSG);
        row = w.changes.changes[0].row;
        row.table = STORE_TASK;
        assert_int_equal(accounts_load(later.accounts, &row), -EBADMSG);
        row.table = STORE_SETTING;
        assert_int_equal(accounts_load(later.accounts, &row), 0);

        world_key(&w, &id, 1u << RIGHT_TASK_READ, text);
        world_copy(&w.changes, later.accounts);
        each_member_damaged(&w.changes.changes[0].row, later.accounts);
        rows[count++] = w.changes.changes[0].row;
        rows[0].text_key = "00";
        rows[1] = w.changes.changes[0].row;
        rows[1].text_key = NULL;
        rows[2] = w.changes.changes[0].row;
        rows[2].id.bytes[15] ^= 1; /* another id, the same hash */
        rows[3] = w.changes.changes[0].row;
        rows[3].account.bytes[15] ^= 1; /* somebody else's all at once */
        rows[4] = w.changes.changes[0].row;
        memset(&rows[4].account, 0, sizeof(rows[4].account));
        for (size_t i = 0; i < 5; i++)
                assert_int_equal(accounts_load(later.accounts, &rows[i]), -EBADMSG);
        /* A key's scopes with names that this version does not know: the known ones, never all. */
        world_key(&w, &id, 1u << RIGHT_TASK_READ, text);
        assert_int_equal(load_with(later.accounts, &w.changes.changes[0].row, true, "scopes", json_pack("[s]", "from.the.future")), 0);
        assert_int_equal(world_identify(&later, text, &caller), 0);
        for (int r = 0; r < RIGHTS; r++)
                assert_int_equal(account_may(&caller, r), r == RIGHT_NONE || r == RIGHT_SELF);

        assert_int_equal(world_sign_in(&w, "ann", true, &tokens), 0);
        world_copy(&w.changes, later.accounts);
        each_member_damaged(&w.changes.changes[0].row, later.accounts);
        row = w.changes.changes[0].row;
        row.account.bytes[15] ^= 1;
        assert_int_equal(accounts_load(later.accounts, &row), -EBADMSG);
        assert_int_equal(world_identify(&later, tokens.access, &caller), 0);

        /* After all that: what was loaded is there, and nothing else. */
        picture_of(later.accounts, &before);
        other = world_account(&w, "bob", ROLE_USER);
        each_member_damaged(&w.changes.changes[0].row, later.accounts);
        picture_of(later.accounts, &after);
        assert_string_equal(before.text, after.text);
        assert_null(strstr(after.text, "bob"));
        assert_false(id_is_none(&other));
        world_copy(&w.changes, later.accounts);
        picture_of(later.accounts, &after);
        assert_non_null(strstr(after.text, "bob"));
        world_free(&later);
        world_free(&w);
}

/* Keys and sessions of an account whose own row is missing let nobody in, and are told of nowhere. */
static void what_has_no_account_is_nobodys(void **state)
{
        struct account_tokens tokens;
        struct account_caller caller;
        char text[ACCOUNT_KEY_TEXT];
        struct account_view view;
        struct world w, later;
        struct picture p;
        struct id id, key;

        world_new(&w);
        world_new(&later);
        id = world_account(&w, "ann", ROLE_ADMIN);
        world_password(&w, &id);
        key = world_key(&w, &id, 0, text);
        world_copy(&w.changes, later.accounts);
        assert_int_equal(world_sign_in(&w, "ann", true, &tokens), 0);
        world_copy(&w.changes, later.accounts);
        assert_int_equal(world_identify(&later, text, &caller), -EACCES);
        assert_int_equal(world_identify(&later, tokens.access, &caller), -EACCES);
        assert_int_equal(account_get(later.accounts, &id, &view), -ENOENT);
        assert_int_equal(account_key_get(later.accounts, &key, &view), -ENOENT);
        assert_int_equal(account_key_end(later.accounts, &later.now, &account_pool_itself, &key, &later.changes), -ENOENT);
        assert_true(accounts_fresh(later.accounts));
        picture_of(later.accounts, &p);
        assert_string_equal(p.text, "");
        world_free(&later);
        world_free(&w);
}

/* Rows of before, loaded once more, bring nothing back that has ended. */
static void an_older_row_revives_nothing(void **state)
{
        struct account_spec spec = {.role = ROLE_USER, .disabled = true};
        struct account_tokens tokens;
        struct account_caller caller;
        char text[ACCOUNT_KEY_TEXT];
        struct store_row row;
        struct world w, later;
        struct id id, key;
        char *old_spec, *old_status;

        world_new(&w);
        world_new(&later);
        id = world_account(&w, "ann", ROLE_USER);
        world_password(&w, &id);
        row = w.changes.changes[0].row;
        row.spec = old_spec = strdup(row.spec);
        row.status = old_status = strdup(row.status);
        row.text_key = "ann";
        world_copy(&w.changes, later.accounts);
        assert_int_equal(world_sign_in(&w, "ann", true, &tokens), 0);
        world_copy(&w.changes, later.accounts);
        assert_int_equal(world_identify(&later, tokens.access, &caller), 0);
        assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &id, &spec, &w.changes), 0);
        world_copy(&w.changes, later.accounts);
        assert_int_equal(world_identify(&later, tokens.access, &caller), -EACCES);
        assert_int_equal(accounts_load(later.accounts, &row), 0);
        assert_int_equal(world_identify(&later, tokens.access, &caller), -EACCES);
        free(old_spec);
        free(old_status);

        id = world_account(&w, "bob", ROLE_USER);
        world_copy(&w.changes, later.accounts);
        key = world_key(&w, &id, 0, text);
        world_copy(&w.changes, later.accounts);
        assert_int_equal(account_key_end(later.accounts, &later.now, &account_pool_itself, &key, &later.changes), 0);
        world_copy(&w.changes, later.accounts);
        assert_int_equal(world_identify(&later, text, &caller), -EACCES);
        world_free(&later);
        world_free(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(rows_come_back_as_they_went),
                cmocka_unit_test(damaged_rows_change_nothing),
                cmocka_unit_test(what_has_no_account_is_nobodys),
                cmocka_unit_test(an_older_row_revives_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
