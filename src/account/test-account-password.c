/* test-account-password.c: first start, signing in and setting passwords, with the real work of hashing. */
#include "account/test-account.h"

#include "base/error.h"

static void hash(struct account_password_work *work)
{
        account_password_work(work);
        assert_int_equal(work->error, 0);
        for (size_t i = 0; i < sizeof(work->password); i++)
                assert_int_equal(work->password[i] | work->new_password[i], 0);
}

static void the_first_start_makes_an_admin_once(void **state)
{
        char token[ACCOUNT_KEY_TEXT], older[ACCOUNT_KEY_TEXT];
        struct account_password_work work, second;
        struct account_tokens tokens;
        struct account_caller caller;
        struct world w, later;
        uint64_t retry_ms;

        world_new(&w);
        world_new(&later);
        assert_true(accounts_fresh(w.accounts));
        assert_int_equal(account_setup_begin(w.accounts, &w.now, "", "root", PASSWORD, &work), -EACCES);
        assert_int_equal(account_setup_token(w.accounts, &w.now, older, sizeof(older)), 0);
        assert_int_equal(account_setup_token(w.accounts, &w.now, token, sizeof(token)), 0);
        assert_int_equal(account_setup_begin(w.accounts, &w.now, older, "root", PASSWORD, &work), -EACCES);
        assert_int_equal(account_setup_begin(w.accounts, &w.now, token, "Root!", PASSWORD, &work), -EINVAL);
        assert_int_equal(account_setup_begin(w.accounts, &w.now, token, "root", "short", &work), -EINVAL);
        assert_int_equal(account_setup_begin(w.accounts, &w.now, token, "root", "aaaaaaaaaaaaaaaa", &work), -EINVAL);
        assert_int_equal(account_setup_begin(w.accounts, &w.now, token, "root", PASSWORD, &work), 0);
        assert_int_equal(account_setup_begin(w.accounts, &w.now, token, "mallory", PASSWORD, &second), 0);
        hash(&work);
        assert_int_equal(strncmp(work.new_hash, "$argon2id$v=19$m=65536,t=2,p=1$", 31), 0);
        assert_int_equal(account_sign_in_end(w.accounts, &w.now, &work, &tokens, &w.changes), 0);
        assert_audited(&w.changes, "setup", "root");
        world_copy(&w.changes, later.accounts);
        assert_int_equal(tokens.caller.role, ROLE_ADMIN);
        assert_int_equal(world_identify(&w, tokens.access, &caller), 0);
        assert_true(account_may(&caller, RIGHT_ACCOUNT_CHANGE));
        assert_false(accounts_fresh(w.accounts));
        snprintf(second.new_hash, sizeof(second.new_hash), "%s", work.new_hash);
        assert_int_equal(account_sign_in_end(w.accounts, &w.now, &second, &tokens, &w.changes), -EALREADY);
        assert_int_equal(account_setup_begin(w.accounts, &w.now, token, "mallory", PASSWORD, &second), -EALREADY);
        assert_int_equal(account_setup_token(w.accounts, &w.now, token, sizeof(token)), -EALREADY);

        /* After a start: the same password, and no other. */
        assert_false(accounts_fresh(later.accounts));
        assert_int_equal(world_identify(&later, tokens.access, &caller), 0);
        assert_int_equal(account_sign_in_begin(later.accounts, &later.now, "root", PASSWORD, &work, &retry_ms), 0);
        hash(&work);
        assert_true(work.right);
        assert_int_equal(account_sign_in_end(later.accounts, &later.now, &work, &tokens, &later.changes), 0);
        assert_int_equal(account_sign_in_begin(later.accounts, &later.now, "root", PASSWORD " not", &work, &retry_ms), 0);
        hash(&work);
        assert_false(work.right);
        assert_int_equal(account_sign_in_end(later.accounts, &later.now, &work, &tokens, &later.changes), -EACCES);
        assert_audited(&later.changes, "sign_in", "root");
        world_free(&later);
        world_free(&w);
}

/* Same work, same answer, whichever part was wrong. */
static void unknown_names_look_like_wrong_passwords(void **state)
{
        static const char *const names[] = {"nobody", "disabled", "keyless", "", "no such name, with blanks"};
        struct account_spec spec = {.role = ROLE_USER, .disabled = true};
        struct account_password_work work;
        struct account_tokens tokens;
        char problem[256] = "";
        struct world w;
        struct id id;
        uint64_t retry_ms;

        world_new(&w);
        id = world_account(&w, "disabled", ROLE_USER);
        world_password(&w, &id);
        assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &id, &spec, &w.changes), 0);
        world_account(&w, "keyless", ROLE_USER);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                assert_int_equal(account_sign_in_begin(w.accounts, &w.now, names[i], PASSWORD, &work, &retry_ms), 0);
                assert_int_equal(strncmp(work.hash, "$argon2id$v=19$m=65536,t=2,p=1$", 31), 0);
                if (i == 0) {
                        hash(&work);
                        assert_false(work.right);
                }
                work.right = true; /* were it so, it would still be refused */
                assert_int_equal(account_sign_in_end(w.accounts, &w.now, &work, &tokens, &w.changes), -EACCES);
                if (i)
                        assert_string_equal(problem, accounts_problem(w.accounts));
                snprintf(problem, sizeof(problem), "%s", accounts_problem(w.accounts));
        }
        world_free(&w);
}

