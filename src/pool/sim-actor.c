/* sim-actor.c: the workers of the simulation. An honest one tells the truth; a failing one fails half of what it gets; a flapping one vanishes and
 * comes back, with or without its leases; a liar sends wrong nonces, results twice, results of others, offers slots that it does not have. */
#include "pool/sim-core.h"

static const char types[][CORE_TEXT] = {"text", "image", "data"};
static const char models[][CORE_TEXT * 2] = {"small", "large", "huge"};

static void join(uint32_t number)
{
        struct actor *a = &w.actors[number];
        struct core_worker_spec spec = {.slots = a->slots, .types = types, .type_count = 1 + a->spec % 3, .models = models, .model_count = a->spec / 3 % 4,
                                        .host_memory_bytes = (8 + a->spec % 5 * 8 + sim_below(2)) * 1000000000, .label_count = 2};

        spec.id.bytes[0] = 'w';
        memcpy(spec.id.bytes + 12, &number, sizeof(number));
        if (a->spec % 2) {
                spec.device_count = 1;
                spec.devices[0] = (struct core_device){.kind = "gpu", .memory_bytes = (8ULL << a->spec % 4) << 30};
        }
        snprintf(spec.labels[0].name, CORE_TEXT, "host");
        snprintf(spec.labels[0].value, CORE_TEXT, "machine-%u", number);
        snprintf(spec.labels[1].name, CORE_TEXT, "zone");
        snprintf(spec.labels[1].value, CORE_TEXT, "%c", 'a' + (int)(number % 3));
        if (number % 11 == 10) {
                spec.private_pool = true;
                spec.account.bytes[0] = 'a';
                spec.account.bytes[15] = (uint8_t)(1 + number % w.accounts);
        }
        if (core_worker_join(w.core, w.now, &spec, a, &a->number))
                sim_fail("worker %u was not let in", number);
        a->silent = false;
        for (uint32_t i = 0; i < a->busy;) {
                const struct job *job = &w.jobs[a->leases[i].job];

                /* Some go on with what is no longer theirs, and say so later. */
                if (core_resume(w.core, w.now, a->number, &job->id, a->leases[i].nonce) == CORE_OK || sim_once_in(3))
                        i++;
                else
                        a->leases[i] = a->leases[--a->busy];
        }
        if (spec.model_count && sim_once_in(2))
                core_worker_models(w.core, w.now, a->number, models + sim_below(spec.model_count), 1);
        core_ready(w.core, w.now, a->number, a->slots - a->busy);
}

void sim_actor_begin(uint32_t number)
{
        struct actor *a = &w.actors[number];
        static const uint32_t kinds[] = {ACTOR_HONEST, ACTOR_HONEST, ACTOR_HONEST, ACTOR_HONEST, ACTOR_FAILING, ACTOR_FLAPPING, ACTOR_FLAPPING, ACTOR_LIAR};

        a->kind = kinds[sim_below(8)];
        a->slots = 1 + (uint32_t)sim_below(4);
        a->spec = (uint32_t)sim_below(24);
        a->number = NONE;
        a->leases = calloc(a->slots, sizeof(*a->leases));
}

void sim_actor_lease(uint32_t number, uint32_t job, uint64_t nonce)
{
        struct actor *a = &w.actors[number];

        if (a->silent)
                return; /* the message does not arrive */
        if (a->busy == a->slots) {
                sim_fail("worker %u was given more than its %u slots", number, a->slots);
                return;
        }
        a->leases[a->busy++] = (struct sim_lease){job, nonce, w.now + 100 + sim_below(30000)};
}

void sim_actor_revoke(uint32_t number, uint32_t job, uint64_t nonce)
{
        struct actor *a = &w.actors[number];

        for (uint32_t i = 0; i < a->busy; i++) {
                if (a->leases[i].job != job || a->leases[i].nonce != nonce || a->silent)
                        continue;
                a->last = a->leases[i];
                a->leases[i] = a->leases[--a->busy];
                return;
        }
}

void sim_actor_gone(uint32_t number)
{
        w.actors[number].number = NONE;
}

