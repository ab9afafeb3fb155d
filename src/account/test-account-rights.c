/* test-account-rights.c: the table of rights, and every escalation: each role, with each right alone as a key's scope, tries all that gives rights, and gets no further
 * than what it has. The table itself is held against what docs/security.md tells operators.
 */
#include "account/test-account.h"

#define BIT(right) (UINT64_C(1) << (right))

static uint64_t of_role(enum account_role role)
{
        uint64_t bits = 0;

        for (int r = 0; r < RIGHTS; r++)
                bits |= account_role_has(role, r) ? BIT(r) : 0;
        return bits;
}

static void the_table_is_as_promised(void **state)
{
        static const enum account_right changes[] = {RIGHT_TASK_SUBMIT,   RIGHT_TASK_CHANGE, RIGHT_TASK_CHANGE_ALL, RIGHT_WORKER_CHANGE, RIGHT_WORKER_JOIN,
                                                     RIGHT_EVENTS_PUSH,   RIGHT_ARTIFACT,    RIGHT_ACCOUNT_CHANGE,  RIGHT_BACKUP};
        enum account_role role;
        enum account_right right;

        assert_int_equal(of_role(ROLE_NONE), BIT(RIGHT_NONE));
        assert_int_equal(of_role(ROLE_ADMIN), BIT(RIGHTS) - 1);
        assert_int_equal(of_role(ROLE_OPERATOR) & ~of_role(ROLE_ADMIN), 0);
        assert_int_equal(of_role(ROLE_USER) & ~of_role(ROLE_OPERATOR), 0);
        assert_int_equal(of_role(ROLE_WORKER), BIT(RIGHT_NONE) | BIT(RIGHT_SELF) | BIT(RIGHT_WORKER_JOIN) | BIT(RIGHT_ARTIFACT));
        for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
                assert_false(account_role_has(ROLE_AUDITOR, changes[i]));
        for (int r = 0; r < RIGHTS; r++) {
                assert_int_equal(account_right_parse(account_right_name(r), &right), 0);
                assert_int_equal(right, r);
                assert_true(*account_right_text(r));
        }
        for (int r = ROLE_USER; r < ROLES; r++) {
                assert_int_equal(account_role_parse(account_role_name(r), &role), 0);
                assert_int_equal(role, r);
        }
        assert_int_equal(account_role_parse("none", &role), -EINVAL);
        assert_int_equal(account_role_parse("root", &role), -EINVAL);
        assert_int_equal(account_right_parse("everything", &right), -EINVAL);
        assert_false(account_role_has(ROLES, RIGHT_NONE) || account_role_has(ROLE_ADMIN, RIGHTS));
}

struct escalation {
        struct world w;
        struct id ids[ROLES]; /* an account of each role */
        struct id self;
        struct account_caller by;
        uint64_t has;
};

