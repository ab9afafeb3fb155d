/* test-service-submit.c: bodies that are right and wrong, keys that make a repetition safe, a store that takes nothing for a while, and a death at any moment. */
#include "base/strbuf.h"
#include "service/pass.h"
#include "service/test-service.h"

#include "store/store.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the store says instead of taking a commit (linked with --wrap=store_commit); 0: it takes it. */
static _Atomic int commit_fails;
static _Atomic unsigned int commits_failed;

int __real_store_commit(struct store *store, const uint64_t *epochs, const struct store_batch *batches, size_t count);
int __wrap_store_commit(struct store *store, const uint64_t *epochs, const struct store_batch *batches, size_t count);
int __wrap_store_commit(struct store *store, const uint64_t *epochs, const struct store_batch *batches, size_t count)
{
        if (commit_fails) {
                commits_failed++;
                return commit_fails;
        }
        return __real_store_commit(store, epochs, batches, count);
}

static void faults_are_told_with_their_paths(void **state)
{
        static const struct {
                const char *body, *path;
        } bad[] = {
                {"{}", "type"},
                {"{\"type\":\"t\"}", "payload"},
                {"{\"type\":7,\"payload\":1}", "type"},
                {"{\"type\":\"has space\",\"payload\":1}", "type"},
                {"{\"type\":\"t\",\"payload\":1,\"naem\":\"x\"}", "naem"},
                {"{\"type\":\"t\",\"payload\":1,\"priority\":\"most\"}", "priority"},
                {"{\"type\":\"t\",\"payload\":1,\"attempts\":0}", "attempts"},
                {"{\"type\":\"t\",\"payload\":1,\"attempts\":1.5}", "attempts"},
                {"{\"type\":\"t\",\"payload\":1,\"deadline\":\"tomorrow\"}", "deadline"},
                {"{\"type\":\"t\",\"payload\":1,\"deadline\":\"2026-02-29T00:00:00Z\"}", "deadline"},
                {"{\"type\":\"t\",\"payload\":1,\"not_before\":7}", "not_before"},
                {"{\"type\":\"t\",\"payload\":1,\"cost\":\"much\"}", "cost"},
                {"{\"type\":\"t\",\"payload\":1,\"needs\":[]}", "needs"},
                {"{\"type\":\"t\",\"payload\":1,\"needs\":{\"memory\":\"24 potatoes\"}}", "needs.memory"},
                {"{\"type\":\"t\",\"payload\":1,\"needs\":{\"memory\":-1}}", "needs.memory"},
                {"{\"type\":\"t\",\"payload\":1,\"needs\":{\"labels\":{\"a\":[]}}}", "needs.labels"},
                {"{\"type\":\"t\",\"payload\":1,\"needs\":{\"worker\":\"me\"}}", "needs.worker"},
                {"{\"type\":\"t\",\"payload\":1,\"needs\":{\"gpu\":1}}", "needs.gpu"},
                {"{\"type\":\"t\",\"payload\":1,\"after\":\"x\"}", "after"},
                {"{\"type\":\"t\",\"payload\":1,\"after\":[\"#0\"]}", "after[0]"},
                {"{\"type\":\"t\",\"payload\":1,\"after\":[\"task_00000000000000000000000000000001\"]}", "after[0]"},
                {"{\"type\":\"t\",\"payload\":1,\"wait_for_workers\":\"yes\"}", "wait_for_workers"},
                {"{\"type\":\"t\",\"payload\":1,\"head\":12345678}", "head"},
                {"{\"type\":\"t\",\"payload\":1,\"name\":\"a\\nb\"}", "name"},
                {"{\"tasks\":[{\"type\":\"t\",\"payload\":1},{\"type\":\"t\"}]}", "tasks[1].payload"},
                {"{\"tasks\":[{\"type\":\"t\",\"payload\":1},{\"type\":\"t\",\"payload\":1,\"after\":[\"#1\"]}]}", "tasks[1].after[0]"},
                {"{\"tasks\":[]}", NULL},
                {"{\"tasks\":{}}", NULL},
                {"{\"tasks\":[{\"type\":\"t\",\"payload\":1}],\"type\":\"t\"}", NULL},
                {"[]", NULL},
        };
        struct service_list all = {.limit = 10};
        struct test_answer answer;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                test_submit(&alice, bad[i].body, NULL, &answer);
                if (answer.status != 422)
                        fail_msg("%d: %s", answer.status, bad[i].body);
                if (bad[i].path && strcmp(test_text(json_array_get(json_object_get(answer.problem, "violations"), 0), "path"), bad[i].path))
                        fail_msg("%s, not %s: %s", test_text(json_array_get(json_object_get(answer.problem, "violations"), 0), "path"), bad[i].path, bad[i].body);
                test_answer_done(&answer);
        }
        /* None of it left anything behind. */
        service_tasks(service, &alice, &all, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(json_array_size(json_object_get(answer.json, "data")), 0);
        test_answer_done(&answer);
}

