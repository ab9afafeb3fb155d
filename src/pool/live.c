/* live.c: silence, step by step: SUSPECT gets no new work, LOST has its leases handed on, GONE is forgotten. Steps are counted from the step before, as
 * we saw it, not from the last word alone: a pool that was itself stopped for minutes finds everybody silent, and gives them the time to speak.
 *
 * The brake: when many went silent within a short time it is rather us or the network. While it holds, nobody goes from SUSPECT to LOST, and leases
 * of suspects don't end by time. */
#include "pool/internal.h"

static void moved_timer(void *context, uint32_t item, uint32_t at)
{
        WORKER((struct core *)context, item)->timer_at = at;
}

static bool braking(const struct core *core)
{
        return core->brake_since != CORE_NEVER;
}

static uint64_t due_at(const struct core *core, const struct worker *w)
{
        const struct core_settings *s = &core->settings;
        uint64_t heard = w->last_heard > core->woke_at ? w->last_heard : core->woke_at, due;

        if (w->silence == CORE_ALIVE)
                return heard + s->suspect_ms;
        if (w->silence == CORE_LOST)
                return w->suspect_since + s->gone_ms - s->suspect_ms;
        due = w->suspect_since + s->drain_ms - s->suspect_ms;
        return braking(core) && due < core->brake_since + s->brake_max_ms ? core->brake_since + s->brake_max_ms : due;
}

void live_timer(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);
        struct heap_entry entry = {.key = due_at(core, w), .item = worker};

        if (w->timer_at == NONE) {
                core_memory(heap_reserve(&core->worker_timers, core->worker_timers.count + 1));
                heap_add(&core->worker_timers, entry, moved_timer, core);
        } else {
                heap_change(&core->worker_timers, w->timer_at, entry, moved_timer, core);
        }
}

/* --- suspects, in the order in which they became so --- */

static void suspects_add(struct core *core, struct worker *w)
{
        w->suspect_next = NONE;
        w->suspect_previous = core->suspects.last;
        if (core->suspects.last != NONE)
                WORKER(core, core->suspects.last)->suspect_next = w->number;
        else
                core->suspects.first = w->number;
        core->suspects.last = w->number;
        core->suspects_n++;
        w->recent = true;
        core->recent_n++;
        if (core->first_recent == NONE)
                core->first_recent = w->number;
}

static void not_recent(struct core *core, struct worker *w)
{
        if (!w->recent)
                return;
        w->recent = false;
        core->recent_n--;
        if (core->first_recent == w->number)
                core->first_recent = w->suspect_next;
}

static void suspects_take(struct core *core, struct worker *w)
{
        not_recent(core, w);
        if (w->suspect_next != NONE)
                WORKER(core, w->suspect_next)->suspect_previous = w->suspect_previous;
        else
                core->suspects.last = w->suspect_previous;
        if (w->suspect_previous != NONE)
                WORKER(core, w->suspect_previous)->suspect_next = w->suspect_next;
        else
                core->suspects.first = w->suspect_next;
        w->suspect_next = w->suspect_previous = NONE;
        core->suspects_n--;
}

/* --- the brake --- */

static bool many(const struct core *core, uint32_t silent)
{
        uint32_t all = core->known_workers - core->lost_n;

        return silent && silent >= core->settings.brake_min && (uint64_t)silent * 100 > (uint64_t)core->settings.brake_percent * all;
}

static void brake(struct core *core, bool on)
{
        core->brake_since = on ? core->now : CORE_NEVER;
        core->statistics.brake = on;
        core_act(core, CORE_BRAKE)->gone = on;
        /* Their times are others now. A suspect more or less costs a heap's step; this is rare. */
        for (uint32_t i = core->suspects.first; i != NONE; i = WORKER(core, i)->suspect_next)
                live_timer(core, i);
}

static void look_at_brake(struct core *core)
{
        while (core->first_recent != NONE && WORKER(core, core->first_recent)->suspect_since + core->settings.brake_ms < core->now)
                not_recent(core, WORKER(core, core->first_recent));
        if (!braking(core)) {
                if (many(core, core->recent_n))
                        brake(core, true);
        } else if (!many(core, core->suspects_n)) {
                brake(core, false);
        }
}