/* Every way there is to give rights; what comes out must not exceed what the caller has. */
static void try_all(struct escalation *e)
{
        bool changes = e->has & BIT(RIGHT_ACCOUNT_CHANGE), keys = e->has & BIT(RIGHT_KEY_OWN);
        struct account_password_work work;
        char text[ACCOUNT_KEY_TEXT];
        struct account_caller got;
        struct id id;
        uint64_t retry_ms;
        int r;

        for (int role = ROLE_USER; role < ROLES; role++) {
                struct account_spec spec = {.role = (enum account_role)role};
                bool covers = !(of_role(role) & ~e->has);
                static unsigned int number;

                snprintf(spec.name, sizeof(spec.name), "made%u", number++);
                r = account_create(e->w.accounts, &e->w.now, &e->by, &spec, &id, &e->w.changes);
                assert_int_equal(r, changes && covers ? 0 : -EPERM);
                /* Its own account, and one of each role, to that role. */
                spec.name[0] = '\0';
                r = account_change(e->w.accounts, &e->w.now, &e->by, &e->self, &spec, &e->w.changes);
                assert_int_equal(r, changes && covers ? 0 : -EPERM);
                if (!r && spec.role != e->by.role) {
                        /* Who was identified before that is not believed to have the old role. */
                        assert_int_equal(account_key_end(e->w.accounts, &e->w.now, &e->by, &e->by.key, &e->w.changes), -EACCES);
                        spec.role = e->by.role;
                        assert_int_equal(account_change(e->w.accounts, &e->w.now, &account_pool_itself, &e->self, &spec, &e->w.changes), 0);
                        spec.role = (enum account_role)role;
                }
                r = account_change(e->w.accounts, &e->w.now, &e->by, &e->ids[role], &spec, &e->w.changes);
                assert_int_equal(r, changes && covers ? 0 : -EPERM);
                r = account_password_begin(e->w.accounts, &e->w.now, &e->by, &e->ids[role], NULL, PASSWORD, &work, &retry_ms);
                assert_int_equal(r, changes && covers ? 0 : -EPERM);
                if (!r)
                        assert_int_equal(account_password_end(e->w.accounts, &e->w.now, &e->by, &work, &e->w.changes), 0);
                for (int right = -1; right < RIGHTS; right++) {
                        struct account_key_spec key = {.scopes = right < 0 ? 0 : BIT(right)};
                        uint64_t wanted = of_role(role) & (right < 0 ? UINT64_MAX : BIT(right));

                        r = account_key_create(e->w.accounts, &e->w.now, &e->by, &e->ids[role], &key, text, sizeof(text), &id, &e->w.changes);
                        assert_int_equal(r, changes && !(wanted & ~e->has) ? 0 : -EPERM);
                        if (!r)
                                assert_int_equal(account_key_end(e->w.accounts, &e->w.now, &account_pool_itself, &id, &e->w.changes), 0);
                }
        }
        for (int right = -1; right < RIGHTS; right++) {
                struct account_key_spec key = {.scopes = right < 0 ? 0 : BIT(right)};
                uint64_t mine = of_role(e->by.role) & (right < 0 ? UINT64_MAX : BIT(right));

                world_pass(&e->w, 60000); /* refills what the audit log takes */
                r = account_key_create(e->w.accounts, &e->w.now, &e->by, &e->self, &key, text, sizeof(text), &id, &e->w.changes);
                assert_int_equal(r, keys && !(mine & ~e->has) ? 0 : -EPERM);
                if (r) {
                        assert_audited(&e->w.changes, "key.create", "\"outcome\":-1");
                        continue;
                }
                assert_int_equal(world_identify(&e->w, text, &got), 0);
                for (int other = 0; other < RIGHTS; other++)
                        assert_false(account_may(&got, other) && !account_may(&e->by, other));
                assert_int_equal(account_key_end(e->w.accounts, &e->w.now, &account_pool_itself, &id, &e->w.changes), 0);
        }
}

static void nobody_gives_more_than_it_has(void **state)
{
        for (int role = ROLE_USER; role < ROLES; role++)
                for (int scope = -1; scope < RIGHTS; scope++) {
                        struct escalation e = {0};
                        char text[ACCOUNT_KEY_TEXT];

                        world_new(&e.w);
                        for (int r = ROLE_USER; r < ROLES; r++)
                                e.ids[r] = world_account(&e.w, account_role_name(r), r);
                        world_password(&e.w, &e.ids[ROLE_ADMIN]); /* so that others may step down */
                        e.self = world_account(&e.w, "self", role);
                        world_key(&e.w, &e.self, scope < 0 ? 0 : BIT(scope), text);
                        assert_int_equal(world_identify(&e.w, text, &e.by), 0);
                        assert_int_equal(e.by.role, role);
                        for (int r = 0; r < RIGHTS; r++) {
                                assert_int_equal(account_may(&e.by, r),
                                                 account_role_has(role, r) && (scope < 0 || scope == r || r == RIGHT_NONE || r == RIGHT_SELF));
                                e.has |= account_may(&e.by, r) ? BIT(r) : 0;
                        }
                        try_all(&e);
                        world_free(&e.w);
                }
}

