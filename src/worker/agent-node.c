/* agent-node.c: the report of this machine, for every server, each as often as it wants it; see agent.h. */
#include "worker/agent-internal.h"

uint64_t agent_node_every(const struct agent *a)
{
        uint64_t every = 0;

        for (uint32_t i = 0; i < AGENT_SERVERS; i++)
                if (a->links[i].state == AGENT_READY && (!every || a->links[i].node_ms < every))
                        every = a->links[i].node_ms;
        return every;
}

/* When it may be said to that server; UINT64_MAX: it knows. */
uint64_t agent_node_tick(struct agent *a, uint64_t now, uint32_t server)
{
        struct agent_link *l = &a->links[server];

        if (!a->node || !l->node_due || !l->node_ms)
                return UINT64_MAX;
        if (now < l->node_at)
                return l->node_at;
        /* One that takes nothing now is tried again as if it had been said: a newer one comes by then. */
        l->node_at = now + l->node_ms;
        if (agent_send(a, now, server, json_incref(a->node)) < 0)
                return l->node_at;
        l->node_due = false;
        return UINT64_MAX;
}

void agent_node(struct agent *a, json_t *node)
{
        json_decref(a->node);
        a->node = node;
        json_object_set_new(node, "m", json_string("node"));
        for (uint32_t i = 0; i < AGENT_SERVERS; i++)
                a->links[i].node_due = true;
}

void agent_seen(struct agent *a, uint64_t now, uint32_t server, const char *report, size_t bytes)
{
        struct agent_link *l = server < AGENT_SERVERS ? &a->links[server] : NULL;

        if (l && l->state == AGENT_READY && a->ops->send(a->context, server, report, bytes) >= 0)
                l->beat_at = now + l->heartbeat_ms;
}
