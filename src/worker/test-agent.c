/* test-agent.c: the worker's state machine without sockets: what it says, when, and that no result is lost or told twice. */
#include "worker/agent.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct world {
        struct agent a;
        uint64_t now;
        char engine[256]; /* what was wanted last */
        uint32_t connects[AGENT_SERVERS], disconnects[AGENT_SERVERS], starts, stops, kills, chance;
        char named[ID_TEXT];
        bool full;
        json_t *sent[AGENT_SERVERS]; /* lists of what each server got */
};

static void op_connect(void *context, uint32_t server, const char *url)
{
        ((struct world *)context)->connects[server]++;
}

static void op_disconnect(void *context, uint32_t server)
{
        ((struct world *)context)->disconnects[server]++;
}

static int op_send(void *context, uint32_t server, const char *text, size_t bytes)
{
        struct world *w = context;
        json_t *o = json_loadb(text, bytes, 0, NULL);

        assert_non_null(o);
        if (w->full) {
                json_decref(o);
                return -EAGAIN;
        }
        json_array_append_new(w->sent[server], o);
        return 0;
}

static int op_start(void *context, uint32_t slot, const struct message *lease, char why[MESSAGE_WHY])
{
        struct world *w = context;

        if (json_is_true(json_object_get(lease->payload, "refuse"))) {
                snprintf(why, MESSAGE_WHY, "no room");
                return -ENOSPC;
        }
        w->starts++;
        return 0;
}

static void op_stop(void *context, uint32_t slot, bool at_once)
{
        struct world *w = context;

        w->stops++;
        w->kills += at_once;
}

static void op_named(void *context, const char *worker)
{
        snprintf(((struct world *)context)->named, ID_TEXT, "%s", worker);
}

static void op_say(void *context, int level, const char *text)
{
}

static uint32_t op_chance(void *context)
{
        return ((struct world *)context)->chance;
}

static void op_engine(void *context, uint32_t server, const struct message *m)
{
        struct world *w = context;

        if (m->kind == MESSAGE_ENGINE)
                snprintf(w->engine, sizeof w->engine, "%u %s %s %s %d", server, m->models[0], m->ready ? "ready" : "cold", m->again ? "again" : "",
                         m->has_requests ? (int)m->requests : -1);
        else
                snprintf(w->engine, sizeof w->engine, "%u %s %u", server, m->kind == MESSAGE_UNKNOWN ? "gone" : "upcoming", m->model_count);
}

static const struct agent_ops ops = {op_connect, op_disconnect, op_send, op_start, op_stop, op_named, op_say, op_chance, op_engine};

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof *w);
        struct agent_settings settings = {.slots = 2, .drain_ms = 5000, .bye_ms = 1000, .hello_ms = 2000, .instance = "i1"};

        for (int i = 0; i < AGENT_SERVERS; i++)
                w->sent[i] = json_array();
        w->now = 1000;
        agent_init(&w->a, &settings, json_pack("{s:s, s:[s]}", "name", "n", "types", "probe"), &ops, w);
        assert_int_equal(agent_add(&w->a, w->now, "wss://a:1", false), 0);
        assert_int_equal(agent_add(&w->a, w->now, "wss://a:1", false), -EEXIST);
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        for (int i = 0; i < AGENT_SERVERS; i++)
                json_decref(w->sent[i]);
        agent_done(&w->a);
        free(w);
        return 0;
}

/* How many of this kind a server got; *ret the last of them. */
static int got(struct world *w, uint32_t server, const char *kind, json_t **ret)
{
        int n = 0;
        size_t i;
        json_t *v;

        json_array_foreach (w->sent[server], i, v)
                if (!strcmp(json_string_value(json_object_get(v, "m")), kind)) {
                        n++;
                        if (ret)
                                *ret = v;
                }
        return n;
}

static int tell(struct world *w, uint32_t server, const char *text)
{
        return agent_received(&w->a, w->now, server, text, strlen(text));
}

static void join(struct world *w, uint32_t server, const char *welcome)
{
        (void)agent_tick(&w->a, w->now);
        agent_opened(&w->a, w->now, server);
        assert_int_equal(tell(w, server, welcome), 0);
}

#define WELCOME "{\"m\": \"welcome\", \"worker\": \"worker_1\", \"server\": \"https://a:1\", \"lease_ms\": 3000, \"heartbeat_ms\": 1000}"
#define LEASE(task, nonce, extra) "{\"m\": \"lease\", \"task\": \"" task "\", \"nonce\": \"" nonce "\", \"type\": \"probe\", \"payload\": {" extra "}}"

