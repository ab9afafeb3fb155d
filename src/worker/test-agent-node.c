/* test-agent-node.c: node reports: every server hears the latest, none more often than it wants. */
#include "worker/agent.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after those: */
#include <cmocka.h>

struct world {
        struct agent agent;
        int said[AGENT_SERVERS];
        json_int_t last[AGENT_SERVERS];
        bool full;
};

static int op_send(void *context, uint32_t server, const char *text, size_t bytes)
{
        struct world *w = context;
        json_t *o = json_loadb(text, bytes, 0, NULL);

        if (!w->full && !strcmp(json_string_value(json_object_get(o, "m")), "node")) {
                w->said[server]++;
                w->last[server] = json_integer_value(json_object_get(o, "clients_left_out"));
        }
        json_decref(o);
        return w->full ? -EAGAIN : 0;
}

static void op_connect(void *context, uint32_t server, const char *url)
{
}

static void op_disconnect(void *context, uint32_t server)
{
}

static void op_named(void *context, const char *worker)
{
}

static void op_say(void *context, int level, const char *text)
{
}

static uint32_t op_chance(void *context)
{
        return 0;
}

static const struct agent_ops ops = {.connect = op_connect, .disconnect = op_disconnect, .send = op_send, .named = op_named, .say = op_say, .chance = op_chance};

static void join(struct world *w, uint64_t now, uint32_t server, const char *welcome)
{
        (void)agent_tick(&w->agent, now);
        agent_opened(&w->agent, now, server);
        assert_int_equal(agent_received(&w->agent, now, server, welcome, strlen(welcome)), 0);
}

static void report(struct world *w, int number)
{
        agent_node(&w->agent, json_pack("{s:i}", "clients_left_out", number));
}

static void each_server_hears_the_latest(void **state)
{
        const struct agent_settings settings = {.slots = 1, .drain_ms = 5000, .bye_ms = 1000, .hello_ms = 2000, .instance = "i"};
        struct world *w scoped_free = calloc(1, sizeof *w);

        agent_init(&w->agent, &settings, json_object(), &ops, w);
        assert_int_equal(agent_add(&w->agent, 0, "wss://a:1", false), 0);
        assert_int_equal(agent_add(&w->agent, 0, "wss://b:1", false), 0);
        assert_int_equal(agent_node_every(&w->agent), 0);
        report(w, 1);
        join(w, 0, 0, "{\"m\":\"welcome\",\"worker\":\"worker_1\",\"server\":\"https://a:1\",\"heartbeat_ms\":60000,\"lease_ms\":600000}");
        assert_int_equal(agent_node_every(&w->agent), 2000);
        (void)agent_tick(&w->agent, 0);
        assert_int_equal(w->said[0], 1);
        /* Two more before it is time again: the later one is said then. */
        report(w, 2);
        (void)agent_tick(&w->agent, 1);
        report(w, 3);
        assert_int_equal(agent_tick(&w->agent, 1999), 2000);
        assert_int_equal(w->said[0], 1);
        /* A full buffer loses nothing but time. */
        w->full = true;
        (void)agent_tick(&w->agent, 2000);
        w->full = false;
        (void)agent_tick(&w->agent, 3999);
        assert_int_equal(w->said[0], 1);
        (void)agent_tick(&w->agent, 4000);
        assert_int_equal(w->said[0], 2);
        assert_int_equal(w->last[0], 3);
        /* Nothing new: only a server that comes now hears it, and later ones as seldom as it wants. */
        (void)agent_tick(&w->agent, 9000);
        assert_int_equal(w->said[0], 2);
        join(w, 9000, 1, "{\"m\":\"welcome\",\"worker\":\"worker_1\",\"server\":\"https://b:1\",\"heartbeat_ms\":60000,\"lease_ms\":600000,\"node_ms\":30000}");
        (void)agent_tick(&w->agent, 9000);
        assert_int_equal(w->said[0], 2);
        assert_int_equal(w->said[1], 1);
        assert_int_equal(agent_node_every(&w->agent), 2000);
        report(w, 4);
        (void)agent_tick(&w->agent, 12000);
        assert_int_equal(w->last[0], 4);
        assert_int_equal(w->last[1], 3);
        agent_closed(&w->agent, 12000, 0, "gone", 0);
        assert_int_equal(agent_node_every(&w->agent), 30000);
        (void)agent_tick(&w->agent, 39000);
        assert_int_equal(w->last[1], 4);
        agent_done(&w->agent);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(each_server_hears_the_latest)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
