/* test-account-throttle.c: who keeps failing waits longer and longer, alone; and filling the table helps nobody. */
#include "account/test-account.h"

#include "account/throttle.h"
#include "base/error.h"

static const uint8_t key[16] = {1, 2, 3};

/* Tries until told to wait; how many were looked at. */
static unsigned int tries(struct throttle *t, uint64_t now_ms, const char *name, const char *address, unsigned int most)
{
        unsigned int n = 0;

        while (n < most && !throttle_try(t, now_ms, name, address, false))
                n++;
        return n;
}

static void waits_grow_for_a_name_from_an_address(void **state)
{
        static const uint64_t expected[] = {1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 300000};
        struct throttle *t scoped(throttle_free) = throttle_new(key);
        uint64_t now = 5000;

        assert_int_equal(tries(t, now, "ann", "192.0.2.1", 100), 4);
        for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
                assert_int_equal(throttle_try(t, now, "ann", "192.0.2.1", false), expected[i]);
                assert_int_equal(throttle_try(t, now + expected[i] - 1, "ann", "192.0.2.1", false), 1);
                now += expected[i];
                assert_int_equal(throttle_try(t, now, "ann", "192.0.2.1", false), 0);
        }
        assert_int_equal(throttle_try(t, now, "ann", "198.51.100.7", false), 0);
}

static void a_name_is_never_locked_for_others(void **state)
{
        struct throttle *t scoped(throttle_free) = throttle_new(key);
        char address[32];

        /* 1000 addresses, each until it must wait. */
        for (int i = 0; i < 1000; i++) {
                snprintf(address, sizeof(address), "10.0.%d.%d", i / 250, i % 250);
                assert_true(tries(t, 5000, "ann", address, 100) >= 1);
        }
        /* Stricter now for each, and still open to who comes for the first time. */
        assert_int_equal(throttle_try(t, 5000, "ann", "203.0.113.9", false), 0);
        assert_int_equal(throttle_try(t, 5000, "ann", "203.0.113.9", false), 0);
        assert_int_equal(throttle_try(t, 5000, "ann", "203.0.113.9", false), 30000);
        /* One good sign-in forgets that address's failures for the name. */
        throttle_good(t, 5000, "ann", "203.0.113.9", true);
        assert_int_equal(throttle_try(t, 5000, "ann", "203.0.113.9", false), 0);
        /* Attacks fade. */
        assert_int_equal(tries(t, 5000 + 24 * 3600 * 1000, "ann", "203.0.113.10", 100), 4);
}

static void an_address_that_tries_many_names_waits(void **state)
{
        struct throttle *t scoped(throttle_free) = throttle_new(key);
        char name[32];
        int i;

        for (i = 0; i < 100; i++) {
                snprintf(name, sizeof(name), "name%d", i);
                if (throttle_try(t, 5000, name, "192.0.2.1", false))
                        break;
        }
        assert_int_equal(i, 21);
        assert_true(throttle_try(t, 5000, "another", "192.0.2.1", false) > 0);
        /* Who has a session from there is not held up by it, and can't free the way for the others. */
        assert_int_equal(throttle_try(t, 5000, "ann", "192.0.2.1", true), 0);
        throttle_good(t, 5000, "ann", "192.0.2.1", true);
        assert_true(throttle_try(t, 5000, "another", "192.0.2.1", false) > 0);
        assert_int_equal(throttle_try(t, 5000, "another", "192.0.2.2", false), 0);
        assert_int_equal(throttle_try(t, 5000 + 60000, "another", "192.0.2.1", false), 0);
}

