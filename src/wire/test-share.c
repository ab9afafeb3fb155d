/* test-share.c: what is not right in a ticket, a request, an answer or a unit is seen. */
#include "wire/share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

static struct share_ticket ticket(void)
{
        return (struct share_ticket){.magic = SHARE_MAGIC, .version = SHARE_VERSION, .place = 1, .secret = 2, .share = 3, .offset = 4096, .bytes = MIB};
}

static struct share_answer answer(void)
{
        return (struct share_answer){.magic = SHARE_MAGIC, .units_n = 3, .mapped = 10 * MIB, .unit_bytes = 4 * MIB};
}

static void tickets(void **unused)
{
        struct share_ticket t = ticket();
        char foreign[64] = "a driver's handle";

        (void)unused;
        assert_true(share_is_ticket(&t));
        assert_false(share_is_ticket(foreign));
        assert_true(share_ticket_ok(&t));
        t.bytes = 0;
        assert_false(share_ticket_ok(&t));
        t = ticket();
        t.offset = UINT64_MAX;
        assert_false(share_ticket_ok(&t));
        t = ticket();
        t.version++;
        assert_false(share_ticket_ok(&t));
}

static void requests(void **unused)
{
        struct share_request r = {.magic = SHARE_MAGIC, .version = SHARE_VERSION, .secret = 2, .share = 3};

        (void)unused;
        assert_true(share_request_ok(&r, sizeof r, 2));
        assert_false(share_request_ok(&r, sizeof r, 4));
        assert_false(share_request_ok(&r, sizeof r - 1, 2));
}

static void answers(void **unused)
{
        struct share_ticket t = ticket();
        struct share_answer a = answer();
        struct share_unit u = {.index = 2, .bytes = 2 * MIB};

        (void)unused;
        assert_true(share_answer_ok(&a, sizeof a, &t));
        assert_true(share_unit_ok(&u, sizeof u, &a, 2));
        assert_false(share_unit_ok(&u, sizeof u, &a, 1));
        assert_false(share_answer_ok(&a, sizeof a + 1, &t));
        a.units_n = 2;
        assert_false(share_answer_ok(&a, sizeof a, &t));
        a = answer();
        a.unit_bytes = 0;
        assert_false(share_answer_ok(&a, sizeof a, &t));
        a = answer();
        a.mapped = 2 * MIB;
        a.units_n = 1;
        assert_false(share_answer_ok(&a, sizeof a, &t));
        a = answer();
        t.offset = 10 * MIB - 4096;
        assert_false(share_answer_ok(&a, sizeof a, &t));
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(tickets), cmocka_unit_test(requests), cmocka_unit_test(answers)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
