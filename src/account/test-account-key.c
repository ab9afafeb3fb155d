/* test-account-key.c: API keys: made, accepted, mistyped, ended, expired, limited; and never more than who made them. */
#include "account/test-account.h"

static void a_key_is_its_account(void **state)
{
        struct account_caller caller;
        char text[ACCOUNT_KEY_TEXT];
        struct id id, key;
        struct world w;

        world_new(&w);
        id = world_account(&w, "ann", ROLE_USER);
        key = world_key(&w, &id, 0, text);
        assert_int_equal(strlen(text), 55);
        assert_int_equal(strncmp(text, "berth_", 6), 0);
        assert_audited(&w.changes, "key.create", "ann");
        assert_null(strstr(w.changes.changes[0].row.spec, text + 6));
        assert_int_equal(world_identify(&w, text, &caller), 0);
        assert_true(id_equal(&caller.account, &id));
        assert_true(id_equal(&caller.key, &key));
        assert_string_equal(caller.name, "ann");
        assert_int_equal(caller.role, ROLE_USER);
        assert_true(account_may(&caller, RIGHT_TASK_SUBMIT));
        assert_false(account_may(&caller, RIGHT_TASK_READ_ALL));
        assert_int_equal(account_identify(w.accounts, &w.now, "bearer ", 7, &caller), -EINVAL);
        world_free(&w);
}

static void typos_are_told_apart_and_nothing_else_is_accepted(void **state)
{
        static const char *const malformed[] = {"", "berth_", "berth_short", "berth_0000000000000000000000000000000000000000000000000",
                                                "berth_000000000000000000000000000000000000000000000000000000", "Berth_1", "x"};
        char text[ACCOUNT_KEY_TEXT], other[ACCOUNT_KEY_TEXT], wrong[ACCOUNT_KEY_TEXT + 1];
        struct account_caller caller;
        struct world w, foreign;
        struct id id;

        world_new(&w);
        world_new(&foreign);
        id = world_account(&w, "ann", ROLE_USER);
        world_key(&w, &id, 0, text);
        for (size_t i = 0; i < ARRAY_SIZE(malformed); i++)
                assert_int_equal(world_identify(&w, malformed[i], &caller), -EINVAL);
        for (size_t i = 6; i < strlen(text); i++) {
                memcpy(wrong, text, sizeof(text));
                wrong[i] = wrong[i] == 'x' ? 'y' : 'x';
                assert_int_equal(world_identify(&w, wrong, &caller), -EINVAL);
                assert_non_null(strstr(accounts_problem(w.accounts), "mistyped"));
                assert_null(strstr(accounts_problem(w.accounts), text + 6));
        }
        snprintf(wrong, sizeof(wrong), "%sx", text);
        assert_int_equal(world_identify(&w, wrong, &caller), -EINVAL);
        /* Well-formed, of another pool: same secrets, but other chance. */
        foreign.random[0] = 1;
        id = world_account(&foreign, "ann", ROLE_ADMIN);
        world_key(&foreign, &id, 0, other);
        assert_int_equal(world_identify(&w, other, &caller), -EACCES);
        assert_int_equal(world_identify(&w, text, &caller), 0);
        world_free(&foreign);
        world_free(&w);
}

static void an_end_holds_at_once(void **state)
{
        struct account_spec spec = {.role = ROLE_USER};
        struct account_caller caller, open;
        char text[ACCOUNT_KEY_TEXT];
        struct id id, key;
        struct world w;

        world_new(&w);
        id = world_account(&w, "ann", ROLE_USER);
        key = world_key(&w, &id, 0, text);
        assert_int_equal(world_identify(&w, text, &open), 0);
        assert_true(account_still(w.accounts, &w.now, &open));
        spec.disabled = true;
        assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &id, &spec, &w.changes), 0);
        assert_audited(&w.changes, "account.disable", "ann");
        assert_int_equal(world_identify(&w, text, &caller), -EACCES);
        assert_false(account_still(w.accounts, &w.now, &open));
        spec.disabled = false;
        assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &id, &spec, &w.changes), 0);
        assert_int_equal(world_identify(&w, text, &caller), 0);
        assert_int_equal(account_key_end(w.accounts, &w.now, &caller, &key, &w.changes), 0);
        assert_int_equal(world_identify(&w, text, &caller), -EACCES);
        /* Whose key has ended can do nothing with what was identified before. */
        assert_int_equal(account_key_end(w.accounts, &w.now, &caller, &key, &w.changes), -EACCES);
        world_free(&w);
}

static void expiry_goes_by_a_clock_that_never_goes_back(void **state)
{
        struct account_key_spec spec = {.expires_ms = START_MS + 1000};
        struct account_caller caller;
        char text[ACCOUNT_KEY_TEXT];
        struct id id, key;
        struct world w;

        world_new(&w);
        id = world_account(&w, "ann", ROLE_USER);
        assert_int_equal(account_key_create(w.accounts, &w.now, &account_pool_itself, &id, &spec, text, sizeof(text), &key, &w.changes), 0);
        world_pass(&w, 999);
        assert_int_equal(world_identify(&w, text, &caller), 0);
        world_pass(&w, 1);
        assert_int_equal(world_identify(&w, text, &caller), -EACCES);
        w.now.unix_ms = START_MS - 3600000;
        assert_int_equal(world_identify(&w, text, &caller), -EACCES);
        assert_int_equal(account_key_create(w.accounts, &w.now, &account_pool_itself, &id, &spec, text, sizeof(text), &key, &w.changes), -EINVAL);
        /* The clock stays back, and time goes on all the same. */
        spec.expires_ms = START_MS + 2000;
        assert_int_equal(account_key_create(w.accounts, &w.now, &account_pool_itself, &id, &spec, text, sizeof(text), &key, &w.changes), 0);
        assert_int_equal(world_identify(&w, text, &caller), 0);
        w.now.monotonic_ms += 1000;
        assert_int_equal(world_identify(&w, text, &caller), -EACCES);
        world_free(&w);
}

