/* test-service-members.c: payloads held against what workers tell of them: misspelt members are refused with what is accepted, with and without a tree; what any worker
 * might know passes. */
#include "service/pass.h"
#include "service/test-service.h"

#include <stdio.h>

static struct test_worker a, b;

#define KNOWN "{\"t\":[\"argv\",\"files\",\"limits\",\"files.name\",\"files.text\",\"limits.wall\"]}"

static void join(struct test_worker *w, const struct account_caller *who, const char *more)
{
        json_t *m;

        test_worker_open(w, who);
        assert_int_equal(test_say(w, "{\"m\":\"hello\",\"protocol\":1,\"worker\":\"%s\",\"instance\":\"i\",\"name\":\"w\",\"slots\":1,\"devices\":[],\"running\":[]%s}", w->id, more), 0);
        m = test_heard(w, "welcome");
        assert_non_null(m);
        snprintf(w->id, sizeof(w->id), "%s", test_text(m, "worker"));
        json_decref(m);
}

/* Both ways in: a payload in its place, and apart from the rest. Returns the first violation as "path: text", "" when it was taken. */
static const char *submit_as(const struct account_caller *who, const char *type, const char *payload, bool apart)
{
        static char told[600];
        struct strbuf body = {0}, rest = {0}, text = {0};
        struct test_answer answer = {0};
        json_t *first;

        strbuf_add(&body, "{\"type\":\"%s\",\"payload\":%s,\"wait_for_workers\":true}", type, payload);
        if (apart) {
                json_t *json;

                assert_true(pass_payload(body.text, body.length, &rest, &text));
                json = json_loadb(rest.text, rest.length, 0, NULL);
                service_submit_apart(service, who, json, &text, NULL, false, test_answer_fn, &answer);
                test_until(&answer.came);
                json_decref(json);
        } else {
                test_submit(who, body.text, NULL, &answer);
        }
        told[0] = '\0';
        if (answer.status != 202) {
                assert_int_equal(answer.status, 422);
                assert_string_equal(answer.code, "task.invalid");
                first = json_array_get(json_object_get(answer.problem, "violations"), 0);
                snprintf(told, sizeof(told), "%s: %s", test_text(first, "path"), test_text(first, "text"));
        }
        test_answer_done(&answer);
        strbuf_done(&body);
        strbuf_done(&rest);
        strbuf_done(&text);
        return told;
}

static void expect(const char *type, const char *payload, const char *told)
{
        assert_string_equal(submit_as(&alice, type, payload, false), told);
        assert_string_equal(submit_as(&alice, type, payload, true), told);
}

static void misspelt_members_are_named(void **state)
{
        join(&a, &farm, ",\"types\":[\"t\",\"u\"],\"members\":" KNOWN);
        expect("t", "{\"argv\":[]}", "");
        expect("t", "{\"files\":[{\"name\":\"a\"},{\"text\":\"b\"}],\"limits\":{\"wall\":1},\"argv\":{\"what\":{\"it\":\"is\"}}}", "");
        expect("t", "{}", "");
        expect("t", "{\"limits\":null,\"files\":[7,\"x\",null]}", ""); /* what values are is for the worker */
        expect("t", "{\"argvs\":[]}", "payload.argvs: there is no such member; accepted: argv, files, limits");
        expect("t", "{\"argv\":[],\"limits\":{\"wal\":1}}", "payload.limits.wal: there is no such member; accepted: wall");
        expect("t", "{\"files\":[{\"name\":\"a\"},{\"txt\":\"b\"}]}", "payload.files[1].txt: there is no such member; accepted: name, text");
        expect("t", "{\"limits.wall\":1}", "payload.limits.wall: there is no such member; accepted: argv, files, limits");
        expect("t", "{\"\":1}", "payload.: there is no such member; accepted: argv, files, limits");
        expect("t", "7", "payload: an object is wanted here");
        expect("t", "[{\"argv\":1}]", "payload: an object is wanted here");
        expect("t", "\"{\"", "payload: an object is wanted here");
        /* u is taken by a worker that tells nothing of it, v by nobody. */
        expect("u", "{\"anything\":{\"at\":\"all\"}}", "");
        expect("v", "7", "");
        test_worker_close(&a);
        /* It is away, and what it knows is known. */
        expect("t", "{\"argvs\":[]}", "payload.argvs: there is no such member; accepted: argv, files, limits");
}

