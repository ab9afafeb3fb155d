/* test-service-event.c: events, what is pushed from outside, logs and artifacts: resumed, bounded, and never another account's. */
#include "service/test-service.h"

#include <stdio.h>
#include <unistd.h>

static struct test_worker w;
static char text[8192];

static size_t read_events(const struct account_caller *who, const struct id *task, uint64_t *cursor, char types[][64], size_t most)
{
        struct service_event event;
        size_t n = 0;

        for (;;) {
                int r = service_event_next(service, who, task, cursor, &event);

                if (!r) {
                        json_t *json = json_loadb(event.json, event.bytes, 0, NULL);

                        assert_non_null(json);
                        assert_string_equal(test_text(json, "type"), event.type);
                        json_decref(json);
                        assert_true(n < most);
                        snprintf(types[n++], 64, "%s", event.type);
                        assert_int_equal(event.number, *cursor);
                        continue;
                }
                assert_int_equal(r, -EAGAIN);
                if (*cursor == service_event_last(service))
                        return n;
        }
}

static void events_are_of_who_they_concern(void **state)
{
        uint64_t begin = service_event_last(service), cursor = begin, bobs = begin, alls = begin, ones = begin;
        char types[200][64];
        struct id id, other;

        id = test_task(&alice, "{\"type\":\"t\",\"payload\":1,\"wait_for_workers\":true}");
        other = test_task(&alice, "{\"type\":\"t\",\"payload\":1,\"wait_for_workers\":true}");
        (void)other;
        assert_int_equal(read_events(&alice, NULL, &cursor, types, 200), 2);
        assert_string_equal(types[0], "task.state");
        assert_int_equal(read_events(&bob, NULL, &bobs, types, 200), 0);
        assert_int_equal(read_events(&admin, NULL, &alls, types, 200), 2);
        assert_int_equal(read_events(&alice, &id, &ones, types, 200), 1);
        assert_int_equal(read_events(&bob, &id, &begin, types, 200), 0);
        /* Nothing is repeated, and one that comes from another life of the pool must take a snapshot. */
        assert_int_equal(read_events(&alice, NULL, &cursor, types, 200), 0);
        cursor = 1000000;
        assert_int_equal(service_event_next(service, &alice, NULL, &cursor, &(struct service_event){0}), -ERANGE);
        assert_int_equal(cursor, service_event_last(service));
}

static json_t *push(const struct account_caller *who, const char *json, int status)
{
        struct test_answer answer = {0};
        json_t *body = json_loads(json, 0, NULL), *got;

        assert_non_null(body);
        service_events_push(service, who, body, test_answer_fn, &answer);
        json_decref(body);
        assert_false(answer.came);
        test_until(&answer.came);
        if (answer.status != status)
                fail_msg("%d %s: %s", answer.status, answer.detail, json);
        got = answer.json ? json_incref(answer.json) : NULL;
        test_answer_done(&answer);
        return got;
}

static void a_gap_is_told(void **state)
{
        uint64_t cursor = service_event_last(service), old = cursor;
        struct service_event event;
        char *big = malloc(40000);
        int count = 0;

        test_close();
        options.event_bytes = 64 << 10;
        test_open();
        cursor = old = service_event_last(service);
        for (int i = 1; i <= 200; i++) {
                sprintf(big, "{\"source\":\"s\",\"sequence\":%d,\"type\":\"x\",\"data\":\"%0*d\"}", i, i * 50, 0);
                json_decref(push(&alice, big, 200));
        }
        assert_int_equal(service_event_next(service, &alice, NULL, &cursor, &event), -ERANGE);
        assert_int_equal(cursor, service_event_last(service));
        /* What is still there is whole. */
        for (cursor = old; service_event_next(service, &alice, NULL, &cursor, &event) == -ERANGE; cursor = ++old)
                ;
        do {
                json_t *json = json_loadb(event.json, event.bytes, 0, NULL);

                assert_non_null(json);
                json_decref(json);
                count++;
        } while (!service_event_next(service, &alice, NULL, &cursor, &event));
        assert_true(count > 3);
        free(big);
}