static void say(struct world *w, uint32_t slot, const char *text)
{
        json_t *o = json_loads(text, 0, NULL);

        assert_non_null(o);
        agent_said(&w->a, w->now, slot, o);
        json_decref(o);
}

static void greets_offers_renews(void **state)
{
        struct world *w = *state;
        json_t *m;

        join(w, 0, WELCOME);
        assert_int_equal(w->connects[0], 1);
        assert_string_equal(w->named, "worker_1");
        assert_int_equal(got(w, 0, "hello", &m), 1);
        assert_int_equal(json_integer_value(json_object_get(m, "protocol")), 1);
        assert_int_equal(json_integer_value(json_object_get(m, "slots")), 2);
        assert_int_equal(got(w, 0, "ready", &m), 1);
        assert_int_equal(json_integer_value(json_object_get(m, "slots")), 2);
        assert_int_equal(tell(w, 0, LEASE("task_1", "18446744073709551615", "")), 0);
        assert_int_equal(w->starts, 1);
        for (int i = 0; i < 30; i++) {
                w->now += 100;
                (void)agent_tick(&w->a, w->now);
        }
        assert_in_range(got(w, 0, "renew", &m), 2, 3);
        m = json_array_get(json_object_get(m, "leases"), 0);
        assert_string_equal(json_string_value(json_object_get(m, "nonce")), "18446744073709551615");
        /* A renewal is a sign of life, too. */
        assert_in_range(got(w, 0, "heartbeat", NULL), 0, 2);
}

static void result_is_kept_until_acknowledged(void **state)
{
        struct world *w = *state;
        json_t *m;

        join(w, 0, WELCOME);
        assert_int_equal(tell(w, 0, LEASE("task_1", "7", "")), 0);
        say(w, 0, "{\"m\": \"log\", \"offset\": 0, \"text\": \"hello\"}");
        agent_closed(&w->a, w->now, 0, "gone", 0);
        say(w, 0, "{\"m\": \"log\", \"offset\": 5, \"text\": \" world\"}");
        say(w, 0, "{\"m\": \"result\", \"result\": {}}");
        say(w, 0, "{\"m\": \"result\", \"result\": {}}"); /* only once */
        agent_ended(&w->a, w->now, 0, "");
        assert_int_equal(got(w, 0, "result", NULL), 0);
        assert_int_equal(w->a.kept_count, 1);
        w->now += 1000;
        join(w, 0, WELCOME);
        assert_int_equal(got(w, 0, "result", &m), 1);
        assert_string_equal(json_string_value(json_object_get(m, "nonce")), "7");
        (void)got(w, 0, "hello", &m);
        assert_int_equal(json_array_size(json_object_get(m, "running")), 1);
        agent_closed(&w->a, w->now, 0, "gone again before its ack", 0);
        w->now += 5000;
        join(w, 0, WELCOME);
        assert_int_equal(got(w, 0, "result", NULL), 2);
        assert_int_equal(tell(w, 0, "{\"m\": \"ack\", \"task\": \"task_1\", \"nonce\": \"8\"}"), 0);
        assert_int_equal(w->a.kept_count, 1);
        assert_int_equal(tell(w, 0, "{\"m\": \"ack\", \"task\": \"task_1\", \"nonce\": \"7\"}"), 0);
        assert_int_equal(w->a.kept_count, 0);
}

static void a_slot_is_given_once_and_offered_again(void **state)
{
        struct world *w = *state;
        json_t *m;

        assert_int_equal(agent_add(&w->a, w->now, "wss://b:1", false), 0);
        join(w, 0, WELCOME);
        join(w, 1, "{\"m\": \"welcome\", \"worker\": \"worker_1\", \"server\": \"https://b:1\"}");
        assert_int_equal(got(w, 1, "ready", NULL), 1);
        assert_int_equal(tell(w, 0, LEASE("task_1", "1", "")), 0);
        assert_int_equal(tell(w, 0, LEASE("task_2", "1", "")), 0);
        assert_int_equal(tell(w, 1, LEASE("task_3", "1", "")), 0);
        assert_int_equal(w->starts, 2);
        assert_int_equal(got(w, 1, "decline", &m), 1);
        assert_string_equal(json_string_value(json_object_get(m, "reason")), "busy");
        say(w, 1, "{\"m\": \"result\", \"result\": 1}");
        agent_ended(&w->a, w->now, 1, "");
        /* The first gets one again; the second still has one of its two. */
        assert_int_equal(got(w, 0, "ready", &m), 2);
        assert_int_equal(json_integer_value(json_object_get(m, "slots")), 1);
        assert_int_equal(got(w, 1, "ready", NULL), 1);
        assert_int_equal(got(w, 1, "result", NULL), 0);
        assert_int_equal(got(w, 0, "result", NULL), 1);
}

