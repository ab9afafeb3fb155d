/* test-place.c: see test-service.h. */
#include "service/test-service.h"

#include "base/clock.h"
#include "base/fd.h"

#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

struct service *service;
struct core_settings settings;
struct service_options options;
char folder[64];
struct account_caller alice, bob, admin, farm, farm2;
uint64_t test_now_ns;
int64_t test_unix_ms;
static int woken = -1;

static uint64_t monotonic(void *context)
{
        return test_now_ns;
}

static int64_t unix_now(void *context)
{
        return test_unix_ms;
}

static const struct service_clock clock_of_test = {monotonic, unix_now, NULL};

static void wake(void *context)
{
        uint64_t one = 1;

        assert_int_equal(write(woken, &one, sizeof(one)), sizeof(one));
}

static void caller(struct account_caller *c, uint8_t number, enum account_role role)
{
        *c = (struct account_caller){.role = role, .scopes = ~UINT64_C(0), .weight = 100};
        memset(c->account.bytes, number, sizeof(c->account.bytes));
        snprintf(c->name, sizeof(c->name), "caller %u", number);
}

void test_open(void)
{
        char message[SERVICE_MESSAGE];

        options.folder = folder;
        options.core = &settings;
        options.wake = wake;
        options.clock = &clock_of_test;
        if (service_open(&options, &service, message) < 0)
                fail_msg("%s", message);
}

int test_setup(void **state)
{
        strcpy(folder, "/tmp/berth-service-XXXXXX");
        if (!mkdtemp(folder))
                return -1;
        woken = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        caller(&alice, 1, ROLE_USER);
        caller(&bob, 2, ROLE_USER);
        caller(&admin, 3, ROLE_ADMIN);
        caller(&farm, 4, ROLE_WORKER);
        caller(&farm2, 5, ROLE_WORKER);
        settings = core_default_settings;
        options = (struct service_options){0};
        test_now_ns = UINT64_C(1000) * NS_PER_S;
        test_unix_ms = INT64_C(1795000000000);
        test_open();
        return 0;
}

/* The process's memory goes away without service_close having a say about the store: done by a child that had forked before. Here, in one process, what
 * comes nearest is to close without a last flush, which service_close can't; so crash tests fork (test-service-restart.c), and this is the orderly end. */
void test_close(void)
{
        service_close(service);
        service = NULL;
}

int test_teardown(void **state)
{
        char command[128];

        if (service)
                test_close();
        close(woken);
        snprintf(command, sizeof(command), "rm -rf %s", folder);
        return system(command);
}

static void wait_woken(int timeout_ms)
{
        struct pollfd p = {.fd = woken, .events = POLLIN};
        uint64_t count;

        if (poll(&p, 1, timeout_ms) == 1)
                assert_int_equal(read(woken, &count, sizeof(count)), sizeof(count));
}

void test_until(const bool *done)
{
        while (!*done) {
                uint64_t ms = service_turn(service);

                /* Whatever is under way wakes us; a minute is for machines that stand still. */
                if (!*done && ms)
                        wait_woken(60000);
        }
}

static void settled(void *context, const struct service_answer *answer)
{
        *(bool *)context = true;
}

void test_settle(void)
{
        for (int i = 0; i < 3; i++) {
                bool done = false, looked = false;
                struct account_changes none = {.count = 0};
                struct id id = {.bytes = {9}};

                service_commit(service, &none, settled, &done);
                service_task(service, &admin, &id, settled, &looked);
                test_until(&done);
                test_until(&looked);
        }
}

void test_pass_ms(uint64_t ms)
{
        test_now_ns += ms * NS_PER_MS;
        test_unix_ms += (int64_t)ms;
        service_turn(service);
        test_settle();
}

void test_answer_fn(void *context, const struct service_answer *answer)
{
        struct test_answer *a = context;

        a->came = true;
        a->status = answer->status;
        a->version = answer->version;
        a->retry_after_s = answer->retry_after_s;
        snprintf(a->code, sizeof(a->code), "%s", answer->code ? answer->code : "");
        snprintf(a->detail, sizeof(a->detail), "%s", answer->detail ? answer->detail : "");
        snprintf(a->location, sizeof(a->location), "%s", answer->location);
        a->problem = answer->body ? json_deep_copy(answer->body) : NULL;
        if (answer->text) {
                json_error_t error;

                a->json = json_loadb(answer->text, answer->bytes, JSON_REJECT_DUPLICATES, &error);
                if (!a->json)
                        fail_msg("not JSON: %s at %d: %.*s", error.text, error.position, (int)answer->bytes, answer->text);
        }
        if (a->status >= 400)
                assert_true(a->code[0] && a->detail[0]);
}

void test_answer_done(struct test_answer *answer)
{
        json_decref(answer->json);
        json_decref(answer->problem);
        *answer = (struct test_answer){0};
}