static void a_repetition_gets_the_first_answer(void **state)
{
        static const char body[] = "{\"type\":\"t\",\"payload\":{\"a\":1,\"b\":2},\"wait_for_workers\":true}";
        static const char same[] = "{\"wait_for_workers\":true,\"payload\":{\"b\":2,\"a\":1},\"type\":\"t\"}";
        struct test_answer first, again[3] = {0}, other;
        json_t *json = json_loads(body, 0, NULL);
        char id[ID_TEXT];

        test_submit(&alice, body, "key-1", &first);
        assert_int_equal(first.status, 202);
        snprintf(id, sizeof(id), "%s", test_text(first.json, "id"));
        test_submit(&alice, same, "key-1", &other);
        assert_int_equal(other.status, 202);
        assert_true(json_equal(first.json, other.json));
        assert_string_equal(first.location, other.location);
        test_answer_done(&other);
        test_submit(&alice, "{\"type\":\"t\",\"payload\":3,\"wait_for_workers\":true}", "key-1", &other);
        assert_int_equal(other.status, 422);
        assert_string_equal(other.code, "idempotency.other_body");
        test_answer_done(&other);
        /* Another account's key of the same name is another key. */
        test_submit(&bob, body, "key-1", &other);
        assert_int_equal(other.status, 202);
        assert_string_not_equal(test_text(other.json, "id"), id);
        test_answer_done(&other);
        /* Three at once are one. */
        for (int i = 0; i < 3; i++)
                service_submit(service, &alice, json, "key-2", false, test_answer_fn, &again[i]);
        for (int i = 0; i < 3; i++)
                test_until(&again[i].came);
        assert_true(json_equal(again[0].json, again[1].json) && json_equal(again[1].json, again[2].json));
        /* After a restart, too; after a day it is forgotten. */
        test_close();
        test_open();
        test_submit(&alice, body, "key-1", &other);
        assert_string_equal(test_text(other.json, "id"), id);
        test_answer_done(&other);
        test_unix_ms += INT64_C(25) * 3600 * 1000;
        test_submit(&alice, body, "key-1", &other);
        assert_int_equal(other.status, 202);
        assert_string_not_equal(test_text(other.json, "id"), id);
        test_answer_done(&other);
        test_submit(&alice, body, "bad key", &other);
        assert_int_equal(other.status, 400);
        test_answer_done(&other);
        for (int i = 0; i < 3; i++)
                test_answer_done(&again[i]);
        test_answer_done(&first);
        json_decref(json);
}

/* As the gateway gives what is plain: the payload apart. It is the same submission, by a key or not. */
static void a_payload_apart_is_the_same(void **state)
{
        static const char whole[] = "{\"type\":\"t\", \"payload\":{\"a\": [1, \"x\"]},\"wait_for_workers\":true}";
        struct test_answer answers[3] = {0};
        struct strbuf rest = {0}, payload = {0};
        json_t *views[2];

        assert_true(pass_payload(whole, strlen(whole), &rest, &payload));
        for (int i = 0; i < 2; i++) {
                json_t *json = json_loadb(rest.text, rest.length, 0, NULL);
                struct id id;

                service_submit_apart(service, &alice, json, &payload, i ? "key-apart" : NULL, false, test_answer_fn, &answers[i]);
                test_until(&answers[i].came);
                assert_int_equal(answers[i].status, 202);
                assert_int_equal(id_parse("task", test_text(answers[i].json, "id"), &id), 0);
                views[i] = test_view(&alice, &id, 200);
                json_decref(json);
        }
        assert_true(json_equal(json_object_get(views[0], "payload"), json_object_get(views[1], "payload")));
        assert_int_equal(json_array_size(json_object_get(json_object_get(views[0], "payload"), "a")), 2);
        test_submit(&alice, whole, "key-apart", &answers[2]);
        assert_true(json_equal(answers[1].json, answers[2].json));
        for (int i = 0; i < 3; i++)
                test_answer_done(&answers[i]);
        json_decref(views[0]);
        json_decref(views[1]);
        strbuf_done(&rest);
        strbuf_done(&payload);
}