static void two_addresses_of_one_server(void **state)
{
        struct world *w = *state;

        assert_int_equal(agent_add(&w->a, w->now, "wss://alias:1", false), 0);
        join(w, 0, WELCOME);
        join(w, 1, WELCOME);
        assert_int_equal(w->disconnects[1], 1);
        assert_int_equal(got(w, 1, "ready", NULL), 0);
}

static void stale_lost_cancel_stop(void **state)
{
        struct world *w = *state;

        join(w, 0, WELCOME);
        assert_int_equal(tell(w, 0, LEASE("task_1", "1", "")), 0);
        assert_int_equal(tell(w, 0, LEASE("task_2", "2", "")), 0);
        assert_int_equal(tell(w, 0, "{\"m\": \"stale\", \"task\": \"task_1\", \"nonce\": \"9\"}"), 0);
        assert_int_equal(w->stops, 0);
        assert_int_equal(tell(w, 0, "{\"m\": \"cancel\", \"task\": \"task_1\", \"nonce\": \"1\", \"reason\": \"\\u001b[2J\"}"), 0);
        assert_int_equal(w->stops, 1);
        agent_closed(&w->a, w->now, 0, "gone", 0);
        w->now += 1000;
        join(w, 0, "{\"m\": \"welcome\", \"worker\": \"worker_1\", \"lost\": [\"task_2\", 5, \"task_1\"]}");
        assert_int_equal(w->stops, 2);
        /* A runner that does not end is killed. */
        w->now += 20000;
        (void)agent_tick(&w->a, w->now);
        assert_int_equal(w->kills, 2);
        say(w, 1, "{\"m\": \"result\", \"result\": 1}");
        agent_ended(&w->a, w->now, 0, "killed");
        agent_ended(&w->a, w->now, 1, "killed");
        assert_int_equal(got(w, 0, "result", NULL) + got(w, 0, "fail", NULL), 0);
}

static void a_runner_that_dies_is_a_failure(void **state)
{
        struct world *w = *state;
        json_t *m;

        join(w, 0, WELCOME);
        assert_int_equal(tell(w, 0, LEASE("task_1", "1", "")), 0);
        agent_ended(&w->a, w->now, 0, "killed by signal 9");
        assert_int_equal(got(w, 0, "fail", &m), 1);
        assert_true(json_is_true(json_object_get(m, "retryable")));
        assert_string_equal(json_string_value(json_object_get(m, "blame")), "worker");
        assert_int_equal(tell(w, 0, LEASE("task_2", "1", "\"refuse\": true")), 0);
        assert_int_equal(got(w, 0, "fail", &m), 2);
        assert_string_equal(json_string_value(json_object_get(m, "task")), "task_2");
        assert_int_equal(agent_running(&w->a), 0);
}

static void progress_is_thinned_and_the_last_arrives(void **state)
{
        struct world *w = *state;
        json_t *m;

        join(w, 0, WELCOME);
        assert_int_equal(tell(w, 0, LEASE("task_1", "1", "")), 0);
        for (int i = 1; i <= 1000; i++) {
                char text[64];

                snprintf(text, sizeof text, "{\"m\": \"progress\", \"step\": %d}", i);
                say(w, 0, text);
                if (i % 100 == 0) {
                        w->now += 10;
                        (void)agent_tick(&w->a, w->now);
                }
        }
        assert_in_range(got(w, 0, "progress", NULL), 1, 3);
        w->now += 100;
        (void)agent_tick(&w->a, w->now);
        (void)got(w, 0, "progress", &m);
        assert_int_equal(json_integer_value(json_object_get(m, "step")), 1000);
}