static void pushed_events_count_once(void **state)
{
        uint64_t cursor = service_event_last(service);
        char types[100][64];
        json_t *json;

        json = push(&alice, "[{\"source\":\"train\",\"sequence\":1,\"type\":\"epoch\",\"data\":{\"loss\":0.5}},{\"source\":\"train\",\"sequence\":2,\"type\":\"epoch\",\"data\":1}]", 200);
        assert_int_equal(json_integer_value(json_object_get(json, "accepted")), 2);
        json_decref(json);
        json = push(&alice, "[{\"source\":\"train\",\"sequence\":2,\"type\":\"epoch\",\"data\":1},{\"source\":\"train\",\"sequence\":3,\"type\":\"epoch\",\"data\":1}]", 200);
        assert_int_equal(json_integer_value(json_object_get(json, "accepted")), 1);
        assert_int_equal(json_integer_value(json_object_get(json, "known")), 1);
        json_decref(json);
        /* Another account's source of the same name counts by itself. */
        json = push(&bob, "{\"source\":\"train\",\"sequence\":1,\"type\":\"epoch\",\"data\":1}", 200);
        assert_int_equal(json_integer_value(json_object_get(json, "accepted")), 1);
        json_decref(json);
        assert_int_equal(read_events(&alice, NULL, &cursor, types, 100), 3);
        /* Also after a restart. */
        test_close();
        test_open();
        json = push(&alice, "{\"source\":\"train\",\"sequence\":3,\"type\":\"epoch\",\"data\":1}", 200);
        assert_int_equal(json_integer_value(json_object_get(json, "known")), 1);
        json_decref(json);
        json_decref(push(&alice, "{\"source\":\"train\",\"sequence\":0,\"type\":\"epoch\",\"data\":1}", 422));
        json_decref(push(&alice, "{\"source\":\"train\",\"sequence\":9,\"type\":\"task.state\",\"data\":1}", 422));
        json_decref(push(&alice, "{\"source\":\"a b\",\"sequence\":9,\"type\":\"x\",\"data\":1}", 422));
        json_decref(push(&alice, "{\"source\":\"a\",\"sequence\":9,\"type\":\"x\"}", 422));
        json_decref(push(&alice, "{\"source\":\"a\",\"sequence\":9,\"type\":\"x\",\"task\":\"task_1\",\"data\":1}", 422));
        json_decref(push(&alice, "[]", 422));
        json_decref(push(&alice, "[7]", 422));
}

static void say_log(const json_t *lease, uint64_t offset, const char *piece)
{
        assert_int_equal(test_say(&w, "{\"m\":\"log\",\"task\":\"%s\",\"nonce\":\"%s\",\"offset\":%llu,\"text\":\"%s\"}", test_text(lease, "task"), test_text(lease, "nonce"),
                                  (unsigned long long)offset, piece),
                         0);
}

static char *read_log(const struct account_caller *who, const struct id *id, int error)
{
        static char bytes[200000];
        struct test_file file = {0};
        ssize_t n;

        service_task_log(service, who, id, test_file_fn, &file);
        assert_false(file.came);
        test_until(&file.came);
        assert_int_equal(file.error, error);
        if (error)
                return NULL;
        n = read(file.fd, bytes, sizeof(bytes) - 1);
        assert_int_equal(n, file.bytes);
        bytes[n] = '\0';
        close(file.fd);
        return bytes;
}

static void logs_are_mended_and_bounded(void **state)
{
        char piece[1001], *got;
        json_t *lease;
        struct id id;

        test_close();
        options.log_bytes = 16384;
        test_open();
        test_join(&w, &farm, "one", 1, NULL);
        id = test_task(&alice, "{\"type\":\"t\",\"payload\":1}");
        lease = test_heard(&w, "lease");
        assert_string_equal(read_log(&alice, &id, 0), "");
        say_log(lease, 0, "abc");
        say_log(lease, 3, "def");
        say_log(lease, 1, "bcdefg");
        say_log(lease, 2, "cd");
        assert_string_equal(read_log(&alice, &id, 0), "abcdefg");
        say_log(lease, 7, "0123456789xyz");
        (void)read_log(&bob, &id, -ENOENT);
        (void)read_log(&admin, &id, 0);
        memset(piece, 'p', 1000);
        piece[1000] = '\0';
        for (int i = 0; i < 100; i++)
                say_log(lease, 20 + 1000u * (unsigned)i, piece);
        say_log(lease, 100020, "the end");
        got = read_log(&alice, &id, 0);
        assert_true(strlen(got) <= 16384);
        assert_non_null(strstr(got, "bytes of the middle were left out here"));
        assert_string_equal(got + strlen(got) - 7, "the end");
        assert_int_equal(strncmp(got, "abcdefg", 7), 0);
        /* After a restart it goes on where it was. */
        test_worker_close(&w);
        test_close();
        test_open();
        snprintf(text, sizeof(text), "[{\"task\":\"%s\",\"nonce\":\"%s\"}]", test_text(lease, "task"), test_text(lease, "nonce"));
        test_join(&w, &farm, "one", 1, text);
        say_log(lease, 100020, "the end, really");
        got = read_log(&alice, &id, 0);
        assert_string_equal(got + strlen(got) - 15, "the end, really");
        assert_null(strstr(got, "did not arrive]\nthe end"));
        say_log(lease, 100045, "later");
        got = read_log(&alice, &id, 0);
        assert_string_equal(got + strlen(got) - 32, "\n[10 bytes did not arrive]\nlater");
        json_decref(lease);
        test_worker_close(&w);
}