/* Sends the word about a lease and offers the slot again. */
static void finish(uint32_t number, uint32_t i)
{
        struct actor *a = &w.actors[number];
        struct sim_lease lease = a->leases[i];
        const struct job *job = &w.jobs[lease.job];
        struct id id = job->id;
        bool mine = job->worker == number && job->nonce == lease.nonce && job->state == CORE_LEASED;
        enum core_verdict verdict;

        a->last = lease;
        a->leases[i] = a->leases[--a->busy];
        if (a->kind == ACTOR_FAILING && sim_once_in(2))
                verdict = core_fail(w.core, w.now, a->number, &id, lease.nonce, !sim_once_in(8), !sim_once_in(3));
        else if (sim_once_in(50))
                verdict = core_decline(w.core, w.now, a->number, &id, lease.nonce);
        else
                verdict = core_result(w.core, w.now, a->number, &id, lease.nonce, 1 + sim_below(40000));
        if ((verdict == CORE_OK) != mine)
                sim_fail("worker %u's word about its lease: %s", number, mine ? "not believed" : "believed, and it had none");
        w.stale += verdict == CORE_STALE;
        sim_carry_out();
        core_ready(w.core, w.now, a->number, 1);
}

static void lie(uint32_t number)
{
        struct actor *a = &w.actors[number];
        const struct job *job = w.jobs_n ? &w.jobs[sim_below(w.jobs_n)] : NULL;

        if (!job)
                return;
        switch (sim_below(6)) {
        case 0: /* another's task, a guessed nonce */
                w.false_accepts += core_result(w.core, w.now, a->number, &job->id, sim_below(1000), 1) == CORE_OK;
                break;
        case 1: /* another's task, its real nonce */
                if (job->worker != number)
                        w.false_accepts += core_result(w.core, w.now, a->number, &job->id, job->nonce, 1) == CORE_OK;
                break;
        case 2: /* twice */
                if (a->last.nonce)
                        w.false_accepts += core_result(w.core, w.now, a->number, &w.jobs[a->last.job].id, a->last.nonce, 1) == CORE_OK;
                break;
        case 3: /* slots that it does not have: what it is given then, it is given within its slots */
                core_ready(w.core, w.now, a->number, (uint32_t)sim_below(1000000));
                break;
        case 4:
                w.false_accepts += core_resume(w.core, w.now, a->number, &job->id, job->nonce + 1) == CORE_OK;
                break;
        default:
                core_heartbeat(w.core, w.now, (uint32_t)sim_below(UINT32_MAX));
                break;
        }
        if (w.false_accepts)
                sim_fail("worker %u lied and was believed", number);
}

static uint64_t next(const struct actor *a)
{
        uint64_t at = w.now + 5000 + sim_below(5000);

        for (uint32_t i = 0; i < a->busy; i++) {
                if (a->leases[i].ends < at)
                        at = a->leases[i].ends;
        }
        return at > w.now ? at : w.now + 1;
}

uint64_t sim_actor_step(uint32_t number)
{
        struct actor *a = &w.actors[number];

        if (a->number == NONE || a->silent) {
                if (a->number == NONE)
                        a->busy = 0; /* it was forgotten; a real one would hear at its next word */
                if (!w.calm && sim_once_in(2))
                        return w.now + 1000 + sim_below(60000);
                if (sim_once_in(2))
                        a->busy = 0; /* it started anew */
                join(number);
                return next(a);
        }
        if (!w.calm && a->kind == ACTOR_FLAPPING && sim_once_in(20)) {
                a->silent = true;
                switch (sim_below(3)) {
                case 0:
                        core_worker_silent(w.core, w.now, a->number);
                        break;
                case 1:
                        a->busy = 0;
                        core_worker_leave(w.core, w.now, a->number);
                        break;
                default:
                        break; /* no word at all */
                }
                return w.now + 1000 + sim_below(120000);
        }
        if (a->kind == ACTOR_LIAR && sim_once_in(3))
                lie(number);
        if (w.calm ? a->drains : sim_once_in(200)) {
                a->drains = !w.calm && sim_once_in(2);
                if (core_worker_drain(w.core, w.now, a->number, a->drains))
                        sim_fail("drain");
        }
        core_heartbeat(w.core, w.now, a->number);
        for (uint32_t i = 0; i < a->busy && !sim_once_in(10); i++)
                (void)core_renew(w.core, w.now, a->number, &w.jobs[a->leases[i].job].id, a->leases[i].nonce);
        sim_carry_out();
        for (uint32_t i = 0; i < a->busy;) {
                if (a->leases[i].ends <= w.now)
                        finish(number, i);
                else
                        i++;
                sim_carry_out();
        }
        if (a->number != NONE && a->busy < a->slots && sim_once_in(4))
                core_ready(w.core, w.now, a->number, a->slots - a->busy);
        return next(a);
}