void test_file_fn(void *context, int error, int fd, uint64_t bytes)
{
        *(struct test_file *)context = (struct test_file){true, error, fd, bytes};
}

void test_submit(const struct account_caller *who, const char *json, const char *key, struct test_answer *answer)
{
        json_error_t error;
        json_t *body = json_loads(json, JSON_DECODE_ANY, &error);

        if (!body)
                fail_msg("%s: %s", error.text, json);
        *answer = (struct test_answer){0};
        service_submit(service, who, body, key, false, test_answer_fn, answer);
        json_decref(body);
        assert_false(answer->came);
        test_until(&answer->came);
}

struct id test_task(const struct account_caller *who, const char *json)
{
        struct test_answer answer;
        struct id id;

        test_submit(who, json, NULL, &answer);
        if (answer.status != 202)
                fail_msg("%d %s %s: %s", answer.status, answer.code, answer.detail, json);
        assert_int_equal(id_parse("task", json_string_value(json_object_get(answer.json, "id")), &id), 0);
        test_answer_done(&answer);
        return id;
}

json_t *test_view(const struct account_caller *who, const struct id *id, int status)
{
        struct test_answer answer = {0};
        json_t *json;

        service_task(service, who, id, test_answer_fn, &answer);
        assert_false(answer.came);
        test_until(&answer.came);
        assert_int_equal(answer.status, status);
        json = answer.json ? json_incref(answer.json) : NULL;
        test_answer_done(&answer);
        return json;
}

const char *test_text(const json_t *object, const char *member)
{
        const char *text = json_string_value(json_object_get(object, member));

        return text ? text : "";
}

void test_expect_state(const struct id *id, const char *state)
{
        json_t *view = test_view(&admin, id, 200);

        assert_string_equal(test_text(view, "state"), state);
        json_decref(view);
}

/* Workers. */

static int heard(void *context, const char *text, size_t bytes)
{
        struct test_worker *w = context;

        if (w->send_error)
                return w->send_error;
        assert_true(w->count < ARRAY_SIZE(w->sent));
        w->sent[w->count++] = strndup(text, bytes);
        return 0;
}

static void closed(void *context, const char *reason)
{
        struct test_worker *w = context;

        w->closed = true;
        snprintf(w->reason, sizeof(w->reason), "%s", reason);
}

void test_worker_open(struct test_worker *w, const struct account_caller *who)
{
        memset(w, 0, sizeof(*w));
        w->connection = service_worker_open(service, who, "192.0.2.1", heard, closed, w);
        assert_non_null(w->connection);
}

int test_say(struct test_worker *w, const char *format, ...)
{
        char *text scoped_free = NULL;
        va_list args;
        int n;

        va_start(args, format);
        n = vasprintf(&text, format, args);
        va_end(args);
        assert_true(n >= 0);
        return service_worker_receive(w->connection, text, (size_t)n);
}

json_t *test_heard(struct test_worker *w, const char *kind)
{
        for (int i = 0; i < 2; i++) {
                while (w->read < w->count) {
                        json_error_t error;
                        json_t *m = json_loads(w->sent[w->read++], JSON_REJECT_DUPLICATES, &error);

                        if (!m)
                                fail_msg("%s in %s", error.text, w->sent[w->read - 1]);
                        if (!strcmp(test_text(m, "m"), kind))
                                return m;
                        json_decref(m);
                }
                test_settle();
        }
        return NULL;
}

void test_join(struct test_worker *w, const struct account_caller *who, const char *instance, int slots, const char *running)
{
        char id[ID_TEXT];
        json_t *m;

        snprintf(id, sizeof(id), "%s", w->id);
        test_worker_open(w, who);
        assert_int_equal(test_say(w,
                                  "{\"m\":\"hello\",\"protocol\":1,\"worker\":\"%s\",\"instance\":\"%s\",\"name\":\"w\",\"slots\":%d,\"types\":[\"t\",\"u\"],"
                                  "\"devices\":[{\"kind\":\"gpu\",\"name\":\"x\",\"memory_bytes\":85899345920}],\"host_memory_bytes\":1073741824,\"models\":[\"m\"],"
                                  "\"labels\":{\"zone\":\"a\"},\"running\":%s}",
                                  id, instance, slots, running ? running : "[]"),
                         0);
        m = test_heard(w, "welcome");
        assert_non_null(m);
        snprintf(w->id, sizeof(w->id), "%s", test_text(m, "worker"));
        json_decref(m);
        w->read = 0;
        assert_int_equal(test_say(w, "{\"m\":\"ready\",\"slots\":%d}", slots), 0);
}

void test_worker_close(struct test_worker *w)
{
        if (w->connection)
                service_worker_closed(w->connection);
        w->connection = NULL;
        for (size_t i = 0; i < w->count; i++)
                free(w->sent[i]);
        w->count = w->read = 0;
}