/* SHA-256 of "hello" and of nothing. */
#define HELLO "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define OTHER "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"

static int upload(const struct account_caller *who, const char *sha256, const char *bytes, uint64_t total, int status)
{
        struct test_answer answer = {0};
        uint64_t offset;
        int fd, r = service_object_begin(service, who, sha256, total, &offset, &fd);

        if (r)
                return r;
        assert_int_equal(write(fd, bytes, strlen(bytes)), strlen(bytes));
        close(fd);
        service_object_end(service, who, sha256, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, status);
        test_answer_done(&answer);
        return (int)offset;
}

static int get(const struct account_caller *who, const char *sha256)
{
        struct test_file file = {0};
        char bytes[100];

        service_object_read(service, who, sha256, test_file_fn, &file);
        assert_false(file.came);
        test_until(&file.came);
        if (file.error)
                return file.error;
        assert_int_equal(read(file.fd, bytes, sizeof(bytes)), file.bytes);
        close(file.fd);
        return (int)file.bytes;
}

static void artifacts(void **state)
{
        struct test_answer answer = {0};
        json_t *lease, *view;
        uint64_t offset;
        struct id id;

        assert_int_equal(upload(&alice, "../../../etc/passwd", "x", 1, 0), -EINVAL);
        assert_int_equal(upload(&alice, HELLO, "hello", UINT64_MAX, 0), -EFBIG);
        /* In parts; a wrong digest is thrown away. */
        assert_int_equal(upload(&alice, HELLO, "he", 5, 409), 0);
        assert_int_equal(service_object_offset(service, &alice, HELLO, &offset), 0);
        assert_int_equal(offset, 2);
        assert_int_equal(service_object_offset(service, &bob, HELLO, &offset), -ENOENT);
        assert_int_equal(get(&alice, HELLO), -ENOENT);
        test_close();
        test_open();
        assert_int_equal(upload(&alice, HELLO, "llo", 5, 201), 2);
        assert_int_equal(get(&alice, HELLO), 5);
        assert_int_equal(upload(&alice, OTHER, "world?", 6, 422), 0);
        assert_int_equal(service_object_offset(service, &alice, OTHER, &offset), -ENOENT);
        assert_int_equal(upload(&alice, EMPTY, "", 0, 201), 0);
        assert_int_equal(get(&alice, EMPTY), 0);
        service_object_end(service, &alice, OTHER, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 409);
        test_answer_done(&answer);
        /* Knowing the digest is not having it. */
        assert_int_equal(get(&bob, HELLO), -ENOENT);
        assert_int_equal(get(&farm, HELLO), -ENOENT);
        /* A worker reads what its task names, while it has the lease; and what it made, its task's account reads. */
        test_join(&w, &farm, "one", 1, NULL);
        id = test_task(&alice, "{\"type\":\"t\",\"payload\":{\"files\":[{\"name\":\"in\",\"sha256\":\"" HELLO "\"}]}}");
        lease = test_heard(&w, "lease");
        assert_int_equal(get(&farm, HELLO), 5);
        assert_int_equal(get(&farm2, HELLO), -ENOENT);
        assert_int_equal(test_say(&w, "{\"m\":\"result\",\"task\":\"%s\",\"nonce\":\"%s\",\"artifacts\":[{\"name\":\"out\",\"sha256\":\"" OTHER "\",\"bytes\":5}],\"ready\":true}",
                                  test_text(lease, "task"), test_text(lease, "nonce")),
                         0);
        json_decref(test_heard(&w, "ack"));
        view = test_view(&alice, &id, 200);
        assert_string_equal(test_text(json_object_get(view, "error"), "code"), "artifact.missing");
        json_decref(view);
        json_decref(lease);
        assert_int_equal(get(&farm, HELLO), -ENOENT);
        assert_int_equal(upload(&farm, OTHER, "world", 5, 201), 0);
        for (lease = NULL; !lease; lease = test_heard(&w, "lease")) {
                test_pass_ms(1000);
                assert_int_equal(test_say(&w, "{\"m\":\"heartbeat\"}"), 0);
        }
        assert_int_equal(get(&alice, OTHER), -ENOENT);
        assert_int_equal(test_say(&w, "{\"m\":\"result\",\"task\":\"%s\",\"nonce\":\"%s\",\"artifacts\":[{\"name\":\"out\",\"sha256\":\"" OTHER "\",\"bytes\":5}]}",
                                  test_text(lease, "task"), test_text(lease, "nonce")),
                         0);
        json_decref(test_heard(&w, "ack"));
        test_expect_state(&id, "done");
        assert_int_equal(get(&alice, OTHER), 5);
        assert_int_equal(get(&bob, OTHER), -ENOENT);
        json_decref(lease);
        test_worker_close(&w);
}

