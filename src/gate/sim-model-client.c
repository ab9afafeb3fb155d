/* sim-model-client.c: what the clients of the small world can do, and how they take actions. */
#include "gate/sim-model.h"

#include <stdio.h>
#include <string.h>

static struct letter shift(struct letter *queue, uint8_t *n)
{
        struct letter first = queue[0];

        memmove(queue, queue + 1, (size_t)(QUEUE - 1) * sizeof(*queue));
        memset(&queue[QUEUE - 1], 0, sizeof(*queue));
        (*n)--;
        return first;
}

static void say(struct actor *a, uint8_t kind, uint8_t p, uint8_t q, uint8_t r, uint8_t s)
{
        push(a->from, &a->from_n, (struct letter){kind, p, q, r, s});
}

static void report(struct actor *a, uint8_t returned)
{
        a->grant -= returned;
        say(a, MEMORY, a->movable, a->resident, a->backed, returned);
}

static void allocate(struct actor *a)
{
        uint8_t size = a->desire < a->grant ? a->desire : a->grant;

        if (size > a->movable) {
                a->movable = a->resident = size;
                report(a, 0);
        }
}

static void hear(struct world *w, uint32_t i)
{
        struct actor *a = &w->actors[i];
        struct letter l = shift(a->to, &a->to_n);

        switch ((enum gate_action_kind)l.kind) {
        case GATE_GO:
                a->grant += l.a;
                if (a->resident != a->movable)
                        model_fail(w, "the gate opens for one that is not whole", "");
                a->running = 1;
                a->bringing = a->wants_open = 0;
                allocate(a);
                break;
        case GATE_AVAILABLE:
                a->grant += l.a;
                a->wants_open = 0;
                allocate(a);
                break;
        case GATE_DENY:
                a->wants_open = 0;
                a->desire = a->movable;
                break;
        case GATE_GIVE_WAY:
                if (!a->running)
                        model_fail(w, "give way for one that does not run", "");
                a->running = 0;
                a->closing = 1;
                break;
        case GATE_EVICT:
                if (a->running || a->closing)
                        model_fail(w, "evict for one that runs", "");
                a->evicting = 1;
                a->bringing = 0;
                a->evict_left = l.a;
                break;
        case GATE_BRING_IN:
                a->grant += l.a;
                a->bringing = 1;
                break;
        case GATE_TRIM:
                if (a->running && a->grant > a->movable)
                        report(a, a->grant - a->movable);
                break;
        case GATE_WAIT:
        case GATE_CONTENDED:
        case GATE_REPORT:
        case GATE_KILL:
                break;
        }
}

static void reach(struct world *w, uint32_t i)
{
        struct actor *a = &w->actors[i];
        struct letter l = shift(a->from, &a->from_n);
        int r = 0;

        switch (l.kind) {
        case MEMORY:
                r = gate_memory(w->gate, w->now, i, l.a, 0, l.b, l.c, l.d);
                break;
        case WANT:
                r = gate_want(w->gate, w->now, i, l.a, 1);
                break;
        case GIVEN_WAY:
                r = gate_given_way(w->gate, w->now, i, l.a);
                break;
        case EVICTED:
                r = gate_evicted(w->gate, w->now, i, l.a, l.b, 0, 0, l.c, l.d ? -E_ARENA : 0);
                break;
        case BROUGHT_IN:
                r = gate_brought_in(w->gate, w->now, i, l.a, l.b, 0, 0, l.c, l.d ? -ENOMEM : 0);
                break;
        default:
                break;
        }
        if (r) {
                char text[80];

                snprintf(text, sizeof(text), "of client %u: kind %u (%u %u %u %u)", i, l.kind, l.a, l.b, l.c, l.d);
                model_fail(w, "an honest message was refused", text);
        }
        model_collect(w);
}