static void a_new_password_needs_the_old_one_and_ends_sessions(void **state)
{
        struct account_tokens tokens, other;
        struct account_password_work work;
        struct account_caller caller;
        struct id id, bob;
        struct world w;
        uint64_t retry_ms;

        world_new(&w);
        id = world_account(&w, "ann", ROLE_USER);
        world_password(&w, &id);
        bob = world_account(&w, "bob", ROLE_USER);
        assert_int_equal(world_sign_in(&w, "ann", true, &tokens), 0);
        assert_int_equal(world_sign_in(&w, "ann", true, &other), 0);
        assert_int_equal(world_identify(&w, tokens.access, &caller), 0);
        assert_int_equal(account_password_begin(w.accounts, &w.now, &caller, &bob, NULL, PASSWORD, &work, &retry_ms), -EPERM);
        assert_int_equal(account_password_begin(w.accounts, &w.now, &caller, &id, NULL, PASSWORD, &work, &retry_ms), -EINVAL);
        assert_int_equal(account_password_begin(w.accounts, &w.now, &caller, &id, "not it", PASSWORD, &work, &retry_ms), 0);
        hash(&work);
        assert_string_equal(work.new_hash, "");
        assert_int_equal(account_password_end(w.accounts, &w.now, &caller, &work, &w.changes), -EACCES);
        assert_int_equal(account_password_begin(w.accounts, &w.now, &caller, &id, PASSWORD, "another sentence", &work, &retry_ms), 0);
        work.right = true;
        snprintf(work.new_hash, sizeof(work.new_hash), "%s", "$argon2id$v=19$m=65536,t=2,p=1$x$y");
        assert_int_equal(account_password_end(w.accounts, &w.now, &caller, &work, &w.changes), 0);
        assert_audited(&w.changes, "account.password", "ann");
        assert_null(strstr(w.changes.changes[1].row.spec, "argon2"));
        assert_int_equal(world_identify(&w, tokens.access, &caller), -EACCES);
        assert_int_equal(account_refresh(w.accounts, &w.now, other.refresh, &tokens, &w.changes), -EACCES);
        world_free(&w);
}

/* The other thread's result is for what was asked; what changed meanwhile is not overrun by it. */
static void what_changed_meanwhile_wins(void **state)
{
        struct account_spec spec = {.role = ROLE_USER, .disabled = true};
        struct account_password_work work, change;
        struct account_tokens tokens;
        struct world w;
        struct id id;
        uint64_t retry_ms;

        world_new(&w);
        id = world_account(&w, "ann", ROLE_USER);
        world_password(&w, &id);
        assert_int_equal(account_sign_in_begin(w.accounts, &w.now, "ann", PASSWORD, &work, &retry_ms), 0);
        assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &id, &spec, &w.changes), 0);
        work.right = true;
        assert_int_equal(account_sign_in_end(w.accounts, &w.now, &work, &tokens, &w.changes), -EACCES);

        /* The right password of before is not that of now. */
        spec.disabled = false;
        assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &id, &spec, &w.changes), 0);
        assert_int_equal(account_sign_in_begin(w.accounts, &w.now, "ann", PASSWORD, &work, &retry_ms), 0);
        work.right = true;
        assert_int_equal(account_password_begin(w.accounts, &w.now, &account_pool_itself, &id, NULL, "another sentence", &change, &retry_ms), 0);
        snprintf(change.new_hash, sizeof(change.new_hash), "%s", "$argon2id$v=19$m=65536,t=2,p=1$x$y");
        assert_int_equal(account_password_end(w.accounts, &w.now, &account_pool_itself, &change, &w.changes), 0);
        assert_int_equal(account_sign_in_end(w.accounts, &w.now, &work, &tokens, &w.changes), -EACCES);
        world_free(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_first_start_makes_an_admin_once),
                cmocka_unit_test(unknown_names_look_like_wrong_passwords),
                cmocka_unit_test(a_new_password_needs_the_old_one_and_ends_sessions),
                cmocka_unit_test(what_changed_meanwhile_wins),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