static void dry_run_changes_nothing(void **state)
{
        struct test_answer answer = {0};
        struct test_worker w = {0};
        json_t *json = json_loads("{\"type\":\"t\",\"payload\":1}", 0, NULL);
        struct service_list all = {.limit = 10};

        test_join(&w, &farm, "one", 1, NULL);
        service_submit(service, &alice, json, NULL, true, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 200);
        assert_int_equal(json_integer_value(json_object_get(answer.json, "workers")), 1);
        test_answer_done(&answer);
        service_tasks(service, &alice, &all, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(json_array_size(json_object_get(answer.json, "data")), 0);
        test_answer_done(&answer);
        json_decref(json);
        test_worker_close(&w);
}

static void limits_of_an_account(void **state)
{
        struct test_answer answer;

        alice.limits.max_tasks = 2;
        for (int i = 0; i < 3; i++) {
                test_submit(&alice, "{\"type\":\"t\",\"payload\":1,\"wait_for_workers\":true}", NULL, &answer);
                assert_int_equal(answer.status, i < 2 ? 202 : 429);
                test_answer_done(&answer);
        }
        alice.limits.max_tasks = 0;
        test_close();
        options.memory_bytes = 1;
        test_open();
        test_submit(&alice, "{\"type\":\"t\",\"payload\":1,\"wait_for_workers\":true}", NULL, &answer);
        assert_int_equal(answer.status, 503);
        assert_string_equal(answer.code, "pool.full");
        test_answer_done(&answer);
}

/* While the store takes nothing, what was taken waits, what is new is refused, and then everything goes on. */
static void store_fails(int error, const char *code)
{
        struct test_answer early = {0}, late = {0};
        struct test_worker w = {0};
        struct service_health health;
        json_t *lease, *json = json_loads("{\"type\":\"t\",\"payload\":1}", 0, NULL), *m;
        struct id id;

        test_join(&w, &farm, "one", 1, NULL);
        id = test_task(&alice, "{\"type\":\"t\",\"payload\":1}");
        lease = test_heard(&w, "lease");
        commits_failed = 0;
        commit_fails = error;
        assert_int_equal(test_say(&w, "{\"m\":\"result\",\"task\":\"%s\",\"nonce\":\"%s\",\"result\":1,\"ready\":true}", test_text(lease, "task"), test_text(lease, "nonce")), 0);
        service_submit(service, &alice, json, NULL, false, test_answer_fn, &early);
        service_turn(service);
        while (commits_failed < 2) {
                service_turn(service);
                usleep(1000);
        }
        service_turn(service);
        service_health(service, &health);
        assert_false(health.ready);
        test_submit(&alice, "{\"type\":\"t\",\"payload\":1}", NULL, &late);
        assert_int_equal(late.status, 503);
        assert_string_equal(late.code, code);
        assert_true(late.retry_after_s > 0);
        test_answer_done(&late);
        /* People see what is durable, workers have heard of nothing. */
        test_expect_state(&id, "leased");
        for (size_t i = w.read; i < w.count; i++)
                assert_null(strstr(w.sent[i], "\"ack\""));
        assert_false(early.came);
        commit_fails = 0;
        test_until(&early.came);
        assert_int_equal(early.status, 202);
        m = test_heard(&w, "ack");
        assert_non_null(m);
        json_decref(m);
        m = test_heard(&w, "lease");
        assert_non_null(m);
        json_decref(m);
        test_expect_state(&id, "done");
        test_submit(&alice, "{\"type\":\"t\",\"payload\":1}", NULL, &late);
        assert_int_equal(late.status, 202);
        test_answer_done(&late);
        test_answer_done(&early);
        json_decref(lease);
        json_decref(json);
        test_worker_close(&w);
}

static void disk_full_for_a_while(void **state)
{
        store_fails(-ENOSPC, "store.full");
}

static void store_gone_for_a_while(void **state)
{
        store_fails(-E_UNAVAILABLE, "store.unavailable");
}

/* Another server took over, as far as the store is concerned: all is read anew, who waited is told to ask again. */
static void store_taken_away(void **state)
{
        struct test_answer early = {0}, late;
        struct test_worker w = {0};
        json_t *json = json_loads("{\"type\":\"t\",\"payload\":1,\"wait_for_workers\":true}", 0, NULL);
        struct id id = test_task(&alice, "{\"type\":\"t\",\"payload\":1,\"wait_for_workers\":true}");

        test_join(&w, &farm, "one", 1, NULL);
        json_decref(test_heard(&w, "lease"));
        commit_fails = -ESTALE;
        service_submit(service, &alice, json, NULL, false, test_answer_fn, &early);
        test_until(&early.came);
        assert_int_equal(early.status, 503);
        assert_string_equal(early.code, "pool.moved");
        assert_true(w.closed);
        commit_fails = 0;
        for (;;) {
                test_submit(&alice, "{\"type\":\"t\",\"payload\":1,\"wait_for_workers\":true}", NULL, &late);
                if (late.status == 202)
                        break;
                assert_int_equal(late.status, 503);
                test_answer_done(&late);
                test_now_ns += 1000000000;
        }
        test_answer_done(&late);
        test_answer_done(&early);
        test_expect_state(&id, "leased");
        json_decref(json);
        test_worker_close(&w);
}

/* A child lives up to a point of a task's walk and then is gone without a word. */
static void child(int point, int out)
{
        struct test_worker w = {0};
        struct test_answer answer = {0};
        /* Of a type that no worker here takes: if it is there after all, it is in nobody's way. */
        json_t *lease, *json = json_loads("{\"type\":\"v\",\"payload\":1,\"wait_for_workers\":true}", 0, NULL);
        char text[200] = "";
        struct id id;

        test_open();
        if (point == 0) {
                /* Handed over, but not answered: it may be there or not. */
                service_submit(service, &alice, json, NULL, false, test_answer_fn, &answer);
                service_turn(service);
                _exit(0);
        }
        id = test_task(&alice, "{\"type\":\"t\",\"payload\":1,\"wait_for_workers\":true}");
        if (point > 1) {
                test_join(&w, &farm, "one", 1, NULL);
                lease = test_heard(&w, "lease");
                snprintf(text, sizeof(text), " %s %s %s", w.id, test_text(lease, "task"), test_text(lease, "nonce"));
                if (point > 2)
                        test_say(&w, "{\"m\":\"result\",\"task\":\"%s\",\"nonce\":\"%s\",\"result\":42}", test_text(lease, "task"), test_text(lease, "nonce"));
                if (point > 3)
                        json_decref(test_heard(&w, "ack"));
        }
        {
                char id_[ID_TEXT], line[400];
                int n = snprintf(line, sizeof(line), "%s%s", id_text("task", &id, id_), text);

                if (write(out, line, (size_t)n) != n)
                        _exit(1);
        }
        _exit(0);
}

static void killed_at_each_point(void **state)
{
        for (int point = 0; point <= 4; point++) {
                char line[400] = "", task[64] = "", worker[64] = "", leased[64] = "", nonce[32] = "", running[200];
                struct test_worker w = {0};
                json_t *m, *view;
                struct id id;
                int fds[2], status, n;
                pid_t pid;

                assert_int_equal(pipe(fds), 0);
                test_close();
                pid = fork();
                if (!pid)
                        child(point, fds[1]);
                close(fds[1]);
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_int_equal(status, 0);
                n = (int)read(fds[0], line, sizeof(line) - 1);
                close(fds[0]);
                assert_true(n >= 0);
                test_open();
                if (!point)
                        continue;
                assert_true(sscanf(line, "%63s %63s %63s %31s", task, worker, leased, nonce) >= 1);
                assert_int_equal(id_parse("task", task, &id), 0);
                view = test_view(&alice, &id, 200);
                if (point == 1)
                        assert_string_equal(test_text(view, "state"), "queued");
                if (point == 2)
                        assert_string_equal(test_text(view, "state"), "leased");
                if (point == 4) {
                        assert_string_equal(test_text(view, "state"), "done");
                        assert_int_equal(json_integer_value(json_object_get(view, "result")), 42);
                }
                json_decref(view);
                if (point == 2 || point == 3) {
                        /* Its worker comes back with what it has, and the result counts, once. At point 3 it may have counted already. */
                        snprintf(w.id, sizeof(w.id), "%s", worker);
                        snprintf(running, sizeof(running), "[{\"task\":\"%s\",\"nonce\":\"%s\"}]", leased, nonce);
                        test_join(&w, &farm, "one", 1, running);
                        assert_string_equal(w.id, worker);
                        assert_int_equal(test_say(&w, "{\"m\":\"result\",\"task\":\"%s\",\"nonce\":\"%s\",\"result\":42}", leased, nonce), 0);
                        test_settle();
                        view = test_view(&alice, &id, 200);
                        assert_string_equal(test_text(view, "state"), "done");
                        assert_int_equal(json_integer_value(json_object_get(view, "attempt")), 1);
                        json_decref(view);
                        assert_int_equal(test_say(&w, "{\"m\":\"result\",\"task\":\"%s\",\"nonce\":\"%s\",\"result\":43}", leased, nonce), 0);
                        m = test_heard(&w, "stale");
                        assert_non_null(m);
                        json_decref(m);
                        assert_int_equal(test_say(&w, "{\"m\":\"bye\"}"), 0);
                        test_worker_close(&w);
                }
                /* So that the next round's worker finds its own task only. */
                {
                        struct test_answer answer = {0};

                        service_task_cancel(service, &alice, &id, test_answer_fn, &answer);
                        test_until(&answer.came);
                        test_answer_done(&answer);
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(faults_are_told_with_their_paths, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(a_repetition_gets_the_first_answer, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(a_payload_apart_is_the_same, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(dry_run_changes_nothing, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(limits_of_an_account, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(disk_full_for_a_while, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(store_gone_for_a_while, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(store_taken_away, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(killed_at_each_point, test_setup, test_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