static void logs_wait_for_room_and_keep_their_place(void **state)
{
        struct world *w = *state;
        char *text = malloc(70000), *line = malloc(80000);
        json_t *m, *v;
        uint64_t next = 0;
        size_t i;

        memset(text, 'x', 70000);
        text[65535] = 0;
        join(w, 0, WELCOME);
        assert_int_equal(tell(w, 0, LEASE("task_1", "1", "")), 0);
        w->full = true;
        for (int n = 0; n < 10; n++) {
                snprintf(line, 80000, "{\"m\": \"log\", \"offset\": %d, \"text\": \"%s\"}", n * 65535, text);
                say(w, 0, line);
                assert_true(w->a.tasks[0].log.length <= AGENT_LOG_BYTES);
        }
        w->full = false;
        agent_writable(&w->a, w->now, 0);
        json_array_foreach (w->sent[0], i, m) {
                if (strcmp(json_string_value(json_object_get(m, "m")), "log") != 0)
                        continue;
                v = json_object_get(m, "offset");
                if (next)
                        assert_int_equal(json_integer_value(v), next);
                next = (uint64_t)json_integer_value(v) + json_string_length(json_object_get(m, "text"));
        }
        assert_int_equal(next, 10 * 65535);
        assert_true(w->a.counters.log_cut > 0);
        free(text);
        free(line);
}

static void backs_off_with_jitter_and_keeps_to_retry_after(void **state)
{
        struct world *w = *state;
        uint64_t longest = 0;

        w->chance = UINT32_MAX;
        (void)agent_tick(&w->a, w->now);
        for (int i = 0; i < 12; i++) {
                uint64_t due;

                agent_closed(&w->a, w->now, 0, "refused", 0);
                due = agent_tick(&w->a, w->now);
                assert_true(due > w->now && due <= w->now + 60000);
                longest = due - w->now > longest ? due - w->now : longest;
                w->now = due;
                (void)agent_tick(&w->a, w->now);
        }
        assert_int_equal(longest, 60000);
        assert_int_equal(w->connects[0], 13);
        w->chance = 0;
        agent_closed(&w->a, w->now, 0, "503", 120000);
        assert_int_equal(agent_tick(&w->a, w->now), w->now + 120000);
        /* Hours of Retry-After are taken for a mistake. */
        w->now += 120000;
        (void)agent_tick(&w->a, w->now);
        agent_closed(&w->a, w->now, 0, "503", UINT64_MAX);
        assert_true(agent_tick(&w->a, w->now) <= w->now + 3600000);
}

static void no_answer_to_hello(void **state)
{
        struct world *w = *state;

        (void)agent_tick(&w->a, w->now);
        agent_opened(&w->a, w->now, 0);
        w->now += 2000;
        (void)agent_tick(&w->a, w->now);
        assert_int_equal(w->disconnects[0], 1);
        assert_int_equal(w->a.links[0].state, AGENT_WAITING);
}

static void malformed_ends_the_connection(void **state)
{
        static const char *const wrong[] = {"", "[]", "{}", "{\"m\": 1}", "{\"m\": \"lease\"}", "{\"m\": \"lease\", \"task\": \"../x\", \"nonce\": \"1\", \"type\": \"probe\", \"payload\": {}}",
                                            "{\"m\": \"ack\", \"task\": \"task_1\", \"nonce\": 1}", "{\"m\": \"ack\", \"task\": \"task_1\", \"nonce\": \"-1\"}",
                                            "{\"m\": \"drain\"}", "{\"m\": \"drain\", \"m\": \"drain\", \"on\": true}"};
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
                w->now += 100000;
                join(w, 0, WELCOME);
                assert_int_equal(tell(w, 0, wrong[i]), -E_MESSAGE);
                assert_int_equal(w->disconnects[0], i + 1);
                assert_int_equal(w->a.links[0].state, AGENT_WAITING);
        }
        w->now += 100000;
        join(w, 0, WELCOME);
        assert_int_equal(tell(w, 0, "{\"m\": \"from the future\", \"x\": [1]}"), 0);
        assert_int_equal(w->a.counters.unknown, 1);
        /* A lease before the welcome. */
        agent_closed(&w->a, w->now, 0, "", 0);
        w->now += 100000;
        (void)agent_tick(&w->a, w->now);
        agent_opened(&w->a, w->now, 0);
        assert_int_equal(tell(w, 0, LEASE("task_1", "1", "")), -E_MESSAGE);
        assert_int_equal(w->starts, 0);
}