static void in_a_batch_with_the_place(void **state)
{
        struct test_answer answer = {0};
        json_t *violations;

        join(&a, &farm, ",\"types\":[\"t\"],\"members\":" KNOWN);
        test_submit(&alice, "{\"tasks\":[{\"type\":\"t\",\"payload\":{}},{\"type\":\"t\",\"payload\":{\"a\":1,\"limits\":{\"b\":1}}}]}", NULL, &answer);
        assert_int_equal(answer.status, 422);
        violations = json_object_get(answer.problem, "violations");
        assert_int_equal(json_array_size(violations), 2);
        assert_string_equal(test_text(json_array_get(violations, 0), "path"), "tasks[1].payload.a");
        assert_string_equal(test_text(json_array_get(violations, 1), "path"), "tasks[1].payload.limits.b");
        test_answer_done(&answer);
        test_worker_close(&a);
}

static void what_another_version_takes_passes(void **state)
{
        join(&a, &farm, ",\"types\":[\"t\"],\"members\":" KNOWN);
        assert_string_not_equal(submit_as(&alice, "t", "{\"newer\":1}", false), "");
        /* A newer worker has more. */
        join(&b, &farm2, ",\"types\":[\"t\"],\"members\":{\"t\":[\"argv\",\"newer\",\"newer.part\"]}");
        expect("t", "{\"newer\":{\"part\":1},\"limits\":{\"wall\":2}}", "");
        assert_string_not_equal(submit_as(&alice, "t", "{\"newest\":1}", false), "");
        /* It becomes one of another kind, which does not tell. */
        assert_int_equal(test_say(&b, "{\"m\":\"change\",\"members\":{}}"), 0);
        expect("t", "{\"newest\":1}", "");
        /* It takes them no more, and later again; what it told last stands. */
        assert_int_equal(test_say(&b, "{\"m\":\"change\",\"members\":{\"t\":[\"newest\"]},\"types\":[\"other\"]}"), 0);
        assert_string_not_equal(submit_as(&alice, "t", "{\"newest\":1}", false), "");
        assert_int_equal(test_say(&b, "{\"m\":\"change\",\"types\":[\"t\"]}"), 0);
        expect("t", "{\"newest\":1}", "");
        test_worker_close(&a);
        test_worker_close(&b);
}

static void an_accounts_own_worker_speaks_for_it_alone(void **state)
{
        join(&a, &alice, ",\"types\":[\"t\"],\"private\":true,\"members\":" KNOWN);
        assert_string_not_equal(submit_as(&alice, "t", "{\"other\":1}", false), "");
        assert_string_equal(submit_as(&bob, "t", "{\"other\":1}", false), "");
        test_worker_close(&a);
}

static void garbage_is_refused(void **state)
{
        static const char *const bad[] = {"[]", "7", "{\"t\":7}", "{\"t\":[7]}", "{\"t\":[\"\"]}", "{\"t\":[[\"a\"]]}", "{\"t\":{\"a\":\"b\"}}",
                                          "{\"t\":[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]}"};
        struct strbuf many = {0};

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                test_worker_open(&a, &farm);
                (void)!test_say(&a, "{\"m\":\"hello\",\"protocol\":1,\"instance\":\"i\",\"name\":\"w\",\"slots\":1,\"types\":[\"t\"],\"running\":[],\"members\":%s}", bad[i]);
                test_settle();
                assert_true(a.closed);
                test_worker_close(&a);
        }
        strbuf_add(&many, "{\"t\":[\"a\"");
        for (int i = 0; i < 128; i++)
                strbuf_add(&many, ",\"a%d\"", i);
        strbuf_add(&many, "]}");
        test_worker_open(&a, &farm);
        (void)!test_say(&a, "{\"m\":\"hello\",\"protocol\":1,\"instance\":\"i\",\"name\":\"w\",\"slots\":1,\"types\":[\"t\"],\"running\":[],\"members\":%s}", many.text);
        test_settle();
        assert_true(a.closed);
        test_worker_close(&a);
        strbuf_done(&many);
}

/* As many stories as there are workers: too many to be worth a look. */
static void many_vocabularies_judge_nothing(void **state)
{
        static struct test_worker many[40];
        char more[200];

        for (int i = 0; i < 40; i++) {
                snprintf(more, sizeof(more), ",\"types\":[\"t\"],\"members\":{\"t\":[\"argv\",\"m%d\"]}", i);
                join(&many[i], &farm, more);
                assert_string_equal(submit_as(&alice, "t", "{\"argvs\":1}", false), i < 32 ? "payload.argvs: there is no such member; accepted: argv, m0" : "");
        }
        for (int i = 0; i < 40; i++)
                test_worker_close(&many[i]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(misspelt_members_are_named, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(in_a_batch_with_the_place, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(what_another_version_takes_passes, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(an_accounts_own_worker_speaks_for_it_alone, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(garbage_is_refused, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(many_vocabularies_judge_nothing, test_setup, test_teardown),
        };

        return cmocka_run_group_tests_name("service-members", tests, NULL, NULL);
}
