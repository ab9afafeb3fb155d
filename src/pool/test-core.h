/* test-core.h: telling a core events, and looking at the actions they cause; all invariants are checked after each. */
#pragma once

#include "pool/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SEEN = 4096, SECOND = 1000, MINUTE = 60 * SECOND };

static struct core *core;
static uint64_t now;
static struct core_action seen[SEEN];
static uint32_t seen_n;
static struct core_refusal refusal;

static inline struct id id_of(char kind, uint32_t number)
{
        struct id id = {.bytes = {(uint8_t)kind}};

        for (int i = 0; i < 4; i++)
                id.bytes[15 - i] = (uint8_t)(number >> 8 * i);
        return id;
}

/* Carries on: what happened is in seen. */
static inline void hear(void)
{
        char message[256];

        seen_n = 0;
        while (core_next_action(core, &seen[seen_n]))
                assert_true(++seen_n < SEEN);
        if (core_check(core, now, message))
                fail_msg("%s", message);
}

static inline void begin_with(const struct core_settings *settings)
{
        core_free(core);
        now = 100 * MINUTE;
        core = core_new(settings, 7);
        assert_non_null(core);
}

static inline void begin(void)
{
        begin_with(&core_default_settings);
}

/* Time passes as a caller lets it: with a tick whenever something is due. */
static inline void wait_until(uint64_t until)
{
        static struct core_action all[SEEN];
        uint32_t all_n = 0;

        for (;;) {
                uint64_t due = core_next_deadline(core);

                if (due > until)
                        break;
                if (due > now)
                        now = due;
                core_tick(core, now);
                hear();
                assert_true(all_n + seen_n < SEEN);
                memcpy(all + all_n, seen, seen_n * sizeof(*seen));
                all_n += seen_n;
        }
        now = until;
        core_tick(core, now);
        hear();
        memcpy(all + all_n, seen, seen_n * sizeof(*seen));
        seen_n += all_n;
        memcpy(seen, all, seen_n * sizeof(*seen));
}

static inline void wait_for(uint64_t ms)
{
        wait_until(now + ms);
}

/* --- what happened --- */

static inline const struct core_action *find_action(uint32_t kind, uint32_t task)
{
        for (uint32_t i = 0; i < seen_n; i++) {
                if (seen[i].kind == kind && (task == NONE || seen[i].task == task))
                        return &seen[i];
        }
        return NULL;
}

static inline const struct core_action *expect(uint32_t kind, uint32_t task)
{
        const struct core_action *action = find_action(kind, task);

        if (!action)
                fail_msg("no action %u about task %u among %u", kind, task, seen_n);
        return action;
}

static inline void expect_state(uint32_t task, uint32_t state, uint32_t reason)
{
        for (uint32_t i = 0; i < seen_n; i++) {
                if (seen[i].kind == CORE_STATE && seen[i].task == task && seen[i].state == state) {
                        assert_int_equal(seen[i].reason, reason);
                        return;
                }
        }
        fail_msg("task %u did not become %u", task, state);
}

static inline uint32_t count_actions(uint32_t kind)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < seen_n; i++)
                n += seen[i].kind == kind;
        return n;
}

/* --- workers --- */

static const char plain_types[][CORE_TEXT] = {"work"};

static inline struct core_worker_spec worker_spec(uint32_t number, uint32_t slots)
{
        return (struct core_worker_spec){.id = id_of('w', number), .slots = slots, .types = plain_types, .type_count = 1,
                                         .host_memory_bytes = UINT64_C(16) << 30};
}

static inline uint32_t join_spec(const struct core_worker_spec *spec)
{
        uint32_t worker;

        assert_int_equal(core_worker_join(core, now, spec, NULL, &worker), 0);
        hear();
        return worker;
}

static inline uint32_t join(uint32_t number, uint32_t slots)
{
        struct core_worker_spec spec = worker_spec(number, slots);

        return join_spec(&spec);
}

static inline void ready(uint32_t worker, uint32_t slots)
{
        core_ready(core, now, worker, slots);
        hear();
}

/* --- tasks --- */

static inline struct core_task_spec task_spec(uint32_t number, uint32_t account)
{
        return (struct core_task_spec){.id = id_of('t', number), .account = id_of('a', account), .needs = {.type = "work"}, .band = CORE_NORMAL,
                                       .deadline = CORE_NEVER, .wait_for_workers = true};
}

static inline uint32_t submit_spec(const struct core_task_spec *spec)
{
        uint32_t task;
        int r = core_submit(core, now, spec, NULL, &task, &refusal);

        if (r)
                fail_msg("refused: %s", refusal.text);
        hear();
        return task;
}

static inline uint32_t submit(uint32_t number)
{
        struct core_task_spec spec = task_spec(number, 1);

        return submit_spec(&spec);
}

static inline struct core_task_view view_of(uint32_t task)
{
        struct core_task_view view;

        core_task_view(core, now, task, &view);
        return view;
}

static inline uint32_t state_of(uint32_t task)
{
        return view_of(task).state;
}

/* The lease that a task has, from the books. */
static inline uint64_t nonce_of(uint32_t task)
{
        assert_int_equal(TASK(core, task)->state, CORE_LEASED);
        return LEASE(core, TASK(core, task)->lease)->nonce;
}

static inline uint32_t worker_of(uint32_t task)
{
        return view_of(task).worker;
}

static inline void result(uint32_t task)
{
        struct id id = TASK(core, task)->id;

        assert_int_equal(core_result(core, now, worker_of(task), &id, nonce_of(task), 0), CORE_OK);
        hear();
}

static inline void fails(uint32_t task, bool retryable, bool blame)
{
        struct id id = TASK(core, task)->id;

        assert_int_equal(core_fail(core, now, worker_of(task), &id, nonce_of(task), retryable, blame), CORE_OK);
        hear();
}

static inline int end_core(void **state)
{
        (void)state;
        core_free(core);
        core = NULL;
        return 0;
}