static void a_flood_makes_nobody_forgotten_and_locks_nobody_out(void **state)
{
        struct throttle *t scoped(throttle_free) = throttle_new(key);
        char address[32];

        assert_int_equal(tries(t, 5000, "ann", "192.0.2.1", 100), 4);
        for (int i = 0; i < 200000; i++) {
                snprintf(address, sizeof(address), "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
                assert_int_equal(throttle_try(t, 5001, "someone", address, false), 0);
        }
        assert_int_equal(throttle_try(t, 5001, "ann", "192.0.2.1", false), 999);
        assert_int_equal(throttle_try(t, 5001, "ann", "203.0.113.9", false), 0);
}

static void one_network_is_one_address(void **state)
{
        char a[64], b[64];

        throttle_address("2001:db8:1:2:3:4:5:6", a);
        throttle_address("2001:db8:1:2::1", b);
        assert_string_equal(a, "2001:db8:1:2::/64");
        assert_string_equal(a, b);
        throttle_address("2001:db8:1:3::1", b);
        assert_string_not_equal(a, b);
        throttle_address("::ffff:192.0.2.1", a);
        assert_string_equal(a, "192.0.2.1");
        throttle_address(NULL, a);
        assert_string_equal(a, "?");
        throttle_address("unix:very long name of a socket that does not fit into sixty-four bytes at all", a);
        assert_int_equal(strlen(a), 63);
}

static void signing_in_is_throttled(void **state)
{
        struct account_password_work work[20];
        struct account_tokens tokens;
        struct account_counts counts;
        struct world w;
        struct id id;
        uint64_t retry_ms = 0;
        int i;

        world_new(&w);
        id = world_account(&w, "ann", ROLE_USER);
        world_password(&w, &id);
        for (i = 0; i < 4; i++)
                assert_int_equal(world_sign_in(&w, "ann", false, &tokens), -EACCES);
        assert_int_equal(world_sign_in(&w, "ann", true, &tokens), -E_QUOTA);
        assert_int_equal(account_sign_in_begin(w.accounts, &w.now, "ann", PASSWORD, &work[0], &retry_ms), -E_QUOTA);
        assert_int_equal(retry_ms, 1000);
        w.now.unix_ms += 3600000; /* the clock that people set frees nobody */
        assert_int_equal(world_sign_in(&w, "ann", true, &tokens), -E_QUOTA);
        w.now.monotonic_ms += 1000;
        assert_int_equal(world_sign_in(&w, "ann", true, &tokens), 0);
        assert_int_equal(world_sign_in(&w, "ann", false, &tokens), -EACCES);
        assert_int_equal(world_sign_in(&w, "ann", true, &tokens), 0);

        /* Many at once are not free, nor are they without end: eight works of strangers, and some for who is known. */
        w.now.address = "198.51.100.1";
        for (i = 0; i < 20; i++) {
                char address[32];

                snprintf(address, sizeof(address), "198.51.100.%d", i + 1);
                w.now.address = address;
                if (account_sign_in_begin(w.accounts, &w.now, "bob", PASSWORD, &work[i], &retry_ms))
                        break;
        }
        assert_int_equal(i, 8);
        w.now.address = "192.0.2.1";
        assert_int_equal(world_sign_in(&w, "ann", true, &tokens), 0);
        for (i = 0; i < 8; i++)
                assert_int_equal(account_sign_in_end(w.accounts, &w.now, &work[i], &tokens, &w.changes), -EACCES);
        w.now.address = "198.51.100.20";
        assert_int_equal(account_sign_in_begin(w.accounts, &w.now, "bob", PASSWORD, &work[0], &retry_ms), 0);
        work[0].error = -ENOMEM;
        assert_int_equal(account_sign_in_end(w.accounts, &w.now, &work[0], &tokens, &w.changes), -ENOMEM);
        accounts_counts(w.accounts, &counts);
        assert_int_equal(counts.sign_ins_throttled, 4);
        world_free(&w);
}

/* Strangers can't fill the disk with rows about themselves; what was left out is counted. */
static void the_audit_log_takes_so_many_refusals(void **state)
{
        struct account_tokens tokens;
        struct account_counts counts;
        size_t rows = 0;
        struct world w;

        world_new(&w);
        for (int i = 0; i < 200; i++) {
                char address[32];

                snprintf(address, sizeof(address), "198.51.100.%d", i + 1);
                w.now.address = address;
                assert_int_equal(world_sign_in(&w, "nobody", false, &tokens), -EACCES);
                rows += w.changes.count;
        }
        assert_int_equal(rows, 60);
        accounts_counts(w.accounts, &counts);
        assert_int_equal(counts.audit_left_out, 140);
        world_pass(&w, 1000);
        w.now.address = "203.0.113.1";
        assert_int_equal(world_sign_in(&w, "nobody", false, &tokens), -EACCES);
        assert_audited(&w.changes, "sign_in", "\"left_out\":140");
        /* By right: always. */
        world_account(&w, "ann", ROLE_USER);
        assert_audited(&w.changes, "account.create", "ann");
        world_free(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(waits_grow_for_a_name_from_an_address),
                cmocka_unit_test(a_name_is_never_locked_for_others),
                cmocka_unit_test(an_address_that_tries_many_names_waits),
                cmocka_unit_test(a_flood_makes_nobody_forgotten_and_locks_nobody_out),
                cmocka_unit_test(one_network_is_one_address),
                cmocka_unit_test(signing_in_is_throttled),
                cmocka_unit_test(the_audit_log_takes_so_many_refusals),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
