/* test-account-session.c: refresh tokens: each once, a replay ends the family, a lost answer does not, and strangers can end nothing. */
#include "account/test-account.h"

static void sign_in(struct world *w, struct id *id, struct account_tokens *tokens)
{
        world_new(w);
        *id = world_account(w, "ann", ROLE_USER);
        world_password(w, id);
        assert_int_equal(world_sign_in(w, "ann", true, tokens), 0);
}

static int refresh(struct world *w, const struct account_tokens *with, struct account_tokens *tokens)
{
        char text[128];

        snprintf(text, sizeof(text), "%s", with->refresh);
        return account_refresh(w->accounts, &w->now, text, tokens, &w->changes);
}

static void each_gives_the_next(void **state)
{
        struct account_tokens tokens, before;
        struct account_caller caller;
        struct world w;
        struct id id;

        sign_in(&w, &id, &tokens);
        assert_null(strstr(w.changes.changes[0].row.status, tokens.refresh + 7));
        for (int i = 0; i < 100; i++) {
                before = tokens;
                world_pass(&w, 15 * 60 * 1000);
                assert_int_equal(refresh(&w, &before, &tokens), 0);
                assert_int_equal(w.changes.count, 1);
                assert_string_not_equal(before.refresh, tokens.refresh);
                assert_true(id_equal(&before.session, &tokens.session));
                assert_int_equal(world_identify(&w, tokens.access, &caller), 0);
        }
        world_pass(&w, INT64_C(30) * 24 * 3600 * 1000);
        assert_int_equal(refresh(&w, &tokens, &before), -EACCES);
        world_free(&w);
}

static void a_replay_ends_the_family(void **state)
{
        struct account_tokens first, second, third, thief, again;
        struct account_caller caller;
        struct account_counts counts;
        struct world w, later;
        struct id id;

        sign_in(&w, &id, &first);
        world_new(&later);
        assert_int_equal(refresh(&w, &first, &second), 0);
        world_pass(&w, 60000);
        assert_int_equal(refresh(&w, &second, &third), 0);
        world_pass(&w, 10001);
        assert_int_equal(refresh(&w, &second, &thief), -EACCES);
        assert_audited(&w.changes, "session.replay", "ann");
        assert_int_equal(w.changes.changes[0].row.table, STORE_SESSION);
        assert_int_equal(w.changes.changes[0].row.state, 1);
        assert_int_equal(world_identify(&w, third.access, &caller), -EACCES);
        assert_int_equal(refresh(&w, &third, &again), -EACCES);
        assert_int_equal(refresh(&w, &first, &again), -EACCES);
        accounts_counts(w.accounts, &counts);
        assert_int_equal(counts.replays, 1);
        assert_int_equal(counts.sessions, 0);
        world_free(&later);
        world_free(&w);
}

static void a_lost_answer_is_survived_once(void **state)
{
        struct account_tokens first, lost, second, third;
        struct world w;
        struct id id;

        sign_in(&w, &id, &first);
        assert_int_equal(refresh(&w, &first, &lost), 0);
        world_pass(&w, 10000);
        assert_int_equal(refresh(&w, &first, &second), 0);
        assert_string_not_equal(second.refresh, lost.refresh);
        world_pass(&w, 60000);
        assert_int_equal(refresh(&w, &second, &third), 0);
        world_free(&w);

        /* The third time is a replay, however soon. */
        sign_in(&w, &id, &first);
        assert_int_equal(refresh(&w, &first, &lost), 0);
        assert_int_equal(refresh(&w, &first, &second), 0);
        assert_int_equal(refresh(&w, &first, &third), -EACCES);
        assert_int_equal(refresh(&w, &second, &third), -EACCES);
        world_free(&w);

        /* What the repetition replaced is a replay, too: of two holders one is always noticed. */
        sign_in(&w, &id, &first);
        assert_int_equal(refresh(&w, &first, &lost), 0);
        assert_int_equal(refresh(&w, &first, &second), 0);
        assert_int_equal(refresh(&w, &lost, &third), -EACCES);
        assert_int_equal(refresh(&w, &second, &third), -EACCES);
        world_free(&w);

        /* From elsewhere it never is. */
        sign_in(&w, &id, &first);
        assert_int_equal(refresh(&w, &first, &lost), 0);
        w.now.address = "198.51.100.7";
        assert_int_equal(refresh(&w, &first, &second), -EACCES);
        world_free(&w);

        /* A clock set back does not widen the ten seconds. */
        sign_in(&w, &id, &first);
        assert_int_equal(refresh(&w, &first, &lost), 0);
        w.now.unix_ms -= 3600000;
        w.now.monotonic_ms += 10001;
        assert_int_equal(refresh(&w, &first, &second), -EACCES);
        world_free(&w);
}

