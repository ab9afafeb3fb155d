/* test-account-secrets.c: the file of secrets: made once, private, whole, turned over; and refused when it is not what it should be. */
#include "account/test-account.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
        char folder[64], path[96], message[ACCOUNT_MESSAGE];
};

static void place_new(struct place *p)
{
        snprintf(p->folder, sizeof(p->folder), "/tmp/test-account-XXXXXX");
        assert_non_null(mkdtemp(p->folder));
        snprintf(p->path, sizeof(p->path), "%s/secrets", p->folder);
        p->message[0] = '\0';
}

static void place_free(struct place *p)
{
        unlink(p->path);
        assert_int_equal(rmdir(p->folder), 0); /* nothing temporary was left */
}

static void write_text(const struct place *p, const char *text, mode_t mode)
{
        int fd = open(p->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        assert_int_equal(fchmod(fd, mode), 0);
        close(fd);
}

static void made_once_and_the_same_after(void **state)
{
        struct account_secrets first, again, turned;
        struct place p;
        struct stat st;

        place_new(&p);
        assert_int_equal(account_secrets_rotate(p.path, &turned, p.message), -ENOENT);
        assert_int_equal(account_secrets_read(p.path, &first, p.message), 0);
        assert_int_equal(stat(p.path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_false(first.has_before);
        assert_memory_not_equal(first.secret, first.sign_seed, 32);
        assert_int_equal(account_secrets_read(p.path, &again, p.message), 0);
        assert_memory_equal(&first, &again, sizeof(first));
        assert_int_equal(account_secrets_rotate(p.path, &turned, p.message), 0);
        assert_true(turned.has_before);
        assert_memory_equal(turned.secret, first.secret, 32);
        assert_memory_equal(turned.sign_seed_before, first.sign_seed, 32);
        assert_memory_not_equal(turned.sign_seed, first.sign_seed, 32);
        assert_int_equal(account_secrets_read(p.path, &again, p.message), 0);
        assert_memory_equal(&turned, &again, sizeof(turned));
        assert_int_equal(stat(p.path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_string_equal(p.message + strlen(p.path), ": does not exist: start the pool once");
        account_secrets_wipe(&turned);
        assert_false(turned.has_before);
        place_free(&p);
}

static void what_is_not_right_is_refused_and_left_alone(void **state)
{
        static const char *const damaged[] = {
                "", "berth-secrets 1\n", "berth-secrets 2\nsecret 00\n", "\n\n\n",
                "berth-secrets 1\nsecret 0000000000000000000000000000000000000000000000000000000000000000\n",
                "berth-secrets 1\nsecret 000000000000000000000000000000000000000000000000000000000000000g\n"
                "sign 0000000000000000000000000000000000000000000000000000000000000000\n",
        };
        struct account_secrets secrets;
        struct place p;
        struct stat st;
        char big[1000], target[128];

        place_new(&p);
        for (size_t i = 0; i < ARRAY_SIZE(damaged); i++) {
                write_text(&p, damaged[i], 0600);
                assert_int_equal(account_secrets_read(p.path, &secrets, p.message), -EBADMSG);
                assert_non_null(strstr(p.message, p.path));
                assert_int_equal(account_secrets_rotate(p.path, &secrets, p.message), -EBADMSG);
                assert_int_equal(stat(p.path, &st), 0);
                assert_int_equal(st.st_size, strlen(damaged[i]));
        }
        memset(big, '0', sizeof(big));
        big[sizeof(big) - 1] = '\0';
        write_text(&p, big, 0600);
        assert_int_equal(account_secrets_read(p.path, &secrets, p.message), -EBADMSG);
        unlink(p.path);
        assert_int_equal(account_secrets_read(p.path, &secrets, p.message), 0);
        for (mode_t bit = 1; bit < 0100; bit <<= 1) {
                assert_int_equal(chmod(p.path, 0600 | bit), 0);
                assert_int_equal(account_secrets_read(p.path, &secrets, p.message), -EPERM);
        }
        assert_non_null(strstr(p.message, "chmod 600"));
        assert_int_equal(chmod(p.path, 0600), 0);
        snprintf(target, sizeof(target), "%s.other", p.path);
        assert_int_equal(rename(p.path, target), 0);
        assert_int_equal(symlink(target, p.path), 0);
        assert_int_equal(account_secrets_read(p.path, &secrets, p.message), -ELOOP);
        unlink(target);
        unlink(p.path);
        assert_int_equal(mkfifo(p.path, 0600), 0);
        assert_int_equal(account_secrets_read(p.path, &secrets, p.message), -EPERM);
        unlink(p.path);
        {
                char nowhere[128];

                snprintf(nowhere, sizeof(nowhere), "%s/no/such/folder", p.folder);
                assert_int_equal(account_secrets_read(nowhere, &secrets, p.message), -ENOENT);
                assert_non_null(strstr(p.message, "can't be made"));
        }
        place_free(&p);
}

static void options_are_checked(void **state)
{
        static const char *const issuers[] = {"", "a b", "a\"b", "a\\b", "\x01", "ä"};
        struct accounts_options options;
        struct accounts *accounts;
        struct world w;
        char issuer[160];

        world_options(&w, &options);
        for (size_t i = 0; i < ARRAY_SIZE(issuers); i++) {
                options.issuer = issuers[i];
                assert_int_equal(accounts_new(&options, &accounts), -EINVAL);
        }
        options.issuer = NULL;
        assert_int_equal(accounts_new(&options, &accounts), -EINVAL);
        memset(issuer, 'x', sizeof(issuer));
        issuer[151] = '\0';
        options.issuer = issuer;
        assert_int_equal(accounts_new(&options, &accounts), -EINVAL);
        /* The longest issuer still makes tokens that fit and are taken. */
        issuer[150] = '\0';
        assert_int_equal(accounts_new(&options, &accounts), 0);
        {
                struct world long_one = {.accounts = accounts, .now = {.unix_ms = START_MS, .monotonic_ms = 1, .random = w.random, .address = "::1"}};
                struct id id = world_account(&long_one, "ann", ROLE_USER);
                struct account_tokens tokens;
                struct account_caller caller;

                world_password(&long_one, &id);
                assert_int_equal(world_sign_in(&long_one, "ann", true, &tokens), 0);
                assert_int_equal(world_identify(&long_one, tokens.access, &caller), 0);
                world_free(&long_one);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(made_once_and_the_same_after),
                cmocka_unit_test(what_is_not_right_is_refused_and_left_alone),
                cmocka_unit_test(options_are_checked),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
