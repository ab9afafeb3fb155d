/* depend.c: what waits for what. A task waits for tasks that are known when it is submitted, so there are no circles. When one of them is done, those
 * that waited for nothing else go on; when one ends badly, those that waited are cancelled, and theirs, and so on: by a list, not by recursion. */
#include "pool/internal.h"

/* The task waits for these. strict: an unknown one is -ENOENT and changes nothing; else it counts as done. */
int depend_on(struct core *core, uint32_t task, const struct id *after, uint32_t count, bool strict)
{
        struct task *t = TASK(core, task);

        for (uint32_t i = 0; i < count; i++) {
                uint32_t on = core_find(core, &after[i]), number;
                struct edge *e;
                bool known = false;

                if (on == NONE || on == task) {
                        if (!strict)
                                continue;
                        depend_drop(core, task);
                        return -ENOENT;
                }
                for (uint32_t j = t->first_wait; j != NONE && !known; j = EDGE(core, j)->next_wait)
                        known = EDGE(core, j)->on == on;
                if (known)
                        continue;
                if (slab_take(&core->edges, &number)) {
                        depend_drop(core, task);
                        return -ENOMEM;
                }
                e = EDGE(core, number);
                *e = (struct edge){.waiter = task, .on = on, .previous_waiter = NONE, .next_waiter = TASK(core, on)->first_waiter,
                                   .next_wait = t->first_wait, .live = 1};
                if (e->next_waiter != NONE)
                        EDGE(core, e->next_waiter)->previous_waiter = number;
                TASK(core, on)->first_waiter = number;
                t->first_wait = number;
        }
        return 0;
}

static void unlink_waiter(struct core *core, const struct edge *e)
{
        if (e->next_waiter != NONE)
                EDGE(core, e->next_waiter)->previous_waiter = e->previous_waiter;
        if (e->previous_waiter != NONE)
                EDGE(core, e->previous_waiter)->next_waiter = e->next_waiter;
        else
                TASK(core, e->on)->first_waiter = e->next_waiter;
}

/* It waits for nothing any more. */
void depend_drop(struct core *core, uint32_t task)
{
        struct task *t = TASK(core, task);

        while (t->first_wait != NONE) {
                uint32_t number = t->first_wait;

                t->first_wait = EDGE(core, number)->next_wait;
                unlink_waiter(core, EDGE(core, number));
                slab_give(&core->edges, number);
        }
}

/* Takes the first that waits for the task off it; NONE: nobody does. */
uint32_t depend_next(struct core *core, uint32_t task)
{
        uint32_t number = TASK(core, task)->first_waiter, waiter, *link;

        if (number == NONE)
                return NONE;
        waiter = EDGE(core, number)->waiter;
        unlink_waiter(core, EDGE(core, number));
        link = &TASK(core, waiter)->first_wait;
        while (*link != number)
                link = &EDGE(core, *link)->next_wait;
        *link = EDGE(core, number)->next_wait;
        slab_give(&core->edges, number);
        return waiter;
}