static void nobody_may_nothing_but_what_is_open(void **state)
{
        const struct account_caller nobody = {0}, forged = {.role = ROLE_ADMIN, .scopes = UINT64_MAX, .account.bytes = {1}};
        struct account_spec spec = {.name = "mallory", .role = ROLE_ADMIN};
        struct world w;
        struct id id;

        world_new(&w);
        for (int r = 0; r < RIGHTS; r++)
                assert_int_equal(account_may(&nobody, r), r == RIGHT_NONE);
        assert_false(account_any_right(&nobody));
        assert_int_equal(account_create(w.accounts, &w.now, &nobody, &spec, &id, &w.changes), -EACCES);
        /* A caller that the books do not know (any more) can do nothing, whatever it says of itself. */
        assert_int_equal(account_create(w.accounts, &w.now, &forged, &spec, &id, &w.changes), -EACCES);
        world_free(&w);
}

static void an_admin_who_can_get_in_is_always_left(void **state)
{
        struct account_spec demoted = {.role = ROLE_USER}, disabled = {.role = ROLE_ADMIN, .disabled = true};
        char text[ACCOUNT_KEY_TEXT];
        struct id ann, bob, key;
        struct world w;

        world_new(&w);
        ann = world_account(&w, "ann", ROLE_ADMIN);
        bob = world_account(&w, "bob", ROLE_ADMIN);
        assert_true(accounts_fresh(w.accounts)); /* neither can get in yet */
        world_password(&w, &ann);
        assert_false(accounts_fresh(w.accounts));
        assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &ann, &demoted, &w.changes), -EBUSY);
        assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &ann, &disabled, &w.changes), -EBUSY);
        assert_audited(&w.changes, "account.change", "ann");
        /* A key that can do one thing, or ends, lets nobody in for good; a whole one does. */
        world_key(&w, &bob, BIT(RIGHT_METRICS), text);
        assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &ann, &disabled, &w.changes), -EBUSY);
        key = world_key(&w, &bob, 0, text);
        assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &ann, &disabled, &w.changes), 0);
        assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &bob, &demoted, &w.changes), -EBUSY);
        /* A stolen key goes all the same; then the next start offers its one-time token again. */
        assert_int_equal(account_key_end(w.accounts, &w.now, &account_pool_itself, &key, &w.changes), 0);
        assert_true(accounts_fresh(w.accounts));
        world_free(&w);
}

static void names_are_unique_and_well_formed(void **state)
{
        static const char *const names[] = {"", "Ann", "a b", "a/b", "ä", "a\n", "(setup)", "ann"};
        struct account_view view;
        struct world w;
        struct id id;

        world_new(&w);
        world_account(&w, "ann", ROLE_USER);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                struct account_spec spec = {.role = ROLE_USER};

                snprintf(spec.name, sizeof(spec.name), "%s", names[i]);
                assert_int_equal(account_create(w.accounts, &w.now, &account_pool_itself, &spec, &id, &w.changes),
                                 i == ARRAY_SIZE(names) - 1 ? -EEXIST : -EINVAL);
                assert_true(*accounts_problem(w.accounts));
                assert_int_equal(w.changes.count, 0);
        }
        {
                struct account_spec spec = {.role = ROLE_USER};

                memset(spec.name, 'a', sizeof(spec.name)); /* without an end */
                assert_int_equal(account_create(w.accounts, &w.now, &account_pool_itself, &spec, &id, &w.changes), -EINVAL);
                spec.name[63] = '\0';
                assert_int_equal(account_create(w.accounts, &w.now, &account_pool_itself, &spec, &id, &w.changes), 0);
                spec.role = ROLES;
                assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &id, &spec, &w.changes), -EINVAL);
                spec.role = ROLE_USER;
                spec.name[0] = 'b';
                assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &id, &spec, &w.changes), -EINVAL);
                spec.name[0] = '\0';
                spec.limits.max_tasks = UINT64_MAX;
                assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &id, &spec, &w.changes), -EINVAL);
        }
        assert_int_equal(account_find(w.accounts, "ann", &view), 0);
        assert_string_equal(view.spec.name, "ann");
        assert_int_equal(account_find(w.accounts, "bob", &view), -ENOENT);
        world_free(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_table_is_as_promised),
                cmocka_unit_test(nobody_gives_more_than_it_has),
                cmocka_unit_test(nobody_may_nothing_but_what_is_open),
                cmocka_unit_test(an_admin_who_can_get_in_is_always_left),
                cmocka_unit_test(names_are_unique_and_well_formed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