static void drains(void **state)
{
        struct world *w = *state;

        join(w, 0, WELCOME);
        assert_int_equal(tell(w, 0, LEASE("task_1", "1", "")), 0);
        agent_drain(&w->a, w->now);
        assert_int_equal(got(w, 0, "drain", NULL), 1);
        assert_int_equal(tell(w, 0, LEASE("task_2", "1", "")), 0);
        assert_int_equal(got(w, 0, "decline", NULL), 1);
        (void)agent_tick(&w->a, w->now);
        assert_false(agent_is_over(&w->a));
        say(w, 0, "{\"m\": \"result\", \"result\": 1}");
        agent_ended(&w->a, w->now, 0, "");
        (void)agent_tick(&w->a, w->now);
        assert_false(agent_is_over(&w->a)); /* its acknowledgement is worth a moment */
        assert_int_equal(tell(w, 0, "{\"m\": \"ack\", \"task\": \"task_1\", \"nonce\": \"1\"}"), 0);
        (void)agent_tick(&w->a, w->now);
        assert_true(agent_is_over(&w->a));
        assert_int_equal(got(w, 0, "bye", NULL), 1);
        assert_int_equal(w->stops, 0);
}

static void drain_has_a_bound_and_a_second_call_none(void **state)
{
        struct world *w = *state;

        join(w, 0, WELCOME);
        assert_int_equal(tell(w, 0, LEASE("task_1", "1", "")), 0);
        agent_drain(&w->a, w->now);
        assert_int_equal(agent_tick(&w->a, w->now + 4999) > w->now + 4999, true);
        assert_int_equal(w->stops, 0);
        w->now += 5000;
        (void)agent_tick(&w->a, w->now);
        assert_int_equal(w->stops, 1);
        agent_drain(&w->a, w->now);
        (void)agent_tick(&w->a, w->now);
        assert_int_equal(w->kills, 1);
        agent_ended(&w->a, w->now, 0, "");
        (void)agent_tick(&w->a, w->now);
        assert_true(agent_is_over(&w->a));
        assert_int_equal(got(w, 0, "bye", NULL), 1);
        assert_int_equal(got(w, 0, "fail", NULL), 0);
}

static void servers_told_of_are_joined(void **state)
{
        struct world *w = *state;

        w->a.settings.secure = "wss";
        join(w, 0, "{\"m\": \"welcome\", \"worker\": \"w1\", \"server\": \"https://a:1\", \"servers\": [\"https://a:1\", \"http://plain:1\", \"https://c:2/x\", 3, \"junk\"]}");
        (void)agent_tick(&w->a, w->now);
        assert_int_equal(w->connects[1], 1);
        assert_string_equal(w->a.links[1].url, "wss://c:2");
        assert_int_equal(w->connects[2], 0);
}

static void tasks_go_to_the_server_that_takes_them_over(void **state)
{
        struct world *w = *state;
        json_t *m;

        w->a.settings.slots = 4;
        assert_int_equal(agent_add(&w->a, w->now, "wss://two:1", false), 0);
        join(w, 0, "{\"m\": \"welcome\", \"worker\": \"w1\", \"server\": \"https://one\", \"lost\": []}");
        assert_int_equal(tell(w, 0, LEASE("task_1", "11", "")), 0);
        assert_int_equal(tell(w, 0, LEASE("task_2", "12", "")), 0);
        assert_int_equal(tell(w, 0, LEASE("task_3", "13", "")), 0);
        assert_int_equal(tell(w, 0, LEASE("task_4", "14", "")), 0);
        say(w, 3, "{\"m\": \"result\", \"result\": 4}"); /* kept, and told to the first */
        agent_ended(&w->a, w->now, 3, "");
        join(w, 1, "{\"m\": \"welcome\", \"worker\": \"w1\", \"server\": \"https://two\", \"lost\": [\"task_2\"], \"elsewhere\": [\"task_3\"]}");
        assert_int_equal(w->stops, 0); /* lost there says nothing about another server's */
        assert_int_equal(w->a.tasks[0].server, 1);
        assert_int_equal(w->a.tasks[1].server, 0);
        assert_int_equal(w->a.tasks[2].server, 0);
        assert_int_equal(got(w, 1, "hello", &m), 1);
        assert_int_equal(json_array_size(json_object_get(m, "running")), 4);
        assert_int_equal(got(w, 1, "result", &m), 1);
        assert_string_equal(json_string_value(json_object_get(m, "nonce")), "14");
        /* One that came between hello and welcome was not shown. */
        agent_closed(&w->a, w->now, 1, "gone", 0);
        w->now += 5000;
        (void)agent_tick(&w->a, w->now);
        agent_opened(&w->a, w->now, 1);
        assert_int_equal(tell(w, 0, LEASE("task_5", "15", "")), 0);
        assert_int_equal(tell(w, 1, "{\"m\": \"welcome\", \"worker\": \"w1\", \"server\": \"https://two\", \"lost\": [\"task_2\", \"task_3\"]}"), 0);
        assert_string_equal(w->a.tasks[3].task, "task_5");
        assert_int_equal(w->a.tasks[3].server, 0);
        say(w, 0, "{\"m\": \"result\", \"result\": 1}");
        assert_int_equal(got(w, 1, "result", NULL), 3); /* that of task 4 again */
        assert_int_equal(got(w, 0, "result", NULL), 1);
}