/* It held for as long as it may. */
static void brake_over(struct core *core)
{
        while (core->first_recent != NONE)
                not_recent(core, WORKER(core, core->first_recent));
        brake(core, false);
}

/* --- steps --- */

void live_silent(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);

        if (w->silence != CORE_ALIVE)
                return;
        w->silence = CORE_SUSPECT;
        w->suspect_since = core->now;
        suspects_add(core, w);
        match_ready(core, worker);
        worker_told(core, worker);
        look_at_brake(core);
        live_timer(core, worker);
}

/* It spoke. */
void live_heard(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);

        w->last_heard = core->now;
        if (w->silence == CORE_ALIVE)
                return; /* its timer looks again when it comes */
        if (w->silence == CORE_LOST)
                core->lost_n--;
        else
                suspects_take(core, w);
        w->silence = CORE_ALIVE;
        live_timer(core, worker);
        worker_told(core, worker);
        look_at_brake(core);
        match_worker(core, worker);
}

void live_leave(struct core *core, struct worker *w)
{
        if (w->silence == CORE_SUSPECT)
                suspects_take(core, w);
        if (w->silence == CORE_LOST)
                core->lost_n--;
        w->silence = CORE_LOST;
        if (w->timer_at != NONE)
                heap_take(&core->worker_timers, w->timer_at, moved_timer, core);
        look_at_brake(core);
}

static void lose(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);

        suspects_take(core, w);
        w->silence = CORE_LOST;
        core->lost_n++;
        live_timer(core, worker);
        worker_told(core, worker);
        look_at_brake(core);
        worker_hand_on(core, worker, true, CORE_BECAUSE_WORKER_LOST);
}

/* Its timer came. */
void live_due(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);

        if (due_at(core, w) > core->now)
                live_timer(core, worker); /* it spoke since */
        else if (w->silence == CORE_ALIVE)
                live_silent(core, worker);
        else if (w->silence == CORE_SUSPECT)
                lose(core, worker);
        else
                worker_gone(core, worker);
}

/* The lease's time is over, but it may go on: we overslept, or the brake holds and its worker is a suspect. */
bool live_spares(struct core *core, uint32_t task)
{
        struct lease *l = LEASE(core, TASK(core, task)->lease);
        uint64_t until = core->woke_at ? core->woke_at + core->settings.lease_ms : 0;

        if (braking(core) && l->worker != NONE && WORKER(core, l->worker)->silence == CORE_SUSPECT &&
            until < core->brake_since + core->settings.brake_max_ms)
                until = core->brake_since + core->settings.brake_max_ms;
        if (until <= core->now)
                return false;
        l->expires = until;
        task_timer(core, task);
        return true;
}

void core_worker_silent(struct core *core, uint64_t now, uint32_t worker)
{
        core_at(core, now);
        if (worker_known(core, worker))
                live_silent(core, worker);
}

/* --- time --- */

uint64_t core_next_deadline(const struct core *core)
{
        uint64_t due = queue_age_due(core);
        const struct heap_entry *task = heap_top(&core->timers), *worker = heap_top(&core->worker_timers);

        if (task && task->key < due)
                due = task->key;
        if (worker && worker->key < due)
                due = worker->key;
        if (braking(core) && core->brake_since + core->settings.brake_max_ms < due)
                due = core->brake_since + core->settings.brake_max_ms;
        return due;
}

void core_tick(struct core *core, uint64_t now)
{
        uint64_t due = core_next_deadline(core);
        const struct heap_entry *top;
        uint32_t done = 0;

        /* Called long after it was due: the process or the machine was stopped, and nobody could make himself heard. */
        if (due < now && now - due > core->settings.suspect_ms / 2 && due > core->ticked_at)
                core->woke_at = now;
        core_at(core, now);
        core->ticked_at = core->now;
        if (braking(core) && core->brake_since + core->settings.brake_max_ms <= core->now)
                brake_over(core);
        for (; done < CORE_STEP && (top = heap_top(&core->worker_timers)) && top->key <= core->now; done++)
                live_due(core, top->item);
        for (; done < CORE_STEP && (top = heap_top(&core->timers)) && top->key <= core->now; done++)
                task_due(core, top->item);
        for (; done < CORE_STEP && queue_age_one(core); done++)
                ;
}