static bool file_is_there(const char *sha256)
{
        char path[300];

        snprintf(path, sizeof(path), "%s/objects/%.2s/%s", folder, sha256, sha256);
        return access(path, F_OK) == 0;
}

/* Rounds until the file has gone, or as many as would have sufficed. */
static void rounds(const char *sha256)
{
        for (int i = 0; i < 6 && file_is_there(sha256); i++) {
                test_pass_ms(61 * 60000);
                test_settle();
        }
}

static void what_nobody_uses_goes(void **state)
{
        const int64_t day = 86400000;
        uint64_t offset;
        json_t *lease;
        struct id id;

        test_close();
        options.keep_ms = (uint64_t)day;
        options.artifact_keep_ms = 2 * (uint64_t)day;
        test_open();
        assert_int_equal(upload(&alice, HELLO, "hello", 5, 201), 0);
        assert_int_equal(upload(&alice, EMPTY, "", 0, 201), 0);
        assert_int_equal(upload(&bob, EMPTY, "", 0, 201), 0);
        assert_int_equal(upload(&alice, OTHER, "wor", 5, 409), 0); /* given up */
        id = test_task(&alice, "{\"type\":\"t\",\"wait_for_workers\":true,\"payload\":{\"files\":[{\"name\":\"in\",\"sha256\":\"" HELLO "\"}]}}");
        rounds(EMPTY);
        assert_true(file_is_there(EMPTY)); /* not old yet */
        test_unix_ms += 3 * day;
        rounds(EMPTY);
        assert_false(file_is_there(EMPTY));
        assert_int_equal(get(&alice, EMPTY), -ENOENT);
        assert_int_equal(get(&bob, EMPTY), -ENOENT);
        /* Named by a task that has not ended, however long that takes; also after another start. */
        assert_true(file_is_there(HELLO));
        test_close();
        test_unix_ms += 5 * day;
        test_open();
        rounds(HELLO);
        assert_int_equal(get(&alice, HELLO), 5);
        test_unix_ms += 5 * day;
        test_join(&w, &farm, "one", 1, NULL);
        lease = test_heard(&w, "lease");
        assert_int_equal(test_say(&w, "{\"m\":\"result\",\"task\":\"%s\",\"nonce\":\"%s\",\"result\":1}", test_text(lease, "task"), test_text(lease, "nonce")), 0);
        json_decref(test_heard(&w, "ack"));
        test_settle();
        json_decref(lease);
        test_worker_close(&w);
        /* It ended: kept as long as the task is, and longer. */
        test_unix_ms += day + day / 2;
        rounds(HELLO);
        assert_true(file_is_there(HELLO));
        test_unix_ms += day;
        rounds(HELLO);
        assert_false(file_is_there(HELLO));
        json_decref(test_view(&alice, &id, 404));
        /* It can come again. */
        assert_int_equal(upload(&alice, HELLO, "hello", 5, 201), 0);
        assert_int_equal(get(&alice, HELLO), 5);
        /* Uploads' files bear the real time, whatever it is. */
        test_unix_ms += 36500 * day;
        rounds(HELLO);
        assert_false(file_is_there(HELLO));
        assert_int_equal(service_object_offset(service, &alice, OTHER, &offset), -ENOENT);
        assert_int_equal(upload(&alice, HELLO, "hello", 5, 201), 0);
        /* For ever. */
        test_close();
        options.artifact_keep_ms = 0;
        test_open();
        test_unix_ms += 500 * day;
        rounds(HELLO);
        assert_int_equal(get(&alice, HELLO), 5);
        options.keep_ms = 0;
}

