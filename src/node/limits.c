/* limits.c: what programs and jobs may take beside the gate's own rules, and asking programs to give back; see node.h.
 *
 * A limit of a program is kept by its library and by the gate. That of a job is kept here, where all its members are known: growth that would
 * lift their grants together above it is refused before the gate hears of it. Members keep no unused grant, so grants are what they own.
 */
#define LOG_ROOM "node"
#include "node/node.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

#include <string.h>

static uint64_t least(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}

uint64_t limits_of(uint64_t bytes, uint32_t permille, uint64_t total)
{
        uint64_t share = (uint64_t)((unsigned __int128)total * permille / 1000);

        return permille && (!bytes || share < bytes) ? share : bytes;
}

static struct job *job_of(const struct node *n, uint64_t id)
{
        for (size_t i = 0; id && i < n->jobs_n; i++)
                if (n->jobs[i].id == id && n->jobs[i].users)
                        return &n->jobs[i];
        return NULL;
}

void limits_job(struct node *n, uint64_t id, uint64_t bytes, uint32_t permille)
{
        struct job *job = job_of(n, id);

        if (!job)
                return;
        if (bytes)
                job->limit_bytes = job->limit_bytes ? least(job->limit_bytes, bytes) : bytes;
        if (permille)
                job->limit_permille = job->limit_permille && job->limit_permille < permille ? job->limit_permille : permille;
}

uint64_t limits_of_job(const struct client *c, uint32_t device)
{
        const struct job *job = job_of(c->node, c->job);

        return job ? limits_of(job->limit_bytes, job->limit_permille, c->node->devices[device].info.total_bytes) : 0;
}

uint64_t limits_slack(const struct client *c, uint32_t device)
{
        return limits_of_job(c, device) ? 0 : node_slack(c->node, device);
}

static uint64_t held(const struct client *c, const struct client_device *d)
{
        struct gate_client_view v;

        if (!gate_view_client(c->node->gate, clock_now_ns(), d->gate, &v))
                return 0;
        return v.grant > v.movable + v.pinned ? v.grant : v.movable + v.pinned;
}

bool limits_forbid(const struct client *c, const struct client_device *d, uint64_t need, uint64_t *ret_have)
{
        uint64_t limit = limits_of_job(c, d->device), others = 0;

        /* What it has already it may always come back with. */
        if (!limit || need <= held(c, d))
                return false;
        for (const struct client *o = c->node->clients; o; o = o->next)
                for (uint32_t i = 0; o != c && o->job == c->job && i < WIRE_MAX_DEVICES; i++)
                        if (o->devices[i] && o->devices[i]->device == d->device)
                                others += held(o, o->devices[i]);
        *ret_have = limit > others ? limit - others : 0;
        return need > *ret_have;
}

/* --- trimming --- */

static void trim(struct client *c, bool soft)
{
        for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
                struct wire_message m = {.TRIM = {.ordinal = i, .soft = soft}};

                if (c->devices[i])
                        client_send(c, WIRE_TRIM, &m, -1);
        }
}

void limits_trim(struct client *asker, const struct wire_message *m)
{
        const struct wire_TRIM_ASK *ask = &m->TRIM_ASK;
        bool master = asker->uid == 0 || asker->uid == geteuid(), all = !ask->pid && !ask->name[0];
        struct wire_message answer = {0};

        for (struct client *c = asker->node->clients; c; c = c->next) {
                if (c->role != WIRE_PROGRAM || !c->greeted || (ask->pid && (uint32_t)c->pid != ask->pid) ||
                    (!ask->pid && ask->name[0] && strcmp(c->name, ask->name)))
                        continue;
                if (!master && c->uid != asker->uid) {
                        answer.TRIMMED.forbidden += !all;
                        continue;
                }
                trim(c, ask->soft);
                answer.TRIMMED.programs++;
        }
        if (answer.TRIMMED.forbidden)
                asker->node->refused++;
        client_send(asker, WIRE_TRIMMED, &answer, -1);
}

/* --- what will be wanted soon --- */

static int prefetch(struct node *n, const struct client *c, uint64_t now, uint64_t milliseconds)
{
        int told = 0;

        for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++)
                told += c->devices[i] && gate_prefetch(n->gate, now, c->devices[i]->gate, now + milliseconds * UINT64_C(1000000)) == 0;
        return told;
}

void limits_prefetch(struct client *asker, const struct wire_message *m)
{
        const struct wire_PREFETCH *ask = &m->PREFETCH;
        bool master = asker->uid == 0 || asker->uid == geteuid();
        struct wire_message answer = {0};
        struct node *n = asker->node;

        for (struct client *c = n->clients; c; c = c->next) {
                if (c->role != WIRE_PROGRAM || !c->greeted ||
                    (ask->pid ? (uint32_t)c->pid != ask->pid && getpgid(c->pid) != (pid_t)ask->pid
                              : !ask->name[0] || (strcmp(c->name, ask->name) != 0 && strcmp(c->job_name, ask->name) != 0)))
                        continue;
                if (!master && c->uid != asker->uid)
                        answer.TRIMMED.forbidden++;
                else
                        answer.TRIMMED.programs += prefetch(n, c, clock_now_ns(), ask->milliseconds) > 0;
        }
        if (answer.TRIMMED.forbidden)
                n->refused++;
        client_send(asker, WIRE_TRIMMED, &answer, -1);
}

/* --- the target band --- */

static bool above_low(const struct node *n, uint32_t device, uint64_t now)
{
        struct gate_device_view v;

        return gate_view_device(n->gate, now, device, &v) && v.granted + v.foreign > v.total / 100 * n->settings.band_low;
}

static uint64_t work_of(const struct client *c, bool *ret_busy)
{
        uint64_t work = 0;

        for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++)
                for (size_t k = 0; c->devices[i] && k < PAGE_LANES; k++) {
                        const struct page_lane *lane = &c->devices[i]->page->lanes[k];

                        work += atomic_load_explicit(&lane->launches, memory_order_relaxed) + atomic_load_explicit(&lane->copies, memory_order_relaxed);
                        *ret_busy |= atomic_load_explicit(&lane->in_call, memory_order_relaxed) != 0;
                }
        return work;
}

void limits_band(struct node *n, uint64_t now)
{
        for (struct client *c = n->clients; n->settings.band_low && c; c = c->next) {
                bool busy = false, above = false;
                uint64_t work;

                if (c->role != WIRE_PROGRAM || !c->greeted)
                        continue;
                work = work_of(c, &busy);
                if (busy || work != c->band_work || !c->band_since) {
                        c->band_work = work;
                        c->band_since = now;
                        c->band_asked = false;
                }
                for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++)
                        above |= c->devices[i] && above_low(n, c->devices[i]->device, now);
                if (c->band_asked || !above || now - c->band_since < n->settings.idle)
                        continue;
                c->band_asked = true; /* once each time that it becomes idle */
                trim(c, false);
        }
}