static void made_up_tokens_end_nothing(void **state)
{
        static const char *const malformed[] = {"", "berthr_", "x", "berth_0000000000000000000000000000000000000000000000000"};
        struct account_tokens first, tokens;
        char text[160], huge[4096];
        struct world w;
        struct id id;

        sign_in(&w, &id, &first);
        for (size_t i = 0; i < ARRAY_SIZE(malformed); i++)
                assert_int_equal(account_refresh(w.accounts, &w.now, malformed[i], &tokens, &w.changes), -EINVAL);
        memset(huge, 'A', sizeof(huge));
        huge[sizeof(huge) - 1] = '\0';
        assert_int_equal(account_refresh(w.accounts, &w.now, huge, &tokens, &w.changes), -EINVAL);
        for (size_t i = 0; i < strlen(first.refresh); i++) {
                int r;

                snprintf(text, sizeof(text), "%s", first.refresh);
                text[i] = text[i] == 'A' ? 'B' : 'A';
                r = account_refresh(w.accounts, &w.now, text, &tokens, &w.changes);
                assert_true(r == -EACCES || r == -EINVAL);
                assert_int_equal(w.changes.count, 0);
                for (int c = 0x80; c < 0x100; c++) { /* no second spelling */
                        text[i] = (char)c;
                        assert_int_equal(account_refresh(w.accounts, &w.now, text, &tokens, &w.changes), -EINVAL);
                }
        }
        assert_int_equal(refresh(&w, &first, &tokens), 0);
        world_free(&w);
}

static void sessions_survive_a_start_and_ends_do_too(void **state)
{
        struct account_spec spec = {.role = ROLE_USER};
        struct account_tokens first, second, third;
        struct account_caller caller;
        struct world w, later, last;
        struct id id;

        sign_in(&w, &id, &first);
        world_new(&later);
        world_copy(&w.changes, later.accounts);
        assert_int_equal(refresh(&w, &first, &second), 0);
        world_copy(&w.changes, later.accounts);
        assert_int_equal(world_identify(&later, second.access, &caller), -EACCES); /* the account's row is not there yet */
        assert_int_equal(account_change(w.accounts, &w.now, &account_pool_itself, &id, &spec, &w.changes), 0);
        world_copy(&w.changes, later.accounts);
        assert_int_equal(world_identify(&later, second.access, &caller), 0);
        /* The answer with `second` was lost in the crash: the one before is taken. */
        assert_int_equal(refresh(&later, &first, &third), 0);
        assert_int_equal(world_identify(&later, third.access, &caller), 0);

        /* Disabled and enabled again: sessions stay ended, here and after a start from the rows. */
        world_new(&last);
        world_copy(&later.changes, last.accounts);
        spec.disabled = true;
        assert_int_equal(account_change(later.accounts, &later.now, &account_pool_itself, &id, &spec, &later.changes), 0);
        spec.disabled = false;
        assert_int_equal(account_change(later.accounts, &later.now, &account_pool_itself, &id, &spec, &later.changes), 0);
        world_copy(&later.changes, last.accounts);
        assert_int_equal(world_identify(&later, third.access, &caller), -EACCES);
        assert_int_equal(world_identify(&last, third.access, &caller), -EACCES);
        assert_int_equal(refresh(&last, &third, &first), -EACCES);
        world_free(&last);
        world_free(&later);
        world_free(&w);
}

static void an_account_has_so_many_sessions(void **state)
{
        struct account_tokens tokens[65], again;
        struct account_caller caller;
        struct account_counts counts;
        struct world w;
        struct id id;

        sign_in(&w, &id, &tokens[0]);
        for (int i = 1; i < 65; i++) {
                world_pass(&w, 1);
                assert_int_equal(world_sign_in(&w, "ann", true, &tokens[i]), 0);
        }
        assert_int_equal(w.changes.count, 3); /* the ended one, the new one, the audit row */
        accounts_counts(w.accounts, &counts);
        assert_int_equal(counts.sessions, 64);
        assert_int_equal(world_identify(&w, tokens[0].access, &caller), -EACCES);
        assert_int_equal(refresh(&w, &tokens[0], &again), -EACCES);
        assert_int_equal(world_identify(&w, tokens[1].access, &caller), 0);
        assert_int_equal(world_identify(&w, tokens[64].access, &caller), 0);
        world_free(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_gives_the_next),
                cmocka_unit_test(a_replay_ends_the_family),
                cmocka_unit_test(a_lost_answer_is_survived_once),
                cmocka_unit_test(made_up_tokens_end_nothing),
                cmocka_unit_test(sessions_survive_a_start_and_ends_do_too),
                cmocka_unit_test(an_account_has_so_many_sessions),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