static void what_the_pool_says_of_itself(void **state)
{
        struct test_answer answer = {0};
        struct service_health health;
        char path[100];

        test_join(&w, &farm, "one", 1, NULL);
        (void)test_task(&alice, "{\"type\":\"t\",\"payload\":1}");
        service_health(service, &health);
        assert_true(health.ready);
        service_about(service, &admin, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(answer.json, "tasks"), "leased")), 1);
        test_answer_done(&answer);
        service_snapshot(service, &alice, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(json_array_size(json_object_get(json_object_get(answer.json, "data"), "unfinished")), 1);
        test_answer_done(&answer);
        service_snapshot(service, &bob, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(json_array_size(json_object_get(json_object_get(answer.json, "data"), "unfinished")), 0);
        test_answer_done(&answer);
        service_workers(service, &admin, &(struct service_list){.limit = 10}, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(json_array_size(json_object_get(answer.json, "data")), 1);
        test_answer_done(&answer);
        service_backup(service, &alice, "/tmp/x", test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 403);
        test_answer_done(&answer);
        snprintf(path, sizeof(path), "%s/copy.db", folder);
        service_backup(service, &admin, path, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 201);
        test_answer_done(&answer);
        assert_int_equal(access(path, R_OK), 0);
        service_audit(service, &admin, &(struct service_list){.limit = 10}, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 200);
        test_answer_done(&answer);
        /* Of one account only: here of one that did nothing. */
        service_audit(service, &admin, &(struct service_list){.limit = 10, .account = {.bytes = {1}}}, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 200);
        assert_int_equal(json_array_size(json_object_get(answer.json, "data")), 0);
        test_answer_done(&answer);
        test_worker_close(&w);
}

static void workers_are_listed_in_pages(void **state)
{
        static struct test_worker many[23];
        struct service_list list = {.limit = 5};
        char last[ID_TEXT] = "", name[16];
        struct test_answer answer = {0};
        size_t seen = 0;
        bool more = true;

        for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
                snprintf(name, sizeof(name), "w%zu", i);
                test_join(&many[i], &farm, name, 1, NULL);
        }
        while (more) {
                const json_t *data;

                service_workers(service, &admin, &list, test_answer_fn, &answer);
                test_until(&answer.came);
                data = json_object_get(answer.json, "data");
                more = json_is_true(json_object_get(answer.json, "has_more"));
                assert_int_equal(json_array_size(data), more ? 5 : ARRAY_SIZE(many) % 5);
                for (size_t i = 0; i < json_array_size(data); i++, seen++) {
                        const char *id = test_text(json_array_get(data, i), "id");

                        assert_true(strcmp(id, last) > 0);
                        snprintf(last, sizeof(last), "%s", id);
                }
                if (more)
                        assert_int_equal(id_parse("worker", test_text(answer.json, "next"), &list.after), 0);
                test_answer_done(&answer);
        }
        assert_int_equal(seen, ARRAY_SIZE(many));
        service_about(service, &admin, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(answer.json, "workers"), "active")), ARRAY_SIZE(many));
        assert_int_equal(json_integer_value(json_object_get(json_object_get(answer.json, "workers"), "away")), 0);
        test_answer_done(&answer);
        for (size_t i = 0; i < ARRAY_SIZE(many); i++)
                test_worker_close(&many[i]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(workers_are_listed_in_pages, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(events_are_of_who_they_concern, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(a_gap_is_told, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(pushed_events_count_once, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(logs_are_mended_and_bounded, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(artifacts, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(what_nobody_uses_goes, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(what_the_pool_says_of_itself, test_setup, test_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