static void evict_step(struct world *w, struct actor *a, bool failing)
{
        uint8_t unused = a->grant - a->resident, returned = 0;

        if (unused) {
                returned = unused < a->evict_left ? unused : a->evict_left;
        } else if (!failing && a->resident) {
                if (a->backed < a->movable - a->resident + 1) {
                        if (w->arena) {
                                w->arena--;
                                a->backed++;
                        } else {
                                failing = true;
                        }
                }
                if (!failing) {
                        a->resident--;
                        returned = 1;
                }
        }
        if (setup->storage && a == w->actors) {
                a->movable = a->resident; /* what left is its program's elsewhere */
                if (a->backed > a->movable) {
                        w->arena += a->backed - a->movable;
                        a->backed = a->movable;
                }
        } else if (a->resident != a->movable) {
                report(a, 0);
        }
        a->grant -= returned;
        a->evict_left -= returned;
        a->evicting = a->evict_left && a->grant && !failing;
        say(a, EVICTED, a->resident, returned, !a->evicting, failing);
        gate_arena(w->gate, w->now, w->arena);
        model_collect(w);
}

static void bring_step(struct actor *a, bool failing)
{
        uint8_t returned = failing ? a->grant - a->resident : 0;

        if (failing) {
                a->grant -= returned;
                a->bringing = 0;
        } else {
                if (a->resident < a->movable)
                        a->resident++;
                a->bringing = a->resident != a->movable;
        }
        say(a, BROUGHT_IN, a->resident, returned, !a->bringing && !failing, failing);
}

bool model_enabled(const struct world *w, uint32_t i, uint32_t deed)
{
        const struct actor *a = &w->actors[i];
        bool room = a->from_n + 3 < QUEUE;

        if (!a->lives)
                return false;
        switch (deed) {
        case HEAR:
                return a->to_n && room;
        case REACH:
                return a->from_n;
        case GIVE:
                return a->closing && room;
        case GIVE_WANTING:
                return a->closing && room && a->wants_left;
        case EVICT_STEP:
                return a->evicting && room;
        case EVICT_FAIL:
                return a->evicting && room && a->fails_left;
        case BRING_STEP:
                return a->bringing && !a->evicting && room && (a->grant > a->resident || a->resident == a->movable);
        case BRING_FAIL:
                return a->bringing && !a->evicting && room && a->fails_left;
        case START:
                return !a->wants_open && !a->running && !a->closing && a->wants_left && room;
        case GROW:
                return a->running && !a->wants_open && a->grows_left && room;
        case FREE:
                return (a->running || (setup->storage && !i && !a->evicting)) && a->movable && a->frees_left && room;
        case DIE:
                return w->deaths_left;
        default:
                return false;
        }
}

void model_perform(struct world *w, uint32_t i, uint32_t deed)
{
        struct actor *a = &w->actors[i];

        switch (deed) {
        case HEAR:
                hear(w, i);
                break;
        case REACH:
                reach(w, i);
                break;
        case GIVE:
        case GIVE_WANTING:
                a->closing = 0;
                a->wants_left -= deed == GIVE_WANTING;
                a->wants_open |= deed == GIVE_WANTING;
                say(a, GIVEN_WAY, deed == GIVE_WANTING, 0, 0, 0);
                break;
        case EVICT_STEP:
        case EVICT_FAIL:
                a->fails_left -= deed == EVICT_FAIL;
                evict_step(w, a, deed == EVICT_FAIL);
                break;
        case BRING_STEP:
        case BRING_FAIL:
                a->fails_left -= deed == BRING_FAIL;
                bring_step(a, deed == BRING_FAIL);
                break;
        case START:
                a->wants_left--;
                a->wants_open = 1;
                a->desire = a->movable > setup->sizes[i] ? a->movable : setup->sizes[i];
                say(a, WANT, a->desire, 0, 0, 0);
                break;
        case GROW:
                a->grows_left--;
                a->desire = a->movable + 1;
                if (a->desire <= a->grant) {
                        allocate(a);
                } else {
                        a->wants_open = 1;
                        say(a, WANT, a->desire, 0, 0, 0);
                }
                break;
        case FREE:
                a->frees_left--;
                a->movable--;
                a->resident--;
                if (a->backed > a->movable) {
                        a->backed--;
                        w->arena++;
                }
                report(a, 1);
                break;
        case DIE:
                w->deaths_left--;
                w->arena += a->backed;
                memset(a, 0, sizeof(*a));
                gate_gone(w->gate, w->now, i);
                gate_arena(w->gate, w->now, w->arena);
                model_collect(w);
                break;
        default:
                break;
        }
}
