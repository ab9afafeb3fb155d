/* test-service.h: what the tests of this room share: a service in a folder of its own, clocks that stand still until moved, callers, workers that are nothing but
 * a list of what was sent to them, and a turn that goes on until nothing is under way. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/scope.h"
#include "service/service.h"

struct test_answer {
        bool came;
        int status;
        char code[48], detail[320], location[96];
        json_t *json, *problem;
        uint64_t version, retry_after_s;
};

struct test_worker {
        struct service_worker *connection;
        char *sent[20000];
        size_t count, read;
        bool closed;
        char reason[80], id[ID_TEXT];
        int send_error;
};

struct test_file {
        bool came;
        int error, fd;
        uint64_t bytes;
};

extern struct service *service;
extern struct core_settings settings;
extern struct service_options options;
extern char folder[64];
extern struct account_caller alice, bob, admin, farm, farm2; /* farms: workers' accounts */
extern uint64_t test_now_ns;
extern int64_t test_unix_ms;

int test_setup(void **state);
int test_teardown(void **state);
void test_open(void);
/* As after a kill: what is in memory is gone, nothing is flushed that was not. */
void test_close(void);
void test_answer_fn(void *context, const struct service_answer *answer);
void test_file_fn(void *context, int error, int fd, uint64_t bytes);
/* Turns until done is true; fails when it never gets so. */
void test_until(const bool *done);
/* Turns until everything handed over is durable and told. */
void test_settle(void);
void test_pass_ms(uint64_t ms);
void test_answer_done(struct test_answer *answer);

/* Submits the JSON; returns the answer (its json is the caller's). */
void test_submit(const struct account_caller *caller, const char *json, const char *key, struct test_answer *answer);
/* The id of a task that is taken, which must succeed. */
struct id test_task(const struct account_caller *caller, const char *json);
json_t *test_view(const struct account_caller *caller, const struct id *id, int status);
void test_expect_state(const struct id *id, const char *state);

void test_worker_open(struct test_worker *worker, const struct account_caller *caller);
int test_say(struct test_worker *worker, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Hello and ready, and the welcome read. running: JSON array or NULL. */
void test_join(struct test_worker *worker, const struct account_caller *caller, const char *instance, int slots, const char *running);
/* The next message of that kind that was sent to it, turning until it comes; those before it are passed over. NULL when there is none and nothing is under way. */
json_t *test_heard(struct test_worker *worker, const char *kind);
void test_worker_close(struct test_worker *worker);
const char *test_text(const json_t *object, const char *member);