static void a_key_makes_none_that_is_wider(void **state)
{
        struct account_key_spec spec = {.scopes = 1u << RIGHT_KEY_OWN | 1u << RIGHT_TASK_READ, .expires_ms = START_MS + 10000, .limits.max_tasks = 5}, more;
        char text[ACCOUNT_KEY_TEXT], made[ACCOUNT_KEY_TEXT];
        struct account_caller caller, child;
        struct id id, key;
        struct world w;

        world_new(&w);
        id = world_account(&w, "ann", ROLE_USER);
        assert_int_equal(account_key_create(w.accounts, &w.now, &account_pool_itself, &id, &spec, text, sizeof(text), &key, &w.changes), 0);
        assert_int_equal(world_identify(&w, text, &caller), 0);
        assert_int_equal(caller.limits.max_tasks, 5);
        assert_false(account_may(&caller, RIGHT_TASK_SUBMIT));
        assert_int_equal(account_key_create(w.accounts, &w.now, &caller, &id, &spec, made, sizeof(made), &key, &w.changes), 0);
        assert_int_equal(world_identify(&w, made, &child), 0);
        assert_int_equal(child.scopes, caller.scopes);
        more = spec;
        more.scopes = 0;
        assert_int_equal(account_key_create(w.accounts, &w.now, &caller, &id, &more, made, sizeof(made), &key, &w.changes), -EPERM);
        assert_audited(&w.changes, "key.create", "ann");
        more.scopes = spec.scopes | 1u << RIGHT_TASK_SUBMIT;
        assert_int_equal(account_key_create(w.accounts, &w.now, &caller, &id, &more, made, sizeof(made), &key, &w.changes), -EPERM);
        more = spec;
        more.expires_ms = 0;
        assert_int_equal(account_key_create(w.accounts, &w.now, &caller, &id, &more, made, sizeof(made), &key, &w.changes), -EPERM);
        more.expires_ms = spec.expires_ms + 1;
        assert_int_equal(account_key_create(w.accounts, &w.now, &caller, &id, &more, made, sizeof(made), &key, &w.changes), -EPERM);
        more = spec;
        more.limits.max_tasks = 0;
        assert_int_equal(account_key_create(w.accounts, &w.now, &caller, &id, &more, made, sizeof(made), &key, &w.changes), -EPERM);
        more.limits.max_tasks = 6;
        assert_int_equal(account_key_create(w.accounts, &w.now, &caller, &id, &more, made, sizeof(made), &key, &w.changes), -EPERM);
        world_free(&w);
}

static void keys_survive_a_start(void **state)
{
        char text[ACCOUNT_KEY_TEXT], limited[ACCOUNT_KEY_TEXT];
        struct account_caller caller;
        struct account_view view;
        struct world w, later;
        struct id id, key;

        world_new(&w);
        world_new(&later);
        id = world_account(&w, "ann", ROLE_OPERATOR);
        /* Keys first: rows come in any order. */
        key = world_key(&w, &id, 0, text);
        world_copy(&w.changes, later.accounts);
        world_key(&w, &id, 1u << RIGHT_METRICS, limited);
        world_copy(&w.changes, later.accounts);
        assert_int_equal(world_identify(&later, text, &caller), -EACCES);
        assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &id, &(struct account_spec){.role = ROLE_OPERATOR, .weight = 7}, &w.changes), 0);
        world_copy(&w.changes, later.accounts);
        assert_int_equal(world_identify(&later, text, &caller), 0);
        assert_int_equal(caller.weight, 7);
        assert_true(account_may(&caller, RIGHT_TASK_SUBMIT));
        assert_int_equal(world_identify(&later, limited, &caller), 0);
        assert_true(account_may(&caller, RIGHT_METRICS));
        assert_false(account_may(&caller, RIGHT_TASK_SUBMIT));
        assert_int_equal(account_key_end(w.accounts, &w.now, &account_pool_itself, &key, &w.changes), 0);
        world_copy(&w.changes, later.accounts);
        assert_int_equal(world_identify(&later, text, &caller), -EACCES);
        assert_int_equal(account_key_get(later.accounts, &key, &view), 0);
        assert_true(view.ended);
        world_free(&later);
        world_free(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_key_is_its_account),
                cmocka_unit_test(typos_are_told_apart_and_nothing_else_is_accepted),
                cmocka_unit_test(an_end_holds_at_once),
                cmocka_unit_test(expiry_goes_by_a_clock_that_never_goes_back),
                cmocka_unit_test(a_key_makes_none_that_is_wider),
                cmocka_unit_test(keys_survive_a_start),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