static void engines_are_asked_for(void **state)
{
        struct world *w = *state;

        join(w, 0, WELCOME);
        assert_int_equal(tell(w, 0, "{\"m\": \"engine\", \"model\": \"meta/Llama-3:8b\", \"want\": \"ready\", \"requests\": 7}"), 0);
        assert_string_equal(w->engine, "0 meta/Llama-3:8b ready  7");
        assert_int_equal(tell(w, 0, "{\"m\": \"engine\", \"model\": \"x\", \"want\": \"cold\", \"again\": true}"), 0);
        assert_string_equal(w->engine, "0 x cold again -1");
        assert_int_equal(tell(w, 0, "{\"m\": \"upcoming\", \"models\": [\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\"]}"), 0);
        assert_string_equal(w->engine, "0 upcoming 8");
        assert_int_equal(tell(w, 0, "{\"m\": \"engine\", \"model\": \"../x\", \"want\": \"ready\"}"), -E_MESSAGE);
        assert_string_equal(w->engine, "0 gone 0");
        join(w, 0, WELCOME);
        for (size_t i = 0; i < 4; i++) {
                static const char *const wrong[] = {"\"model\": \"a\"", "\"want\": \"ready\"", "\"model\": \"a\", \"want\": \"cold\", \"requests\": -1",
                                                    "\"model\": \"a\", \"want\": \"cold\", \"again\": 1"};
                char text[128], why[MESSAGE_WHY];
                struct message m;

                snprintf(text, sizeof text, "{\"m\": \"engine\", %s}", wrong[i]);
                assert_int_equal(message_parse(text, strlen(text), &m, why), -E_MESSAGE);
        }
}

/* A change that finds no room is told later, in its latest form; one between hello and welcome, too. */
static void changes_are_not_lost(void **state)
{
        struct world *w = *state;
        json_t *m;

        (void)agent_tick(&w->a, w->now);
        agent_opened(&w->a, w->now, 0);
        agent_changed(&w->a, w->now, json_pack("{s:[s]}", "engines", "early"));
        assert_int_equal(got(w, 0, "change", NULL), 0);
        assert_int_equal(tell(w, 0, WELCOME), 0);
        assert_int_equal(got(w, 0, "change", &m), 1);
        assert_string_equal(json_string_value(json_array_get(json_object_get(m, "engines"), 0)), "early");
        w->full = true;
        agent_changed(&w->a, w->now, json_pack("{s:[s]}", "engines", "first"));
        agent_changed(&w->a, w->now, json_pack("{s:[s], s:i}", "engines", "second", "other", 1));
        w->full = false;
        agent_changed(&w->a, w->now, json_pack("{s:[s]}", "engines", "third"));
        assert_int_equal(got(w, 0, "change", NULL), 1);
        agent_writable(&w->a, w->now, 0);
        assert_int_equal(got(w, 0, "change", &m), 2);
        assert_string_equal(json_string_value(json_array_get(json_object_get(m, "engines"), 0)), "third");
        assert_int_equal(json_integer_value(json_object_get(m, "other")), 1);
        agent_writable(&w->a, w->now, 0);
        assert_int_equal(got(w, 0, "change", NULL), 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(greets_offers_renews),
                TEST(result_is_kept_until_acknowledged),
                TEST(a_slot_is_given_once_and_offered_again),
                TEST(two_addresses_of_one_server),
                TEST(stale_lost_cancel_stop),
                TEST(a_runner_that_dies_is_a_failure),
                TEST(progress_is_thinned_and_the_last_arrives),
                TEST(logs_wait_for_room_and_keep_their_place),
                TEST(backs_off_with_jitter_and_keeps_to_retry_after),
                TEST(no_answer_to_hello),
                TEST(malformed_ends_the_connection),
                TEST(drains),
                TEST(drain_has_a_bound_and_a_second_call_none),
                TEST(servers_told_of_are_joined),
                TEST(tasks_go_to_the_server_that_takes_them_over),
                TEST(engines_are_asked_for),
                TEST(changes_are_not_lost),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
