/* engines-node.c: engines and the node daemon: whose memory is on the device, who holds more than its entry says, whose memory comes next; see engines.h. */
#include "worker/engines-internal.h"

#include "base/text.h"

#define LOG_ROOM "engines"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define COMING_MS 30000 /* a list that is not said anew is forgotten after so long */

bool engines_gated(const struct engines *e)
{
        for (uint32_t i = 0; i < ENGINES_MOST; i++)
                if (e->slots[i] && e->slots[i]->pid && e->slots[i]->gated)
                        return true;
        return false;
}

static uint64_t bytes(const json_t *o, const char *name)
{
        const json_t *v = json_object_get(o, name);

        return json_is_integer(v) && json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v) : 0;
}

static void compare_with_entry(struct engines *e, struct engines_slot *s, uint64_t held)
{
        char have[16], said[16], note[ENGINE_TEXT] = "";

        if (held > s->entry.memory)
                snprintf(note, sizeof note, "holds %s of device memory, its entry says %s", text_bytes(held, have, sizeof have), text_bytes(s->entry.memory, said, sizeof said));
        s->held = held;
        if (!strcmp(note, s->note))
                return;
        if (note[0] && !s->note[0])
                log_warning("%s: %s", s->entry.name, note);
        memcpy(s->note, note, sizeof note);
        e->dirty = true;
}

static void look_at(struct engines *e, struct engines_slot *s, const json_t *devices)
{
        uint64_t held = 0, out = 0;
        const json_t *device, *client;
        size_t i, k, found = 0;
        int resident;

        json_array_foreach (devices, i, device)
                json_array_foreach (json_object_get(device, "clients"), k, client) {
                        const char *job = json_string_value(json_object_get(client, "job"));

                        if (!job || strcmp(job, s->job) != 0)
                                continue;
                        held += bytes(client, "owned_bytes");
                        out += bytes(client, "swapped_bytes");
                        found++;
                }
        resident = !found || !held ? -1 : !out;
        e->dirty |= resident != s->resident;
        s->resident = resident;
        engine_swapped(&s->engine, resident == 0);
        compare_with_entry(e, s, held);
}

void engines_node(struct engines *e, const json_t *node)
{
        for (uint32_t i = 0; i < ENGINES_MOST; i++)
                if (e->slots[i] && e->slots[i]->pid && e->slots[i]->gated)
                        look_at(e, e->slots[i], json_object_get(node, "devices"));
}

static bool lists(const struct message *m, const char *name)
{
        for (uint32_t i = 0; i < m->model_count; i++)
                if (!strcmp(m->models[i], name))
                        return true;
        return false;
}

/* The list takes the place of the one before: who is not on it any more is taken back. In its order, since room goes to who is told first. */
void engines_upcoming(struct engines *e, const struct message *m)
{
        for (uint32_t i = 0; i < ENGINES_MOST; i++) {
                struct engines_slot *s = e->slots[i];

                if (!s || !s->coming || lists(m, s->entry.name))
                        continue;
                s->coming = false;
                e->options.prefetch(e->options.context, s->job, 0);
        }
        for (uint32_t k = 0; k < m->model_count; k++)
                for (uint32_t i = 0; i < ENGINES_MOST; i++) {
                        struct engines_slot *s = e->slots[i];

                        if (!s || !s->pid || !s->gated || strcmp(s->entry.name, m->models[k]) != 0)
                                continue;
                        s->coming = true;
                        e->options.prefetch(e->options.context, s->job, COMING_MS);
                }
}
