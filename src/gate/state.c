/* state.c: the states of a client and the moves between them. gate.h draws them.
 *
 *   WAITING → RUNNING       gate opened: grant complete, nothing outside        (plan.c)
 *   WAITING → COMING_IN     bytes to bring in                                   (plan.c)
 *   WAITING → GOING_OUT     its bytes are needed                                (victim.c)
 *   COMING_IN → WAITING     all in, failed, or the fill was called off          (gate.c, plan.c)
 *   RUNNING → GIVING_WAY    asked to                                            (victim.c)
 *   GIVING_WAY → WAITING    done so; it holds its bytes still                   (gate.c)
 *   GOING_OUT → WAITING     its move ended                                      (gate.c)
 *
 * Coming in ends in WAITING also when it succeeded: the gate opens from there, for all members of a job in one step.
 */
#include "gate/gate-internal.h"

#define TO(state) (1u << (state))

static const uint32_t next_states[WIRE_STATE_N] = {
        [WIRE_WAITING] = TO(WIRE_RUNNING) | TO(WIRE_COMING_IN) | TO(WIRE_GOING_OUT),
        [WIRE_COMING_IN] = TO(WIRE_WAITING),
        [WIRE_RUNNING] = TO(WIRE_GIVING_WAY),
        [WIRE_GIVING_WAY] = TO(WIRE_WAITING),
        [WIRE_GOING_OUT] = TO(WIRE_WAITING),
};

bool gate_may_move(uint32_t from, uint32_t to)
{
        return from < WIRE_STATE_N && to < WIRE_STATE_N && (next_states[from] & TO(to));
}

bool gate_move(struct gate *g, struct client *c, uint32_t to)
{
        if (!gate_may_move(c->state, to)) {
#ifndef NDEBUG
                abort();
#else
                g->refused_moves++;
                return false;
#endif
        }
        if (c->state == WIRE_RUNNING)
                c->ran_ns += g->now - c->run_since;
        c->state = to;
        c->stuck = 0;
        c->deadline = GATE_NEVER;
        c->kill_at = GATE_NEVER;
        c->moved_seen = c->elapsed_seen = 0;
        if (to == WIRE_RUNNING) {
                c->run_since = c->active_at = g->now;
                c->expected = gate_expected(g, c);
                c->peak = owned(c);
                c->unkept = 0;
                c->keep_until = 0; /* fresh chances after it ran */
                c->whole = 0;
        }
        return true;
}
