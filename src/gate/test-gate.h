/* test-gate.h: telling a gate events, and looking at the actions they cause; all invariants are checked after each. Devices of 100 bytes without
 * reserve and parts, unless a test says otherwise.
 */
#pragma once

#include "gate/gate-internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)
#define MS UINT64_C(1000000)

enum { CLIENTS = 6, DEVICES = 2, SEEN = 64 };

static struct gate *g;
static uint64_t now;
static struct gate_action seen[SEEN];
static uint32_t seen_n;

static inline struct gate_settings plain(void)
{
        struct gate_settings s = gate_default_settings;

        s.reserve_percent = 0;
        s.client_part_bytes = 0;
        return s;
}

static inline void hear(void)
{
        char message[200] = "";

        seen_n = 0;
        while (gate_next_action(g, &seen[seen_n]))
                assert_true(++seen_n < SEEN);
        if (gate_check(g, now, message, sizeof(message)))
                fail_msg("%s", message);
}

static inline void begin_with(const struct gate_settings *s)
{
        gate_free(g);
        now = 100 * S;
        g = gate_new(CLIENTS, DEVICES, s);
        assert_non_null(g);
        assert_int_equal(gate_add_device(g, 0, 100), 0);
        assert_int_equal(gate_add_device(g, 1, 100), 0);
}

static inline void begin(void)
{
        struct gate_settings s = plain();

        begin_with(&s);
}

static inline int end(void **state)
{
        (void)state;
        gate_free(g);
        g = NULL;
        return 0;
}

static inline uint32_t add_spec(struct gate_client_spec spec)
{
        uint32_t client = GATE_NONE;

        assert_int_equal(gate_add_client(g, now, &spec, &client), 0);
        hear();
        return client;
}

static inline uint32_t add(uint32_t priority)
{
        return add_spec((struct gate_client_spec){.priority = priority});
}

static inline void want(uint32_t client, uint64_t need)
{
        assert_int_equal(gate_want(g, now, client, need, 7), 0);
        hear();
}

/* A new client that asks for so much. */
static inline uint32_t asking(uint32_t priority, uint64_t need)
{
        uint32_t client = add(priority);

        want(client, need);
        return client;
}

static inline void gone(uint32_t client)
{
        gate_gone(g, now, client);
        hear();
}

static inline void owns(uint32_t client, uint64_t movable, uint64_t pinned)
{
        assert_int_equal(gate_memory(g, now, client, movable, pinned, movable, movable, 0), 0);
        hear();
}

/* A client that runs with so much, all movable and backed. */
static inline uint32_t running(uint32_t priority, uint64_t bytes)
{
        uint32_t client = asking(priority, bytes);

        owns(client, bytes, 0);
        now += 1 * MS; /* the least turn */
        return client;
}

static inline void tick_to(uint64_t when)
{
        now = when;
        gate_tick(g, now);
        hear();
}

/* Time passes while the given clients work. */
static inline void work_for(uint64_t ns, uint32_t a, uint32_t b)
{
        uint64_t until = now + ns;

        seen_n = 0;
        while (now < until && !seen_n) {
                now = now + 100 * MS < until ? now + 100 * MS : until;
                if (a != GATE_NONE)
                        gate_active(g, now, a);
                if (b != GATE_NONE)
                        gate_active(g, now, b);
                gate_tick(g, now);
                hear();
        }
}

static inline void gives_way(uint32_t client, bool wants)
{
        assert_int_equal(gate_given_way(g, now, client, wants), 0);
        hear();
}

static inline void evicted(uint32_t client, uint64_t resident, uint64_t returned, bool done)
{
        assert_int_equal(gate_evicted(g, now, client, resident, returned, returned, 1000, done, 0), 0);
        hear();
}

static inline void brought_in(uint32_t client, uint64_t resident, bool done)
{
        assert_int_equal(gate_brought_in(g, now, client, resident, 0, resident, 1000, done, 0), 0);
        hear();
}

static inline const struct gate_action *find(uint32_t kind, uint32_t client)
{
        for (uint32_t i = 0; i < seen_n; i++)
                if (seen[i].kind == kind && (seen[i].client == client || kind == GATE_CONTENDED))
                        return &seen[i];
        return NULL;
}

static inline const struct gate_action *expect(uint32_t kind, uint32_t client)
{
        const struct gate_action *action = find(kind, client);

        if (!action)
                fail_msg("client %u did not hear action %u", client, kind);
        return action;
}

static inline struct gate_client_view view(uint32_t client)
{
        struct gate_client_view v;

        assert_true(gate_view_client(g, now, client, &v));
        return v;
}
